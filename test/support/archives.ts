// Archives made byte by byte, so that they may be wrong on purpose.

export interface TarEntry {
  readonly name: string;
  readonly data?: Uint8Array;
  readonly type?: string;
  readonly link?: string;
  /** What the header says, where that is not how long the data is. */
  readonly size?: number;
}

const encoder = new TextEncoder();

export function tarOf(entries: readonly TarEntry[]): Uint8Array {
  const blocks: Uint8Array[] = [];
  for (const { name, data = new Uint8Array(0), type = '0', link = '', size = data.length } of entries) {
    const header = new Uint8Array(512);
    const put = (at: number, text: string): void => header.set(encoder.encode(text), at);
    put(0, name);
    put(100, '0000644\0');
    put(124, `${size.toString(8).padStart(11, '0')}\0`);
    put(136, '00000000000\0');
    put(148, '        ');
    put(156, type);
    put(157, link);
    put(257, 'ustar\x0000');
    const sum = header.reduce((a, b) => a + b, 0);
    put(148, `${sum.toString(8).padStart(6, '0')}\0 `);
    const padded = new Uint8Array(Math.ceil(data.length / 512) * 512);
    padded.set(data);
    blocks.push(header, padded);
  }
  return new Uint8Array(Buffer.concat([...blocks, new Uint8Array(1024)]));
}

export function cpioOf(entries: readonly { readonly name: string; readonly data?: Uint8Array }[]): Uint8Array {
  const parts: Uint8Array[] = [];
  const pad = (length: number): Uint8Array => new Uint8Array((4 - (length % 4)) % 4);
  for (const { name, data = new Uint8Array(0) } of [...entries, { name: 'TRAILER!!!' }]) {
    const fields = [1, 0o100644, 0, 0, 1, 0, data.length, 0, 0, 0, 0, name.length + 1, 0];
    const head = encoder.encode(`070701${fields.map(f => f.toString(16).padStart(8, '0')).join('')}${name}\0`);
    parts.push(head, pad(head.length), data, pad(data.length));
  }
  return new Uint8Array(Buffer.concat(parts));
}

/** The headers' sums are right again, so that the rest is looked at. */
export function fixSums(tar: Uint8Array): void {
  for (let at = 0; at + 512 <= tar.length; at += 512) {
    const header = tar.subarray(at, at + 512);
    if (header[257] !== 117) continue;
    header.fill(32, 148, 156);
    const sum = header.reduce((a, b) => a + b, 0);
    header.set(encoder.encode(`${sum.toString(8).padStart(6, '0')}\0 `), 148);
  }
}

// tar: ustar, GNU's long names, and what pax headers say of path, link and size. Blocks of 512 bytes.
import { type ArchiveEntry, damaged, MAX_ENTRIES, MAX_PATH, NO_DATA, safePath, within } from './entry.ts';

const BLOCK = 512;
const decoder = new TextDecoder();

export function isTar(bytes: Uint8Array): boolean {
  return bytes.length >= BLOCK && decoder.decode(bytes.subarray(257, 262)) === 'ustar' && sumFits(bytes, 0);
}

/** untrusted: `bytes` may be anything. Throws EINVAL with where it is damaged. */
export function* tarEntries(bytes: Uint8Array): Generator<ArchiveEntry> {
  let next: Readonly<Record<string, string>> = {};
  let count = 0;
  for (let at = 0; at < bytes.length; ) {
    const header = within(bytes, at, BLOCK, 'tar');
    if (header.every(byte => byte === 0)) return; // the end: two of them
    if (!sumFits(bytes, at)) throw damaged('tar', at, 'no header');
    if (++count > MAX_ENTRIES) throw damaged('tar', at, `more than ${MAX_ENTRIES} entries`);
    const type = String.fromCharCode(header[156]!);
    const said = next.size === undefined ? number(header, 124, 12, at) : Number(next.size);
    if (!Number.isSafeInteger(said) || said < 0) throw damaged('tar', at, 'a size that is none');
    const data = within(bytes, at + BLOCK, said, 'tar');
    const from = at;
    at += BLOCK + Math.ceil(said / BLOCK) * BLOCK;
    // What describes the entry that follows.
    if (type === 'L' || type === 'K') {
      if (said > MAX_PATH + 1) throw damaged('tar', from, `a path of ${said} bytes`);
      next = { ...next, [type === 'L' ? 'path' : 'linkpath']: untilNul(data) };
      continue;
    }
    if (type === 'x') {
      next = { ...next, ...paxRecords(data, from) };
      continue;
    }
    if (type === 'g') continue; // of the archive, such as the commit it was made of
    const prefix = text(header, 345, 155);
    const plain = text(header, 0, 100);
    const name = next.path ?? (prefix === '' || !isUstar(header) ? plain : `${prefix}/${plain}`);
    const target = next.linkpath ?? text(header, 157, 100);
    next = {};
    const path = safePath(name);
    if (path === undefined) throw damaged('tar', from, `an entry is called ${JSON.stringify(name.slice(0, 100))}`);
    const common = { path, mode: number(header, 100, 8, from) & 0o7777, mtime: number(header, 136, 12, from) };
    if (type === '5' || (name.endsWith('/') && (type === '0' || type === '\0')))
      yield { ...common, type: 'directory', data: NO_DATA, target: '' };
    else if (type === '2') yield { ...common, type: 'symlink', data: NO_DATA, target };
    else if (type === '1') {
      const to = safePath(target);
      if (to === undefined) throw damaged('tar', from, `a link to ${JSON.stringify(target.slice(0, 100))}`);
      yield { ...common, type: 'link', data: NO_DATA, target: to };
    } else if (type === '0' || type === '\0' || type === '7') yield { ...common, type: 'file', data, target: '' };
    // Devices and pipes have no meaning here.
  }
}

const isUstar = (header: Uint8Array): boolean => decoder.decode(header.subarray(257, 263)) === 'ustar\0';

/** The header's sum, counted as if its own field were spaces. */
function sumFits(bytes: Uint8Array, at: number): boolean {
  let sum = 8 * 32;
  for (let i = 0; i < BLOCK; i++) if (i < 148 || i >= 156) sum += bytes[at + i]!;
  return Number.parseInt(text(bytes.subarray(at, at + BLOCK), 148, 8), 8) === sum;
}

function text(header: Uint8Array, at: number, length: number): string {
  return untilNul(header.subarray(at, at + length));
}
function untilNul(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return decoder.decode(end < 0 ? bytes : bytes.subarray(0, end));
}
/** Octal digits, or, with the first bit set, a big-endian number. */
function number(header: Uint8Array, at: number, length: number, entry: number): number {
  if ((header[at]! & 0x80) !== 0) {
    let value = header[at]! & 0x7f;
    for (let i = 1; i < length; i++) value = value * 256 + header[at + i]!;
    return value;
  }
  const digits = text(header, at, length).trim();
  if (digits === '') return 0;
  if (!/^[0-7]+$/.test(digits)) throw damaged('tar', entry, 'a number that is none');
  return Number.parseInt(digits, 8);
}

/** `LENGTH KEY=VALUE\n`, each. */
function paxRecords(data: Uint8Array, entry: number): Record<string, string> {
  const found: Record<string, string> = {};
  for (let at = 0; at < data.length; ) {
    const space = data.indexOf(0x20, at);
    const length = space < 0 || space - at > 8 ? 0 : Number(decoder.decode(data.subarray(at, space)));
    if (!Number.isSafeInteger(length) || length < space - at + 3 || at + length > data.length)
      throw damaged('tar', entry, 'a pax header that is none');
    const record = decoder.decode(data.subarray(space + 1, at + length - 1));
    const equals = record.indexOf('=');
    const key = record.slice(0, equals);
    if (['path', 'linkpath', 'size'].includes(key)) found[key] = record.slice(equals + 1);
    at += length;
  }
  return found;
}

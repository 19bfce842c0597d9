// WebAssembly binaries by hand, section by section, for tests of what is refused.
import { Writer } from '../../pvbus/wasm/writer.ts';

/** The binary of these sections: number and content. */
export function moduleOf(...sections: readonly (readonly [number, readonly number[]])[]): Uint8Array {
  const out = new Writer();
  out.raw(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0));
  for (const [id, content] of sections) {
    out.byte(id);
    out.sized(Uint8Array.from(content));
  }
  return out.written.slice();
}

const text = (name: string): number[] => [name.length, ...Buffer.from(name)];

/** A `_start` of these instructions (without the last `end`), and the sections around it, each of which may be replaced. */
export function commandOf(
  code: readonly number[],
  replaced: Readonly<Record<number, readonly number[]>> = {},
): Uint8Array {
  const body = [0, ...code, 0x0b];
  const size = new Writer();
  size.u32(body.length);
  const sections: Record<number, readonly number[]> = {
    1: [1, 0x60, 0, 0],
    3: [1, 0],
    5: [1, 0, 1],
    7: [1, ...text('_start'), 0, 0],
    10: [1, ...size.written, ...body],
    ...replaced,
  };
  return moduleOf(
    ...[1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 10, 11, 13, 14].flatMap(id =>
      sections[id] === undefined ? [] : [[id, sections[id]] as const],
    ),
  );
}

export { text };

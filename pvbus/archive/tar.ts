// tar: ustar, GNU's long names, and what pax headers say of path, link and size. Blocks of 512 bytes.
import { type ArchiveEntry, checkedEntry, damaged, latin1, MAX_ENTRIES, pathOf, within } from './entry.ts';

const BLOCK = 512;
/** Of a header that describes the next: nobody says more of a file. */
const MAX_EXTENDED = 1 << 16;
/** '0' to '7'. */
const TYPES = ['file', 'link', 'symlink', 'device', 'device', 'directory', 'device', 'file'] as const;

/** What an extended header says of the entry that follows. */
interface Extended {
  readonly path?: string;
  readonly linkpath?: string;
  readonly size?: number;
}

export const isTar = (bytes: Uint8Array): boolean =>
  bytes.length >= BLOCK && bytes[0] !== 0 && latin1(bytes.subarray(257, 262)) === 'ustar' && sumFits(bytes);

/** untrusted: `bytes` may be anything. Throws EINVAL with where it is damaged. */
export function* tarEntries(bytes: Uint8Array): Generator<ArchiveEntry> {
  let extended: Extended = {};
  let count = 0;
  for (let at = 0; ; ) {
    const header = within(bytes, at, BLOCK);
    if (header.every(byte => byte === 0)) return; // the end: two of them
    const from = at;
    if (!sumFits(header)) throw damaged(from, 'the header is damaged');
    if (++count > MAX_ENTRIES) throw damaged(from, `more than ${MAX_ENTRIES} entries`);
    const type = String.fromCharCode(header[156] || 0x30);
    const said = TYPES[type.charCodeAt(0) - 0x30];
    const size = extended.size ?? number(header, 124, 12, from);
    // Of links, directories and devices the size is of something else.
    const data = within(bytes, from + BLOCK, said === undefined || said === 'file' ? size : 0);
    at += BLOCK + Math.ceil(data.length / BLOCK) * BLOCK;
    if ('xgLK'.includes(type)) {
      extended = { ...extended, ...extendedBy(type, data, from) };
      continue;
    }
    const path = extended.path ?? nameOf(header, from);
    if (said === undefined) throw damaged(from, `${path} is of type '${type}', which is not supported`);
    const target = extended.linkpath ?? field(header, 157, 100, from);
    const mode = number(header, 100, 8, from);
    const mtime = number(header, 136, 12, from);
    const isDirectory = said === 'file' && path.endsWith('/');
    const entry = checkedEntry(from, isDirectory ? 'directory' : said, { path, mode, mtime, data, target });
    if (entry !== undefined) yield entry;
    extended = {};
  }
}

function extendedBy(type: string, data: Uint8Array, at: number): Extended {
  if (data.length > MAX_EXTENDED) throw damaged(at, `a header of ${data.length} bytes`);
  if (type === 'x') return paxRecords(data, at);
  if (type === 'g') return {}; // of the archive, such as the commit it was made of
  return { [type === 'L' ? 'path' : 'linkpath']: pathOf(data, at) };
}
/** ustar splits long names; in GNU's format those bytes are something else. */
function nameOf(header: Uint8Array, at: number): string {
  const name = field(header, 0, 100, at);
  const prefix = latin1(header.subarray(257, 264)) === 'ustar\x000' ? field(header, 345, 155, at) : '';
  return prefix === '' ? name : `${prefix}/${name}`;
}
const field = (header: Uint8Array, from: number, length: number, at: number): string =>
  pathOf(header.subarray(from, from + length), at);

/** The header's sum, counted as if its own field were spaces. */
function sumFits(header: Uint8Array): boolean {
  let sum = 8 * 32;
  for (let i = 0; i < BLOCK; i++) if (i < 148 || i >= 156) sum += header[i]!;
  return octal(header.subarray(148, 156)) === sum;
}
/** NaN: it is no number. */
const octal = (bytes: Uint8Array): number => Number(`0o0${latin1(bytes).replace(/^ +|[\0 ]+$/g, '')}`);
/** Octal digits, or, with the first bit set and the next not, which is a negative number's, a big-endian number. */
function number(header: Uint8Array, from: number, length: number, at: number): number {
  const bytes = header.subarray(from, from + length);
  const isBinary = bytes[0]! >> 6 === 2;
  const value = isBinary ? bytes.reduce((sum, byte, i) => sum * 256 + (i === 0 ? byte & 0x3f : byte), 0) : octal(bytes);
  return checkedNumber(value, at);
}
function checkedNumber(value: number, at: number): number {
  if (!Number.isSafeInteger(value)) throw damaged(at, 'a number that is none');
  return value;
}

/** `LENGTH KEY=VALUE\n`, each; LENGTH counts all of it. */
function paxRecords(data: Uint8Array, at: number): Extended {
  const found: { -readonly [K in keyof Extended]: Extended[K] } = {};
  for (let from = 0; from < data.length; ) {
    const digits = /^[1-9][0-9]{0,5}(?= )/.exec(latin1(data.subarray(from, from + 7)))?.[0] ?? '';
    const length = Number(digits);
    if (length < digits.length + 3 || from + length > data.length) throw damaged(at, 'a pax header that is none');
    const record = data.subarray(from + digits.length + 1, from + length - 1);
    from += length;
    const [start, key] = /^(path|linkpath|size)=|^GNU\.sparse\./.exec(latin1(record.subarray(0, 11))) ?? [];
    if (start === undefined) continue;
    const value = record.subarray(start.length);
    if (key === 'size') {
      const text = latin1(value.subarray(0, 16));
      found.size = checkedNumber(/^[0-9]{1,15}$/.test(text) ? Number(text) : Number.NaN, at);
    } else if (key === 'path' || key === 'linkpath') {
      if (value.includes(0)) throw damaged(at, 'a path with a NUL');
      found[key] = pathOf(value, at);
    } else throw damaged(at, 'a sparse file, which is not supported');
  }
  return found;
}

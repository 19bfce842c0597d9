// untrusted: reading tar archives: ustar, pax paths and sizes, GNU's long names.
import { type ArchiveEntry, refuse, textOf } from './archive-entry.ts';

const BLOCK = 512;
/** A header of headers: longer names there are none. */
const MAX_EXTENDED = 1 << 16;
const NS_PER_S = 1_000_000_000n;

interface Extended {
  path?: string;
  linkpath?: string;
  size?: number;
  mtimeNs?: bigint;
}

export function isTar(bytes: Uint8Array): boolean {
  return bytes.length >= BLOCK && bytes[0] !== 0 && sumIsRight(bytes.subarray(0, BLOCK));
}

export function* readTar(archive: Uint8Array): Generator<ArchiveEntry> {
  let extended: Extended = {};
  for (let at = 0; ; ) {
    if (at + BLOCK > archive.length) throw refuse('the tar archive ends before its end mark');
    const header = archive.subarray(at, at + BLOCK);
    if (header.every(byte => byte === 0)) return;
    if (!sumIsRight(header)) throw refuse(`the header at byte ${at} is damaged`);
    const type = String.fromCharCode(header[156] || 48);
    const hasSize = !'123456'.includes(type);
    const size = extended.size ?? numberOf(header, 124, 12, 'size');
    const length = hasSize ? size : 0;
    at += BLOCK;
    if (length > archive.length - at) throw refuse(`a file of ${length} bytes at byte ${at}: the archive ends before`);
    const data = archive.subarray(at, at + length);
    at += Math.ceil(length / BLOCK) * BLOCK;

    if ('xgLK'.includes(type)) {
      if (length > MAX_EXTENDED) throw refuse(`a header of ${length} bytes`);
      if (type === 'x') extended = { ...extended, ...paxRecords(data) };
      else if (type === 'L') extended = { ...extended, path: textOf(data) };
      else if (type === 'K') extended = { ...extended, linkpath: textOf(data) };
      continue;
    }
    const path = extended.path ?? nameOf(header);
    yield {
      path,
      type: typeOf(type, path),
      data,
      target: extended.linkpath ?? textOf(header.subarray(157, 257)),
      mtimeNs: extended.mtimeNs ?? BigInt(numberOf(header, 136, 12, 'time')) * NS_PER_S,
    };
    extended = {};
  }
}

function typeOf(type: string, path: string): ArchiveEntry['type'] {
  switch (type) {
    case '0':
    case '7':
      return path.endsWith('/') ? 'directory' : 'file';
    case '1':
      return 'link';
    case '2':
      return 'symlink';
    case '5':
      return 'directory';
    case '3':
    case '4':
    case '6':
      return 'device';
    default:
      throw refuse(`${path} is of type '${type}', which is not supported`);
  }
}
/** ustar splits long names; in GNU's format those bytes are something else. */
function nameOf(header: Uint8Array): string {
  const name = textOf(header.subarray(0, 100));
  const isUstar = textOf(header.subarray(257, 263)) === 'ustar' && header[263] === 48;
  const prefix = isUstar ? textOf(header.subarray(345, 500)) : '';
  return prefix === '' ? name : `${prefix}/${name}`;
}
/** The sum of the header's bytes, its own field taken as spaces; old writers summed signed bytes. */
function sumIsRight(header: Uint8Array): boolean {
  let unsigned = 0;
  let signed = 0;
  for (let i = 0; i < BLOCK; i++) {
    const byte = i >= 148 && i < 156 ? 32 : (header[i] ?? 0);
    unsigned += byte;
    signed += (byte << 24) >> 24;
  }
  const text = String.fromCharCode(...header.subarray(148, 156)).replace(/[\0 ]/g, '');
  const sum = /^[0-7]+$/.test(text) ? Number.parseInt(text, 8) : -1;
  return sum === unsigned || sum === signed;
}
/** Octal, or, with the first bit set, the bytes of the number. */
function numberOf(header: Uint8Array, at: number, length: number, what: string): number {
  const field = header.subarray(at, at + length);
  const first = field[0] ?? 0;
  if (first & 0x80) {
    let value = first & 0x7f;
    for (const byte of field.subarray(1)) value = value * 256 + byte;
    if (first & 0x40 || !Number.isSafeInteger(value)) throw refuse(`a ${what} that cannot be`);
    return value;
  }
  const text = String.fromCharCode(...field)
    .replace(/[\0 ]+$/, '')
    .trim();
  if (text === '') return 0;
  if (!/^[0-7]+$/.test(text)) throw refuse(`a ${what} that is no number`);
  return Number.parseInt(text, 8);
}
/** "LENGTH KEY=VALUE\n", LENGTH counting all of it. */
function paxRecords(data: Uint8Array): Extended {
  const result: Extended = {};
  for (let at = 0; at < data.length; ) {
    const space = data.indexOf(32, at);
    const digits = space < 0 ? '' : textOf(data.subarray(at, space));
    const length = /^[1-9][0-9]{0,5}$/.test(digits) ? Number(digits) : 0;
    if (length <= digits.length + 2 || at + length > data.length) throw refuse('a pax header that is damaged');
    const record = textOf(data.subarray(space + 1, at + length - 1));
    at += length;
    const equals = record.indexOf('=');
    const key = record.slice(0, Math.max(0, equals));
    const value = record.slice(equals + 1);
    if (key === 'path') result.path = value;
    else if (key === 'linkpath') result.linkpath = value;
    else if (key === 'size') result.size = decimal(value, 'size');
    else if (key === 'mtime')
      result.mtimeNs = BigInt(decimal(value.replace(/^-.*|\..*/, '') || '0', 'time')) * NS_PER_S;
    else if (key.startsWith('GNU.sparse.')) throw refuse('a sparse file, which is not supported');
  }
  return result;
}
function decimal(text: string, what: string): number {
  const value = /^[0-9]{1,15}$/.test(text) ? Number(text) : -1;
  if (value < 0) throw refuse(`a ${what} that is no number`);
  return value;
}

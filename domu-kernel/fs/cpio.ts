// untrusted: reading cpio archives of the newc format, as Linux' initramfs has them.
import { type ArchiveEntry, refuse, textOf } from './archive-entry.ts';

const HEADER = 110;
const MAX_NAME = 4097;
const TRAILER = 'TRAILER!!!';
const NS_PER_S = 1_000_000_000n;
const S_IFMT = 0o170000;
const TYPES = new Map<number, ArchiveEntry['type']>([
  [0o100000, 'file'],
  [0o040000, 'directory'],
  [0o120000, 'symlink'],
]);
/** In the order of their fields in the header, after its magic. */
const FIELD = { ino: 0, mode: 1, nlink: 4, mtime: 5, size: 6, major: 7, minor: 8, nameSize: 11, sum: 12 } as const;

/** With, or without, a sum of each file's bytes. */
const magicAt = (bytes: Uint8Array, at: number): string => String.fromCharCode(...bytes.subarray(at, at + 6));

export const isCpio = (bytes: Uint8Array): boolean => /^07070[12]$/.test(magicAt(bytes, 0));

export function* readCpio(archive: Uint8Array): Generator<ArchiveEntry> {
  for (let at = 0; ; ) {
    if (at + HEADER > archive.length) throw refuse('the cpio archive ends before its end mark');
    const magic = magicAt(archive, at);
    if (magic !== '070701' && magic !== '070702') throw refuse(`there is no cpio header at byte ${at}`);
    const field = (name: keyof typeof FIELD): number => hex(archive, at + 6 + FIELD[name] * 8);
    const nameSize = field('nameSize');
    const size = field('size');
    const start = aligned(at + HEADER + nameSize);
    if (nameSize < 1 || nameSize > MAX_NAME) throw refuse(`a name of ${nameSize} bytes`);
    if (start + size > archive.length) throw refuse(`a file of ${size} bytes at byte ${at}: the archive ends before`);
    const path = textOf(archive.subarray(at + HEADER, at + HEADER + nameSize));
    const data = archive.subarray(start, start + size);
    const type = TYPES.get(field('mode') & S_IFMT) ?? 'device';
    const mtimeNs = BigInt(field('mtime')) * NS_PER_S;
    const linked = type === 'file' && field('nlink') > 1;
    const inode = linked ? `${field('major')}:${field('minor')}:${field('ino')}` : undefined;
    if (magic === '070702' && type === 'file' && sumOf(data) !== field('sum')) throw refuse(`${path} is damaged`);
    at = aligned(start + size);
    if (path === TRAILER) {
      // Linux takes several archives, one after the other, with zeros between them.
      while (at < archive.length && archive[at] === 0) at++;
      if (at === archive.length) return;
      continue;
    }
    yield { path, type, data, target: type === 'symlink' ? textOf(data) : '', mtimeNs, inode };
  }
}

const aligned = (at: number): number => (at + 3) & ~3;
function hex(bytes: Uint8Array, at: number): number {
  const text = String.fromCharCode(...bytes.subarray(at, at + 8));
  if (!/^[0-9a-fA-F]{8}$/.test(text)) throw refuse(`there is no number at byte ${at}`);
  return Number.parseInt(text, 16);
}
function sumOf(data: Uint8Array): number {
  let sum = 0;
  for (const byte of data) sum = (sum + byte) >>> 0;
  return sum;
}

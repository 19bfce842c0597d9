// cpio's "new ASCII" format, the one that Linux takes as an initramfs: a header of hex digits, the path, the contents.
import {
  type ArchiveEntry,
  checkedEntry,
  damaged,
  latin1,
  MAX_ENTRIES,
  NO_DATA,
  pathOf,
  unusableArchive,
  within,
} from './entry.ts';

const MAGIC = '070701';
const HEADER = 110;
const TRAILER = 'TRAILER!!!';
const TYPE = 0o170000;
const DIRECTORY = 0o040000;
const FILE = 0o100000;
const SYMLINK = 0o120000;
const TYPES: Readonly<Record<number, ArchiveEntry['type']>> = {
  [FILE]: 'file',
  [DIRECTORY]: 'directory',
  [SYMLINK]: 'symlink',
};
const padded = (length: number): number => Math.ceil(length / 4) * 4;

/** 070702 has a sum of each file's bytes. */
export function isCpio(bytes: Uint8Array): boolean {
  return bytes.length >= HEADER && /^07070[12]$/.test(latin1(bytes.subarray(0, 6)));
}

interface Member {
  readonly at: number;
  readonly path: string;
  readonly mode: number;
  readonly mtime: number;
  readonly data: Uint8Array;
  /** What the sum of its bytes is said to be. */
  readonly sum: number | undefined;
  /** Which file it is a name of; undefined: the only one. */
  readonly file: string | undefined;
}

/** untrusted: `bytes` may be anything. Throws EINVAL with where it is damaged. */
export function* cpioEntries(bytes: Uint8Array): Generator<ArchiveEntry> {
  // Of a file with several names, the contents come with the last of them in GNU's archives.
  const contents = new Map<string | undefined, Uint8Array>();
  for (const { file, data } of members(bytes)) if (file !== undefined && data.length > 0) contents.set(file, data);
  const first = new Map<string, string>();
  for (const member of members(bytes)) {
    const { at, mode, data, sum, file } = member;
    if (sum !== undefined && sumOf(data) !== sum) throw damaged(at, `${member.path} is damaged`);
    const said = TYPES[mode & TYPE] ?? 'device';
    const link = file === undefined ? undefined : first.get(file);
    const target = link ?? (said === 'symlink' ? pathOf(data, at) : '');
    const type = link === undefined ? said : 'link';
    const entry = checkedEntry(at, type, { ...member, data: contents.get(file) ?? data, target });
    if (entry === undefined) continue;
    yield entry;
    if (file !== undefined && link === undefined) first.set(file, entry.path);
  }
}

function* members(bytes: Uint8Array): Generator<Member> {
  let archive = 0;
  for (let at = 0, count = 0; ; ) {
    const from = at;
    const header = latin1(within(bytes, from, HEADER));
    if (!/^07070[12][0-9a-fA-F]{104}$/.test(header)) throw damaged(from, 'no header');
    const field = (n: number): number => Number.parseInt(header.slice(6 + 8 * n, 14 + 8 * n), 16);
    const mode = field(1);
    const nameSize = field(11);
    const name = within(bytes, from + HEADER, nameSize);
    if (nameSize === 0 || name.indexOf(0) !== nameSize - 1) throw damaged(from, 'a path that ends elsewhere');
    const path = pathOf(name, from);
    const dataAt = padded(from + HEADER + nameSize);
    const data = within(bytes, dataAt, field(6));
    at = padded(dataAt + data.length);
    if (path === TRAILER) {
      // Linux takes several archives, one after the other, with zeros between them.
      while (bytes[at] === 0) at++;
      if (at >= bytes.length) return;
      archive++;
      continue;
    }
    if (++count > MAX_ENTRIES) throw damaged(from, `more than ${MAX_ENTRIES} entries`);
    const isFile = (mode & TYPE) === FILE;
    const sum = isFile && header[5] === '2' ? field(12) : undefined;
    const file = isFile && field(4) > 1 ? [archive, field(7), field(8), field(0)].join() : undefined;
    yield { at: from, path, mode, mtime: field(5), data, sum, file };
  }
}
const sumOf = (data: Uint8Array): number => data.reduce((sum, byte) => (sum + byte) >>> 0, 0);

/** An archive of these entries, whatever they came from. */
export function cpioArchive(entries: Iterable<ArchiveEntry>): Uint8Array {
  const encoder = new TextEncoder();
  const parts: Uint8Array[] = [];
  let length = 0;
  const add = (bytes: Uint8Array): void => {
    parts.push(bytes);
    length += bytes.length;
    const gap = padded(length) - length;
    if (gap > 0) parts.push(new Uint8Array(gap));
    length += gap;
  };
  let inode = 0;
  const put = (path: string, mode: number, mtime: number, data: Uint8Array): void => {
    const name = encoder.encode(`${path}\0`);
    const fields = [++inode, mode, 0, 0, 1, mtime, data.length, 0, 0, 0, 0, name.length, 0];
    const header = MAGIC + fields.map(value => (value >>> 0).toString(16).padStart(8, '0')).join('');
    const front = new Uint8Array(HEADER + name.length);
    front.set(encoder.encode(header));
    front.set(name, HEADER);
    add(front);
    if (data.length > 0) add(data);
  };
  const files = new Map<string, ArchiveEntry>();
  for (const entry of entries) {
    const { path, mode, mtime, type, target } = entry;
    if (type === 'directory') put(path === '' ? '.' : path, DIRECTORY | mode, mtime, NO_DATA);
    else if (type === 'symlink') put(path, SYMLINK | mode, mtime, encoder.encode(target));
    else {
      // Its second name is a file of its own: in memory, both share nothing but what they hold.
      const file = type === 'link' ? files.get(target) : entry;
      if (file === undefined) throw unusableArchive(`${path} is a link to ${target}, which is not in it`);
      files.set(path, file);
      put(path, FILE | mode, mtime, file.data);
    }
  }
  put(TRAILER, 0, 0, NO_DATA);
  const archive = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    archive.set(part, at);
    at += part.length;
  }
  return archive;
}

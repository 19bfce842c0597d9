// cpio's "new ASCII" format, the one that Linux takes as an initramfs: a header of hex digits, the path, the contents.
import { type ArchiveEntry, damaged, MAX_ENTRIES, MAX_PATH, NO_DATA, safePath, within } from './entry.ts';

const MAGIC = '070701';
/** The same with a sum of the contents, which nobody looks at. */
const MAGIC_WITH_SUM = '070702';
const HEADER = 110;
const TRAILER = 'TRAILER!!!';
const TYPE = 0o170000;
const DIRECTORY = 0o040000;
const FILE = 0o100000;
const SYMLINK = 0o120000;
const latin1 = (bytes: Uint8Array): string => String.fromCharCode(...bytes);
const decoder = new TextDecoder();
const encoder = new TextEncoder();
const padded = (length: number): number => (length + 3) & ~3;

export function isCpio(bytes: Uint8Array): boolean {
  return bytes.length >= HEADER && [MAGIC, MAGIC_WITH_SUM].includes(latin1(bytes.subarray(0, 6)));
}

interface Member {
  readonly path: string;
  readonly mode: number;
  readonly mtime: number;
  readonly data: Uint8Array;
  /** Which file it is a name of; undefined: the only one. */
  readonly file: string | undefined;
}

/** untrusted: `bytes` may be anything. Throws EINVAL with where it is damaged. */
export function* cpioEntries(bytes: Uint8Array): Generator<ArchiveEntry> {
  // Of a file with several names, the contents come with the last of them in GNU's archives.
  const contents = new Map<string, Uint8Array>();
  for (const { file, data } of members(bytes)) if (file !== undefined && data.length > 0) contents.set(file, data);
  const first = new Map<string, string>();
  for (const { path, mode, mtime, data, file } of members(bytes)) {
    const common = { path, mode: mode & 0o7777, mtime };
    if ((mode & TYPE) === DIRECTORY) yield { ...common, type: 'directory', data: NO_DATA, target: '' };
    else if ((mode & TYPE) === SYMLINK)
      yield { ...common, type: 'symlink', data: NO_DATA, target: decoder.decode(data) };
    else if ((mode & TYPE) === FILE) {
      const target = file === undefined ? undefined : first.get(file);
      if (target !== undefined) yield { ...common, type: 'link', data: NO_DATA, target };
      else yield { ...common, type: 'file', data: contents.get(file ?? '') ?? data, target: '' };
      if (file !== undefined && target === undefined) first.set(file, path);
    } // Devices, sockets and pipes have no meaning here.
  }
}

function* members(bytes: Uint8Array): Generator<Member> {
  for (let at = 0, count = 0; ; ) {
    const header = latin1(within(bytes, at, HEADER, 'cpio'));
    if (!header.startsWith(MAGIC) && !header.startsWith(MAGIC_WITH_SUM)) throw damaged('cpio', at, 'no header');
    if (!/^[0-9a-fA-F]{104}$/.test(header.slice(6))) throw damaged('cpio', at, 'its header is no number');
    const field = (n: number): number => Number.parseInt(header.slice(6 + 8 * n, 14 + 8 * n), 16);
    const [inode, mode, nlink, mtime, size, nameSize] = [field(0), field(1), field(4), field(5), field(6), field(11)];
    if (nameSize < 1 || nameSize > MAX_PATH + 1) throw damaged('cpio', at, `a path of ${nameSize} bytes`);
    const name = decoder.decode(within(bytes, at + HEADER, nameSize - 1, 'cpio'));
    if (name === TRAILER) return;
    if (++count > MAX_ENTRIES) throw damaged('cpio', at, `more than ${MAX_ENTRIES} entries`);
    const path = safePath(name);
    if (path === undefined) throw damaged('cpio', at, `an entry is called ${JSON.stringify(name.slice(0, 100))}`);
    const dataAt = at + padded(HEADER + nameSize);
    const data = within(bytes, dataAt, size, 'cpio');
    at = dataAt + padded(size);
    const file = nlink > 1 ? `${field(7)}:${field(8)}:${inode}` : undefined;
    yield { path, mode, mtime, data, file };
  }
}

/** An archive of these entries, whatever they came from. */
export function cpioArchive(entries: Iterable<ArchiveEntry>): Uint8Array {
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
      if (file === undefined) throw damaged('cpio', length, `${path} links to ${target}, which is not in it`);
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

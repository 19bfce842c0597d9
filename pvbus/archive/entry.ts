// A root file system as one run of bytes: what tar and cpio archives hold, entry by entry.
import { XenError } from '../errors.ts';

export interface ArchiveEntry {
  /** Without a leading or trailing slash, `.` and `..`: never out of the directory it is unpacked to. `` is the root. */
  readonly path: string;
  readonly type: 'file' | 'directory' | 'symlink' | 'link';
  /** Permission bits. */
  readonly mode: number;
  /** Seconds since 1970. */
  readonly mtime: number;
  /** Of a file: a view of the archive's bytes. */
  readonly data: Uint8Array;
  /** Of a symlink, as it was written; of a link, the path of an entry before it, if there is one. */
  readonly target: string;
}

export const NO_DATA = new Uint8Array(0);
/** Far more than any root file system that fits into a domain has. */
export const MAX_ENTRIES = 1 << 20;
const MAX_PATH = 4096;
const decoder = new TextDecoder('utf-8', { fatal: true });

export const unusableArchive = (why: string): XenError => new XenError('EINVAL', `not a usable archive: ${why}`);
export const damaged = (at: number, why: string): XenError => unusableArchive(`${why} (byte ${at})`);

/** untrusted: the path of an entry, or of what an entry links to, as it may be used. */
function safePath(path: string, at: number): string {
  const quoted = JSON.stringify(path.slice(0, 80));
  if (path.startsWith('/')) throw damaged(at, `${quoted} is an absolute name`);
  const parts = path.split('/').filter(part => part !== '' && part !== '.');
  if (parts.includes('..')) throw damaged(at, `an entry is called ${quoted}, which leads out of the archive`);
  return parts.join('/');
}

/** untrusted: undefined for what has no meaning here, once its path is checked as that of any other: devices, pipes. */
export function checkedEntry(
  at: number,
  type: ArchiveEntry['type'] | 'device',
  said: Omit<ArchiveEntry, 'type'>,
): ArchiveEntry | undefined {
  const path = safePath(said.path, at);
  if (type === 'device') return;
  if (path === '' && type !== 'directory') throw damaged(at, `'${said.path}' is no name for a file`);
  const target = type === 'link' ? safePath(said.target, at) : type === 'symlink' ? said.target : '';
  const data = type === 'file' ? said.data : NO_DATA;
  return { path, type, mode: said.mode & 0o7777, mtime: said.mtime, data, target };
}

/** untrusted: bytes within the archive. */
export function within(bytes: Uint8Array, from: number, length: number): Uint8Array {
  if (from + length > bytes.length) throw damaged(from, `it ends before ${length} bytes more`);
  return bytes.subarray(from, from + length);
}
/** untrusted: a path, up to the first NUL. They are UTF-8 here. */
export function pathOf(bytes: Uint8Array, at: number): string {
  const end = bytes.indexOf(0);
  const path = end < 0 ? bytes : bytes.subarray(0, end);
  if (path.length > MAX_PATH) throw damaged(at, `a path of ${path.length} bytes`);
  try {
    return decoder.decode(path);
  } catch {
    throw damaged(at, 'a name that is not UTF-8');
  }
}
export const latin1 = (bytes: Uint8Array): string => String.fromCharCode(...bytes);

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
  /** Of a symlink, as it was written; of a link, the path of an entry before it. */
  readonly target: string;
}

export const NO_DATA = new Uint8Array(0);
/** Far more than any root file system that fits into a domain has. */
export const MAX_ENTRIES = 1 << 20;
export const MAX_PATH = 4096;

export const damaged = (format: string, at: number, why: string): XenError =>
  new XenError('EINVAL', `${format} archive: ${why} (byte ${at})`);

/** untrusted: the path of an entry as it may be used; undefined where a part is `..` or it is too long. */
export function safePath(path: string): string | undefined {
  const parts = path.split('/').filter(part => part !== '' && part !== '.');
  const joined = parts.join('/');
  return parts.includes('..') || joined.includes('\0') || joined.length > MAX_PATH ? undefined : joined;
}

/** Bytes within the archive, or an error that says that it ends too early. */
export function within(bytes: Uint8Array, from: number, length: number, format: string): Uint8Array {
  if (length < 0 || from + length > bytes.length) throw damaged(format, from, 'it ends within an entry');
  return bytes.subarray(from, from + length);
}

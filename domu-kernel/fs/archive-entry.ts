// What tar and cpio archives have in common: a sequence of these.
import { XenError } from '#pvbus';

export interface ArchiveEntry {
  /** As the archive has it. */
  readonly path: string;
  /** A 'device' is anything that has no place in a guest: devices, fifos. */
  readonly type: 'file' | 'directory' | 'symlink' | 'link' | 'device';
  readonly data: Uint8Array;
  /** Of a symlink or a link. */
  readonly target: string;
  readonly mtimeNs: bigint;
  /** cpio: names with the same one are one file; what it holds comes with any of them. */
  readonly inode?: string | undefined;
}

export const refuse = (why: string): XenError => new XenError('EINVAL', `not a usable archive: ${why}`);

const decoder = new TextDecoder('utf-8', { fatal: true });

/** Up to the first NUL. Names are UTF-8 here. */
export function textOf(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  try {
    return decoder.decode(end < 0 ? bytes : bytes.subarray(0, end));
  } catch {
    throw refuse('a name that is not UTF-8');
  }
}

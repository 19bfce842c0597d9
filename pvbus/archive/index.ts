// Archives that a domain may have in place of a program: tar or cpio (newc), not compressed.
import { cpioEntries, isCpio } from './cpio.ts';
import type { ArchiveEntry } from './entry.ts';
import { isTar, tarEntries } from './tar.ts';

export { cpioArchive } from './cpio.ts';
export { type ArchiveEntry, unusableArchive } from './entry.ts';

export const isArchive = (bytes: Uint8Array): boolean => isCpio(bytes) || isTar(bytes);

/**
 * untrusted: what it holds, in its order; a later entry of the same path takes the place of an earlier one. Throws
 * EINVAL, at once or on the way, with the byte where it is damaged.
 */
export function archiveEntries(bytes: Uint8Array): Generator<ArchiveEntry> {
  return isCpio(bytes) ? cpioEntries(bytes) : tarEntries(bytes);
}

// The files that images are: how they are found, and what is known of them.
import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import { discardGranularity } from './disk-image.ts';

export interface ImageFiles {
  /** Throws what a system call throws. `identity`: the same for two paths of one file; undefined when it is no file. */
  open(
    path: string,
    readOnly: boolean,
  ): { readonly fd: number; readonly sizeBytes: number; readonly identity: string | undefined };
  /** The smallest range that a discard gives back; 0: none. */
  discardGranularity(fd: number): number;
  /** How large it is now. */
  sizeOf(fd: number): number;
  close(fd: number): void;
}

export const hostImages: ImageFiles = {
  open(path, readOnly) {
    // Not O_CREAT: a typing error must not become an empty disk. O_NONBLOCK: nor a fifo that stops dom0.
    const fd = openSync(path, (readOnly ? constants.O_RDONLY : constants.O_RDWR) | constants.O_NONBLOCK);
    try {
      const stat = fstatSync(fd);
      return { fd, sizeBytes: stat.size, identity: stat.isFile() ? `${stat.dev}:${stat.ino}` : undefined };
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  },
  discardGranularity,
  sizeOf: fd => fstatSync(fd).size,
  close: closeSync,
};

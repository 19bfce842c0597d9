// The end of a log that others write.
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

const MOST_BYTES = 1 << 16;

/** What is in it behind `from`, or of that the last 64 KiB; all of one that has begun anew; nothing of a log that cannot be read. */
export function logTail(path: string, from = 0): string {
  try {
    const fd = openSync(path, 'r');
    try {
      const { size } = fstatSync(fd);
      const at = Math.max(from > size ? 0 : from, size - MOST_BYTES);
      const bytes = Buffer.alloc(Math.max(0, size - at));
      return bytes.toString('utf8', 0, readSync(fd, bytes, 0, bytes.length, at));
    } finally {
      closeSync(fd);
    }
  } catch {
    return '';
  }
}

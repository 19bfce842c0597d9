// /dev/null, as a descriptor: reads end at once, what is written is gone.
import type { OpenFile } from './open-file.ts';

export const nullFile: OpenFile = {
  kind: 'null',
  retain() {},
  release() {},
  read: () => 0,
  write: from => from.length,
  readable: () => 1,
  writable: () => 65536,
  hungUp: () => false,
  queue: undefined,
};

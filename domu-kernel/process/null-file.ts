// What is there where nothing was given: reads end at once, what is written is gone.
import type { OpenFile } from './open-file.ts';

export const nullFile: OpenFile = {
  kind: 'device',
  retain() {},
  release() {},
  read: () => 0,
  write: from => from.length,
  readable: () => 1,
  writable: () => 65536,
  hungUp: () => false,
  queue: undefined,
};

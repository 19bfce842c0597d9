// What a routine of the kernel has where a descriptor is closed.
import { XenError } from '#pvbus';
import type { OpenFile } from './open-file.ts';

const closed = (): never => {
  throw new XenError('EBADF', 'it is closed');
};

export const closedFile: OpenFile = {
  kind: 'device',
  retain() {},
  release() {},
  read: closed,
  write: closed,
  readable: () => 1,
  writable: () => 1,
  hungUp: () => false,
  queue: undefined,
};

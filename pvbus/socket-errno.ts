// The errno numbers of sockets as pvcalls carries them: Linux's, whatever either end runs on. Xen's own
// list (abi/errno.ts) lacks those that only sockets have.
import { ERRNO, errnoName } from './errors.ts';

const MORE: Readonly<Record<string, number>> = {
  EPIPE: 32,
  EPROTOTYPE: 91,
  EPROTONOSUPPORT: 93,
  EAFNOSUPPORT: 97,
  ENETDOWN: 100,
  ENETUNREACH: 101,
  ECONNABORTED: 103,
  ECONNRESET: 104,
  ESHUTDOWN: 108,
  EHOSTUNREACH: 113,
  EALREADY: 114,
  EINPROGRESS: 115,
};
const NAMES = new Map(Object.entries(MORE).map(([name, n]) => [n, name]));

/** A name the protocol has no number for counts as EIO. */
export const socketErrno = (name: string): number =>
  Object.hasOwn(MORE, name)
    ? (MORE[name] ?? ERRNO.EIO)
    : Object.hasOwn(ERRNO, name)
      ? (ERRNO[name] ?? ERRNO.EIO)
      : ERRNO.EIO;

/** 'ECONNREFUSED' for 111 and for -111. */
export const socketErrnoName = (n: number): string => NAMES.get(Math.abs(n)) ?? errnoName(n);

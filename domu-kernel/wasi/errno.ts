// WASI's numbers of errors. Its list is its own: alphabetical, and unlike Xen's and Linux's.
import { messageOf, XenError } from '#pvbus';

/** By the names without E, as in api.h; the index is the number. 2BIG's name has no letter before it either. */
const NAMES = (
  'SUCCESS 2BIG ACCES ADDRINUSE ADDRNOTAVAIL AFNOSUPPORT AGAIN ALREADY BADF BADMSG BUSY CANCELED CHILD CONNABORTED ' +
  'CONNREFUSED CONNRESET DEADLK DESTADDRREQ DOM DQUOT EXIST FAULT FBIG HOSTUNREACH IDRM ILSEQ INPROGRESS INTR INVAL ' +
  'IO ISCONN ISDIR LOOP MFILE MLINK MSGSIZE MULTIHOP NAMETOOLONG NETDOWN NETRESET NETUNREACH NFILE NOBUFS NODEV NOENT ' +
  'NOEXEC NOLCK NOLINK NOMEM NOMSG NOPROTOOPT NOSPC NOSYS NOTCONN NOTDIR NOTEMPTY NOTRECOVERABLE NOTSOCK NOTSUP NOTTY ' +
  'NXIO OVERFLOW OWNERDEAD PERM PIPE PROTO PROTONOSUPPORT PROTOTYPE RANGE ROFS SPIPE SRCH STALE TIMEDOUT TXTBSY XDEV ' +
  'NOTCAPABLE'
).split(' ');

/** `WASI_ERRNO.ENOENT` is 44. */
export const WASI_ERRNO: Readonly<Record<string, number>> = Object.fromEntries(
  NAMES.map((name, number) => [name === 'SUCCESS' ? name : `E${name}`, number]),
);

/** What other vocabularies call by names that WASI does not have. */
const OTHER_NAMES: Readonly<Record<string, string>> = {
  EWOULDBLOCK: 'EAGAIN',
  EDEADLOCK: 'EDEADLK',
  EOPNOTSUPP: 'ENOTSUP',
  ECANCELLED: 'ECANCELED',
  ESHUTDOWN: 'EPIPE',
};

/** The number of an errno's name; a name that WASI has none for counts as EIO. */
export function wasiErrno(name: string): number {
  const known = OTHER_NAMES[name] ?? name;
  return Object.hasOwn(WASI_ERRNO, known) ? (WASI_ERRNO[known] ?? WASI_ERRNO.EIO!) : WASI_ERRNO.EIO!;
}

/** 'ENOENT' for 44. */
export const wasiErrnoName = (number: number): string =>
  number === 0 ? 'SUCCESS' : NAMES[number] === undefined ? `errno ${number}` : `E${NAMES[number]}`;

/** What ends a call, off its usual way. */
export const failure = (code: string, message = code): XenError => new XenError(code, message);

/** The number for what a call threw, where that is an answer; what is no XenError is a mistake of ours, and thrown on. */
export function errnoOfThrown(error: unknown): number {
  if (error instanceof XenError) return wasiErrno(error.code);
  throw error instanceof Error ? error : new Error(messageOf(error));
}

// What the daemon refuses, as one line for the person who asked.

import { XenError } from '#pvbus';
import { CommandFailure } from '../commands/command.ts';
import { escapeText } from './escape.ts';

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such node',
  EACCES: 'permission denied',
  EPERM: 'not permitted',
  EINVAL: 'not a xenstore path',
  E2BIG: 'longer than the 4096 bytes of a message',
  ENOSPC: 'beyond the quota',
  EAGAIN: 'others keep changing it; nothing was done',
  EROFS: 'the store is read-only',
  ENOMEM: 'the daemon is out of memory',
  ENOSYS: 'the daemon cannot do that',
  EIO: 'the daemon broke the protocol, or its storage failed',
};

/** The connection ended, which is about no path. */
const CLOSED = ['ECONNRESET', 'EPIPE', 'ECANCELED'];

export function storeFailure(error: unknown, path?: string): unknown {
  if (!(error instanceof XenError)) return error;
  if (CLOSED.includes(error.code)) return new CommandFailure('xl store: xenstored closed the connection');
  const reason = REASONS[error.code] ?? error.code;
  return new CommandFailure(`xl store: ${path === undefined ? '' : `${escapeText(path)}: `}${reason}`);
}

/** An answer about `path`, or a failure that names it. */
export async function about<T>(path: string, answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    throw storeFailure(error, path);
  }
}

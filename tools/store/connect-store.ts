// The xenstored that is meant: the one the environment names as C clients have it, or else the host's own.

import { lstatSync } from 'node:fs';
import { join } from 'node:path';
import { runDir, runPaths, socketTransport, type XenError, XenstoreClient } from '#pvbus';
import { CommandFailure } from '../commands/command.ts';
import { storeFailure } from './failure.ts';

interface StoreSocket {
  readonly path: string;
  /** Of the host whose run directory this is; undefined for a socket that a variable names. */
  readonly host?: string;
}

/** Xen: libxenstore looks at these two, in this order. */
export function storeSocket(env: NodeJS.ProcessEnv): StoreSocket {
  if (env.XENSTORED_PATH) return { path: env.XENSTORED_PATH };
  if (env.XENSTORED_RUNDIR) return { path: join(env.XENSTORED_RUNDIR, 'socket') };
  const host = runDir(env);
  return { path: runPaths(host).xenstoredSocket, host };
}

/** Connected while `body` runs. What fails becomes a CommandFailure of one line. */
export async function withStore<T>(env: NodeJS.ProcessEnv, body: (store: XenstoreClient) => Promise<T>): Promise<T> {
  const store = await connect(storeSocket(env));
  try {
    return await body(store);
  } catch (error) {
    throw storeFailure(error);
  } finally {
    store.close();
  }
}

async function connect({ path, host }: StoreSocket): Promise<XenstoreClient> {
  try {
    if (host !== undefined) checkOwner(path, host);
    return new XenstoreClient(await socketTransport(path));
  } catch (error) {
    if (error instanceof CommandFailure) throw error;
    throw new CommandFailure(`xl store: ${whyNot(path, host, error)}`);
  }
}

/** Run directories may lie in /tmp, where anybody can make one. */
function checkOwner(path: string, host: string): void {
  const { uid } = lstatSync(path);
  const self = process.getuid?.() ?? 0;
  if (uid !== self && uid !== 0 && self !== 0) {
    throw new CommandFailure(`xl store: the host on ${host} belongs to uid ${uid}`);
  }
}

function whyNot(path: string, host: string | undefined, error: unknown): string {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException | XenError).code : undefined;
  const absent = code === 'ENOENT' || code === 'ECONNREFUSED' || code === 'ENOTDIR';
  if (absent && host !== undefined) return `no xenolith host runs on ${host} (\`xl up FILE' starts one)`;
  if (absent) return `${path}: no xenstored listens there`;
  if (code === 'EACCES') return `${path}: permission denied`;
  return `${path}: ${code ?? error}`;
}

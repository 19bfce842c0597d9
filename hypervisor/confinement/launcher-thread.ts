// The thread that starts domains' processes. Landlock is a thread's and what it starts: this one gives up its rights to
// files first, so that its children never have them. It lives as long as the hypervisor: they die with it.
// By node:child_process: execa would take each start of a host 60 ms of processor to load once more.
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import {
  ABORTED,
  closeFd,
  restrictFiles,
  setNoNewPrivileges,
  XENOLITH_LAYER_landlock,
  XENOLITH_LAYER_no_new_privs,
} from '#pvbus';
import { BoundedLines } from './bounded-lines.ts';
import { killEach } from './kill-each.ts';
import { type Command, inNamespaces, SHELL_FLAGS, wasKilled } from './launch-command.ts';
import type { FromLauncher, LauncherData, ToLauncher } from './launcher-messages.ts';
import { readableFiles } from './readable-files.ts';

/** The first thing a shell prints. */
const PID = /^pid ([0-9]+)$/;
/** What it prints of its self-test, then. */
const TRIES = /^tries (.*)$/;

const { parent, layers, engineBytes, tools, dist } = workerData as LauncherData;
const port = parentPort!;
const post = (message: FromLauncher): void => port.postMessage(message);
const running = new Map<number, ChildProcess>();

if ((layers & XENOLITH_LAYER_no_new_privs) !== 0) setNoNewPrivileges();
if ((layers & XENOLITH_LAYER_landlock) !== 0)
  restrictFiles(readableFiles(dist, tools === undefined ? [] : [tools.setpriv, tools.unshare]));

function command(): Command {
  const shell = join(dist, 'domain-shell.cjs');
  // In a namespace of its own it cannot see its parent, and its number is 0.
  const expected = tools === undefined ? parent : 0;
  const args = [...SHELL_FLAGS, shell, ...[expected, layers, engineBytes].map(String)];
  const node = { file: process.execPath, args };
  return tools === undefined ? node : inNamespaces(tools, node);
}

function start(id: number, socket: number): void {
  const { file, args } = command();
  // It sees nothing of the host's environment, and has no descriptor but these.
  const failed = ({ code, message }: NodeJS.ErrnoException): void => {
    const failure = `its process cannot be started: ${code ?? message}`;
    post({ op: 'exited', id, code: undefined, signal: undefined, failure });
  };
  let child: ChildProcess;
  try {
    child = spawn(file, args, { env: {}, stdio: ['ignore', 'pipe', 'pipe', socket] });
  } catch (error) {
    // What Node does not expect, such as ENOMEM: this one has no process, the others go on.
    failed(error as NodeJS.ErrnoException);
    return;
  } finally {
    closeFd(socket);
  }
  const { pid: launched } = child;
  child.on('error', (error: NodeJS.ErrnoException) => {
    if (launched === undefined) failed(error); // else it could not be killed: it has ended
  });
  if (launched === undefined) return;
  running.set(id, child);
  let isThere = false;
  let killed = false;
  let isFit = false;
  let tried: string | undefined;
  const hear = (line: string): void => {
    const pid = isThere ? undefined : PID.exec(line)?.[1];
    const tries = isThere && !isFit ? TRIES.exec(line)?.[1] : undefined;
    if (wasKilled(line)) killed = true;
    else if (pid !== undefined) {
      isThere = true;
      post({ op: 'spawned', id, pid: Number(pid), launched });
    } else if (tries !== undefined) tried = tries;
    else if (tried !== undefined && line === 'fit') {
      isFit = true;
      tried = undefined;
      post({ op: 'fit', id });
    } else post({ op: 'said', id, line });
  };
  for (const stream of [child.stdout, child.stderr]) {
    const lines = new BoundedLines(hear);
    stream?.on('data', (chunk: Buffer) => {
      if (!lines.take(chunk)) stream.destroy();
    });
    stream?.on('end', () => lines.end());
    stream?.on('error', () => {}); // what ends it is heard below
  }
  child.on('close', (code, signal) => {
    running.delete(id);
    const how = killed ? 'SIGKILL' : code === ABORTED ? 'SIGABRT' : (signal ?? undefined);
    post({ op: 'exited', id, code: how === undefined ? (code ?? undefined) : undefined, signal: how, tried });
  });
}

port.on('message', (message: ToLauncher) => {
  if (message.op === 'spawn') start(message.id, message.socket);
  else if (message.op === 'kill') running.get(message.id)?.kill('SIGKILL');
  else void killEach(running.values()).then(() => post({ op: 'all-killed' }));
});

// The thread that starts xenstored. Landlock is a thread's and what it starts: this one gives up its rights to files first,
// but for the run directory. It lives as long as the hypervisor: what it has started dies with it.
// By node:child_process, as the thread that starts shells.
import { type ChildProcess, spawn } from 'node:child_process';
import { parentPort, workerData } from 'node:worker_threads';
import { closeFd, openProcess, restrictFiles, XENOLITH_LAYER_landlock } from '#pvbus';
import { killEach } from './kill-each.ts';
import { findTool } from './launch-command.ts';
import { filesOfPrograms } from './readable-files.ts';
import type { FromStoreThread, StoreThreadData, ToStoreThread } from './store-launcher.ts';

const { layers, runDir, logFd, dist } = workerData as StoreThreadData;
const port = parentPort!;
const post = (message: FromStoreThread): void => port.postMessage(message);
const running = new Map<number, ChildProcess>();

if ((layers & XENOLITH_LAYER_landlock) !== 0) {
  const setpriv = findTool('setpriv');
  restrictFiles(filesOfPrograms(dist, [dist], setpriv === undefined ? [] : [setpriv]), runDir);
}

function start({ id, command, vcpus, sockets }: Extract<ToStoreThread, { op: 'spawn' }>): void {
  const failed = ({ code, message }: NodeJS.ErrnoException): void => {
    const failure = `its process cannot be started: ${code ?? message}`;
    post({ op: 'exited', id, code: undefined, signal: undefined, failure });
  };
  let child: ChildProcess;
  try {
    // Nothing of the host's environment: what it names could be out of reach.
    const env = { XENOLITH_VCPUS: vcpus };
    // Node looks for a package.json from there too, and fails where it may not read one.
    const cwd = '/';
    child = spawn(command.file, command.args, { cwd, env, stdio: ['ignore', 'pipe', logFd, ...sockets] });
  } catch (error) {
    failed(error as NodeJS.ErrnoException);
    return;
  } finally {
    for (const socket of sockets) closeFd(socket);
  }
  const { pid } = child;
  child.on('error', (error: NodeJS.ErrnoException) => {
    if (pid === undefined) failed(error); // else it could not be killed: it has ended
  });
  if (pid === undefined) return;
  running.set(id, child);
  // order: before this thread's loop could reap it, after which the number may be another process's.
  const pidfd = openProcess(pid);
  if (pidfd < 0) child.kill('SIGKILL'); // nobody could stop or end it
  post({ op: 'spawned', id, pid, pidfd });
  child.stdout?.on('data', (chunk: Buffer) => {
    if (chunk.toString('latin1').split('\n').includes('listening')) post({ op: 'serves', id });
  });
  child.on('close', (code, signal) => {
    running.delete(id);
    post({ op: 'exited', id, code: code ?? undefined, signal: signal ?? undefined, failure: undefined });
  });
}

port.on('message', (message: ToStoreThread) => {
  if (message.op === 'spawn') start(message);
  else if (message.op === 'kill') running.get(message.id)?.kill('SIGKILL');
  else void killEach(running.values()).then(() => post({ op: 'all-killed' }));
});

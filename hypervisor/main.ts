// The hypervisor process: `hypervisor.js --run-dir DIR [--parent PID] [--temporary] [--mediated] [--mem SIZE]`. With a
// parent it ends in order when that dies; what is temporary is its directory, which goes with it. SIZE is what all
// domains can have together, by default what the machine has; units as in Xen's option of that name. Its main thread
// spawns, reaps and ends the host; the core thread is the hypervisor. Prints `ready` when dom0 serves its toolstack.
import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import { constants } from 'node:os';
import { parseArgs } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { Worker } from 'node:worker_threads';
import {
  closeFd,
  closeOnExec,
  dieWithParent,
  exitProcess,
  keepCapabilities,
  Mailbox,
  makeRunDir,
  messageOf,
  openProcess,
  prepareFilter,
  removeSockets,
  runPaths,
  setLimit,
  streamLog,
  systemClock,
  threadFile,
  XENOLITH_LAYER_seccomp,
} from '#pvbus';
import { ChildProcesses, isLostChild, nodeCommand } from './child-processes.ts';
import { HOST_CAPABILITIES } from './confinement/host-capabilities.ts';
import { hostPolicy } from './confinement/host-policy.ts';
import { takeLayers } from './confinement/layers.ts';
import { ShellLauncher } from './confinement/shell-launcher.ts';
import { StoreLauncher } from './confinement/store-launcher.ts';
import type { CoreThreadData } from './core-thread.ts';
import { LoggedWords } from './logged-words.ts';
import type { ToMain } from './process-messages.ts';
import { parseSize } from './size.ts';

/** Of bytes of a core, which would hold the secrets of every domain; with 1 there is none through a pipe either. */
const NO_CORE = 1;

const { values } = parseArgs({
  options: {
    'run-dir': { type: 'string' },
    parent: { type: 'string' },
    temporary: { type: 'boolean', default: false },
    mediated: { type: 'boolean', default: false },
    mem: { type: 'string' },
  },
});
const usage = (message: string): never => {
  console.error(`hypervisor: ${message}`);
  process.exit(2);
};
const dir = values['run-dir'] ?? usage('--run-dir DIR is required');
const mem = values.mem === undefined ? undefined : parseSize(values.mem);
if (Number.isNaN(mem)) usage(`--mem ${values.mem}: not a size such as 512M`);

const { hostLog } = runPaths(dir);
/** Nothing of the host is there before it. */
const logFd = (() => {
  try {
    makeRunDir(dir);
    return openSync(hostLog, 'a', 0o600);
  } catch (error) {
    console.error(`hypervisor: ${messageOf(error)}`);
    process.exit(1);
  }
})();
const log = streamLog({ write: text => writeSync(logFd, text) }, 'host', systemClock);

// order: before any other thread or process is there, which has what this one has.
closeOnExec(3);
setLimit('core', NO_CORE);
const layers = takeLayers();
keepCapabilities(HOST_CAPABILITIES);
for (const [layer, why] of layers.missing) log.warn(`domains are not confined by ${layer}: ${why}`);

if ((layers.bits & XENOLITH_LAYER_seccomp) !== 0) prepareFilter(hostPolicy)();

const words = new LoggedWords(logFd, hostLog);
const stores = new StoreLauncher(
  { layers: layers.bits, runDir: dir, logFd },
  {
    spawned: (id, pid, pidfd) => mailbox.post({ op: 'spawned', id, pid, pidfd }),
    exited,
    serves: id => served(id),
    failed: error => end(70, `the thread that starts xenstored failed: ${error.stack ?? error.message}`),
  },
);
const children = new ChildProcesses(
  { runDir: dir, logFd, tools: layers.tools },
  {
    spawned: (id, pid) => {
      const pidfd = openProcess(pid);
      // Nobody could stop or end it.
      if (pidfd < 0) children.kill(id);
      mailbox.post({ op: 'spawned', id, pid, pidfd });
    },
    exited,
    serves: (id, program) => {
      served(id);
      if (program !== 'dom0.js' || ready) return;
      ready = true;
      process.stdout.write('ready\n');
    },
    said,
  },
);

function served(id: number): void {
  words.serves(id);
  mailbox.post({ op: 'served', id });
}
function said(id: number, line: string): void {
  mailbox.post({ op: 'said', id, line });
}
// What ends with the host is nothing to act upon.
function exited(
  id: number,
  code: number | undefined,
  signal: string | undefined,
  failure: string | undefined,
  detail?: string,
): void {
  if (!ending) mailbox.post({ op: 'exited', id, code, signal, failure, detail, printed: words.of(id) });
}

let ending = false;
/** dom0 has served. */
let ready = false;
const mailbox = new Mailbox(message => hear(message as ToMain));
const shells = new ShellLauncher(layers, {
  spawned: (id, pid, pidfd) => mailbox.post({ op: 'spawned', id, pid, pidfd }),
  fit: id => mailbox.post({ op: 'fit', id }),
  said,
  exited,
  failed: error => end(70, `the launching thread failed: ${error.stack ?? error.message}`),
});
const confinement = { layers: layers.bits, engineBytes: layers.engineBytes };
const data: CoreThreadData = { mailbox: mailbox.seed, log: logFd, mediated: values.mediated, mem, confinement };
// order: before the core thread starts, which chooses when its garbage is collected.
setFlagsFromString('--expose-gc');
const core = new Worker(threadFile('hypervisor-core', import.meta.url), {
  workerData: data,
  transferList: [mailbox.seed.port],
});
core.on('error', error => end(70, `the core thread failed: ${error.stack ?? error.message}`));

function hear(message: ToMain): void {
  if (message.op === 'spawn') {
    // Whoever ends now is not replaced.
    const { id, program, sockets, vcpus } = message;
    if (program === 'dom0.js' || program === 'xenstored.js') words.starts(id, program);
    if (program === 'domain-shell.cjs' && !ending) {
      shells.spawn(id, sockets[0]!);
      return;
    }
    if (program === 'xenstored.js' && !ending) {
      stores.spawn(id, nodeCommand(message, dir), vcpus, sockets);
      return;
    }
    if (!ending) children.spawn(message);
    for (const socket of sockets) closeFd(socket);
  } else end(message.status, message.why);
}

process.on('SIGTERM', () => end(0, 'terminated'));
// order: the handler first; the parent may be dying already.
if (values.parent !== undefined) dieWithParent(Number(values.parent), constants.signals.SIGTERM);

/** End the host: every child, what is in the run directory except the logs of one that stays, then this process. */
function end(status: number, why: string): void {
  if (ending) return;
  ending = true;
  log.info(`host ends: ${why}`);
  if (status !== 0) process.stderr.write(`xenolith host: ${why}\n`);
  Promise.all([children.killAll(), stores.killAll(), shells.killAll()]).then(() => {
    removeSockets(dir);
    closeSync(logFd);
    try {
      if (values.temporary) rmSync(dir, { recursive: true, force: true, maxRetries: 3 });
    } catch {
      // Somebody who is no child of ours still writes there: it stays.
    }
    // Not process.exit: the core thread sleeps in a system call, where Node would wait for it for ever.
    exitProcess(status);
  });
}
process.on('SIGINT', () => end(0, 'interrupted'));
process.on('uncaughtException', error => {
  if (!isLostChild(error)) end(70, `the main thread failed: ${error.stack ?? error.message}`);
});

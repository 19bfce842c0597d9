// The xenstored process: `xenstored.js --run-dir DIR --parent PID` under a hypervisor, with its vCPU of dom0
// in XENOLITH_VCPUS, and --successor when it is to go on where another was killed; by itself
// `xenstored.js --socket PATH [--journal FILE]`, which goes on with what the file holds. Prints `listening` when
// clients can connect.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import {
  attachVcpu,
  crashForGood,
  crashOnUncaught,
  dieWithParent,
  EPOLLIN,
  Epoll,
  exitProcess,
  handOver,
  nodeLoopFd,
  requestSuccessor,
  runPaths,
  StormGuard,
  streamLog,
  successorWaits,
  systemClock,
  type Vcpu,
  vcpuSockets,
  XenError,
  XS_CONTROL,
} from '#pvbus';
import { confine } from '../confinement/confine.ts';
import { xenstoredPolicy } from '../confinement/policies.ts';
import { FileDisk, type JournalDisk } from '../journal-file.ts';
import { listenAt } from '../listening-socket.ts';
import { SocketWatch } from '../socket-watch.ts';
import { ControlFiles } from './control-files.ts';
import { Daemon } from './daemon.ts';
import { DomainRehearsal } from './domain-rehearsal.ts';
import type { DomainDoor } from './domains.ts';
import { Journal } from './journal.ts';
import { LiveUpdate } from './live-update.ts';
import { noHypervisor } from './no-hypervisor.ts';
import { rehearse } from './rehearsal.ts';
import { Server, type Strikes } from './server.ts';
import { EpollSleep, VcpuSleep } from './sleep.ts';
import { Sockets } from './sockets.ts';
import { takeOver } from './take-over.ts';
import { TurnClock } from './turn-clock.ts';
import { VcpuDoor } from './vcpu-door.ts';

const { values } = parseArgs({
  options: {
    'run-dir': { type: 'string' },
    parent: { type: 'string' },
    successor: { type: 'boolean', default: false },
    'take-over': { type: 'string' },
    socket: { type: 'string' },
    journal: { type: 'string' },
  },
});
const dir = values['run-dir'];
const path = dir === undefined ? values.socket : runPaths(dir).xenstoredSocket;
if (path === undefined) {
  console.error('xenstored: --run-dir DIR or --socket PATH is required');
  process.exit(2);
}
if (values.parent !== undefined) dieWithParent(Number(values.parent));

// Not process.exit: with a thread asleep in a system call Node would wait for it.
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => exitProcess(0));

const clock = new TurnClock(systemClock);
const log = streamLog(process.stderr, 'xenstored', systemClock);
const takeOverPath = dir === undefined ? `${path}-next` : runPaths(dir).takeOverSocket;
const elsewhere = new FileDisk(`${takeOverPath}.journal`);
const journalFile = dir === undefined ? values.journal : runPaths(dir).xenstoredJournal;
const disk = journalFile === undefined ? undefined : new FileDisk(journalFile);
const [control] = dir === undefined ? [] : vcpuSockets(process.env).values();
const watch = control === undefined ? undefined : new SocketWatch();

const journal = new Journal({ clock: systemClock, log });
const files = new ControlFiles(clock);
const strikes: Strikes = {
  // As SIGKILL, which its filter keeps it from sending.
  kill: () => exitProcess(137),
  stop: ms => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms),
};
/** This thread as a vCPU of dom0; undefined without a hypervisor. */
function attach(): Vcpu | undefined {
  const vcpu = control === undefined ? undefined : attachVcpu(control);
  if (vcpu) crashOnUncaught(vcpu);
  return vcpu;
}
function doorOf(vcpu: Vcpu | undefined): DomainDoor {
  return vcpu ? new VcpuDoor(vcpu) : noHypervisor;
}

/** A daemon of a new host, or one that follows one that was killed. */
function start(socketPath: string): void {
  const listener = listenAt(socketPath);
  const vcpu = attach();
  const server = new Server({ door: doorOf(vcpu), clock, log, onWork: () => {}, recorder: journal, files, strikes });
  // A new host begins with an empty store, whatever another has left in its directory.
  if (disk) {
    if (dir === undefined || values.successor) recover(server, disk, vcpu);
    else journal.begin(server, disk);
  }
  serve(server, vcpu, listener);
  process.stdout.write('listening\n');
}

function recover(server: Server, from: JournalDisk, vcpu: Vcpu | undefined): void {
  try {
    journal.recover(server, from);
  } catch (error) {
    if (!(error instanceof XenError)) throw error;
    const why = new XenError(error.code, `${journalFile}: ${error.message}`, error);
    if (vcpu && error.code === 'EINVAL') crashForGood(vcpu, why);
    throw why;
  }
}

/** One that takes over from one that serves. */
function goOnAfter(where: string): void {
  rehearse(clock);
  const server = new Server({ clock, log, onWork: () => {}, recorder: journal, files, strikes });
  const taken = takeOver(where, server, disk ?? elsewhere, log);
  const vcpu = attach();
  if (disk) journal.goOn(server, disk, taken.replay);
  else elsewhere.remove();
  server.goOn(doorOf(vcpu));
  const { daemon, sockets } = serve(server, vcpu, taken.listener);
  for (const { fd, state } of taken.clients) {
    const client = sockets.adopt(fd, state.left);
    client.ended = state.ended;
    server.restoreClient(client.connection, state.client, taken.nextWatch);
    if (state.asked) client.connection.answerLate(XS_CONTROL, state.asked, 'OK');
  }
  daemon.step(); // not only when Node has finished loading this file
  log.info('live update: done');
}

function serve(server: Server, vcpu: Vcpu | undefined, listener: number): { daemon: Daemon; sockets: Sockets } {
  const epoll = new Epoll();
  epoll.add(nodeLoopFd(), EPOLLIN);
  const sockets = new Sockets(server, epoll, listener);
  const sleep = vcpu && watch ? new VcpuSleep(vcpu, epoll, watch) : new EpollSleep(epoll);
  const pollEvents = vcpu ? () => vcpu.events.poll() : () => false;
  const update = new LiveUpdate({
    server,
    sockets,
    epoll,
    journal,
    elsewhere,
    path: takeOverPath,
    log,
    now: () => systemClock.now(),
    ...(vcpu ? underHypervisor(vcpu) : alone()),
  });
  server.liveUpdate = update;
  // Whose place this one takes had domains, who are asking already.
  const rehearsal = vcpu && !values.successor && { rehearsal: new DomainRehearsal(clock) };
  const storms = vcpu && { storms: new StormGuard(vcpu.wakeWords, systemClock, log) };
  const daemon = new Daemon({ server, sockets, update, pollEvents, sleep, clock, ...storms, ...rehearsal });
  daemon.run();
  return { daemon, sockets };
}

/** Another process of this program, of which the hypervisor knows. */
const underHypervisor = (vcpu: Vcpu) => ({
  launch: () => requestSuccessor(vcpu),
  waits: () => successorWaits(vcpu),
  handOver: () => handOver(vcpu),
});

/** Another process of this program, with the same arguments, which outlives this one. */
function alone() {
  let ended = false;
  const launch = (): void => {
    const own = ['--socket', path!, ...(journalFile === undefined ? [] : ['--journal', journalFile])];
    const args = [...process.execArgv, fileURLToPath(import.meta.url), ...own, '--take-over', takeOverPath];
    ended = false;
    const over = (): void => {
      ended = true;
    };
    // Not execa: clients would wait 14 ms while it is loaded.
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'inherit'], detached: true });
    child.once('exit', over).once('error', error => {
      log.error(`live update: ${error.message}`);
      over();
    });
    child.unref();
  };
  return {
    launch,
    waits: () => !ended,
    handOver: () => exitProcess(0),
  };
}

const predecessor = values['take-over'];
try {
  if (predecessor === undefined) start(path);
  else goOnAfter(predecessor);
  // One that is by itself starts its successor, and keeps what that needs.
  if (control !== undefined) confine(xenstoredPolicy, log);
} catch (error) {
  log.error(error instanceof XenError ? error.message : String(error instanceof Error ? error.stack : error));
  exitProcess(1);
}

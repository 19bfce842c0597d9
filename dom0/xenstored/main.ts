// The xenstored process: `xenstored.js --run-dir DIR --parent PID` under a hypervisor, with its vCPU of dom0
// in XENOLITH_VCPUS, and --successor when it is to go on where another was killed; by itself
// `xenstored.js --socket PATH [--journal FILE]`, which goes on with what the file holds. Prints `listening` when
// clients can connect.
import { parseArgs } from 'node:util';
import {
  attachVcpu,
  crashOnUncaught,
  dieWithParent,
  EPOLLIN,
  Epoll,
  exitProcess,
  nodeLoopFd,
  runPaths,
  streamLog,
  systemClock,
  vcpuSockets,
} from '#pvbus';
import { Daemon } from './daemon.ts';
import { Journal } from './journal.ts';
import { FileDisk } from './journal-file.ts';
import { listenAt } from './listening-socket.ts';
import { noHypervisor } from './no-hypervisor.ts';
import { Server } from './server.ts';
import { EpollSleep, VcpuSleep } from './sleep.ts';
import { Sockets } from './sockets.ts';
import { VcpuDoor } from './vcpu-door.ts';

const { values } = parseArgs({
  options: {
    'run-dir': { type: 'string' },
    parent: { type: 'string' },
    successor: { type: 'boolean', default: false },
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

const clock = systemClock;
const log = streamLog(process.stderr, 'xenstored', clock);

let listener: number;
try {
  listener = listenAt(path);
} catch (error) {
  log.error((error as Error).message);
  process.exit(1);
}

const [control] = dir === undefined ? [] : vcpuSockets(process.env).values();
const vcpu = control === undefined ? undefined : attachVcpu(control);
if (vcpu) crashOnUncaught(vcpu);
const door = vcpu ? new VcpuDoor(vcpu) : noHypervisor;
const journalFile = dir === undefined ? values.journal : runPaths(dir).xenstoredJournal;
const journal = journalFile === undefined ? undefined : new Journal({ disk: new FileDisk(journalFile), clock, log });
const server = new Server({ door, clock, log, onWork: () => {}, ...(journal && { recorder: journal }) });
try {
  // A new host begins with an empty store, whatever another has left in its directory.
  if (dir === undefined || values.successor) journal?.recover(server);
  else journal?.begin(server);
} catch (error) {
  log.error(`${journalFile}: ${(error as Error).message}`);
  process.exit(1);
}

const epoll = new Epoll();
epoll.add(nodeLoopFd(), EPOLLIN);
const sockets = new Sockets(server, epoll, listener);
const sleep = vcpu ? new VcpuSleep(vcpu, epoll) : new EpollSleep(epoll);
const pollEvents = vcpu ? () => vcpu.events.poll() : () => false;

// Not process.exit: with a thread asleep in a system call Node would wait for it.
process.on('SIGTERM', () => exitProcess(0));
process.on('SIGINT', () => exitProcess(0));

new Daemon({ server, sockets, pollEvents, sleep, clock }).run();
process.stdout.write('listening\n');

// The xenstored process: `xenstored.js --run-dir DIR --parent PID` under a hypervisor, with its vCPU of dom0
// in XENOLITH_VCPUS; `xenstored.js --socket PATH` by itself. Prints `listening` when clients can connect.
import { parseArgs } from 'node:util';
import {
  attachVcpu,
  crashOnUncaught,
  dieWithParent,
  EventPump,
  exitProcess,
  runPaths,
  streamLog,
  systemClock,
  vcpuSockets,
} from '#pvbus';
import { noHypervisor } from './no-hypervisor.ts';
import { Server } from './server.ts';
import { listen } from './socket-listener.ts';
import { VcpuDoor } from './vcpu-door.ts';

const { values } = parseArgs({
  options: { 'run-dir': { type: 'string' }, parent: { type: 'string' }, socket: { type: 'string' } },
});
const dir = values['run-dir'];
const path = dir === undefined ? values.socket : runPaths(dir).xenstoredSocket;
if (path === undefined) {
  console.error('xenstored: --run-dir DIR or --socket PATH is required');
  process.exit(2);
}
if (values.parent !== undefined) dieWithParent(Number(values.parent));

const log = streamLog(process.stderr, 'xenstored', systemClock);

/** Serve the rings until there is nothing to do, with a turn of the event loop between two rounds. */
let scheduled = false;
function schedule(): void {
  if (scheduled) return;
  scheduled = true;
  setImmediate(() => {
    scheduled = false;
    server.step();
    if (server.hasWork) schedule();
  });
}

const [control] = dir === undefined ? [] : vcpuSockets(process.env).values();
const vcpu = control === undefined ? undefined : attachVcpu(control);
if (vcpu) crashOnUncaught(vcpu);
const door = vcpu ? new VcpuDoor(vcpu) : noHypervisor;
const server = new Server({ door, clock: systemClock, log, onWork: schedule });
if (vcpu) new EventPump(vcpu);
setInterval(() => server.checkStalled(), 1000).unref();

// Not process.exit: with a thread asleep in a system call Node would wait for it.
process.on('SIGTERM', () => exitProcess(0));
process.on('SIGINT', () => exitProcess(0));

await listen(server, path);
process.stdout.write('listening\n');

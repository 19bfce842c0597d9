// The dom0 process: `dom0.js --run-dir DIR --parent PID`, its vCPUs in XENOLITH_VCPUS, and --successor when it is to
// go on where another has ended, with --heir as soon as that has happened. Prints `ready` when tools are served.
import { parseArgs } from 'node:util';
import {
  attachVcpu,
  crashExit,
  crashOnUncaught,
  dieWithParent,
  exitProcess,
  receiveBoot,
  startPumpThread,
  streamLog,
  systemClock,
  vcpuSockets,
} from '#pvbus';
import { BackendThreads } from './backends/backend-threads.ts';
import { ALWAYS_THERE, DOM0_BACKENDS, Dom0 } from './dom0.ts';
import { loadIpc } from './toolstack/server.ts';

const { values } = parseArgs({
  options: {
    'run-dir': { type: 'string' },
    parent: { type: 'string' },
    successor: { type: 'boolean', default: false },
    heir: { type: 'boolean', default: false },
  },
});
const runDir = values['run-dir'];
const sockets = vcpuSockets(process.env);
const control = sockets.get(0);
if (runDir === undefined || control === undefined) {
  console.error('dom0: --run-dir DIR is required, and the control socket of vCPU 0 in XENOLITH_VCPUS');
  process.exit(2);
}
if (values.parent !== undefined) dieWithParent(Number(values.parent));

const threads = new BackendThreads(sockets, DOM0_BACKENDS);
const pumpThread = startPumpThread();
for (const name of ALWAYS_THERE) threads.start(name);
if (values.heir) loadIpc();
// order: all that needs no domain is done when the hypervisor says which one this is.
const boot = receiveBoot(control);
if (values.heir) process.title = ['node', ...process.argv.slice(1)].join(' ');
const vcpu = attachVcpu(control, boot);
crashOnUncaught(vcpu);
const log = streamLog(process.stderr, 'dom0', systemClock);

const dom0 = new Dom0({ vcpu, threads, pumpThread, runDir, successor: values.successor, log, clock: systemClock });
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.once(signal, () => {
    log.info(`${signal}: the host shuts down`);
    // Not process.exit: with a thread asleep in a system call Node would wait for it.
    dom0.shutdownHost().finally(() => exitProcess(0));
  });
}
dom0.start().then(
  () => process.stdout.write('ready\n'),
  error => crashExit(vcpu, error),
);

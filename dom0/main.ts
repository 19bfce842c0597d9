// The dom0 process: `dom0.js --run-dir DIR --parent PID`, its vCPUs in XENOLITH_VCPUS, and --successor when it is to
// go on where another has ended. Prints `ready` when tools are served.
import { parseArgs } from 'node:util';
import {
  attachVcpu,
  crashExit,
  crashOnUncaught,
  dieWithParent,
  exitProcess,
  streamLog,
  systemClock,
  vcpuSockets,
} from '#pvbus';
import { Dom0 } from './dom0.ts';

const { values } = parseArgs({
  options: {
    'run-dir': { type: 'string' },
    parent: { type: 'string' },
    successor: { type: 'boolean', default: false },
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

const vcpu = attachVcpu(control);
crashOnUncaught(vcpu);
const log = streamLog(process.stderr, 'dom0', systemClock);

const dom0 = new Dom0({ vcpu, sockets, runDir, successor: values.successor, log, clock: systemClock });
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.once(signal, () => {
    log.info(`${signal}: the host shuts down`);
    // Not process.exit: with a thread asleep in a system call Node would wait for it.
    dom0.shutdownHost().finally(() => exitProcess(0));
  });
}
try {
  await dom0.start();
} catch (error) {
  crashExit(vcpu, error);
}
process.stdout.write('ready\n');

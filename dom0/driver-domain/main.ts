// A driver domain's process: `driver-domain.js --parent PID [--successor [--failures N]]`, its vCPUs in XENOLITH_VCPUS.
// With --heir it waits until a driver domain's process has ended. Prints `ready` when its backends have seen every device
// there is. It may be killed at any moment: another one takes its place.
import { writeSync } from 'node:fs';
import { parseArgs } from 'node:util';
import {
  attachVcpu,
  awaitRun,
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
import { BackendThreads } from '../backends/backend-threads.ts';
import { confine } from '../confinement/confine.ts';
import { driverDomainPolicy } from '../confinement/policies.ts';
import { DRIVER_BACKENDS, DriverDomain } from './driver-domain.ts';

const { values } = parseArgs({
  options: {
    parent: { type: 'string' },
    successor: { type: 'boolean', default: false },
    heir: { type: 'boolean', default: false },
    failures: { type: 'string', default: '0' },
  },
});
const { successor } = values;
const sockets = vcpuSockets(process.env);
const control = sockets.get(0);
if (values.parent !== undefined) dieWithParent(Number(values.parent));
if (control === undefined) {
  writeSync(2, 'driver-domain: the control socket of vCPU 0 is required in XENOLITH_VCPUS\n');
  exitProcess(2);
}

// Not process.stderr: for a pipe that does not wait, and what another thread writes while it is full would be an error.
const logOf = (who: string) => streamLog({ write: text => writeSync(2, text) }, who, systemClock);
confine(driverDomainPolicy, logOf('driver-domain'));
const threads = new BackendThreads(sockets, DRIVER_BACKENDS);
const pumpThread = startPumpThread();
// A domain that is being built has no use for them yet.
if (successor) for (const name of ['blkback', 'netback'] as const) threads.start(name);
// order: all that needs no domain is done when the hypervisor says which one this is.
const boot = receiveBoot(control);
if (values.heir) process.title = ['node', ...process.argv.slice(1)].join(' ');
const vcpu = attachVcpu(control, boot);
crashOnUncaught(vcpu);
// order: nothing of the domain before it is unpaused; its builder is still at work.
awaitRun(vcpu);
const log = logOf(`dom${vcpu.domid}`);
const domain = new DriverDomain({ vcpu, threads, pumpThread, log, successor, failures: Number(values.failures) });
domain.start().then(
  () => process.stdout.write('ready\n'),
  error => crashExit(vcpu, error),
);

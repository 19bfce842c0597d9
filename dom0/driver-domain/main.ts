// A driver domain's process: `driver-domain.js --parent PID [--successor [--failures N]]`, its vCPUs in XENOLITH_VCPUS.
// Prints `ready` when its backends have seen every device there is. It may be killed at any moment: another one takes
// its place.
import { parseArgs } from 'node:util';
import {
  attachVcpu,
  awaitRun,
  crashExit,
  crashOnUncaught,
  dieWithParent,
  exitProcess,
  streamLog,
  systemClock,
  vcpuSockets,
} from '#pvbus';
import { confine } from '../confinement/confine.ts';
import { driverDomainPolicy } from '../confinement/policies.ts';
import { DriverDomain } from './driver-domain.ts';

const { values } = parseArgs({
  options: {
    parent: { type: 'string' },
    successor: { type: 'boolean', default: false },
    failures: { type: 'string', default: '0' },
  },
});
const sockets = vcpuSockets(process.env);
const control = sockets.get(0);
if (values.parent !== undefined) dieWithParent(Number(values.parent));
if (control === undefined) {
  console.error('driver-domain: the control socket of vCPU 0 is required in XENOLITH_VCPUS');
  exitProcess(2);
}

const vcpu = attachVcpu(control);
crashOnUncaught(vcpu);
// order: nothing of the domain before it is unpaused; its builder is still at work.
awaitRun(vcpu);
const log = streamLog(process.stderr, `dom${vcpu.domid}`, systemClock);
confine(driverDomainPolicy, log);
const { successor } = values;
const domain = new DriverDomain({ vcpu, sockets, log, successor, failures: Number(values.failures) });
try {
  await domain.start();
} catch (error) {
  crashExit(vcpu, error);
}
process.stdout.write('ready\n');

// Answers every notification of the domain created after this one. Spins when told to.
import { domid, type EvtchnPort } from '#pvbus';
import { type Boot, benchKernel } from './lib.ts';

export function start(boot: Boot): void {
  const { vcpu, args, report } = benchKernel(boot);
  const spin = args.get('mode') === 'spinning';
  const channel: EvtchnPort = vcpu.events.allocUnbound(domid(vcpu.domid + 1));
  vcpu.events.on(channel, () => vcpu.events.notify(channel));
  report({ pid: process.pid, port: channel });
  for (;;) if (!vcpu.events.poll() && !spin) vcpu.block();
}

// Measures notify -> answer with the domain created before this one (event-echo), and the null hypercall.
import { __HYPERVISOR_xen_version, domid, port, XenError } from '#pvbus';
import { type Boot, benchKernel, measure } from './lib.ts';

export function start(boot: Boot): void {
  const { vcpu, args, report } = benchKernel(boot);
  const { events } = vcpu;
  const spin = args.get('mode') === 'spinning';
  const rounds = Number(args.get('rounds'));
  report({ pid: process.pid });
  // Go when the bench has pinned both ends: it unpauses this domain only then.
  const channel = events.bindInterdomain(domid(vcpu.domid - 1), port(Number(args.get('port'))));
  let answers = 0;
  events.on(channel, () => {
    answers++;
  });
  const roundTrip = (): void => {
    const seen = answers;
    events.notify(channel);
    while (answers === seen) if (!events.poll() && !spin) vcpu.block();
  };
  for (let i = 0; i < 2000; i++) roundTrip();
  for (const us of measure(7, rounds, roundTrip)) report({ event: us });
  const trap = (): void => {
    if (vcpu.hypercall(__HYPERVISOR_xen_version, 0) < 0) throw new XenError('EINVAL', 'xen_version');
  };
  for (let i = 0; i < 2000; i++) trap();
  for (const us of measure(7, rounds, trap)) report({ hypercall: us });
  report({ done: 1 });
  for (;;) if (!events.poll()) vcpu.block();
}

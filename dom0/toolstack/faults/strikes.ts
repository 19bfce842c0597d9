// How the faults of a plan get at processes and the wall clock: by hypercalls of the control domain.
import {
  domid as asDomid,
  type Clock,
  DOMID_XEN,
  PAGE_SIZE,
  shared_info,
  XENOLITH_EXHAUST_descriptors,
  XENOLITH_EXHAUST_memory,
  XENOLITH_EXHAUST_over,
  XenError,
} from '#pvbus';
import type { Xc } from '../xc.ts';
import type { Strike, Strikes } from './fault-plans.ts';

/** vCPUs of dom0: the first of its own process, and xenstored's. */
const DOM0_VCPU = 0;
const XENSTORED_VCPU = 1;

export function strikesOf(xc: Xc, clock: Clock): Strikes {
  const strike = (domid: number, vcpu: number, how: Strike): void =>
    xc.strike(asDomid(domid), vcpu, 'kill' in how ? 0 : Math.max(1, Math.round(how.stop)));
  return {
    domain: (domid, how) => strike(domid, DOM0_VCPU, how),
    xenstored: how => strike(0, XENSTORED_VCPU, how),
    exhaust(target, what, left) {
      const domid = target === 'hypervisor' ? DOMID_XEN : target === 'xenstored' ? 0 : target;
      const vcpu = target === 'xenstored' ? XENSTORED_VCPU : DOM0_VCPU;
      const over = left === null;
      if (what === 'descriptors')
        xc.exhaust(domid, vcpu, XENOLITH_EXHAUST_descriptors, over ? XENOLITH_EXHAUST_over : left);
      else xc.exhaust(domid, vcpu, XENOLITH_EXHAUST_memory, over ? XENOLITH_EXHAUST_over : Math.ceil(left / 1024));
    },
    shiftClock(ms) {
      const { memory, layout } = xc.vcpu;
      const at = layout.sharedInfo * PAGE_SIZE;
      const bootMs =
        memory.view.getUint32(at + shared_info.at.wc_sec, true) * 1000 +
        memory.view.getUint32(at + shared_info.at.wc_nsec, true) / 1e6;
      const now = clock.now();
      const wallMs = bootMs + now / 1e6 + ms;
      if (wallMs < 0) throw new XenError('EINVAL', 'the wall clock would be before 1970');
      xc.setWallClock(wallMs, now);
    },
    self: () => process.kill(process.pid, 'SIGKILL'),
  };
}

// What a vCPU alone can measure of the machine it is on, each operation by itself: half of them take less, and one in a
// hundred takes more.
import {
  __HYPERVISOR_event_channel_op,
  __HYPERVISOR_sched_op,
  __HYPERVISOR_xen_version,
  domid,
  EVTCHNOP_unmask,
  evtchn_unmask,
  monotonicNow,
  PAGE_SIZE,
  SCHEDOP_yield,
  shared_info,
  type Vcpu,
  XenError,
} from '#pvbus';
import { type Boot, each, serve } from './lib.ts';

function trap(vcpu: Vcpu, nr: number, a0: number, a1 = 0): void {
  const rc = vcpu.hypercall(nr, a0, a1);
  if (rc < 0) throw new XenError('EINVAL', `hypercall ${nr}: ${rc}`);
}

export function start(boot: Boot): void {
  serve(boot, vcpu => {
    const port = vcpu.events.allocUnbound(domid(0));
    const { words } = vcpu.memory;
    const info = vcpu.layout.sharedInfo * PAGE_SIZE;
    const pending = (info + shared_info.at.evtchn_pending) / 4 + (port >>> 5);
    const mask = (info + shared_info.at.evtchn_mask) / 4 + (port >>> 5);
    const bit = 1 << (port & 31);
    let late = 0;
    return {
      hypercall: rounds => each(Number(rounds), 1, () => trap(vcpu, __HYPERVISOR_xen_version, 0)),
      /** The controller is asked to let a port through, by a trap. */
      unmask: rounds => {
        const at = vcpu.scratch.reset().alloc(evtchn_unmask.size);
        vcpu.scratch.view.setUint32(at + evtchn_unmask.at.port, port, true);
        return each(Number(rounds), 1, () => trap(vcpu, __HYPERVISOR_event_channel_op, EVTCHNOP_unmask, at));
      },
      /** An event is done with: its bit cleared, its port unmasked, and looked whether another one has come. */
      complete: rounds =>
        each(Number(rounds), 64, () => {
          Atomics.and(words, pending, ~bit);
          Atomics.and(words, mask, ~bit);
          if ((Atomics.load(words, pending) & bit) !== 0) late++;
        }),
      /** Give the pCPU to whoever waits for it, and have it back. */
      yield: rounds => each(Number(rounds), 1, () => trap(vcpu, __HYPERVISOR_sched_op, SCHEDOP_yield)),
      /** The same without keeping time, so that somebody waits while another one measures. */
      'keep-yielding': ms => {
        const end = monotonicNow() + Number(ms) * 1e6;
        let yields = 0;
        for (; monotonicNow() < end; yields++) trap(vcpu, __HYPERVISOR_sched_op, SCHEDOP_yield);
        return { yields, late };
      },
    };
  });
}

// Hypercalls about the trace buffers.
import {
  __HYPERVISOR_xenolith_op,
  domid as asDomid,
  DOMID_XEN,
  type ForeignMemory,
  XEN_SYSCTL_TBUFOP_disable,
  XEN_SYSCTL_TBUFOP_enable,
  XEN_SYSCTL_TBUFOP_get_info,
  XEN_SYSCTL_TBUFOP_set_evt_mask,
  XEN_SYSCTL_TBUFOP_set_size,
  XEN_SYSCTL_tbuf_op,
  XENOLITHOP_map_foreign,
  xen_sysctl_tbuf_op,
  xenolith_map_foreign,
} from '#pvbus';
import { type ControlCalls, get64 } from './control-calls.ts';
import type { Xc } from './xc.ts';

const { at } = xen_sysctl_tbuf_op;

export class XcTrace {
  readonly #calls: ControlCalls;

  constructor(xc: Xc) {
    this.#calls = xc.calls;
  }
  /** mfn of t_info, 0 while there are no buffers. */
  info(): { mfn: number; evtMask: number } {
    const u = this.#tbufOp(XEN_SYSCTL_TBUFOP_get_info, 'tell of its trace buffers');
    const { view } = this.#calls.vcpu.scratch;
    return { mfn: get64(view, u + at.buffer_mfn), evtMask: view.getUint32(u + at.evt_mask, true) };
  }
  /** Pages of each pCPU's buffer; once only. */
  setSize(pages: number): void {
    this.#tbufOp(XEN_SYSCTL_TBUFOP_set_size, `make trace buffers of ${pages} pages`, at.size, pages);
  }
  setEventMask(mask: number): void {
    this.#tbufOp(XEN_SYSCTL_TBUFOP_set_evt_mask, 'trace these events', at.evt_mask, mask);
  }
  enable(): void {
    this.#tbufOp(XEN_SYSCTL_TBUFOP_enable, 'trace');
  }
  disable(): void {
    this.#tbufOp(XEN_SYSCTL_TBUFOP_disable, 'end tracing');
  }
  /** The memory of a domain, or of the buffers; the descriptor is the caller's to close. ESRCH when it is gone. */
  mapForeign(domid: number): ForeignMemory {
    const { vcpu } = this.#calls;
    const arg = vcpu.scratch.reset().alloc(xenolith_map_foreign.size);
    vcpu.scratch.view.setUint16(arg + xenolith_map_foreign.at.domid, domid, true);
    const what = domid === DOMID_XEN ? 'show its trace buffers' : `map dom${domid}`;
    this.#calls.check(vcpu.hypercall(__HYPERVISOR_xenolith_op, XENOLITHOP_map_foreign, arg), what);
    return vcpu.takeForeign(asDomid(domid));
  }
  #tbufOp(cmd: number, what: string, field = -1, value = 0): number {
    return this.#calls.sysctl(XEN_SYSCTL_tbuf_op, what, (view, u) => {
      view.setUint32(u + at.cmd, cmd, true);
      if (field >= 0) view.setUint32(u + field, value, true);
    });
  }
}

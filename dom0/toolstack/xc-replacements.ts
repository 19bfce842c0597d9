// Hypercalls about processes that have taken the place of others.
import {
  __HYPERVISOR_xenolith_op,
  domid as asDomid,
  type Domid,
  getU64,
  inherited,
  VIRQ_XENOLITH_replacement,
  XEN_ENOENT,
  XENOLITHOP_replacement,
  xenolith_replacement,
} from '#pvbus';
import type { ControlCalls } from './control-calls.ts';
import type { Xc } from './xc.ts';

export interface Replacement {
  /** From 1 on. */
  readonly number: number;
  readonly domid: Domid;
  /** The first one of its vCPUs. */
  readonly vcpu: number;
  readonly pid: number;
  /** Processes that had ended before this one served. */
  readonly ends: number;
  /** From when the end of the first of them was known until this one served. */
  readonly tookNs: number;
  /** System time. */
  readonly servedNs: number;
}

export class XcReplacements {
  readonly #calls: ControlCalls;

  constructor(xc: Xc) {
    this.#calls = xc.calls;
  }
  /** `heard` is called when there may be another one. Once in a process, which takes up what one before it has bound. */
  listen(heard: () => void): void {
    const { vcpu } = this.#calls;
    const left = inherited(vcpu).ports.find(port => port.kind === 'virq' && port.virq === VIRQ_XENOLITH_replacement);
    vcpu.events.on(left?.port ?? vcpu.events.bindVirq(VIRQ_XENOLITH_replacement), heard);
  }
  /** The oldest one that is remembered with this number or a higher one. */
  from(number: number): Replacement | undefined {
    const { vcpu } = this.#calls;
    const { at, size } = xenolith_replacement;
    const { view } = vcpu.scratch;
    const arg = vcpu.scratch.reset().alloc(size);
    view.setUint32(arg + at.number, number, true);
    const rc = vcpu.hypercall(__HYPERVISOR_xenolith_op, XENOLITHOP_replacement, arg);
    if (rc === -XEN_ENOENT) return undefined;
    this.#calls.check(rc, 'tell whose place was taken');
    const servedNs = getU64(view, arg + at.served);
    return {
      number: view.getUint32(arg + at.number, true),
      domid: asDomid(view.getUint16(arg + at.domid, true)),
      vcpu: view.getUint16(arg + at.vcpu, true),
      pid: view.getUint32(arg + at.pid, true),
      ends: view.getUint32(arg + at.ends, true),
      tookNs: servedNs - getU64(view, arg + at.ended),
      servedNs,
    };
  }
}

// Hypercalls that have the hypervisor refuse or delay what a domain asks of it.
import {
  __HYPERVISOR_xenolith_op,
  type InjectedRequests,
  XEN_ENOENT,
  XEN_ESRCH,
  XENOLITH_FAULT_plant,
  XENOLITH_FAULT_remove,
  XENOLITH_FAULT_show,
  XENOLITH_FAULT_TEXT,
  XENOLITHOP_fault,
  xenolith_fault,
} from '#pvbus';
import { type ControlCalls, set64 } from './control-calls.ts';
import type { Xc } from './xc.ts';

export class XcFaults {
  readonly #calls: ControlCalls;

  constructor(xc: Pick<Xc, 'calls'>) {
    this.#calls = xc.calls;
  }
  /** False: there is no such domain any more. */
  plant(domid: number, planted: string): boolean {
    const { rc } = this.#call(domid, XENOLITH_FAULT_plant, planted);
    if (rc !== -XEN_ESRCH) this.#calls.check(rc, `befall hypercalls of dom${domid}`);
    return rc !== -XEN_ESRCH;
  }
  /** One that is not there is no error. */
  remove(domid: number, name: string): void {
    const { rc } = this.#call(domid, XENOLITH_FAULT_remove, name);
    if (rc !== -XEN_ENOENT) this.#calls.check(rc, `let hypercalls of dom${domid} be`);
  }
  /** undefined: it is not there. */
  injected(domid: number, name: string): InjectedRequests | undefined {
    const { rc, text } = this.#call(domid, XENOLITH_FAULT_show, name, XENOLITH_FAULT_TEXT);
    if (rc === -XEN_ENOENT) return undefined;
    this.#calls.check(rc, `tell what has befallen hypercalls of dom${domid}`);
    return JSON.parse(text()) as InjectedRequests; // the hypervisor's own words
  }

  #call(domid: number, what: number, given: string, most = 0): { rc: number; text: () => string } {
    const { vcpu } = this.#calls;
    const { at, size } = xenolith_fault;
    const { scratch } = vcpu;
    const bytes = new TextEncoder().encode(given);
    const room = Math.max(bytes.length, most);
    const arg = scratch.reset().alloc(size);
    const text = scratch.alloc(room);
    scratch.bytes.set(bytes, text);
    scratch.view.setUint16(arg + at.domid, domid, true);
    scratch.view.setUint16(arg + at.what, what, true);
    scratch.view.setUint32(arg + at.length, bytes.length, true);
    scratch.view.setUint32(arg + at.room, room, true);
    set64(scratch.view, arg + at.text, text);
    const rc = vcpu.hypercall(__HYPERVISOR_xenolith_op, XENOLITHOP_fault, arg);
    const length = scratch.view.getUint32(arg + at.length, true);
    return { rc, text: () => new TextDecoder().decode(scratch.bytes.slice(text, text + length)) };
  }
}

// Hypercalls about how much memory a domain has. Throws as xc.ts does.
import {
  __HYPERVISOR_memory_op,
  type Domid,
  errnoName,
  XENMEM_claim_pages,
  XenError,
  xen_memory_reservation,
} from '#pvbus';
import { set64 } from './control-calls.ts';
import type { Xc } from './xc.ts';

/** Nobody else is given the pages that the domain still lacks to have `pages`. Throws ENOMEM. */
export function claimPages({ vcpu }: Xc, domid: Domid, pages: number): void {
  const { at, size } = xen_memory_reservation;
  const arg = vcpu.scratch.reset().alloc(size);
  set64(vcpu.scratch.view, arg + at.nr_extents, pages);
  vcpu.scratch.view.setUint16(arg + at.domid, domid, true);
  const rc = vcpu.hypercall(__HYPERVISOR_memory_op, XENMEM_claim_pages, arg);
  if (rc < 0) throw new XenError(errnoName(-rc), `the hypervisor refused to keep ${pages} pages for dom${domid}`);
}

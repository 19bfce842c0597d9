// A domain as getdomaininfo shows it.
import {
  RUNSTATE_running,
  setU64,
  XEN_DOMAIN_HANDLE_SIZE,
  XEN_DOMINF_blocked,
  XEN_DOMINF_dying,
  XEN_DOMINF_paused,
  XEN_DOMINF_running,
  XEN_DOMINF_shutdown,
  XEN_DOMINF_shutdownmask,
  XEN_DOMINF_shutdownshift,
  XEN_DOMINF_xs_domain,
  XEN_INVALID_MAX_VCPU_ID,
  xen_domctl_getdomaininfo,
} from '#pvbus';
import type { Domain, Vcpu } from './domain.ts';
import type { DomainLife } from './domain-life.ts';

/** Bits of a guest-physical address: frame numbers in hypercalls are 32 bits. */
const GPADDR_BITS = 44;

/** Does it run at this moment, as far as the hypervisor knows? */
export const isRunning = ({ runstate, blocked }: Vcpu): boolean => runstate.stateFor(blocked) === RUNSTATE_running;

function flagsOf(domain: Domain): number {
  let flags = 0;
  // Xen: blocked means that no vCPU of it could run.
  let blocked = true;
  for (const vcpu of domain.vcpus) {
    if (!vcpu.made || !vcpu.up) continue;
    if (!vcpu.blocked) blocked = false;
    if (isRunning(vcpu)) flags |= XEN_DOMINF_running;
  }
  // What a domain that is over did last is no state; its sleeping words stand as its process left them.
  if (blocked && !domain.isShutDown) flags |= XEN_DOMINF_blocked;
  // Xen: a domain is paused when it begins to die; ganeti takes no other state of a dying one.
  if (domain.dying) flags = XEN_DOMINF_dying | XEN_DOMINF_paused;
  if (domain.isPaused) flags |= XEN_DOMINF_paused;
  if (domain.isShutDown) flags |= XEN_DOMINF_shutdown;
  if (domain.isXenstore) flags |= XEN_DOMINF_xs_domain;
  const code = domain.shutdownCode < 0 ? XEN_DOMINF_shutdownmask : domain.shutdownCode;
  return flags | ((code & XEN_DOMINF_shutdownmask) << XEN_DOMINF_shutdownshift);
}

/** Write a xen_domctl_getdomaininfo at byte `base` of `view`. */
export function writeDomainInfo(domain: Domain, life: DomainLife, view: DataView, base: number): void {
  const { at, size } = xen_domctl_getdomaininfo;
  for (let i = 0; i < size; i++) view.setUint8(base + i, 0);
  let online = 0;
  let cpuTime = 0;
  let highest = XEN_INVALID_MAX_VCPU_ID;
  for (const vcpu of domain.vcpus) {
    if (!vcpu.made) continue;
    highest = vcpu.id;
    cpuTime += life.cpuTimeNs(vcpu);
    if (vcpu.up) online++;
  }
  view.setUint16(base + at.domain, domain.domid, true);
  view.setUint32(base + at.flags, flagsOf(domain) >>> 0, true);
  setU64(view, base + at.tot_pages, domain.totPages);
  setU64(view, base + at.max_pages, domain.maxPages);
  setU64(view, base + at.outstanding_pages, domain.outstandingPages);
  setU64(view, base + at.shared_info_frame, domain.hasMemory ? domain.layout.sharedInfo : 0);
  setU64(view, base + at.cpu_time, cpuTime);
  view.setUint32(base + at.nr_online_vcpus, online, true);
  view.setUint32(base + at.max_vcpu_id, highest, true);
  view.setUint32(base + at.ssidref, domain.ssidref, true);
  view.setUint32(base + at.cpupool, domain.cpupool, true);
  for (let i = 0; i < XEN_DOMAIN_HANDLE_SIZE; i++) view.setUint8(base + at.handle + i, domain.handle[i]!);
  view.setUint8(base + at.gpaddr_bits, GPADDR_BITS);
}

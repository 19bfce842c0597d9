// domctl(xen_domctl): a control domain's hold on one domain. Xen: public/domctl.h, common/domctl.c.
import {
  type Clock,
  cpu_user_regs,
  DOMID_ANY,
  domain_control,
  futexWake,
  MAX_GRANT_FRAMES,
  MAX_VCPUS,
  PAGE_SIZE,
  setU64,
  VGCF_online,
  vcpu_guest_context,
  XEN_DOMAIN_HANDLE_SIZE,
  XEN_DOMCTL_CDF_xs_domain,
  XEN_DOMCTL_createdomain,
  XEN_DOMCTL_destroydomain,
  XEN_DOMCTL_GRANT_version_mask,
  XEN_DOMCTL_get_address_size,
  XEN_DOMCTL_getdomaininfo,
  XEN_DOMCTL_getnodeaffinity,
  XEN_DOMCTL_getvcpuaffinity,
  XEN_DOMCTL_getvcpucontext,
  XEN_DOMCTL_getvcpuinfo,
  XEN_DOMCTL_INTERFACE_VERSION,
  XEN_DOMCTL_max_mem,
  XEN_DOMCTL_max_vcpus,
  XEN_DOMCTL_pausedomain,
  XEN_DOMCTL_resumedomain,
  XEN_DOMCTL_scheduler_op,
  XEN_DOMCTL_set_address_size,
  XEN_DOMCTL_set_target,
  XEN_DOMCTL_set_virq_handler,
  XEN_DOMCTL_setdomainhandle,
  XEN_DOMCTL_setnodeaffinity,
  XEN_DOMCTL_settimeoffset,
  XEN_DOMCTL_setvcpuaffinity,
  XEN_DOMCTL_setvcpucontext,
  XEN_DOMCTL_soft_reset,
  XEN_DOMCTL_unpausedomain,
  XEN_EACCES,
  XEN_EBUSY,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENODATA,
  XEN_ENOENT,
  XEN_ENOSYS,
  XEN_EPERM,
  XEN_ESRCH,
  XEN_VCPUAFFINITY_FORCE,
  XEN_VCPUAFFINITY_HARD,
  XEN_VCPUAFFINITY_SOFT,
  xen_domctl,
  xen_domctl_address_size,
  xen_domctl_createdomain,
  xen_domctl_getvcpuinfo,
  xen_domctl_max_mem,
  xen_domctl_max_vcpus,
  xen_domctl_nodeaffinity,
  xen_domctl_set_target,
  xen_domctl_set_virq_handler,
  xen_domctl_setdomainhandle,
  xen_domctl_settimeoffset,
  xen_domctl_vcpuaffinity,
  xen_domctl_vcpucontext,
} from '#pvbus';
import { GuestBitmap, intersect, isEmpty } from '../affinity.ts';
import type { Domain, Vcpu } from '../domain.ts';
import { isRunning, writeDomainInfo } from '../domain-info.ts';
import type { DomainLife } from '../domain-life.ts';
import type { DomainTable } from '../domain-table.ts';
import type { EventChannels } from '../event-channels.ts';
import type { GuestClocks } from '../guest-clock.ts';
import { NOWHERE, readU64 } from '../guest-memory.ts';
import { mayCall } from '../privilege.ts';
import type { Cpupools } from '../scheduling/cpupools.ts';
import type { Scheduler } from '../scheduling/scheduler.ts';
import type { Virqs } from '../virq.ts';
import type { SchedulerOp } from './scheduler-op.ts';

const DEFAULT_MAPTRACK_FRAMES = 1024;
/** Entries of all maptrack frames a domain may have: what 32 bits of handle and this host's memory stand. */
const MAX_MAPTRACK_FRAMES = 65_536;
/** What `createdomain` takes for "choose one": Xen's DOMID_ANY, and the two that 4.17's toolstacks pass. */
const ANY_DOMID: readonly number[] = [DOMID_ANY, 0xffff, 0];
const KIB_PER_PAGE = PAGE_SIZE / 1024;
const U = xen_domctl.at.u;

export interface DomctlParts {
  readonly domains: DomainTable;
  readonly life: DomainLife;
  readonly events: EventChannels;
  readonly virqs: Virqs;
  readonly clock: Clock;
  readonly guestClocks: GuestClocks;
  readonly nrCpus: number;
  readonly scheduler: Scheduler;
  readonly cpupools: Cpupools;
  readonly schedulerOp: SchedulerOp;
  readonly say: (line: string) => void;
}

export class Domctl {
  private readonly parts: DomctlParts;
  /** A private copy of the operation: what is checked is what is used. */
  private readonly bytes = new Uint8Array(xen_domctl.size);
  private readonly op = new DataView(this.bytes.buffer);

  constructor(parts: DomctlParts) {
    this.parts = parts;
  }

  call(vcpu: Vcpu, arg: number): number {
    const caller = vcpu.domain;
    if (!caller.physmap.reachable(arg, xen_domctl.size)) return -XEN_EFAULT;
    this.bytes.set(caller.memory.bytes.subarray(arg, arg + xen_domctl.size));
    const { op } = this;
    if (op.getUint32(xen_domctl.at.interface_version, true) !== XEN_DOMCTL_INTERFACE_VERSION) return -XEN_EACCES;
    const cmd = op.getUint32(xen_domctl.at.cmd, true);
    const domid = op.getUint16(xen_domctl.at.domain, true);
    const rc = cmd === XEN_DOMCTL_createdomain ? this.create(caller, domid) : this.act(caller, cmd, domid);
    // Xen copies the operation back also when it failed half way; nothing here does anything by halves.
    if (rc >= 0) caller.memory.bytes.set(this.bytes, arg);
    return rc;
  }

  private act(caller: Domain, cmd: number, domid: number): number {
    const domain = this.parts.domains.byId(domid);
    const action = cmd === XEN_DOMCTL_getdomaininfo ? 'getdomaininfo' : 'domctl';
    // Who may not act learns nothing of which domains there are.
    if (domain === undefined) return mayCall(action, caller, caller) ? -XEN_ESRCH : -XEN_EPERM;
    if (!mayCall(action, caller, domain)) return -XEN_EPERM;
    const { life } = this.parts;
    const { op } = this;
    const self = domain === caller;
    switch (cmd) {
      case XEN_DOMCTL_destroydomain:
        if (self) return -XEN_EINVAL;
        life.destroy(domain);
        return 0;
      case XEN_DOMCTL_pausedomain:
        return self ? -XEN_EINVAL : life.pause(domain);
      case XEN_DOMCTL_unpausedomain:
        return life.unpause(domain);
      case XEN_DOMCTL_getdomaininfo:
        writeDomainInfo(domain, life, op, U);
        return 0;
      case XEN_DOMCTL_max_vcpus:
        if (self || op.getUint32(U + xen_domctl_max_vcpus.at.max, true) !== domain.vcpus.length) return -XEN_EINVAL;
        life.makeVcpus(domain, this.parts.nrCpus);
        return 0;
      case XEN_DOMCTL_max_mem: {
        const kib = readU64(op, U + xen_domctl_max_mem.at.max_memkb);
        return kib === NOWHERE ? -XEN_EINVAL : life.setMaxPages(domain, Math.floor(kib / KIB_PER_PAGE));
      }
      case XEN_DOMCTL_setvcpucontext:
        return self ? -XEN_EINVAL : this.setVcpuContext(caller, domain);
      case XEN_DOMCTL_getvcpucontext:
        return self ? -XEN_EINVAL : this.getVcpuContext(caller, domain);
      case XEN_DOMCTL_getvcpuinfo:
        return this.getVcpuInfo(domain);
      case XEN_DOMCTL_setvcpuaffinity:
        return this.setVcpuAffinity(caller, domain);
      case XEN_DOMCTL_getvcpuaffinity:
        return this.getVcpuAffinity(caller, domain);
      case XEN_DOMCTL_setnodeaffinity:
      case XEN_DOMCTL_getnodeaffinity:
        return this.nodeAffinity(caller, cmd === XEN_DOMCTL_setnodeaffinity);
      case XEN_DOMCTL_scheduler_op:
        return this.parts.schedulerOp.domctl(caller, domain, op, U);
      case XEN_DOMCTL_setdomainhandle: {
        const at = U + xen_domctl_setdomainhandle.at.handle;
        domain.handle = this.bytes.slice(at, at + XEN_DOMAIN_HANDLE_SIZE);
        return 0;
      }
      case XEN_DOMCTL_settimeoffset: {
        const at = U + xen_domctl_settimeoffset.at.time_offset_seconds;
        domain.timeOffsetSeconds = op.getInt32(at + 4, true) * 2 ** 32 + op.getUint32(at, true);
        this.parts.guestClocks.writeWallClock(domain);
        return 0;
      }
      case XEN_DOMCTL_set_target: {
        const target = this.parts.domains.byId(op.getUint16(U + xen_domctl_set_target.at.target, true));
        if (target === undefined) return -XEN_ESRCH;
        if (target === domain || domain.target !== undefined) return -XEN_EINVAL;
        domain.target = target;
        return 0;
      }
      case XEN_DOMCTL_resumedomain:
        if (self) return -XEN_EINVAL;
        life.resume(domain);
        return 0;
      case XEN_DOMCTL_soft_reset:
        // Every vCPU must have stopped for the shutdown.
        if (self || !domain.isShutDown || domain.dying) return -XEN_EINVAL;
        if (this.parts.events.beginReset(domain, caller.vcpus[0]!) < 0) return -XEN_EBUSY;
        while (this.parts.events.continueReset(domain) === undefined);
        life.resume(domain);
        return 0;
      case XEN_DOMCTL_set_virq_handler:
        return this.parts.virqs.setHandler(domain, op.getUint32(U + xen_domctl_set_virq_handler.at.virq, true));
      case XEN_DOMCTL_set_address_size:
        return op.getUint32(U + xen_domctl_address_size.at.size, true) === 64 ? 0 : -XEN_EINVAL;
      case XEN_DOMCTL_get_address_size:
        op.setUint32(U + xen_domctl_address_size.at.size, 64, true);
        return 0;
      default:
        return -XEN_ENOSYS;
    }
  }

  private create(caller: Domain, domid: number): number {
    if (!mayCall('domctl', caller, caller)) return -XEN_EPERM;
    const { op } = this;
    const { at } = xen_domctl_createdomain;
    const flags = op.getUint32(U + at.flags, true);
    const maxVcpus = op.getUint32(U + at.max_vcpus, true);
    const grantFrames = op.getInt32(U + at.max_grant_frames, true);
    const maptrackFrames = op.getInt32(U + at.max_maptrack_frames, true);
    const grantOpts = op.getUint32(U + at.grant_opts, true);
    if ((flags & ~XEN_DOMCTL_CDF_xs_domain) !== 0 || op.getUint32(U + at.iommu_opts, true) !== 0) return -XEN_EINVAL;
    if (maxVcpus < 1 || maxVcpus > MAX_VCPUS) return -XEN_EINVAL;
    if (grantFrames === 0 || grantFrames > MAX_GRANT_FRAMES || maptrackFrames > MAX_MAPTRACK_FRAMES) return -XEN_EINVAL;
    // Only version 1 tables exist.
    const version = grantOpts & XEN_DOMCTL_GRANT_version_mask;
    if ((grantOpts & ~XEN_DOMCTL_GRANT_version_mask) !== 0 || version !== 1) return -XEN_EINVAL;
    if (op.getUint32(U + at.vmtrace_size, true) !== 0) return -XEN_EINVAL;
    const cpupool = op.getUint32(U + at.cpupool_id, true);
    if (!this.parts.cpupools.byId(cpupool)?.nrCpus) return -XEN_ESRCH;
    const made = this.parts.life.create({
      domid: ANY_DOMID.includes(domid) ? -1 : domid,
      maxVcpus,
      maxEvtchnPort: op.getUint32(U + at.max_evtchn_port, true),
      maxGrantFrames: grantFrames < 0 ? MAX_GRANT_FRAMES : grantFrames,
      maxMaptrackFrames: maptrackFrames < 0 ? DEFAULT_MAPTRACK_FRAMES : maptrackFrames,
      ssidref: op.getUint32(U + at.ssidref, true),
      handle: this.bytes.slice(U + at.handle, U + at.handle + XEN_DOMAIN_HANDLE_SIZE),
      isPrivileged: false,
      isXenstore: (flags & XEN_DOMCTL_CDF_xs_domain) !== 0,
      cpupool,
      now: this.parts.clock.now(),
      say: this.parts.say,
    });
    if (typeof made === 'number') return made;
    op.setUint16(xen_domctl.at.domain, made.domid, true);
    return 0;
  }

  private setVcpuContext(caller: Domain, domain: Domain): number {
    const { at } = xen_domctl_vcpucontext;
    const vcpu = domain.vcpu(this.op.getUint32(U + at.vcpu, true));
    if (vcpu === undefined || !domain.hasMemory || domain.dying) return -XEN_EINVAL;
    const address = readU64(this.op, U + at.ctxt);
    if (!caller.physmap.reachable(address, vcpu_guest_context.size)) return -XEN_EFAULT;
    const context = caller.memory.bytes.slice(address, address + vcpu_guest_context.size);
    const view = new DataView(context.buffer);
    vcpu.context = context;
    vcpu.initialised = true;
    if (vcpu.id === 0) {
      const control = domain.layout.control * PAGE_SIZE;
      const regs = vcpu_guest_context.at.user_regs;
      const word = (from: number, to: number): void => {
        // order: the high half first; who waits for the entry address waits on its low half.
        domain.memory.view.setUint32(control + to + 4, view.getUint32(from + 4, true), true);
        domain.memory.view.setUint32(control + to, view.getUint32(from, true), true);
      };
      word(regs + cpu_user_regs.at.rsi, domain_control.at.start_info);
      word(regs + cpu_user_regs.at.rip, domain_control.at.entry);
      // Its process can load the kernel while the rest of the domain is made.
      futexWake(domain.memory.address + control + domain_control.at.entry);
    }
    if ((view.getUint32(vcpu_guest_context.at.flags, true) & VGCF_online) !== 0) {
      if (!vcpu.up) this.parts.life.bringUp(vcpu);
    } else if (vcpu.up) this.parts.life.bringDown(vcpu);
    return 0;
  }
  private getVcpuContext(caller: Domain, domain: Domain): number {
    const { at } = xen_domctl_vcpucontext;
    const vcpu = domain.vcpu(this.op.getUint32(U + at.vcpu, true));
    if (vcpu === undefined) return -XEN_ESRCH;
    if (vcpu.context === undefined) return -XEN_ENODATA;
    const address = readU64(this.op, U + at.ctxt);
    if (!caller.physmap.reachable(address, vcpu.context.length)) return -XEN_EFAULT;
    caller.memory.bytes.set(vcpu.context, address);
    return 0;
  }
  private getVcpuInfo(domain: Domain): number {
    const { at } = xen_domctl_getvcpuinfo;
    const vcpu = domain.vcpu(this.op.getUint32(U + at.vcpu, true));
    if (vcpu === undefined) return -XEN_ENOENT;
    this.op.setUint8(U + at.online, vcpu.up ? 1 : 0);
    this.op.setUint8(U + at.blocked, vcpu.blocked ? 1 : 0);
    this.op.setUint8(U + at.running, isRunning(vcpu) ? 1 : 0);
    setU64(this.op, U + at.cpu_time, this.parts.life.cpuTimeNs(vcpu));
    this.op.setUint32(U + at.cpu, vcpu.pinOverride ?? this.parts.scheduler.cpuOf(vcpu), true);
    return 0;
  }

  // ---- placement ----

  private setVcpuAffinity(caller: Domain, domain: Domain): number {
    const { at } = xen_domctl_vcpuaffinity;
    const id = this.op.getUint32(U + at.vcpu, true);
    const flags = this.op.getUint32(U + at.flags, true);
    if (id >= domain.vcpus.length) return -XEN_EINVAL;
    const vcpu = domain.vcpu(id);
    if (vcpu === undefined) return -XEN_ESRCH;
    const hard =
      (flags & XEN_VCPUAFFINITY_HARD) !== 0 ? new GuestBitmap(caller, this.op, U + at.cpumap_hard) : undefined;
    const soft =
      (flags & XEN_VCPUAFFINITY_SOFT) !== 0 ? new GuestBitmap(caller, this.op, U + at.cpumap_soft) : undefined;
    if (!hard && !soft) return -XEN_EINVAL;
    if (hard?.isNull || soft?.isNull) return -XEN_EINVAL;
    if (hard?.reachable === false || soft?.reachable === false) return -XEN_EFAULT;
    if (vcpu.pinOverride !== undefined) {
      if ((flags & XEN_VCPUAFFINITY_FORCE) === 0) return -XEN_EBUSY;
      vcpu.pinOverride = undefined;
    }
    const { nrCpus, cpupools, scheduler } = this.parts;
    const online = intersect(hard?.read(nrCpus) ?? vcpu.hardAffinity, cpupools.of(domain).map);
    if (hard && isEmpty(online)) return -XEN_EINVAL;
    const newHard = hard?.read(nrCpus) ?? vcpu.hardAffinity;
    const newSoft = soft?.read(nrCpus) ?? vcpu.softAffinity;
    // A vCPU that may run nowhere, or should run nowhere it may: refused, and nothing has changed.
    if (isEmpty(newHard) || isEmpty(newSoft)) return -XEN_EINVAL;
    vcpu.hardAffinity = newHard;
    vcpu.softAffinity = newSoft;
    scheduler.affinityChanged(vcpu);
    hard?.write(online);
    soft?.write(intersect(newSoft, online));
    return 0;
  }
  private getVcpuAffinity(caller: Domain, domain: Domain): number {
    const { at } = xen_domctl_vcpuaffinity;
    const id = this.op.getUint32(U + at.vcpu, true);
    const flags = this.op.getUint32(U + at.flags, true);
    if (id >= domain.vcpus.length) return -XEN_EINVAL;
    const vcpu = domain.vcpu(id);
    if (vcpu === undefined) return -XEN_ESRCH;
    if ((flags & (XEN_VCPUAFFINITY_HARD | XEN_VCPUAFFINITY_SOFT)) === 0) return -XEN_EINVAL;
    for (const [flag, offset, map] of [
      [XEN_VCPUAFFINITY_HARD, at.cpumap_hard, vcpu.hardAffinity],
      [XEN_VCPUAFFINITY_SOFT, at.cpumap_soft, vcpu.softAffinity],
    ] as const) {
      if ((flags & flag) === 0) continue;
      const bitmap = new GuestBitmap(caller, this.op, U + offset);
      if (!bitmap.reachable) return -XEN_EFAULT;
      bitmap.write(map);
    }
    return 0;
  }
  /** The host is one node. */
  private nodeAffinity(caller: Domain, set: boolean): number {
    const bitmap = new GuestBitmap(caller, this.op, U + xen_domctl_nodeaffinity.at.nodemap);
    if (!bitmap.reachable) return -XEN_EFAULT;
    if (set) return isEmpty(bitmap.read(1)) ? -XEN_EINVAL : 0;
    bitmap.write([true]);
    return 0;
  }
}

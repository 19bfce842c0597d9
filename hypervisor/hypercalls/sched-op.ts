// sched_op(cmd, argument). Xen: public/sched.h.
import {
  type Clock,
  SCHEDOP_block,
  SCHEDOP_pin_override,
  SCHEDOP_poll,
  SCHEDOP_remote_shutdown,
  SCHEDOP_shutdown,
  SCHEDOP_shutdown_code,
  SCHEDOP_watchdog,
  SCHEDOP_yield,
  sched_pin_override,
  sched_poll,
  sched_remote_shutdown,
  sched_shutdown,
  sched_watchdog,
  XEN_EBUSY,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOSYS,
  XEN_EPERM,
  XEN_ESRCH,
} from '#pvbus';
import { DEFERRED, type Result } from '../deferred.ts';
import type { Domain, Vcpu } from '../domain.ts';
import type { DomainLife } from '../domain-life.ts';
import type { DomainTable } from '../domain-table.ts';
import { readTime, readU64 } from '../guest-memory.ts';
import { mayCall } from '../privilege.ts';
import type { Scheduler } from '../scheduling/scheduler.ts';
import { Timer, type Timers } from '../timers.ts';
import type { Watchdogs } from '../watchdogs.ts';

const MAX_POLL_PORTS = 128;

export class SchedOp {
  private readonly domains: DomainTable;
  private readonly life: DomainLife;
  private readonly watchdogs: Watchdogs;
  private readonly timers: Timers;
  private readonly clock: Clock;
  private readonly nrCpus: number;
  private readonly scheduler: Scheduler;

  constructor(
    domains: DomainTable,
    life: DomainLife,
    watchdogs: Watchdogs,
    timers: Timers,
    clock: Clock,
    nrCpus: number,
    scheduler: Scheduler,
  ) {
    this.domains = domains;
    this.life = life;
    this.watchdogs = watchdogs;
    this.timers = timers;
    this.clock = clock;
    this.nrCpus = nrCpus;
    this.scheduler = scheduler;
  }

  call(caller: Vcpu, cmd: number, arg: number): Result {
    switch (cmd) {
      case SCHEDOP_yield:
        this.scheduler.yield(caller);
        return 0;
      case SCHEDOP_block:
        return this.block(caller);
      case SCHEDOP_poll:
        return this.poll(caller, arg);
      case SCHEDOP_shutdown:
        return this.shutdown(caller, arg);
      case SCHEDOP_shutdown_code: {
        if (!caller.domain.physmap.reachable(arg, sched_shutdown.size)) return -XEN_EFAULT;
        const reason = caller.domain.memory.view.getUint32(arg + sched_shutdown.at.reason, true);
        this.life.latchReason(caller.domain, reason);
        return 0;
      }
      case SCHEDOP_remote_shutdown:
        return this.remoteShutdown(caller.domain, arg);
      case SCHEDOP_watchdog: {
        if (!caller.domain.physmap.reachable(arg, sched_watchdog.size)) return -XEN_EFAULT;
        const { view } = caller.domain.memory;
        const id = view.getUint32(arg + sched_watchdog.at.id, true);
        return this.watchdogs.set(caller.domain, id, view.getUint32(arg + sched_watchdog.at.timeout, true));
      }
      case SCHEDOP_pin_override:
        return this.pinOverride(caller, arg);
      default:
        return -XEN_ENOSYS;
    }
  }

  private block(vcpu: Vcpu): Result {
    // order: upcalls on, then look. An event after the look finds the vCPU waiting.
    vcpu.info.clearUpcallMask();
    if (vcpu.info.upcallPending || mayHearUnseen(vcpu)) return 0;
    vcpu.waiting = { kind: 'block' };
    this.scheduler.blocked(vcpu);
    return DEFERRED;
  }

  private poll(vcpu: Vcpu, arg: number): Result {
    const { domain } = vcpu;
    if (!domain.physmap.reachable(arg, sched_poll.size)) return -XEN_EFAULT;
    const { view } = domain.memory;
    const list = readU64(view, arg + sched_poll.at.ports);
    const nr = view.getUint32(arg + sched_poll.at.nr_ports, true);
    const timeout = readTime(view, arg + sched_poll.at.timeout);
    if (nr > MAX_POLL_PORTS) return -XEN_EINVAL;
    if (nr > 0 && !domain.physmap.reachable(list, 4 * nr)) return -XEN_EFAULT;
    const ports: number[] = [];
    for (let i = 0; i < nr; i++) {
      const port = view.getUint32(list + 4 * i, true);
      if (!domain.ports.valid(port)) return -XEN_EINVAL;
      const here = domain.ports.opened(port);
      if (here !== undefined && domain.eventAbi.pending(port, here)) return 0;
      ports.push(port);
    }
    if (mayHearUnseen(vcpu)) return 0;
    if (timeout !== 0 && timeout <= this.clock.now()) return 0;
    vcpu.waiting = { kind: 'poll', ports };
    if (timeout !== 0) {
      vcpu.pollTimer ??= new Timer(() => {
        if (vcpu.waiting?.kind === 'poll') vcpu.finish(0);
      });
      this.timers.set(vcpu.pollTimer, timeout);
    } else if (vcpu.pollTimer) this.timers.stop(vcpu.pollTimer);
    this.scheduler.blocked(vcpu);
    return DEFERRED;
  }

  private shutdown(vcpu: Vcpu, arg: number): Result {
    const { domain } = vcpu;
    if (!domain.physmap.reachable(arg, sched_shutdown.size)) return -XEN_EFAULT;
    const reason = domain.memory.view.getUint32(arg + sched_shutdown.at.reason, true) & 0xff;
    const again = domain.isShutDown;
    this.life.shutdown(domain, reason);
    if (again || !domain.isShutDown) return 0;
    // All its vCPUs stop here; this one goes on only if the domain is resumed.
    vcpu.waiting = { kind: 'shutdown', reason };
    return DEFERRED;
  }

  private remoteShutdown(caller: Domain, arg: number): number {
    if (!caller.physmap.reachable(arg, sched_remote_shutdown.size)) return -XEN_EFAULT;
    const { view } = caller.memory;
    const reason = view.getUint32(arg + sched_remote_shutdown.at.reason, true);
    const domain = this.domains.byId(view.getUint16(arg + sched_remote_shutdown.at.domain_id, true));
    if (domain === undefined) return -XEN_ESRCH;
    if (!mayCall('schedop_shutdown', caller, domain)) return -XEN_EPERM;
    this.life.shutdown(domain, reason & 0xff);
    return 0;
  }

  private pinOverride(vcpu: Vcpu, arg: number): number {
    if (!vcpu.domain.isPrivileged) return -XEN_EPERM;
    if (!vcpu.domain.physmap.reachable(arg, sched_pin_override.size)) return -XEN_EFAULT;
    const pcpu = vcpu.domain.memory.view.getInt32(arg + sched_pin_override.at.pcpu, true);
    if (pcpu < 0) {
      vcpu.pinOverride = undefined;
      return 0;
    }
    if (pcpu >= this.nrCpus) return -XEN_EINVAL;
    if (vcpu.pinOverride !== undefined && vcpu.pinOverride !== pcpu) return -XEN_EBUSY;
    vcpu.pinOverride = pcpu;
    return 0;
  }
}

/**
 * A vCPU with direct channels is notified through words that the hypervisor does not sleep on, so it
 * must not sleep in here: it is sent back to look itself. Its own pvbus blocks without trapping.
 */
const mayHearUnseen = (vcpu: Vcpu): boolean => vcpu.hears.size > 0 || vcpu.localChannels > 0;

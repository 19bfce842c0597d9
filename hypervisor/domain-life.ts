// What happens to a domain from its creation until it begins to die.
import { constants } from 'node:buffer';
import {
  Arena,
  type Clock,
  cpu_user_regs,
  DOMID_FIRST_RESERVED,
  domainLayout,
  futexWake,
  getU64,
  type Log,
  mostDomainPages,
  PAGE_SIZE,
  RUNSTATE_offline,
  RUNSTATE_running,
  SHUTDOWN_crash,
  SHUTDOWN_poweroff,
  SHUTDOWN_reboot,
  SHUTDOWN_soft_reset,
  SHUTDOWN_suspend,
  SHUTDOWN_watchdog,
  SystemCallError,
  setU64,
  shared_info,
  VIRQ_DOM_EXC,
  vcpu_guest_context,
  vcpu_info,
  vcpu_page,
  vcpu_runstate_info,
  vcpuFrame,
  XEN_EEXIST,
  XEN_EINVAL,
  XEN_ENOMEM,
  XEN_EOVERFLOW,
  XEN_LEGACY_MAX_VCPUS,
} from '#pvbus';
import { Domain, type DomainConfig, type DomainProcesses, type Vcpu } from './domain.ts';
import type { DomainTable } from './domain-table.ts';
import type { EventChannels } from './event-channels.ts';
import type { GuestClocks } from './guest-clock.ts';
import { type HostMemory, Physmap } from './memory.ts';
import type { Pools } from './pools.ts';
import type { Cpupools } from './scheduling/cpupools.ts';
import type { Scheduler } from './scheduling/scheduler.ts';
import type { Teardowns } from './teardown.ts';
import type { Trace } from './trace.ts';
import type { Virqs } from './virq.ts';

/** The controller's pause count is a byte. */
const MAX_PAUSES = 255;

const REASONS = new Map<number, string>([
  [SHUTDOWN_poweroff, 'poweroff'],
  [SHUTDOWN_reboot, 'reboot'],
  [SHUTDOWN_suspend, 'suspend'],
  [SHUTDOWN_crash, 'crash'],
  [SHUTDOWN_watchdog, 'watchdog'],
  [SHUTDOWN_soft_reset, 'soft reset'],
]);
export const reasonName = (reason: number): string => REASONS.get(reason) ?? `reason ${reason}`;

export interface LifeParts {
  readonly trace: Trace;
  readonly clock: Clock;
  readonly log: Log;
  readonly processes: DomainProcesses;
  readonly domains: DomainTable;
  readonly host: HostMemory;
  readonly events: EventChannels;
  readonly guestClocks: GuestClocks;
  readonly virqs: Virqs;
  readonly pools: Pools;
  readonly scheduler: Scheduler;
  readonly cpupools: Cpupools;
  readonly teardowns: Teardowns;
  readonly mediated: boolean;
  /** The domain's vCPU pages exist; called before its process starts. */
  readonly memoryMade: (domain: Domain) => void;
  /** The hardware domain shut down: the host does. */
  readonly shutdownHost: (reason: number) => void;
}

export class DomainLife {
  private readonly parts: LifeParts;

  constructor(parts: LifeParts) {
    this.parts = parts;
  }

  // ---- building ----

  /** A new domain, paused by its controller. `config.domid` -1: choose one. -errno when there can be none. */
  create(config: DomainConfig): Domain | number {
    const { domains } = this.parts;
    if (domains.size >= domains.capacity) return -XEN_ENOMEM;
    if (config.domid >= DOMID_FIRST_RESERVED || domains.byId(config.domid) !== undefined) return -XEN_EEXIST;
    const domid = config.domid < 0 ? domains.allocate() : config.domid;
    if (domid < 0) return -XEN_ENOMEM;
    const domain = new Domain({ ...config, domid });
    domain.controllerPauses = 1;
    domains.add(domain);
    this.parts.scheduler.addDomain(domain, this.parts.cpupools.of(domain));
    return domain;
  }

  /**
   * XEN_DOMCTL_max_mem. The first limit that is not 0 also fixes where everything lies in the domain's
   * memory, so only then does the domain get its memory, and its process.
   */
  setMaxPages(domain: Domain, pages: number): number {
    if (domain.dying) return -XEN_EINVAL;
    if (!domain.hasMemory && pages > 0) {
      const rc = this.makeMemory(domain, pages);
      if (rc < 0) return rc;
    }
    if (domain.hasMemory && !domain.hasProcess && !domain.isShutDown) {
      const rc = this.startProcess(domain);
      if (rc < 0) return rc;
    }
    domain.maxPages = pages;
    return 0;
  }
  private makeMemory(domain: Domain, pages: number): number {
    const { guestClocks, host, events, mediated, scheduler, log } = this.parts;
    const vcpus = domain.vcpus.length;
    // A limit beyond the host's memory could never be used, but would cost address space.
    const layout = domainLayout(Math.min(pages, host.totalPages, mostDomainPages(constants.MAX_LENGTH, vcpus)), vcpus);
    let arena: Arena;
    try {
      arena = Arena.create(`xenolith-dom${domain.domid}`, layout.frames * PAGE_SIZE);
    } catch (error) {
      if (!(error instanceof SystemCallError)) throw error;
      log.warn(`dom${domain.domid}: no memory for ${pages} pages: ${error.message}`);
      return -XEN_ENOMEM;
    }
    domain.physmap = new Physmap(arena, layout);
    domain.shared.moveTo(arena, layout.sharedInfo);
    for (const vcpu of domain.vcpus) {
      Atomics.store(arena.words, (vcpuFrame(layout, vcpu.id) * PAGE_SIZE + vcpu_page.at.grant) / 4, 1);
      if (vcpu.id >= XEN_LEGACY_MAX_VCPUS) continue;
      vcpu.moveInfo(layout.sharedInfo * PAGE_SIZE + shared_info.at.vcpu_info + vcpu.id * vcpu_info.size);
      guestClocks.writeTime(vcpu);
    }
    guestClocks.writeWallClock(domain);
    if (mediated) Atomics.store(arena.words, domain.controlWord('mediated'), 1);
    events.publishAll(domain);
    if (domain.creationFinished && !domain.isPaused) Atomics.store(arena.words, domain.controlWord('run'), 1);
    scheduler.memoryMade(domain);
    this.parts.memoryMade(domain);
    return 0;
  }
  private startProcess(domain: Domain): number {
    const rc = this.parts.processes.start(domain);
    if (rc < 0) return rc;
    domain.hasProcess = true;
    this.parts.scheduler.processStarted(domain);
    for (const vcpu of domain.vcpus) this.linked(vcpu);
    return 0;
  }

  /** A vCPU has got its link: tell it of the memory its domain already shares. */
  linked(vcpu: Vcpu): void {
    if (vcpu.link === undefined) return;
    this.parts.events.sendAll(vcpu);
    this.parts.pools.sendAll(vcpu);
  }

  /** XEN_DOMCTL_max_vcpus: its vCPUs come into being. */
  makeVcpus(domain: Domain, nrCpus: number): void {
    for (const vcpu of domain.vcpus) {
      if (vcpu.made) continue;
      vcpu.made = true;
      vcpu.hardAffinity = new Array<boolean>(nrCpus).fill(true);
      vcpu.softAffinity = new Array<boolean>(nrCpus).fill(true);
      this.parts.scheduler.addVcpu(vcpu);
    }
  }

  /** A vCPU may run from now on, when its domain does. */
  bringUp(vcpu: Vcpu): void {
    this.account(vcpu);
    vcpu.up = true;
    this.updateRunstate(vcpu);
    if (vcpu.id > 0 && vcpu.context !== undefined) startWith(vcpu, vcpu.context);
    // It went down by itself: its call returns now.
    if (vcpu.waiting?.kind === 'down') vcpu.finish(0);
  }
  bringDown(vcpu: Vcpu): void {
    this.account(vcpu);
    vcpu.up = false;
    this.updateRunstate(vcpu);
  }

  // ---- time ----

  /** Stays what it was when the process has ended. */
  cpuTimeNs(vcpu: Vcpu): number {
    return this.parts.processes.cpuTimeNs(vcpu.domain, vcpu.id);
  }
  private account(vcpu: Vcpu): void {
    this.accountFor(vcpu, this.cpuTimeNs(vcpu));
  }
  /** Its time up to now, of which it has used `cpuTimeNs` in all. */
  accountFor(vcpu: Vcpu, cpuTimeNs: number): void {
    vcpu.runstate.account(this.parts.clock.now(), cpuTimeNs, this.parts.scheduler.isContended(vcpu));
  }
  private updateRunstate(vcpu: Vcpu): void {
    const { domain } = vcpu;
    const online = vcpu.up && domain.creationFinished && !domain.isPaused && !domain.isShutDown && !domain.dying;
    const { scheduler } = this.parts;
    scheduler.setOnline(vcpu, online);
    this.enter(vcpu, (online ? scheduler.runstate(vcpu) : undefined) ?? (online ? RUNSTATE_running : RUNSTATE_offline));
  }
  /** The scheduler has accounted for it up to now; it goes on like this. */
  enter(vcpu: Vcpu, state: number): void {
    this.parts.trace.runstate(vcpu, vcpu.runstate.state, state);
    vcpu.runstate.enter(state, this.parts.clock.now());
    this.writeRunstate(vcpu);
  }
  /** Before and after what turns a domain's vCPUs on or off. */
  private switching(domain: Domain, change: () => void): void {
    for (const vcpu of domain.vcpus) if (vcpu.made) this.account(vcpu);
    change();
    for (const vcpu of domain.vcpus) if (vcpu.made) this.updateRunstate(vcpu);
  }
  /** Bring a vCPU's runstate up to now, and its registered area with it. */
  refreshRunstate(vcpu: Vcpu): void {
    this.account(vcpu);
    this.writeRunstate(vcpu);
  }
  private writeRunstate(vcpu: Vcpu): void {
    // The guest may have given the frame away since it registered the area.
    const { runstateArea, domain } = vcpu;
    if (runstateArea >= 0 && domain.physmap.reachable(runstateArea, vcpu_runstate_info.size))
      this.copyRunstate(vcpu, domain.memory.view, runstateArea);
  }
  copyRunstate(vcpu: Vcpu, view: DataView, base: number): void {
    const { runstate } = vcpu;
    const { at } = vcpu_runstate_info;
    view.setInt32(base + at.state, runstate.stateFor(vcpu.blocked), true);
    view.setInt32(base + at.state + 4, 0, true);
    setU64(view, base + at.state_entry_time, runstate.enteredAt);
    for (let i = 0; i < 4; i++) setU64(view, base + at.time + 8 * i, runstate.time[i]!);
  }

  // ---- running ----

  pause(domain: Domain): number {
    if (domain.controllerPauses >= MAX_PAUSES) return -XEN_EOVERFLOW;
    this.switching(domain, () => domain.controllerPauses++);
    if (domain.controllerPauses === 1 && domain.creationFinished) this.stopProcess(domain);
    return 0;
  }
  unpause(domain: Domain): number {
    if (domain.controllerPauses === 0) return -XEN_EINVAL;
    this.switching(domain, () => {
      domain.controllerPauses--;
      if (domain.controllerPauses === 0) domain.creationFinished = true;
    });
    if (domain.controllerPauses > 0 || domain.dying || domain.isShutDown) return 0;
    if (domain.hasMemory && Atomics.exchange(domain.memory.words, domain.controlWord('run'), 1) === 0)
      futexWake(domain.memory.address + 4 * domain.controlWord('run'));
    this.continueProcess(domain);
    return 0;
  }
  private stopProcess(domain: Domain): void {
    if (domain.hasProcess) this.parts.processes.stop(domain);
  }
  private continueProcess(domain: Domain): void {
    // The scheduler lets one go on that has not yielded.
    if (domain.hasProcess && !domain.preempted) this.parts.processes.cont(domain);
  }

  /** SCHEDOP_shutdown_code: the reason that the next shutdown will have. */
  latchReason(domain: Domain, reason: number): void {
    if (domain.shutdownCode < 0) domain.shutdownCode = reason & 0xff;
  }
  /** The domain stops; its controller decides what follows. */
  shutdown(domain: Domain, reason: number): void {
    const { log, virqs } = this.parts;
    this.latchReason(domain, reason);
    if (domain.isPrivileged) {
      this.parts.shutdownHost(domain.shutdownCode);
      return;
    }
    if (domain.isShutDown || domain.dying) return;
    this.switching(domain, () => {
      domain.isShutDown = true;
    });
    domain.console.finish();
    const why = domain.crashMessage === undefined ? '' : `: ${domain.crashMessage.split('\n', 1)[0]}`;
    log.info(`dom${domain.domid}: shut down, ${reasonName(domain.shutdownCode)}${why}`);
    this.stopProcess(domain);
    virqs.raiseGlobal(VIRQ_DOM_EXC);
  }
  /** It did what it must not: an end with a message. */
  crash(domain: Domain, message: string): void {
    if (!domain.isShutDown && !domain.dying) domain.crashMessage ??= message;
    this.shutdown(domain, SHUTDOWN_crash);
  }
  /** XEN_DOMCTL_resumedomain */
  resume(domain: Domain): void {
    if (!domain.isShutDown || domain.dying) return;
    const code = domain.shutdownCode;
    this.switching(domain, () => {
      domain.isShutDown = false;
      domain.shutdownCode = -1;
    });
    domain.crashMessage = undefined;
    // Xen: a suspend that was cancelled returns 1 in the old domain, 0 in a new one.
    for (const vcpu of domain.vcpus)
      if (vcpu.waiting?.kind === 'shutdown') vcpu.finish(code === SHUTDOWN_suspend ? 1 : 0);
    if (!domain.isPaused) this.continueProcess(domain);
  }

  // ---- the end ----

  /** Its process has ended. Unless it was asked to, that is a crash. */
  exited(
    domain: Domain,
    end: {
      crash?: string | undefined;
      code?: number | undefined;
      signal?: string | undefined;
      printed?: string | undefined;
    },
  ): void {
    this.switching(domain, () => {
      domain.hasProcess = false;
    });
    if (domain.isShutDown || domain.dying) return;
    const how = end.signal !== undefined ? `killed by ${end.signal}` : `exit code ${end.code ?? 'unknown'}`;
    const printed = end.printed === undefined ? '' : `, and had printed: ${end.printed}`;
    this.crash(domain, end.crash ?? `its process ended: ${how}${printed}`);
  }

  /** XEN_DOMCTL_destroydomain: the domain begins to die; its teardown does the rest. */
  destroy(domain: Domain): void {
    if (domain.dying) return;
    const { processes, log } = this.parts;
    log.info(`dom${domain.domid}: dying`);
    this.switching(domain, () => {
      domain.dying = true;
    });
    if (domain.hasMemory) {
      Atomics.store(domain.memory.words, domain.controlWord('stop'), 1);
      futexWake(domain.memory.address + 4 * domain.controlWord('run'));
      for (const vcpu of domain.vcpus) vcpu.wake();
    }
    if (domain.hasProcess) processes.kill(domain);
    this.parts.teardowns.begin(domain);
  }
}

/** The registers that the kernel's bundle has: where it begins, and its argument. Only the first start goes by them. */
function startWith(vcpu: Vcpu, context: Uint8Array): void {
  const view = new DataView(context.buffer, context.byteOffset);
  const { user_regs } = vcpu_guest_context.at;
  vcpu.start(getU64(view, user_regs + cpu_user_regs.at.rip), getU64(view, user_regs + cpu_user_regs.at.rsi));
}

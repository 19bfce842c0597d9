// The hypervisor: its parts put together, and the four doors to it: trap, step, nextDeadline, domainExited.
// It never blocks and never throws for what a guest does.
import { availableParallelism, totalmem } from 'node:os';
import {
  type Clock,
  type Log,
  MAX_GRANT_FRAMES,
  PAGE_SIZE,
  VIRQ_TBUF,
  VIRQ_XENOLITH_replacement,
  XEN_EBUSY,
  XEN_EFAULT,
  XEN_EIO,
  XEN_ESRCH,
  XEN_SCHEDULER_CREDIT2,
} from '#pvbus';
import { ConsoleRing } from './console-ring.ts';
import { Continuations } from './continuations.ts';
import { cpuKhz } from './cpu-frequency.ts';
import { DEFERRED, type Result } from './deferred.ts';
import type { Domain, DomainProcesses, Vcpu } from './domain.ts';
import { DomainLife } from './domain-life.ts';
import { DomainTable } from './domain-table.ts';
import { DoorbellPages } from './doorbell-pages.ts';
import { dumpState } from './dump.ts';
import { EventChannels } from './event-channels.ts';
import { GrantTables } from './grant-tables.ts';
import { GuestClocks } from './guest-clock.ts';
import { NOWHERE } from './guest-memory.ts';
import { HypercallFaults } from './hypercall-faults.ts';
import { HypercallTable } from './hypercall-table.ts';
import { ConsoleIo } from './hypercalls/console-io.ts';
import { Domctl } from './hypercalls/domctl.ts';
import { EventChannelOp } from './hypercalls/event-channel-op.ts';
import { GrantTableOp } from './hypercalls/grant-table-op.ts';
import { MemoryOp } from './hypercalls/memory-op.ts';
import { PlatformOp } from './hypercalls/platform-op.ts';
import { SchedOp } from './hypercalls/sched-op.ts';
import { SchedulerOp } from './hypercalls/scheduler-op.ts';
import { SetTimerOp } from './hypercalls/set-timer-op.ts';
import { Sysctl } from './hypercalls/sysctl.ts';
import { VcpuOp } from './hypercalls/vcpu-op.ts';
import { type BuildInfo, XenVersion } from './hypercalls/xen-version.ts';
import { type Confinement, XenolithOp } from './hypercalls/xenolith-op.ts';
import { HostMemory } from './memory.ts';
import { MemoryAudit } from './memory-audit.ts';
import { makePolicy } from './policies/make-policy.ts';
import { Pools } from './pools.ts';
import { Refusals } from './refusals.ts';
import { Cpupools } from './scheduling/cpupools.ts';
import { Scheduler } from './scheduling/scheduler.ts';
import { Succession } from './succession.ts';
import { Teardowns } from './teardown.ts';
import { Timers } from './timers.ts';
import { Trace } from './trace.ts';
import { VcpuTimers } from './vcpu-timers.ts';
import { Virqs } from './virq.ts';
import { WallClock } from './wall-clock.ts';
import { Watchdogs } from './watchdogs.ts';

export { DEFERRED, type Result } from './deferred.ts';

const DEFAULT_MAX_DOMAINS = 1024;
const UNCONFINED: Confinement = { layers: 0, engineBytes: 0 };
/** dom0 maps for everybody: as many handles as all its guests could grant. */
const DOM0_MAPTRACK_FRAMES = 65_536;

export interface HypervisorOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly processes: DomainProcesses;
  /** Pages that domains can have together; by default what the machine has. */
  readonly hostPages?: number;
  /** Files hold what was touched and no more; see memory-audit.ts. */
  readonly filesAreExact?: boolean;
  /** By default nothing confines domains' processes. */
  readonly confinement?: Confinement;
  readonly maxDomains?: number;
  /** Every send traps: for tracing, comparing, and hosts without futex_waitv. */
  readonly mediated?: boolean;
  /** pCPUs; by default those this process may use. */
  readonly nrCpus?: number;
  /** For how long each was idle; by default, for how long no domU had it. */
  readonly idleNs?: (cpu: number) => number;
  /** CLOCK_MONOTONIC_RAW in ns, from which guests' TSC is made; without it, from `clock`. */
  readonly rawClock?: () => number;
  /** Nominal; cycles are ns times this. */
  readonly cpuKhz?: number;
  readonly build?: Partial<BuildInfo>;
}

export class Hypervisor {
  readonly domains: DomainTable;
  readonly host: HostMemory;
  readonly console = new ConsoleRing();
  readonly life: DomainLife;
  readonly teardowns: Teardowns;
  readonly pools: Pools;
  readonly doorbells: DoorbellPages;
  readonly trace: Trace;
  /** Has a step and a deadline of its own. */
  readonly scheduler: Scheduler;
  readonly cpupools: Cpupools;
  /** The domain has memory, and its vCPUs may soon trap: called before its process starts. */
  onDomainCreated: (domain: Domain) => void = () => {};
  /** The domain's memory is about to go: nobody traps from it any more. */
  onDomainGone: (domain: Domain) => void = () => {};
  /** The hardware domain shut down (SHUTDOWN_*): the whole host does. */
  onHostShutdown: (reason: number) => void = () => {};
  private readonly clock: Clock;
  private readonly log: Log;
  private readonly timers = new Timers();
  private readonly continuations = new Continuations();
  private readonly virqs: Virqs;
  private readonly guestClocks: GuestClocks;
  private readonly succession: Succession;
  private readonly hypercalls: HypercallTable;

  constructor(options: HypervisorOptions) {
    const { clock, log, processes } = options;
    const mediated = options.mediated ?? false;
    const nrCpus = options.nrCpus ?? availableParallelism();
    this.clock = clock;
    this.log = {
      info: line => this.say(line),
      warn: line => this.say(line, 'warn'),
      error: line => this.say(line, 'error'),
    };
    this.outerLog = log;
    this.domains = new DomainTable(options.maxDomains ?? DEFAULT_MAX_DOMAINS);
    this.host = new HostMemory(options.hostPages ?? Math.floor(totalmem() / PAGE_SIZE));
    this.doorbells = new DoorbellPages(mediated);
    this.pools = new Pools();
    this.scheduler = new Scheduler({
      clock,
      processes,
      nrCpus,
      account: (vcpu, cpuTimeNs) => this.life.accountFor(vcpu, cpuTimeNs),
      enter: (vcpu, runstate) => this.life.enter(vcpu, runstate),
    });
    const { scheduler } = this;
    this.cpupools = new Cpupools(scheduler, this.domains, makePolicy, XEN_SCHEDULER_CREDIT2);
    const { cpupools } = this;
    const trace = new Trace({
      clock,
      log: this.log,
      domains: this.domains,
      nrCpus,
      pcpuOf: vcpu => scheduler.cpuOf(vcpu),
      halfFull: () => this.virqs.raiseGlobal(VIRQ_TBUF),
    });
    this.trace = trace;
    scheduler.onSwitch = (cpu, from, to) => trace.switched(cpu, from, to);
    const events = new EventChannels(this.doorbells, trace);
    const grants = new GrantTables(this.domains, this.pools);
    this.virqs = new Virqs(events);
    const vcpuTimers = new VcpuTimers(this.timers, this.virqs, clock);
    const { domains, host, pools, doorbells, timers, virqs, continuations } = this;
    this.teardowns = new Teardowns({
      log: this.log,
      domains,
      host,
      events,
      virqs,
      grants,
      pools,
      doorbells,
      timers,
      vcpuTimers,
      memoryGoing: domain => {
        audit.forget(domain);
        scheduler.removeDomain(domain);
        trace.domainRemoved(domain.domid);
        this.onDomainGone(domain);
      },
    });
    const khz = options.cpuKhz ?? cpuKhz();
    const wallClock = new WallClock(clock);
    this.guestClocks = new GuestClocks({ clock, wallClock, domains, raw: options.rawClock, khz });
    const { guestClocks } = this;
    this.life = new DomainLife({
      trace,
      clock,
      log: this.log,
      processes,
      domains,
      host,
      events,
      virqs,
      pools,
      guestClocks,
      scheduler,
      cpupools,
      teardowns: this.teardowns,
      mediated,
      memoryMade: domain => {
        this.onDomainCreated(domain);
        this.tracing(domain);
      },
      shutdownHost: reason => this.onHostShutdown(reason),
    });
    const { life } = this;
    const audit = new MemoryAudit(timers, clock, life, this.log, options.filesAreExact ?? true);
    this.succession = new Succession({ processes, life, events, pools, continuations, timers });
    const watchdogs = new Watchdogs(timers, clock, life, this.log);
    const say = (line: string): void => this.say(line);
    const schedulerOp = new SchedulerOp(scheduler, cpupools);
    const refusals = new Refusals(this.log);
    const faults = new HypercallFaults({
      ...{ clock, timers, continuations },
      replace: (nr, make) => this.hypercalls.replace(nr, make),
    });
    this.hypercalls = new HypercallTable({
      memory: new MemoryOp(domains, host, continuations, audit),
      timer: new SetTimerOp(vcpuTimers, clock),
      version: new XenVersion({ ...ownBuild, ...options.build }),
      console: new ConsoleIo(),
      platform: new PlatformOp(guestClocks),
      grants: new GrantTableOp(domains, grants, continuations, trace, refusals),
      vcpu: new VcpuOp(life, events, vcpuTimers, guestClocks),
      sched: new SchedOp(domains, life, watchdogs, timers, clock, nrCpus, scheduler),
      events: new EventChannelOp(domains, events, virqs, continuations),
      sysctl: new Sysctl({
        domains,
        life,
        host,
        console: this.console,
        trace,
        scheduler,
        cpupools,
        schedulerOp,
        idleNs: options.idleNs ?? (cpu => scheduler.pcpus[cpu]!.idle(clock.now())),
        nrCpus,
        cpuKhz: khz,
        debugKey: key => {
          for (const line of dumpState(this, key)) this.say(line);
        },
      }),
      domctl: new Domctl({
        domains,
        life,
        events,
        virqs,
        clock,
        guestClocks,
        nrCpus,
        scheduler,
        cpupools,
        schedulerOp,
        say,
      }),
      xenolith: new XenolithOp({
        ...{ domains, pools, faults },
        succession: this.succession,
        trace: trace.buffers,
        confinement: options.confinement ?? UNCONFINED,
      }),
      continuations,
      refusals,
    });
    this.nrCpus = nrCpus;
  }
  private readonly nrCpus: number;
  private readonly outerLog: Log;

  /** The control domain, which is the hardware domain too. It runs at once. Throws: without it there is no host. */
  createDomain0({ max_vcpus, max_pages }: { max_vcpus: number; max_pages: number }): Domain {
    const domain = this.life.create({
      domid: 0,
      maxVcpus: max_vcpus,
      maxEvtchnPort: 0xffffffff,
      maxGrantFrames: MAX_GRANT_FRAMES,
      maxMaptrackFrames: DOM0_MAPTRACK_FRAMES,
      ssidref: 0,
      handle: new Uint8Array(16),
      isPrivileged: true,
      isXenstore: false,
      cpupool: 0,
      now: this.clock.now(),
      say: line => this.say(line),
    });
    if (typeof domain === 'number') throw new Error(`cannot create domain 0: ${domain}`);
    this.virqs.hardwareDomain = domain;
    this.life.makeVcpus(domain, this.nrCpus);
    for (const vcpu of domain.vcpus) {
      vcpu.initialised = true;
      this.life.bringUp(vcpu);
    }
    const rc = this.life.setMaxPages(domain, max_pages);
    if (rc < 0 || !this.host.take(domain, max_pages)) throw new Error(`no memory for domain 0: ${max_pages} pages`);
    domain.physmap.populate(0, max_pages);
    this.life.unpause(domain);
    return domain;
  }

  /**
   * A vCPU's hypercall: its result, >= 0 or -errno, or DEFERRED when `complete` of the vCPU is called
   * with it later. untrusted: the numbers may be anything at all.
   */
  trap(domid: number, vcpuId: number, nr: number, a0 = 0, a1 = 0, a2 = 0, a3 = 0, a4 = 0): Result {
    const domain = this.domains.byId(domid);
    const vcpu = domain?.vcpus[vcpuId];
    if (domain === undefined || vcpu === undefined) return -XEN_ESRCH;
    // Xen: the vCPUs of a dying domain do not run any more.
    if (domain.dying) return DEFERRED;
    if (!domain.hasMemory) return -XEN_EFAULT;
    // One hypercall at a time; a thread that does not wait for its answer must not confuse two of them.
    if (vcpu.deferred) return -XEN_EBUSY;
    let result: Result;
    const { incarnation } = vcpu;
    vcpu.trapping = true;
    this.trace.hypercall(vcpu, nr, a0, a1, a2);
    try {
      result = this.hypercalls.call(vcpu, nr, exact(a0), exact(a1), exact(a2), exact(a3), exact(a4));
    } catch (error) {
      result = this.failed(vcpu, error);
    }
    vcpu.trapping = false;
    // The thread that asked is gone; the answer would be taken for another one's.
    if (vcpu.incarnation !== incarnation) return DEFERRED;
    if (result === DEFERRED) vcpu.deferred = true;
    else this.trace.hypercallReturn(vcpu, result);
    return result;
  }

  /** The domain's vCPUs can now be told what to record, and how hypercalls are answered later is known. */
  private tracing(domain: Domain): void {
    const { trace } = this;
    trace.domainAdded(domain.domid);
    trace.tell(domain);
    for (const vcpu of domain.vcpus) {
      const { complete } = vcpu;
      vcpu.complete = result => {
        trace.hypercallReturn(vcpu, result);
        complete(result);
      };
    }
  }

  /** Due timers, slices of long hypercalls, slices of dying domains. */
  step(): 'progress' | 'idle' {
    const now = this.clock.now();
    let progress = this.timers.runDue(now);
    if (this.guestClocks.step(now)) progress = true;
    if (this.continuations.step(this.guarded)) progress = true;
    if (this.teardowns.step()) progress = true;
    return progress ? 'progress' : 'idle';
  }

  /** When `step` has something to do again, ns; undefined: only after a trap or an exit. */
  nextDeadline(): number | undefined {
    const timer = this.timers.nextDeadline();
    const { deadline } = this.guestClocks;
    return timer === undefined || deadline === undefined ? (timer ?? deadline) : Math.min(timer, deadline);
  }

  /** The domain's process has ended: unless that was to be expected, the domain has crashed. */
  domainExited(
    domid: number,
    end: {
      crash?: string | undefined;
      code?: number | undefined;
      signal?: string | undefined;
      printed?: string | undefined;
    },
  ): void {
    const domain = this.domains.byId(domid);
    if (domain !== undefined) this.life.exited(domain, end);
  }

  /** untrusted: a vCPU says what it wants (XENOLITH_WANT_*). */
  noted(domid: number, vcpuId: number, want: number): void {
    const vcpu = this.domains.byId(domid)?.vcpus[vcpuId];
    if (vcpu !== undefined) this.scheduler.noted(vcpu, want);
  }

  /** A vCPU has got a link, e.g. a new one: tell it what its domain shares with others. */
  linked(vcpu: Vcpu): void {
    this.life.linked(vcpu);
  }

  /** The thread of a privileged domain's vCPU is gone, wherever it was; another one is to be linked. */
  vacated(vcpu: Vcpu): void {
    this.succession.vacate(vcpu);
  }
  /** The other one has its link: it is told what the vCPU has. */
  taken(vcpu: Vcpu): void {
    this.succession.taken(vcpu);
  }

  /** A process has taken another's place, and serves. */
  replaced(): void {
    this.virqs.raiseGlobal(VIRQ_XENOLITH_replacement);
  }

  /** All state as text; the same that debug keys print. */
  dump(): string {
    return dumpState(this, '*').join('\n');
  }
  get timersPending(): number {
    return this.timers.size;
  }

  private readonly guarded = (vcpu: Vcpu, go: () => Result): Result => {
    try {
      return go();
    } catch (error) {
      return this.failed(vcpu, error);
    }
  };
  /** We are wrong, not the guest. It costs the caller its domain, and nobody else anything. */
  private failed(vcpu: Vcpu, error: unknown): number {
    const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.log.error(`internal error in a hypercall of dom${vcpu.domain.domid} vcpu${vcpu.id}: ${what}`);
    if (!vcpu.domain.isPrivileged) this.life.crash(vcpu.domain, 'an internal error of the hypervisor');
    return -XEN_EIO;
  }

  private say(line: string, level: 'info' | 'warn' | 'error' = 'info'): void {
    this.console.append(`(XEN) ${line}\n`);
    this.outerLog[level](line);
  }
}

/** An argument as an exact integer; what is none points nowhere. */
const exact = (a: number): number => (Number.isSafeInteger(a) ? a : NOWHERE);

const ownBuild: BuildInfo = {
  extraversion: '.0-xenolith',
  changeset: '',
  compiler: `Node.js ${process.version}`,
  compileBy: '',
  compileDomain: '',
  compileDate: '',
  commandLine: '',
  buildId: new Uint8Array(0),
};

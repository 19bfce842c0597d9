// The record of one domain and of its vCPUs. What happens to it is in domain-life.ts.
import {
  type Arena,
  type DomainLayout,
  domain_control,
  futexWake,
  KIND_DOORBELL,
  KIND_FORGET,
  KIND_OVERLAY,
  KIND_POOL,
  KIND_RESTORE,
  NR_VIRQS,
  PAGE_SIZE,
  setU64,
  VCPU_INFO_UNIT,
  vcpu_page,
  vcpuFrame,
  wakeVcpu,
  XENOLITH_SLEEPS_poll,
  XENOLITH_WANT_grant,
} from '#pvbus';
import { ConsoleLines } from './console-ring.ts';
import { DEFERRED, type Result } from './deferred.ts';
import { DomainGrants } from './domain-grants.ts';
import type { DoorbellPair } from './doorbell-pages.ts';
import { TwoLevelEvents } from './event-2l.ts';
import type { EventAbi } from './event-abi.ts';
import type { Physmap } from './memory.ts';
import type { Pool } from './pools.ts';
import { PortTable } from './port-table.ts';
import type { Replacement } from './replacements.ts';
import { Runstate } from './runstate.ts';
import { SharedInfoPage, VcpuInfoArea } from './shared-info.ts';
import type { Timer } from './timers.ts';

/** The way to one vCPU's thread for what only a message can carry: memory. */
export interface VcpuLink {
  /** KIND_* with its two numbers (abi/xenolith.ts), and the memory the kind speaks of. */
  send(kind: number, a: number, b: number, arena?: Arena): void;
}

/** The processes domains run as. Handed in: the core starts nothing itself. */
export interface DomainProcesses {
  /** The domain has memory: give it a process, whose vCPUs get their links before this returns. 0 or -errno. */
  start(domain: Domain): number;
  /** End it; `Hypervisor.domainExited` follows. */
  kill(domain: Domain): void;
  stop(domain: Domain): void;
  cont(domain: Domain): void;
  /** Start one that waits to take the place of the one `vcpu` is a thread of. 0 or -errno. */
  prepareSuccessor(vcpu: Vcpu): number;
  /** Is there one? Its end wakes `vcpu`. */
  successorWaits(vcpu: Vcpu): boolean;
  /**
   * Give all vCPUs of that process to the one that waits, and end it. 0 or -errno. The vCPUs are vacated
   * (Hypervisor.vacated), get their links, and are taken (Hypervisor.taken) before this returns.
   */
  handOver(vcpu: Vcpu): number;
  /** Kill the process `vcpu` is a thread of, or stop it for so long. 0 or -errno. */
  strike(vcpu: Vcpu, stopMs: number): number;
  /** The process `vcpu` is a thread of, or this one, has so much left of XENOLITH_EXHAUST_*. 0 or -errno. */
  exhaust(vcpu: Vcpu | undefined, what: number, left: number): number;
  /** The oldest one with this number or a higher one. */
  replacement(number: number): Replacement | undefined;
  /** What threads use that are no vCPU's, or one's that is down, is vCPU 0's. */
  cpuTimeNs(domain: Domain, vcpu: number): number;
  /** Does its thread want no CPU at this moment, as far as Linux knows? */
  sleeps(domain: Domain, vcpu: number): boolean;
  /** Let the vCPU's thread run on these pCPUs only. */
  place(domain: Domain, vcpu: number, pcpus: readonly number[]): void;
}

/** What a vCPU that has no answer yet waits for. */
export type Waiting =
  | { readonly kind: 'block' }
  | { readonly kind: 'poll'; readonly ports: readonly number[] }
  | { readonly kind: 'down' }
  | { readonly kind: 'shutdown'; readonly reason: number };
/** Does an event end it? */
export const waitsForEvent = (waiting: Waiting | undefined): boolean =>
  waiting !== undefined && (waiting.kind === 'block' || waiting.kind === 'poll');

const ABOUT_MAPPING: ReadonlySet<number> = new Set([KIND_POOL, KIND_OVERLAY, KIND_RESTORE]);

export class Vcpu {
  readonly domain: Domain;
  readonly id: number;
  /** XEN_DOMCTL_max_vcpus has made it. */
  made = false;
  initialised = false;
  /** Runs when its domain does. */
  up = false;
  readonly info = new VcpuInfoArea();
  /** Guest address of its vcpu_info; 0 where it has none in the domain's memory. */
  infoAddress = 0;
  infoRegistered = false;
  /** The port each VIRQ is bound to, 0 for none. Global VIRQs are in vCPU 0's. */
  readonly virqToPort = new Uint32Array(NR_VIRQS);
  /** VIRQ_TIMER, at a time or in a rhythm; see vcpu-timers.ts. */
  singleshot: Timer | undefined;
  periodic: Timer | undefined;
  periodNs = 0;
  readonly runstate: Runstate;
  /** Guest address of a vcpu_runstate_info kept up to date, or -1. */
  runstateArea = -1;
  /** Guest address of a second vcpu_time_info, or -1. */
  timeArea = -1;
  /** The vcpu_guest_context it was given. */
  context: Uint8Array | undefined;
  /** Physical CPUs, as bits: where it may run and where it should. Stored for the scheduler. */
  hardAffinity: boolean[] = [];
  softAffinity: boolean[] = [];
  pinOverride: number | undefined;

  link: VcpuLink | undefined;
  /** Its thread sees the domain's memory through the mapping of vCPU 0's, which is told what lies over it. */
  sharesMapping = false;
  /** Called when the hypervisor wakes its thread. The scheduler sets it. */
  onWake: () => void = () => {};
  /** Called with a deferred hypercall's result. The transport sets it. */
  complete: (result: number) => void = () => {};
  /** Called when the thread is gone that the last trap was by. The transport sets it. */
  forgetTrap: () => void = () => {};
  /** Counts the threads this vCPU has been. */
  incarnation = 0;
  /** A hypercall of this vCPU is being served at this moment: it runs, whatever its words say. */
  trapping = false;
  /** A hypercall of this vCPU has no answer yet. */
  deferred = false;
  waiting: Waiting | undefined;
  /** Ends a poll. */
  pollTimer: Timer | undefined;
  /** What goes on when the deferred hypercall was an element of a multicall. */
  goOn: ((result: number) => Result) | undefined;

  /** Peers whose direct channels this vCPU hears, with how many. */
  readonly hears = new Map<Domain, number>();
  /** Ends it hears of channels that its domain has to itself. */
  localChannels = 0;
  private readonly known = new Set<number>();

  constructor(domain: Domain, id: number, now: number) {
    this.domain = domain;
    this.id = id;
    this.runstate = new Runstate(now);
  }

  /** Its vcpu_info is at `address` of the domain's memory from here on, which the domain's own code is told. */
  moveInfo(address: number): void {
    const { memory } = this.domain;
    this.info.moveTo(memory, address);
    this.infoAddress = address;
    Atomics.store(memory.words, this.pageWord('info'), (address / VCPU_INFO_UNIT) | 0);
  }
  /** Where its thread is to begin, and with what. It waits for the first of the two. */
  start(entry: number, argument: number): void {
    const { memory } = this.domain;
    setU64(memory.view, 4 * this.pageWord('argument'), argument);
    memory.words[this.pageWord('entry') + 1] = Math.floor(entry / 2 ** 32);
    Atomics.store(memory.words, this.pageWord('entry'), entry | 0);
    futexWake(memory.address + 4 * this.pageWord('entry'));
  }
  private pageWord(field: keyof typeof vcpu_page.at): number {
    return (vcpuFrame(this.domain.layout, this.id) * PAGE_SIZE + vcpu_page.at[field]) / 4;
  }

  /** Send a control message. False when there is nobody to send it to yet. */
  tell(kind: number, a: number, b: number, arena?: Arena): boolean {
    if (this.link === undefined || (this.sharesMapping && ABOUT_MAPPING.has(kind))) return false;
    this.link.send(kind, a, b, arena);
    if (kind === KIND_DOORBELL) this.known.add(a);
    else if (kind === KIND_POOL)
      this.known.add(this.domain.domid === b % 2 ** 16 ? Math.floor(b / 2 ** 16) : b % 2 ** 16);
    else if (kind === KIND_FORGET) this.known.delete(a);
    return true;
  }
  /** Has it been told of memory shared with `peer`? */
  knows(peer: Domain): boolean {
    return this.known.has(peer.domid);
  }

  /** Give a deferred hypercall its result. */
  finish(result: number): void {
    if (!this.deferred) return;
    this.waiting = undefined;
    const { goOn } = this;
    if (goOn !== undefined) {
      this.goOn = undefined;
      const last = goOn(result);
      if (last === DEFERRED) return;
      result = last;
    }
    this.deferred = false;
    this.complete(result);
  }

  /** Its thread is gone, wherever it was; another one will come. Events stay pending. */
  vacate(): void {
    this.incarnation++;
    this.link = undefined;
    this.known.clear();
    this.deferred = false;
    this.waiting = undefined;
    this.goOn = undefined;
    this.forgetTrap();
    const { memory, layout } = this.domain;
    const page = (vcpuFrame(layout, this.id) * PAGE_SIZE) / 4;
    for (const field of ['reply_sleeping', 'event_sleeping', 'crash_length', 'want'] as const)
      Atomics.store(memory.words, page + vcpu_page.at[field] / 4, 0);
  }

  /** Bump its event word, so that it looks at its events and control messages. */
  wake(): void {
    const { domain } = this;
    if (!domain.hasMemory) return;
    wakeVcpu(domain.memory, domain.layout, this.id);
    this.onWake();
  }

  /** Does it sleep until an event? A hint where its thread blocks without trapping: the word is the guest's. */
  get blocked(): boolean {
    if (this.trapping) return false;
    if (this.waiting !== undefined) return waitsForEvent(this.waiting);
    const { domain } = this;
    if (!domain.hasMemory) return false;
    // What the killed process last said: nothing sleeps there any more.
    if (domain.isShutDown && !domain.hasProcess) return false;
    const { words } = domain.memory;
    if (Atomics.load(words, this.pageWord('event_sleeping')) === 0) return false;
    // Another thread may sleep in its stead meanwhile; who waits for a pCPU is awake all the same.
    return Atomics.load(words, this.pageWord('want')) !== XENOLITH_WANT_grant;
  }
  /** Does it sleep until some port is pending, masked or not? Its own words say so. */
  get polls(): boolean {
    const { domain } = this;
    if (!domain.hasMemory) return false;
    return Atomics.load(domain.memory.words, this.pageWord('event_sleeping')) === XENOLITH_SLEEPS_poll;
  }
}

export interface DomainConfig {
  readonly domid: number;
  readonly maxVcpus: number;
  /** The highest port it may have. */
  readonly maxEvtchnPort: number;
  readonly maxGrantFrames: number;
  readonly maxMaptrackFrames: number;
  readonly ssidref: number;
  readonly handle: Uint8Array;
  /** The first domain: control and hardware domain in one. */
  readonly isPrivileged: boolean;
  readonly isXenstore: boolean;
  readonly cpupool: number;
  readonly now: number;
  readonly say: (line: string) => void;
}

export class Domain {
  readonly domid: number;
  readonly isPrivileged: boolean;
  readonly isXenstore: boolean;
  readonly ssidref: number;
  handle: Uint8Array;
  /** A domain this one may act upon (XEN_DOMCTL_set_target). */
  target: Domain | undefined;
  /** XENOLITH_SERVICE_*: the program that is its process; 0: a kernel in its memory. */
  service = 0;
  readonly vcpus: readonly Vcpu[];
  readonly createdAt: number;

  // Memory. Pages are counted here, promised and given by HostMemory.
  totPages = 0;
  maxPages = 0;
  outstandingPages = 0;
  private map: Physmap | undefined;
  readonly shared = new SharedInfoPage();
  /** Pools this domain grants from, by grantee. */
  readonly pools = new Map<Domain, Pool>();
  readonly readonlyPools = new Map<Domain, Pool>();
  /** Jumps in the mapping of its memory; see Physmap.seams. */
  seams = 0;

  readonly ports: PortTable;
  eventAbi: EventAbi = new TwoLevelEvents(this);
  readonly doorbells = new Map<Domain, DoorbellPair>();
  readonly grants: DomainGrants;
  readonly watchdogs: (Timer | undefined)[] = [undefined, undefined];
  readonly console: ConsoleLines;

  // Life.
  /** The controller unpaused it once: building is over. */
  creationFinished = false;
  controllerPauses = 0;
  /** SHUTDOWN_*, latched by the first who says one; -1 for none. */
  shutdownCode = -1;
  isShutDown = false;
  crashMessage: string | undefined;
  dying = false;
  /** It is not in the table any more. */
  gone = false;
  hasProcess = false;
  /** Its process is stopped because it did not yield. */
  preempted = false;
  /** The id of the cpupool it is in. */
  cpupool: number;
  /** Of a privileged domain, which is not scheduled: what it was given, to be shown. */
  unscheduled = { weight: 256, cap: 0 };
  timeOffsetSeconds = 0;

  constructor(config: DomainConfig) {
    this.domid = config.domid;
    this.isPrivileged = config.isPrivileged;
    this.isXenstore = config.isXenstore;
    this.ssidref = config.ssidref;
    this.handle = config.handle;
    this.createdAt = config.now;
    this.cpupool = config.cpupool;
    this.vcpus = Array.from({ length: config.maxVcpus }, (_, id) => new Vcpu(this, id, config.now));
    this.ports = new PortTable(config.maxEvtchnPort);
    this.grants = new DomainGrants(config.maxGrantFrames, config.maxMaptrackFrames);
    this.console = new ConsoleLines(line => config.say(`(d${config.domid}) ${line}`));
  }

  /** A vCPU that exists. */
  vcpu(id: number): Vcpu | undefined {
    const vcpu = this.vcpus[id];
    return vcpu?.made ? vcpu : undefined;
  }

  get hasMemory(): boolean {
    return this.map !== undefined;
  }
  /** Only once it has memory. */
  get physmap(): Physmap {
    if (this.map === undefined) throw new Error(`dom${this.domid} has no memory yet`);
    return this.map;
  }
  set physmap(map: Physmap) {
    this.map = map;
  }
  /** All its frames: gfn g is at byte g * 4096. Only once it has memory. */
  get memory(): Arena {
    return this.physmap.arena;
  }
  get layout(): DomainLayout {
    return this.physmap.layout;
  }

  get isPaused(): boolean {
    return this.controllerPauses > 0;
  }
  /** Byte of a field of the control page, as an index of `memory.words`. */
  controlWord(field: keyof typeof domain_control.at): number {
    return (this.layout.control * PAGE_SIZE + domain_control.at[field]) / 4;
  }
}

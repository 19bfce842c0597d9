// The processes of domains, as the core thread sees them: a waiting shell becomes a domU's, dom0 has two.
import { readdirSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import {
  type Arena,
  allowCpus,
  allowedCpus,
  type Clock,
  closeFd,
  type DomainLayout,
  EXIT_FOR_GOOD,
  KIND_BOOT,
  KIND_VCPU,
  type Log,
  PAGE_SIZE,
  processCpuTime,
  SystemCallError,
  sendControl,
  signalProcess,
  socketPair,
  VCPU_CRASH_RECORD,
  VCPU_CRASH_RECORD_SIZE,
  vcpu_page,
  vcpuFrame,
  XEN_EBUSY,
  XEN_ENOENT,
  XEN_ENOEXEC,
  XEN_ENOMEM,
  XEN_EOPNOTSUPP,
  XEN_ESRCH,
  XENOLITH_EXHAUST_over,
  XENOLITH_SERVICE_driver_domain,
} from '#pvbus';
import { Comeback } from './comeback.ts';
import type { Domain, DomainProcesses, Vcpu } from './domain.ts';
import { Exhaustion } from './exhaustion.ts';
import { type Heir, Heirs } from './heirs.ts';
import { SocketLink } from './link.ts';
import type { Program, Start, ToCore, ToMain } from './process-messages.ts';
import { type Replacement, Replacements } from './replacements.ts';

interface Process {
  readonly id: number;
  readonly program: Program;
  pid: number;
  domain: Domain | undefined;
  /** The vCPUs of the domain that are threads of this process. */
  vcpus: readonly number[];
  /** A descriptor of it; -1 while there is none. */
  pidfd: number;
  /** By SIGSTOP, and by SIGKILL: now, or once it is there. */
  stopped: boolean;
  killed: boolean;
  /** By a fault, until then (monotonic ns). */
  heldUntil: number | undefined;
  /** Of a domU with several vCPUs: their threads but the first. */
  readonly threads: Map<number, Thread>;
  /** Linux's numbers of its threads, by those they have in its own namespace. */
  readonly numbers: Map<number, number>;
  /** The pCPUs its vCPUs were put on. */
  readonly places: Map<number, readonly number[]>;
  exited: boolean;
  /** Of its vCPUs: `before` is what they used as threads of other processes. */
  cpuTimeNs: number;
  before: number;
  /** What of it is the first vCPU's. */
  firstNs: number;
  /** The one that is to take its place while it lives. */
  heir: Heir<Process> | undefined;
}
interface Thread {
  readonly tid: number;
  /** CPU time: what it had used that is not this vCPU's, and what is; ns. */
  from: number;
  used: number;
}
interface Shell {
  readonly process: Process;
  readonly socket: number;
}
/** A process that is to be started in the place of one that has ended. */
interface Vacancy {
  readonly domain: Domain;
  readonly program: Program;
  readonly vcpus: readonly number[];
  readonly before: number;
  /** Monotonic ns. */
  readonly at: number;
}
interface End {
  readonly crash?: string;
  readonly code: number | undefined;
  readonly signal: string | undefined;
}

const { signals } = constants;
/** /proc/stat counts in hundredths of a second. */
const NS_PER_TICK = 1e7;

/** Which of dom0's vCPUs live in which process. */
const DOM0: readonly { program: Program; vcpus: readonly number[] }[] = [
  { program: 'xenstored.js', vcpus: [1] },
  { program: 'dom0.js', vcpus: [0, 2, 3, 4, 5, 6, 7] },
];
export const DOM0_VCPUS = 8;
/** What a domain's process is when it is no kernel's. */
const SERVICES: Readonly<Record<number, Program>> = { [XENOLITH_SERVICE_driver_domain]: 'driver-domain.js' };
/** Another process may take the place of one of these: their domain outlives them. */
const REPLACEABLE: ReadonlySet<Program> = new Set<Program>(['dom0.js', 'driver-domain.js', 'xenstored.js']);
/** These have another one take over while they live. */
const HANDS_OVER: ReadonlySet<Program> = new Set<Program>(['xenstored.js']);
/** Guests wait for these when one has ended. */
const HAS_HEIRS: ReadonlySet<Program> = new Set<Program>(['dom0.js', 'driver-domain.js']);
/** Starting a shell takes a processor that the domain just created can use better for so long. */
const SHELL_DELAY_NS = 100e6;
/** After one that ended by itself. */
const SHELL_RETRY_NS = 5e9;
/** The first descriptor after a child's standard three. */
const FIRST_SOCKET = 3;

export class ProcessTable implements DomainProcesses {
  /** Called when a domain's process has ended, with what it left to say. */
  onExit: (domain: Domain, end: End) => void = () => {};
  /** Called when another thread takes a vCPU: before it has its link, and after. */
  onVacated: (vcpu: Vcpu) => void = () => {};
  onTaken: (vcpu: Vcpu) => void = () => {};
  /** Called when a process has taken another's place, and serves. */
  onReplaced: () => void = () => {};
  private readonly post: (message: ToMain) => void;
  private readonly log: Log;
  private readonly clock: Clock;
  private readonly processes = new Map<number, Process>();
  private readonly byDomain = new WeakMap<Domain, readonly Process[]>();
  /** The number that Linux has for each pCPU. */
  readonly cpus: readonly number[] = allowedCpus();
  private readonly signal: (pidfd: number, signal: number) => void;
  /** Of domains whose process has ended: what their vCPUs had used when it was last looked at. */
  private readonly spent = new WeakMap<Domain, Map<number, number>>();
  /** Of programs that may be replaced, by domain. */
  private readonly comebacks = new WeakMap<Domain, Map<Program, Comeback>>();
  private readonly replacements = new Replacements();
  private vacancies: Vacancy[] = [];
  private readonly heirs = new Heirs<Process>(
    (program, vcpus) => this.prepareHeir(program, vcpus),
    heir => this.dismiss(heir),
  );
  private shell: Shell | undefined;
  /** How a shell that waited has ended; until another one's self-test goes well, no domain gets one. */
  private unfit: string | undefined;
  private prepareAt: number | undefined;
  private nextId = 1;

  constructor(post: (message: ToMain) => void, log: Log, clock: Clock, signal = signalProcess) {
    this.post = post;
    this.log = log;
    this.clock = clock;
    this.signal = signal;
  }

  /** Have a shell wait for the next domain. */
  prepare(): void {
    this.prepareAt = undefined;
    try {
      this.shell ??= this.startShell();
    } catch (error) {
      this.refused('a shell for the next domain', error);
      this.prepareAt = this.clock.now() + SHELL_RETRY_NS;
    }
  }
  /** The host has no descriptors left, or no memory; whoever needed them goes without. */
  private refused(what: string, error: unknown): number {
    if (!(error instanceof SystemCallError)) throw error;
    this.log.warn(`${what}: ${error.message}`);
    return -XEN_ENOMEM;
  }
  /** When `runDue` has something to do (monotonic ns). */
  get deadline(): number | undefined {
    let first = this.prepareAt;
    const heirs = this.heirs.deadline;
    if (heirs !== undefined && (first === undefined || heirs < first)) first = heirs;
    for (const { at } of this.vacancies) if (first === undefined || at < first) first = at;
    for (const { heldUntil } of this.held) if (first === undefined || heldUntil! < first) first = heldUntil;
    return first;
  }
  /** Start what is due: true when a shell was. */
  runDue(now: number): boolean {
    const due = this.vacancies.filter(({ at }) => at <= now);
    if (due.length > 0) this.vacancies = this.vacancies.filter(({ at }) => at > now);
    for (const vacancy of due) this.fill(vacancy);
    for (const process of this.held.filter(one => one.heldUntil! <= now)) this.letGo(process);
    this.heirs.runDue(now);
    if (this.prepareAt === undefined || this.prepareAt > now) return false;
    this.prepare();
    return true;
  }
  private startShell(): Shell {
    const [near, far] = socketPair();
    return { process: this.spawn('domain-shell.cjs', [far], [0], undefined), socket: near };
  }
  /** `before`: processor time of the vCPUs so far. */
  private spawn(
    program: Program,
    sockets: number[],
    vcpus: readonly number[],
    domain: Domain | undefined,
    start: Start = 'first',
    before = 0,
  ): Process {
    const id = this.nextId++;
    const cpuTimeNs = before;
    const unborn = {
      firstNs: 0,
      pid: 0,
      pidfd: -1,
      stopped: false,
      killed: false,
      exited: false,
      heldUntil: undefined,
      heir: undefined,
    };
    const known = { places: new Map(), threads: new Map(), numbers: new Map() };
    const process: Process = { id, program, domain: undefined, vcpus, cpuTimeNs, before, ...known, ...unborn };
    this.processes.set(id, process);
    if (domain) this.belongs(process, domain);
    const numbered = vcpus.map((v, i) => `${v}:${FIRST_SOCKET + i}`).join(',');
    const failures = start === 'successor' && domain ? this.comeback(domain, program).waited : 0;
    this.post({ op: 'spawn', id, program, sockets, vcpus: numbered, start, failures });
    return process;
  }

  start(domain: Domain): number {
    const service = SERVICES[domain.service];
    try {
      if (domain.domid === 0) for (const { program, vcpus } of DOM0) this.startProgram(domain, program, vcpus);
      else if (service !== undefined) this.startProgram(domain, service, numbersOf(domain.vcpus));
      else if (this.unfit !== undefined) {
        this.log.error(`dom${domain.domid} gets no process: shells end before they are a domain's: ${this.unfit}`);
        return -XEN_ENOEXEC;
      } else this.takeShell(domain);
      this.reviewHeirs();
      return 0;
    } catch (error) {
      return this.refused(`dom${domain.domid} gets no process`, error);
    }
  }
  private startProgram(domain: Domain, program: Program, vcpus: readonly number[]): void {
    const sockets = socketPairs(vcpus.length).map(([near, far], i) => {
      this.boot(domain, vcpus[i]!, near);
      return far;
    });
    this.spawn(program, sockets, vcpus, domain);
  }
  private takeShell(domain: Domain): void {
    const [, ...siblings] = domain.vcpus;
    // order: what may fail first.
    this.shell ??= this.startShell();
    const pairs = socketPairs(siblings.length);
    const { process, socket } = this.shell;
    this.shell = undefined;
    this.prepareAt = this.clock.now() + SHELL_DELAY_NS;
    this.belongs(process, domain);
    process.vcpus = numbersOf(domain.vcpus);
    this.boot(domain, 0, socket);
    siblings.forEach((vcpu, i) => {
      this.bootSibling(vcpu, socket, pairs[i]!);
    });
  }
  /** Another thread of the process is to be this vCPU: it gets its control socket through vCPU 0's. */
  private bootSibling(vcpu: Vcpu, through: number, [near, far]: [number, number]): void {
    vcpu.sharesMapping = true;
    this.boot(vcpu.domain, vcpu.id, near);
    try {
      sendControl(through, KIND_VCPU, vcpu.id, 0, far);
    } catch (error) {
      // It has just ended, which is to be heard.
      if (!(error instanceof SystemCallError)) throw error;
    }
    closeFd(far);
  }
  private boot(domain: Domain, vcpu: number, socket: number): void {
    const { layout, memory } = domain;
    const link = new SocketLink(socket, memory, layout, vcpu);
    domain.vcpus[vcpu]!.link = link;
    link.send(KIND_BOOT, domain.domid | (vcpu << 16), layout.maxPages + layout.maxVcpus * 2 ** 32, memory);
  }
  kill(domain: Domain): void {
    for (const process of this.of(domain)) this.end(process);
    // Nobody is there, and nobody comes.
    if (!this.vacancies.some(vacancy => vacancy.domain === domain)) return;
    this.vacancies = this.vacancies.filter(vacancy => vacancy.domain !== domain);
    if (this.of(domain).length === 0) this.hasEnded(domain, { code: undefined, signal: 'SIGKILL' });
  }
  private hasEnded(domain: Domain, end: End): void {
    this.reviewHeirs();
    this.onExit(domain, end);
  }
  private end(process: Process): void {
    process.killed = true;
    if (process.pidfd >= 0) this.signal(process.pidfd, signals.SIGKILL);
  }
  stop(domain: Domain): void {
    for (const process of this.of(domain)) {
      if (process.stopped) continue;
      process.stopped = true;
      if (process.pidfd >= 0) this.signal(process.pidfd, signals.SIGSTOP);
    }
  }
  /** One that was not stopped hears nothing: a domain that is unpaused for the first time has better things to do. */
  cont(domain: Domain): void {
    for (const process of this.of(domain)) {
      if (!process.stopped) continue;
      process.stopped = false;
      if (process.pidfd >= 0 && process.heldUntil === undefined) this.signal(process.pidfd, signals.SIGCONT);
    }
  }
  /** Stopped by a fault. */
  private held: Process[] = [];

  strike({ domain, id }: Vcpu, stopMs: number): number {
    const process = this.of(domain).find(p => p.vcpus.includes(id));
    if (process === undefined || process.pidfd < 0) return -XEN_ESRCH;
    if (stopMs === 0) {
      this.signal(process.pidfd, signals.SIGKILL);
      return 0;
    }
    process.heldUntil = this.clock.now() + stopMs * 1e6;
    this.held = [...this.held.filter(one => one !== process), process];
    this.signal(process.pidfd, signals.SIGSTOP);
    return 0;
  }
  private readonly exhaustion = new Exhaustion();

  exhaust(vcpu: Vcpu | undefined, what: number, left: number): number {
    const whose = vcpu && this.of(vcpu.domain).find(p => p.vcpus.includes(vcpu.id));
    if (vcpu !== undefined && (whose === undefined || whose.pid === 0)) return -XEN_ESRCH;
    const pid = whose?.pid ?? process.pid;
    if (left !== XENOLITH_EXHAUST_over) return this.exhaustion.exhaust(pid, what, left);
    const heirs = whose === undefined ? [...this.processes.values()].filter(p => p.pid !== 0).map(p => p.pid) : [];
    return this.exhaustion.relieve(pid, what, heirs);
  }
  private letGo(process: Process): void {
    process.heldUntil = undefined;
    this.held = this.held.filter(one => one !== process);
    if (!process.stopped && process.pidfd >= 0) this.signal(process.pidfd, signals.SIGCONT);
  }
  private of(domain: Domain): readonly Process[] {
    return this.byDomain.get(domain) ?? [];
  }
  private belongs(process: Process, domain: Domain | undefined): void {
    const before = process.domain;
    const left = before && this.of(before).filter(other => other !== process);
    if (before && left) this.byDomain.set(before, left);
    process.domain = domain;
    if (domain) this.byDomain.set(domain, [...this.of(domain), process]);
  }
  place(domain: Domain, vcpu: number, pcpus: readonly number[]): void {
    const process = this.of(domain).find(p => p.vcpus.includes(vcpu));
    if (!process) return;
    process.places.set(vcpu, pcpus);
    if (process.pid !== 0) this.allow(process, vcpu, pcpus);
  }
  /** The thread of a vCPU, or all threads of a process that has one vCPU, on these pCPUs from now on. */
  private allow(process: Process, vcpu: number, pcpus: readonly number[]): void {
    const cpus = pcpus.map(pcpu => this.cpus[pcpu]!);
    // One that has just ended, or a machine that has lost a CPU: nothing is to be done.
    for (const tid of process.vcpus.length === 1 ? threadsOf(process.pid) : this.threadOf(process, vcpu))
      allowCpus(tid, cpus);
  }
  /** untrusted: the domain says which thread it is; it can say no other's than its own. */
  private threadOf({ domain, pid, numbers }: Process, vcpu: number): number[] {
    const page = vcpuFrame(domain!.layout, vcpu) * PAGE_SIZE;
    const tid = domain!.memory.view.getUint32(page + vcpu_page.at.tid, true);
    if (tid === 0) return [];
    const known = numbers.get(tid);
    if (known !== undefined && threadsOf(pid).includes(known)) return [known];
    const thread = threadNumbered(pid, tid);
    if (thread !== undefined) numbers.set(tid, thread);
    return thread === undefined ? [] : [thread];
  }
  /** A vCPU's CPU time; that of threads of its process that are no vCPU is the first vCPU's. */
  cpuTimeNs(domain: Domain, vcpu: number): number {
    const process = this.of(domain).find(p => p.vcpus.includes(vcpu));
    if (!process) return this.spent.get(domain)?.get(vcpu) ?? 0;
    if (vcpu !== process.vcpus[0]) return this.threadTimeNs(process, vcpu);
    if (process.pid !== 0 && !process.exited)
      process.cpuTimeNs = Math.max(process.cpuTimeNs, process.before + (processCpuTime(process.pid) ?? 0));
    // order: the process, then its other vCPUs: what these use meanwhile would be the first one's, and charged twice.
    let others = 0;
    for (const other of process.vcpus) if (other !== vcpu) others += this.threadTimeNs(process, other);
    process.firstNs = Math.max(process.firstNs, process.cpuTimeNs - others);
    return process.firstNs;
  }
  sleeps(domain: Domain, vcpu: number): boolean {
    const process = this.of(domain).find(p => p.vcpus.includes(vcpu));
    // One that has ended, with another one to come; or a thread that is not there yet: it asks for a pCPU when it is.
    if (!process || process.pid === 0) return true;
    const tid = vcpu === process.vcpus[0] ? process.pid : process.threads.get(vcpu)?.tid;
    return tid === undefined || !isRunnable(process.pid, tid);
  }
  /** dom0's threads are not told apart: theirs is the first one's. */
  private threadTimeNs(process: Process, vcpu: number): number {
    const { domain, pid, threads } = process;
    if (!domain || domain.domid === 0 || pid === 0) return 0;
    let thread = threads.get(vcpu);
    if (thread === undefined) {
      const [tid] = this.threadOf(process, vcpu);
      if (tid === undefined) return 0;
      // What it used before it was known as a vCPU's has been the first one's.
      thread = { tid, from: threadTime(pid, tid), used: 0 };
      threads.set(vcpu, thread);
    }
    const time = threadTime(pid, thread.tid);
    // What it uses while its vCPU is down is the first one's.
    if (domain.vcpus[vcpu]!.up) thread.used = Math.max(thread.used, time - thread.from);
    else thread.from = time - thread.used;
    return thread.used;
  }

  /** For how long Linux had nothing to run on a pCPU. */
  idleNs(pcpu: number): number {
    const line = readFileSync('/proc/stat', 'latin1')
      .split('\n')
      .find(text => text.startsWith(`cpu${this.cpus[pcpu]} `));
    return Number(line?.split(' ')[4] ?? 0) * NS_PER_TICK;
  }

  /** What the main thread says of its children. */
  hear(message: ToCore): void {
    const process = this.processes.get(message.id);
    if (!process) return;
    if (message.op === 'spawned') this.spawned(process, message.pid, message.pidfd);
    else if (message.op === 'exited') this.ended(process, message);
    else if (message.op === 'fit') this.unfit = undefined;
    else if (message.op === 'said') this.said(process, message.line);
    else if (process.domain) this.serves(process.domain, process);
  }
  private serves(domain: Domain, { program, vcpus, pid }: Process): void {
    const now = this.clock.now();
    const comeback = this.comeback(domain, program);
    this.reviewHeirs();
    if (comeback.everServed) this.heirs.serves(program, now);
    comeback.serves(now);
    if (this.replacements.serves(domain, vcpus[0]!, pid, now)) this.onReplaced();
  }
  /** untrusted: of a process that may have become a domain's; its length, and how many there are, have been bounded. */
  private said({ domain, pid }: Process, line: string): void {
    this.log.warn(`${domain ? `the process of dom${domain.domid}` : 'a shell'}, ${pid}, prints: ${line}`);
  }
  private spawned(process: Process, pid: number, pidfd: number): void {
    process.pid = pid;
    process.pidfd = pidfd;
    // What was asked of it before it was there.
    if (process.killed) this.end(process);
    else if (process.stopped && pidfd >= 0) this.signal(pidfd, signals.SIGSTOP);
    for (const [vcpu, pcpus] of process.places) this.allow(process, vcpu, pcpus);
  }
  private ended(process: Process, { code, signal, failure, detail }: Extract<ToCore, { op: 'exited' }>): void {
    process.exited = true;
    this.processes.delete(process.id);
    this.exhaustion.ended(process.pid);
    if (process.pidfd >= 0) closeFd(process.pidfd);
    process.pidfd = -1;
    const { domain } = process;
    this.belongs(process, undefined);
    if (!domain) {
      const how = failure ?? signal ?? `exit code ${code}`;
      const known = detail === undefined ? how : `${how}, ${detail}`;
      if (process === this.shell?.process && failure === undefined && signal !== 'SIGKILL') this.isUnfit(known);
      else this.unused(process, known);
      return;
    }
    if (detail !== undefined) this.log.warn(`the process of dom${domain.domid} has ended: ${signal}, ${detail}`);
    this.spent.set(domain, new Map(this.spent.get(domain)).set(process.vcpus[0]!, process.cpuTimeNs));
    for (const vcpu of process.vcpus) (domain.vcpus[vcpu]!.link as SocketLink | undefined)?.close();
    const crash = failure ?? crashRecord(domain.memory, domain.layout, process.vcpus);
    const end = { ...(crash !== undefined && { crash }), code, signal };
    if (REPLACEABLE.has(process.program) && !domain.dying && !domain.isShutDown) this.replace(domain, process, end);
    else this.hasEnded(domain, end);
  }
  /** A shell that waited has ended by itself: this Node, under this machine's filter, is none for a domain. */
  private isUnfit(how: string): void {
    if (how !== this.unfit) this.log.error(`a shell has ended before it was a domain's: ${how}; domains get none`);
    this.unfit = how;
    this.noShell();
  }
  private noShell(): void {
    closeFd(this.shell!.socket);
    this.shell = undefined;
    this.prepareAt = this.clock.now() + SHELL_RETRY_NS;
  }
  /** One that was no domain's has ended. */
  private unused(process: Process, how: string): void {
    if (this.shell?.process === process) this.noShell();
    const lost = this.heirs.lost(process, this.clock.now());
    for (const socket of lost?.sockets ?? []) closeFd(socket);
    for (const other of this.processes.values()) {
      if (other.heir?.process !== process) continue;
      this.disinherit(other);
      for (const vcpu of other.vcpus) other.domain?.vcpus[vcpu]?.wake();
    }
    if (!this.retired.delete(process)) this.log.warn(`a prepared ${process.program} ended: ${how}`);
  }

  // ---- processes that are replaced ----

  /** Handed over their vCPUs, and are being ended. */
  private readonly retired = new Set<Process>();

  private comeback(domain: Domain, program: Program): Comeback {
    const known = this.comebacks.get(domain) ?? new Map<Program, Comeback>();
    this.comebacks.set(domain, known);
    const comeback = known.get(program) ?? new Comeback();
    known.set(program, comeback);
    return comeback;
  }
  /** A process has ended that its domain can do without for a moment. */
  private replace(domain: Domain, process: Process, end: End): void {
    const { program, vcpus, cpuTimeNs: before } = process;
    const whose = domain.isPrivileged ? '' : `dom${domain.domid}: `;
    const who = `${whose}${program}, process ${process.pid}`;
    const how = end.crash ?? end.signal ?? `exit code ${end.code}`;
    const comeback = this.comeback(domain, program);
    // What has never worked will not: somebody waits for the host to be there. Or it says so itself.
    if ((domain.isPrivileged && !comeback.everServed) || end.code === EXIT_FOR_GOOD) {
      this.hasEnded(domain, end);
      return;
    }
    const now = this.clock.now();
    const delay = comeback.ended(now, end.signal === 'SIGKILL');
    const { failures } = comeback;
    this.replacements.ended(domain, vcpus[0]!, now);
    if (delay === 0) this.log.warn(`${who}, has ended: ${how}; another one takes its place`);
    else if (comeback.worthSaying)
      this.log.error(
        `${who}, has ended: ${how}; ${failures} in a row did not serve, another one comes in ${delay / 1e9} s`,
      );
    // It waits for what the one that has ended was to tell it.
    if (process.heir) this.disinherit(process);
    const vacancy = { domain, program, vcpus, before, at: now + delay };
    if (delay === 0) this.fill(vacancy);
    else this.vacancies.push(vacancy);
  }
  private fill(vacancy: Vacancy): void {
    const { domain, program, vcpus, before } = vacancy;
    // One that keeps ending is told how often.
    const heir = this.comeback(domain, program).waited === 0 ? this.heirs.take(program, vcpus) : undefined;
    if (heir) {
      heir.process.before = before;
      this.belongs(heir.process, domain);
      this.occupy(domain, vcpus, heir.sockets);
      if (domain.isPaused) this.stop(domain);
      return;
    }
    let pairs: [number, number][];
    try {
      pairs = socketPairs(vcpus.length);
    } catch (error) {
      this.refused(`nothing takes the place of ${program} yet`, error);
      this.vacancies.push({ ...vacancy, at: this.clock.now() + SHELL_RETRY_NS });
      return;
    }
    const far = pairs.map(([, theirs]) => theirs);
    this.occupy(
      domain,
      vcpus,
      pairs.map(([ours]) => ours),
    );
    const process = this.spawn(program, far, vcpus, domain, 'successor', before);
    process.stopped = domain.isPaused;
  }
  private occupy(domain: Domain, vcpus: readonly number[], sockets: readonly number[]): void {
    vcpus.forEach((id, i) => {
      const vcpu = domain.vcpus[id]!;
      (vcpu.link as SocketLink | undefined)?.close();
      this.onVacated(vcpu);
      this.boot(domain, id, sockets[i]!);
      this.onTaken(vcpu);
    });
  }
  /** The one that waited will not take the place of `process`. */
  private disinherit(process: Process): void {
    const { heir } = process;
    process.heir = undefined;
    if (heir) this.dismiss(heir);
  }
  private dismiss(heir: Heir<Process>): void {
    for (const socket of heir.sockets) closeFd(socket);
    if (heir.process.exited) return;
    this.retired.add(heir.process);
    this.end(heir.process);
  }
  /** A process that waits to be these vCPUs. Throws SystemCallError. */
  private startHeir(program: Program, vcpus: readonly number[], start: Start): Heir<Process> {
    const pairs = socketPairs(vcpus.length);
    const far = pairs.map(([, theirs]) => theirs);
    return { process: this.spawn(program, far, vcpus, undefined, start), sockets: pairs.map(([ours]) => ours) };
  }
  private prepareHeir(program: Program, vcpus: readonly number[]): Heir<Process> | undefined {
    try {
      return this.startHeir(program, vcpus, 'heir');
    } catch (error) {
      this.refused(`no process waits to take the place of ${program}`, error);
      return undefined;
    }
  }
  /** Have them wait for those whose end would hold up a domain. */
  private reviewHeirs(): void {
    const served = [...this.processes.values()].filter(({ domain }) => domain !== undefined && domain.domid !== 0);
    for (const program of HAS_HEIRS) {
      const vcpus =
        program === 'dom0.js'
          ? served.length > 0 && DOM0.find(one => one.program === program)?.vcpus
          : served.find(one => one.program === program)?.vcpus;
      if (vcpus) this.heirs.wanted(program, vcpus, this.clock.now());
      else this.heirs.unwanted(program);
    }
  }

  replacement(number: number): Replacement | undefined {
    return this.replacements.from(number);
  }

  prepareSuccessor({ domain, id }: Vcpu): number {
    const process = this.of(domain).find(p => p.vcpus.includes(id));
    if (!process || !HANDS_OVER.has(process.program)) return -XEN_EOPNOTSUPP;
    if (process.heir) return -XEN_EBUSY;
    const { program, vcpus } = process;
    try {
      process.heir = this.startHeir(program, vcpus, 'take-over');
      return 0;
    } catch (error) {
      return this.refused(`no process waits to take over from ${program}`, error);
    }
  }
  successorWaits({ domain, id }: Vcpu): boolean {
    return this.of(domain).some(process => process.vcpus.includes(id) && process.heir !== undefined);
  }
  handOver({ domain, id }: Vcpu): number {
    const process = this.of(domain).find(p => p.vcpus.includes(id));
    const heir = process?.heir;
    if (!process || !heir) return -XEN_ENOENT;
    process.heir = undefined;
    heir.process.before = this.cpuTimeNs(domain, id);
    this.belongs(process, undefined);
    this.belongs(heir.process, domain);
    this.occupy(domain, process.vcpus, heir.sockets);
    this.log.info(`${process.program}, process ${process.pid}, has handed over to process ${heir.process.pid}`);
    this.comeback(domain, process.program).serves(this.clock.now());
    this.retired.add(process);
    // It sleeps in this very call, of which nothing may come back: its words are another one's now.
    this.end(process);
    return 0;
  }
}

const numbersOf = (vcpus: readonly Vcpu[]): number[] => vcpus.map(({ id }) => id);

/** All of them or none. Throws SystemCallError. */
function socketPairs(count: number): [number, number][] {
  const pairs: [number, number][] = [];
  try {
    while (pairs.length < count) pairs.push(socketPair());
  } catch (error) {
    for (const fd of pairs.flat()) closeFd(fd);
    throw error;
  }
  return pairs;
}

/** The threads of a process; none of one that has ended. */
function threadsOf(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).map(Number);
  } catch {
    return [];
  }
}
/** The thread of a process that has this number in the process's own namespace. */
const threadNumbered = (pid: number, tid: number): number | undefined =>
  threadsOf(pid).find(thread => {
    try {
      const numbers = /^NSpid:\t(.*)$/m.exec(readFileSync(`/proc/${pid}/task/${thread}/status`, 'latin1'))?.[1];
      return Number(numbers?.split('\t').at(-1) ?? thread) === tid;
    } catch {
      return false; // it has ended
    }
  });
/** ns; 0 of one that has ended. */
function threadTime(pid: number, tid: number): number {
  try {
    return Number(readFileSync(`/proc/${pid}/task/${tid}/schedstat`, 'latin1').split(' ', 1)[0]);
  } catch {
    return 0;
  }
}
/** Does it run, or could it if Linux had a CPU for it? Also true of one that has ended. */
function isRunnable(pid: number, tid: number): boolean {
  try {
    const text = readFileSync(`/proc/${pid}/task/${tid}/stat`, 'latin1');
    return text[text.lastIndexOf(')') + 2] === 'R';
  } catch {
    return true;
  }
}

/** What a thread of the domain wrote before it ended its process. untrusted: bounded, and made printable. */
function crashRecord(memory: Arena, layout: DomainLayout, vcpus: readonly number[]): string | undefined {
  for (const vcpu of vcpus) {
    const page = vcpuFrame(layout, vcpu) * PAGE_SIZE;
    const length = Math.min(memory.view.getUint32(page + vcpu_page.at.crash_length, true), VCPU_CRASH_RECORD_SIZE);
    if (length === 0) continue;
    const at = page + VCPU_CRASH_RECORD;
    const text = new TextDecoder().decode(memory.bytes.slice(at, at + length));
    return `vcpu${vcpu}: ${text.replace(/[^\x20-\x7e\n]/g, '?')}`;
  }
  return undefined;
}

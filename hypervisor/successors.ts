// Processes that take the place of others, of domains that outlive theirs: of one that has ended, at once, or later when
// they keep ending; of one that lives, when it hands over.
import { type Clock, closeFd, EXIT_FOR_GOOD, type Log, XEN_EBUSY, XEN_ENOENT, XEN_EOPNOTSUPP } from '#pvbus';
import { Comeback } from './comeback.ts';
import type { Domain, Vcpu } from './domain.ts';
import { type End, howEnded } from './end.ts';
import { type Heir, Heirs } from './heirs.ts';
import type { HostProcess } from './host-process.ts';
import type { HostProcesses } from './host-processes.ts';
import type { Program, Start } from './process-messages.ts';
import { Replacements } from './replacements.ts';
import type { Shortage } from './shortage.ts';
import { boot, closeLink, farOf, nearOf, type SocketPair, socketPairs } from './vcpu-sockets.ts';

/** A process that is to be started in the place of one that has ended. */
interface Vacancy {
  readonly domain: Domain;
  readonly before: HostProcess;
  /** Monotonic ns. */
  readonly at: number;
}
export interface SuccessorsParts {
  readonly processes: HostProcesses;
  readonly log: Log;
  readonly clock: Clock;
  readonly shortage: Shortage;
  /** Another thread takes a vCPU: before it has its link, and after. */
  readonly vacated: (vcpu: Vcpu) => void;
  readonly taken: (vcpu: Vcpu) => void;
  /** Which vCPUs of dom0 a program of dom0's is. */
  readonly vcpusOf: (program: Program) => readonly number[];
}

/** Another process may take the place of one of these: their domain outlives them. */
const REPLACEABLE: ReadonlySet<Program> = new Set<Program>(['dom0.js', 'driver-domain.js', 'xenstored.js']);
/** These have another one take over while they live. */
const HANDS_OVER: ReadonlySet<Program> = new Set<Program>(['xenstored.js']);
/** Guests wait for these when one has ended. */
const HAS_HEIRS: ReadonlySet<Program> = new Set<Program>(['dom0.js', 'driver-domain.js']);
/** Until a place is tried again to be filled that could not be. */
const RETRY_NS = 5e9;

export class Successors {
  readonly replacements = new Replacements();
  private readonly parts: SuccessorsParts;
  private readonly comebacks = new WeakMap<Domain, Map<Program, Comeback>>();
  private readonly heirs = new Heirs<HostProcess>(
    (program, vcpus) => this.prepareHeir(program, vcpus),
    heir => this.dismiss(heir),
  );
  private vacancies: Vacancy[] = [];
  /** Are being ended, and not missed. */
  private readonly retired = new WeakSet<HostProcess>();

  constructor(parts: SuccessorsParts) {
    this.parts = parts;
  }

  private comeback(domain: Domain, program: Program): Comeback {
    const known = this.comebacks.get(domain) ?? new Map<Program, Comeback>();
    this.comebacks.set(domain, known);
    const comeback = known.get(program) ?? new Comeback();
    known.set(program, comeback);
    return comeback;
  }

  /** When `runDue` has something to do (monotonic ns). */
  get deadline(): number | undefined {
    let first = this.heirs.deadline;
    for (const { at } of this.vacancies) if (first === undefined || at < first) first = at;
    return first;
  }
  runDue(now: number): void {
    const due = this.vacancies.filter(({ at }) => at <= now);
    if (due.length > 0) this.vacancies = this.vacancies.filter(({ at }) => at > now);
    for (const vacancy of due) this.fill(vacancy);
    this.heirs.runDue(now);
  }

  // ---- one that has ended ----

  /** A domain's process says that it serves: true when it is the first one to do so in the place of another. */
  serves(domain: Domain, { program, vcpus, pid }: HostProcess): boolean {
    const now = this.parts.clock.now();
    const comeback = this.comeback(domain, program);
    this.review();
    if (comeback.everServed) this.heirs.serves(program, now);
    comeback.serves(now);
    return this.replacements.serves(domain, vcpus[0]!, pid, now);
  }
  /** A domain's process has ended: false when with it the domain has. */
  replace(domain: Domain, process: HostProcess, end: End): boolean {
    const { program } = process;
    if (!REPLACEABLE.has(program) || domain.dying || domain.isShutDown) return false;
    const comeback = this.comeback(domain, program);
    // What has never worked will not: somebody waits for the host to be there. Or it says so itself.
    if ((domain.isPrivileged && !comeback.everServed) || end.code === EXIT_FOR_GOOD) return false;
    const now = this.parts.clock.now();
    const delay = comeback.ended(now, end.signal === 'SIGKILL');
    this.replacements.ended(domain, process.vcpus[0]!, now);
    this.tell(domain, process, end, delay, comeback);
    // It waits for what the one that has ended was to tell it.
    this.disinherit(process);
    const vacancy = { domain, before: process, at: now + delay };
    if (delay === 0) this.fill(vacancy);
    else this.vacancies.push(vacancy);
    return true;
  }
  private tell(domain: Domain, { program, pid }: HostProcess, end: End, delay: number, comeback: Comeback): void {
    const { log } = this.parts;
    const whose = domain.isPrivileged ? '' : `dom${domain.domid}: `;
    const ended = `${whose}${program}, process ${pid}, has ended: ${howEnded(end)}`;
    const row = `${comeback.failures} in a row did not serve, another one comes in ${delay / 1e9} s`;
    if (delay === 0) log.warn(`${ended}; another one takes its place`);
    else if (comeback.worthSaying) log.error(`${ended}; ${row}`);
  }
  private fill(vacancy: Vacancy): void {
    const { processes, clock, shortage } = this.parts;
    const { domain, before } = vacancy;
    const { program, vcpus } = before;
    // One that keeps ending is told how often.
    const failures = this.comeback(domain, program).waited;
    const heir = failures === 0 ? this.heirs.take(program, vcpus) : undefined;
    if (heir) {
      this.occupy(domain, before, heir);
      return;
    }
    let pairs: SocketPair[];
    try {
      pairs = socketPairs(vcpus.length);
    } catch (error) {
      shortage(`nothing takes the place of ${program} yet`, error);
      this.vacancies.push({ ...vacancy, at: clock.now() + RETRY_NS });
      return;
    }
    const process = processes.spawn({ program, vcpus, sockets: farOf(pairs), start: 'successor', failures });
    this.occupy(domain, before, { process, sockets: nearOf(pairs) });
  }
  private occupy(domain: Domain, before: HostProcess, { process, sockets }: Heir<HostProcess>): void {
    const { processes, vacated, taken } = this.parts;
    processes.give(process, domain);
    process.takesPlaceOf(before);
    before.vcpus.forEach((id, i) => {
      const vcpu = domain.vcpus[id]!;
      closeLink(vcpu);
      vacated(vcpu);
      boot(vcpu, sockets[i]!);
      taken(vcpu);
    });
    if (domain.isPaused) process.stop();
  }
  /** Nobody comes any more: true when somebody was to. */
  forget(domain: Domain): boolean {
    const others = this.vacancies.filter(vacancy => vacancy.domain !== domain);
    const some = others.length < this.vacancies.length;
    this.vacancies = others;
    return some;
  }

  // ---- heirs ----

  /** A process that was no domain's has ended: true when that was to be. */
  unused(process: HostProcess): boolean {
    const { processes, clock } = this.parts;
    const lost = this.heirs.lost(process, clock.now());
    for (const socket of lost?.sockets ?? []) closeFd(socket);
    for (const other of processes.all()) {
      if (other.heir?.process !== process) continue;
      this.disinherit(other);
      for (const vcpu of other.vcpus) other.domain?.vcpus[vcpu]?.wake();
    }
    return this.retired.has(process);
  }
  /** Have them wait for those whose end would hold up a domain. */
  review(): void {
    const { processes, clock, vcpusOf } = this.parts;
    const served = [...processes.all()].filter(({ domain }) => domain !== undefined && domain.domid !== 0);
    for (const program of HAS_HEIRS) {
      const vcpus =
        program === 'dom0.js'
          ? served.length > 0 && vcpusOf(program)
          : served.find(one => one.program === program)?.vcpus;
      if (vcpus) this.heirs.wanted(program, vcpus, clock.now());
      else this.heirs.unwanted(program);
    }
  }
  private prepareHeir(program: Program, vcpus: readonly number[]): Heir<HostProcess> | undefined {
    try {
      return this.startHeir(program, vcpus, 'heir');
    } catch (error) {
      this.parts.shortage(`no process waits to take the place of ${program}`, error);
      return undefined;
    }
  }
  /** A process that waits to be these vCPUs. Throws SystemCallError. */
  private startHeir(program: Program, vcpus: readonly number[], start: Start): Heir<HostProcess> {
    const pairs = socketPairs(vcpus.length);
    const process = this.parts.processes.spawn({ program, vcpus, sockets: farOf(pairs), start });
    return { process, sockets: nearOf(pairs) };
  }
  /** The one that waited will not take the place of `process`. */
  private disinherit(process: HostProcess): void {
    const { heir } = process;
    process.heir = undefined;
    if (heir) this.dismiss(heir);
  }
  private dismiss({ process, sockets }: Heir<HostProcess>): void {
    for (const socket of sockets) closeFd(socket);
    if (process.exited) return;
    this.retired.add(process);
    process.kill();
  }

  // ---- one that lives, and hands over ----

  prepare({ domain, id }: Vcpu): number {
    const process = this.parts.processes.withVcpu(domain, id);
    if (!process || !HANDS_OVER.has(process.program)) return -XEN_EOPNOTSUPP;
    if (process.heir) return -XEN_EBUSY;
    const { program, vcpus } = process;
    try {
      process.heir = this.startHeir(program, vcpus, 'take-over');
      return 0;
    } catch (error) {
      return this.parts.shortage(`no process waits to take over from ${program}`, error);
    }
  }
  waits({ domain, id }: Vcpu): boolean {
    return this.parts.processes.withVcpu(domain, id)?.heir !== undefined;
  }
  handOver({ domain, id }: Vcpu): number {
    const { processes, log, clock } = this.parts;
    const process = processes.withVcpu(domain, id);
    const heir = process?.heir;
    if (!process || !heir) return -XEN_ENOENT;
    process.heir = undefined;
    process.threads.cpuTimeNs(id); // up to now
    processes.give(process, undefined);
    this.occupy(domain, process, heir);
    log.info(`${process.program}, process ${process.pid}, has handed over to process ${heir.process.pid}`);
    this.comeback(domain, process.program).serves(clock.now());
    this.retired.add(process);
    // It sleeps in this very call, of which nothing may come back: its words are another one's now.
    process.kill();
    return 0;
  }
}

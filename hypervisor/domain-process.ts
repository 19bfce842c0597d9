// The processes of domains, as the core thread sees them: a waiting shell becomes a domU's, dom0 has two.
import {
  type Clock,
  closeFd,
  type Log,
  signalProcess,
  XEN_ENOEXEC,
  XEN_ESRCH,
  XENOLITH_EXHAUST_over,
  XENOLITH_SERVICE_driver_domain,
} from '#pvbus';
import { namedLine } from './confinement/named-line.ts';
import { crashRecord } from './crash-record.ts';
import type { Domain, DomainProcesses, Vcpu } from './domain.ts';
import { type End, howEnded } from './end.ts';
import { Exhaustion } from './exhaustion.ts';
import type { HostProcess } from './host-process.ts';
import { HostProcesses } from './host-processes.ts';
import { NextShell } from './next-shell.ts';
import { linuxCpus } from './pcpus.ts';
import type { Program, ToCore, ToMain } from './process-messages.ts';
import type { Replacement } from './replacements.ts';
import { type Shortage, tellShortage } from './shortage.ts';
import { Strikes } from './strikes.ts';
import { Successors } from './successors.ts';
import { boot, bootAll, bootSibling, closeLink, farOf, nearOf, socketPairs } from './vcpu-sockets.ts';

/** Which of dom0's vCPUs live in which process. */
const DOM0: readonly { program: Program; vcpus: readonly number[] }[] = [
  { program: 'xenstored.js', vcpus: [1] },
  { program: 'dom0.js', vcpus: [0, 2, 3, 4, 5, 6, 7] },
];
export const DOM0_VCPUS = 8;
/** What a domain's process is when it is no kernel's. */
const SERVICES: Readonly<Record<number, Program>> = { [XENOLITH_SERVICE_driver_domain]: 'driver-domain.js' };

export class ProcessTable implements DomainProcesses {
  /** Called when a domain's process has ended, with what it left to say. */
  onExit: (domain: Domain, end: End) => void = () => {};
  /** Called when another thread takes a vCPU: before it has its link, and after. */
  onVacated: (vcpu: Vcpu) => void = () => {};
  onTaken: (vcpu: Vcpu) => void = () => {};
  /** Called when a process has taken another's place, and serves. */
  onReplaced: () => void = () => {};
  private readonly log: Log;
  private readonly logOf: (who: string) => Log;
  private readonly processes: HostProcesses;
  private readonly shell: NextShell;
  private readonly successors: Successors;
  private readonly strikes: Strikes;
  private readonly exhaustion = new Exhaustion();
  private readonly shortage: Shortage;
  /** Of domains whose process has ended: what their vCPUs had used when it was last looked at. */
  private readonly spent = new WeakMap<Domain, Map<number, number>>();

  /** `logOf`: the same log, for what somebody else says. */
  constructor(
    post: (message: ToMain) => void,
    log: Log,
    clock: Clock,
    logOf: (who: string) => Log,
    signal = signalProcess,
  ) {
    const shortage = tellShortage(log);
    const processes = new HostProcesses(post, signal);
    this.log = log;
    this.logOf = logOf;
    this.shortage = shortage;
    this.processes = processes;
    this.shell = new NextShell(processes, log, clock, shortage);
    this.strikes = new Strikes(clock);
    this.successors = new Successors({
      processes,
      log,
      clock,
      shortage,
      vacated: vcpu => this.onVacated(vcpu),
      taken: vcpu => this.onTaken(vcpu),
      vcpusOf: program => DOM0.find(one => one.program === program)!.vcpus,
    });
  }

  /** Have a shell wait for the next domain. */
  prepare(): void {
    this.shell.prepare();
  }
  /** When `runDue` has something to do (monotonic ns). */
  get deadline(): number | undefined {
    let first: number | undefined;
    for (const due of [this.shell.deadline, this.successors.deadline, this.strikes.deadline])
      if (due !== undefined && (first === undefined || due < first)) first = due;
    return first;
  }
  /** Start what is due: true when a shell was. */
  runDue(now: number): boolean {
    this.successors.runDue(now);
    this.strikes.runDue(now);
    return this.shell.runDue(now);
  }

  // ---- what domains ask for ----

  start(domain: Domain): number {
    const service = SERVICES[domain.service];
    try {
      if (domain.domid === 0) for (const { program, vcpus } of DOM0) this.startProgram(domain, program, vcpus);
      else if (service !== undefined) this.startProgram(domain, service, numbersOf(domain.vcpus));
      else if (this.shell.unfit !== undefined) {
        this.log.error(
          `dom${domain.domid} gets no process: shells end before they are a domain's: ${this.shell.unfit}`,
        );
        return -XEN_ENOEXEC;
      } else this.takeShell(domain);
      this.successors.review();
      return 0;
    } catch (error) {
      return this.shortage(`dom${domain.domid} gets no process`, error);
    }
  }
  private startProgram(domain: Domain, program: Program, vcpus: readonly number[]): void {
    const pairs = socketPairs(vcpus.length);
    bootAll(domain, vcpus, nearOf(pairs));
    this.processes.give(this.processes.spawn({ program, vcpus, sockets: farOf(pairs), start: 'first' }), domain);
  }
  private takeShell(domain: Domain): void {
    const [first, ...siblings] = domain.vcpus;
    // order: what may fail first.
    const { process, socket } = this.shell.get();
    const pairs = socketPairs(siblings.length);
    this.shell.taken();
    this.processes.give(process, domain);
    process.vcpus = numbersOf(domain.vcpus);
    boot(first!, socket);
    siblings.forEach((vcpu, i) => {
      bootSibling(vcpu, socket, pairs[i]!);
    });
  }
  kill(domain: Domain): void {
    for (const process of this.processes.of(domain)) process.kill();
    // Nobody is there, and nobody comes.
    if (this.successors.forget(domain) && this.processes.of(domain).length === 0)
      this.hasEnded(domain, { code: undefined, signal: 'SIGKILL' });
  }
  private hasEnded(domain: Domain, end: End): void {
    this.successors.review();
    this.onExit(domain, end);
  }
  stop(domain: Domain): void {
    for (const process of this.processes.of(domain)) process.stop();
  }
  cont(domain: Domain): void {
    for (const process of this.processes.of(domain)) process.cont();
  }
  place(domain: Domain, vcpu: number, pcpus: readonly number[]): void {
    this.processes.withVcpu(domain, vcpu)?.place(
      vcpu,
      pcpus.map(pcpu => linuxCpus[pcpu]!),
    );
  }
  cpuTimeNs(domain: Domain, vcpu: number): number {
    const process = this.processes.withVcpu(domain, vcpu);
    return process ? process.threads.cpuTimeNs(vcpu) : (this.spent.get(domain)?.get(vcpu) ?? 0);
  }
  sleeps(domain: Domain, vcpu: number): boolean {
    // One that has ended, with another one to come, wants nothing.
    return this.processes.withVcpu(domain, vcpu)?.threads.sleeps(vcpu) ?? true;
  }

  strike({ domain, id }: Vcpu, stopMs: number): number {
    return this.strikes.strike(this.processes.withVcpu(domain, id), stopMs);
  }
  exhaust(vcpu: Vcpu | undefined, what: number, left: number): number {
    const whose = vcpu && this.processes.withVcpu(vcpu.domain, vcpu.id);
    if (vcpu !== undefined && (whose === undefined || whose.pid === 0)) return -XEN_ESRCH;
    const pid = whose?.pid ?? process.pid;
    if (left !== XENOLITH_EXHAUST_over) return this.exhaustion.exhaust(pid, what, left);
    const heirs = whose === undefined ? [...this.processes.all()].map(p => p.pid).filter(id => id !== 0) : [];
    return this.exhaustion.relieve(pid, what, heirs);
  }
  replacement(number: number): Replacement | undefined {
    return this.successors.replacements.from(number);
  }
  prepareSuccessor(vcpu: Vcpu): number {
    return this.successors.prepare(vcpu);
  }
  successorWaits(vcpu: Vcpu): boolean {
    return this.successors.waits(vcpu);
  }
  handOver(vcpu: Vcpu): number {
    return this.successors.handOver(vcpu);
  }

  // ---- what the main thread says of its children ----

  hear(message: ToCore): void {
    const process = this.processes.byId(message.id);
    if (!process) return;
    if (message.op === 'spawned') process.spawned(message.pid, message.pidfd);
    else if (message.op === 'exited') this.ended(process, message);
    else if (message.op === 'fit') this.shell.fit();
    else if (message.op === 'said') this.said(process, message.line);
    else if (process.domain) {
      process.serves();
      if (this.successors.serves(process.domain, process)) this.onReplaced();
    }
  }
  /** untrusted: of a process that may have become a domain's; its length, and how many there are, have been bounded. */
  private said({ domain, pid, program, lastWords }: HostProcess, line: string): void {
    lastWords.hear(line);
    if (program === 'driver-domain.js') {
      const { who, text } = namedLine(domain ? `dom${domain.domid}` : 'driver-domain', line);
      this.logOf(who).info(text);
    } else this.log.warn(`${domain ? `the process of dom${domain.domid}` : 'a shell'}, ${pid}, prints: ${line}`);
  }
  private ended(process: HostProcess, exited: Extract<ToCore, { op: 'exited' }>): void {
    const { domain } = process;
    this.processes.forget(process);
    this.exhaustion.ended(process.pid);
    const pidfd = process.ended();
    if (pidfd >= 0) closeFd(pidfd);
    if (domain) this.leftDomain(domain, process, exited);
    else this.wasNoDomains(process, exited);
  }
  private wasNoDomains(
    process: HostProcess,
    { code, signal, failure, detail }: Extract<ToCore, { op: 'exited' }>,
  ): void {
    const how = failure ?? howEnded({ code, signal, printed: process.lastWords.text });
    const known = detail === undefined ? how : `${how}, ${detail}`;
    const byItself = failure === undefined && signal !== 'SIGKILL';
    if (this.shell.ended(process, byItself ? known : undefined) && byItself) return;
    if (!this.successors.unused(process)) this.log.warn(`a prepared ${process.program} ended: ${known}`);
  }
  private leftDomain(
    domain: Domain,
    process: HostProcess,
    { code, signal, failure, detail, printed }: Extract<ToCore, { op: 'exited' }>,
  ): void {
    if (detail !== undefined) this.log.warn(`the process of dom${domain.domid} has ended: ${signal}, ${detail}`);
    this.spent.set(domain, new Map(this.spent.get(domain)).set(process.vcpus[0]!, process.threads.usedNs));
    for (const vcpu of process.vcpus) closeLink(domain.vcpus[vcpu]!);
    const crash = failure ?? crashRecord(domain.memory, domain.layout, process.vcpus);
    const end = { ...(crash !== undefined && { crash }), code, signal, printed: process.lastWords.text ?? printed };
    if (!this.successors.replace(domain, process, end)) this.hasEnded(domain, end);
  }
}

const numbersOf = (vcpus: readonly Vcpu[]): number[] => vcpus.map(({ id }) => id);

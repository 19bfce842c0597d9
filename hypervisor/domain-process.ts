// The processes of domains, as the core thread sees them: a waiting shell becomes a domU's, dom0 has two.
import {
  type Arena,
  closeFd,
  type DomainLayout,
  KIND_BOOT,
  type Log,
  monotonicNow,
  PAGE_SIZE,
  processCpuTime,
  socketPair,
  VCPU_CRASH_RECORD,
  VCPU_CRASH_RECORD_SIZE,
  vcpu_page,
  vcpuFrame,
  XEN_EBUSY,
  XEN_ENOENT,
  XEN_EOPNOTSUPP,
} from '#pvbus';
import type { Domain, DomainProcesses, Vcpu } from './domain.ts';
import { SocketLink } from './link.ts';
import type { Program, Start, ToCore, ToMain } from './process-messages.ts';

interface Process {
  readonly id: number;
  readonly program: Program;
  pid: number;
  domain: Domain | undefined;
  /** The vCPUs of the domain that are threads of this process. */
  vcpus: readonly number[];
  /** By SIGSTOP. */
  stopped: boolean;
  exited: boolean;
  /** Of its vCPUs: `before` is what they used as threads of other processes. */
  cpuTimeNs: number;
  before: number;
  /** The one that waits to take its place. */
  heir: Heir | undefined;
}
interface Shell {
  readonly process: Process;
  readonly socket: number;
}
interface Heir {
  readonly process: Process;
  readonly sockets: readonly number[];
}
interface End {
  readonly crash?: string;
  readonly code: number | undefined;
  readonly signal: string | undefined;
}

/** Which of dom0's vCPUs live in which process, and whether another one may take its place. */
const DOM0: readonly { program: Program; vcpus: readonly number[]; replaceable: boolean }[] = [
  { program: 'xenstored.js', vcpus: [1], replaceable: true },
  { program: 'dom0.js', vcpus: [0, 2, 3, 4], replaceable: false },
];
export const DOM0_VCPUS = 5;
/** So many ends of a program within so long are the end of the host: the next one would end as well. */
const MAX_ENDS = 5;
const ENDS_WITHIN_NS = 10e9;
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
  private readonly post: (message: ToMain) => void;
  private readonly log: Log;
  private readonly processes = new Map<number, Process>();
  /** Of domains whose process has ended: what their vCPUs had used when it was last looked at. */
  private readonly spent = new WeakMap<Domain, Map<number, number>>();
  /** When programs that may be replaced have ended lately (monotonic ns). */
  private readonly ends = new Map<Program, number[]>();
  private shell: Shell | undefined;
  private prepareAt: number | undefined;
  private nextId = 1;

  constructor(post: (message: ToMain) => void, log: Log) {
    this.post = post;
    this.log = log;
  }

  /** Have a shell wait for the next domain. */
  prepare(): void {
    this.prepareAt = undefined;
    this.shell ??= this.startShell();
  }
  /** When `prepare` is due (monotonic ns). */
  get deadline(): number | undefined {
    return this.prepareAt;
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
    const unborn = { pid: 0, stopped: false, exited: false, heir: undefined };
    const process = { id, program, domain, vcpus, cpuTimeNs, before, ...unborn };
    this.processes.set(id, process);
    const places = vcpus.map((v, i) => `${v}:${FIRST_SOCKET + i}`).join(',');
    this.post({ op: 'spawn', id, program, sockets, vcpus: places, start });
    return process;
  }

  start(domain: Domain): void {
    if (domain.domid === 0) {
      for (const { program, vcpus } of DOM0) {
        const sockets = vcpus.map(vcpu => {
          const [near, far] = socketPair();
          this.boot(domain, vcpu, near);
          return far;
        });
        this.spawn(program, sockets, vcpus, domain);
      }
      return;
    }
    const { process, socket } = this.shell ?? this.startShell();
    this.shell = undefined;
    this.prepareAt = monotonicNow() + SHELL_DELAY_NS;
    process.domain = domain;
    this.boot(domain, 0, socket);
  }
  private boot(domain: Domain, vcpu: number, socket: number): void {
    const { layout, memory } = domain;
    const link = new SocketLink(socket, memory, layout, vcpu);
    domain.vcpus[vcpu]!.link = link;
    link.send(KIND_BOOT, domain.domid | (vcpu << 16), layout.maxPages + layout.maxVcpus * 2 ** 32, memory);
  }
  kill(domain: Domain): void {
    this.signal(domain, 'SIGKILL');
  }
  stop(domain: Domain): void {
    for (const process of this.of(domain)) process.stopped = true;
    this.signal(domain, 'SIGSTOP');
  }
  /** One that was not stopped hears nothing: a domain that is unpaused for the first time has better things to do. */
  cont(domain: Domain): void {
    const stopped = this.of(domain).filter(process => process.stopped);
    for (const process of stopped) process.stopped = false;
    if (stopped.length > 0) this.signal(domain, 'SIGCONT');
  }
  private signal(domain: Domain, signal: NodeJS.Signals): void {
    for (const process of this.of(domain)) if (!process.exited) this.post({ op: 'signal', id: process.id, signal });
  }
  private of(domain: Domain): Process[] {
    return [...this.processes.values()].filter(process => process.domain === domain);
  }
  /** CPU time of the process a vCPU lives in, all its threads; charged to the first of its vCPUs. */
  cpuTimeNs(domain: Domain, vcpu: number): number {
    const process = this.of(domain).find(p => p.vcpus[0] === vcpu);
    if (!process) return this.spent.get(domain)?.get(vcpu) ?? 0;
    if (process.pid !== 0 && !process.exited)
      process.cpuTimeNs = Math.max(process.cpuTimeNs, process.before + (processCpuTime(process.pid) ?? 0));
    return process.cpuTimeNs;
  }

  /** What the main thread says of its children. */
  hear(message: ToCore): void {
    const process = this.processes.get(message.id);
    if (!process) return;
    if (message.op === 'spawned') process.pid = message.pid;
    else this.ended(process, message.code, message.signal);
  }
  private ended(process: Process, code: number | undefined, signal: string | undefined): void {
    process.exited = true;
    this.processes.delete(process.id);
    const { domain } = process;
    if (!domain) {
      this.unused(process, signal ?? `exit code ${code}`);
      return;
    }
    this.spent.set(domain, new Map(this.spent.get(domain)).set(process.vcpus[0]!, process.cpuTimeNs));
    for (const vcpu of process.vcpus) (domain.vcpus[vcpu]!.link as SocketLink | undefined)?.close();
    const crash = crashRecord(domain.memory, domain.layout, process.vcpus);
    const end = { ...(crash !== undefined && { crash }), code, signal };
    if (isReplaceable(process)) this.replace(domain, process, end);
    else this.onExit(domain, end);
  }
  /** One that was no domain's has ended. */
  private unused(process: Process, how: string): void {
    if (this.shell?.process === process) {
      closeFd(this.shell.socket);
      this.shell = undefined;
      this.prepareAt = monotonicNow() + SHELL_RETRY_NS;
    }
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

  /** A process has ended that its domain can do without for a moment. */
  private replace(domain: Domain, process: Process, end: End): void {
    const { program, pid, vcpus } = process;
    const how = end.crash ?? end.signal ?? `exit code ${end.code}`;
    const now = monotonicNow();
    const ends = (this.ends.get(program) ?? []).filter(at => at > now - ENDS_WITHIN_NS);
    this.ends.set(program, [...ends, now]);
    if (ends.length + 1 >= MAX_ENDS) {
      const seconds = ENDS_WITHIN_NS / 1e9;
      this.onExit(domain, { ...end, crash: `${program} has ended ${MAX_ENDS} times within ${seconds} s: ${how}` });
      return;
    }
    this.log.warn(`${program}, process ${pid}, has ended: ${how}; another one takes its place`);
    // It waits for what the one that has ended was to tell it.
    if (process.heir) this.disinherit(process);
    const pairs = vcpus.map(() => socketPair());
    const far = pairs.map(([, theirs]) => theirs);
    this.occupy(
      domain,
      vcpus,
      pairs.map(([ours]) => ours),
    );
    this.spawn(program, far, vcpus, domain, 'successor', process.cpuTimeNs);
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
    if (!heir) return;
    for (const socket of heir.sockets) closeFd(socket);
    if (!heir.process.exited) this.post({ op: 'signal', id: heir.process.id, signal: 'SIGKILL' });
  }

  prepareSuccessor({ domain, id }: Vcpu): number {
    const process = this.of(domain).find(p => p.vcpus.includes(id));
    if (!process || !isReplaceable(process)) return -XEN_EOPNOTSUPP;
    if (process.heir) return -XEN_EBUSY;
    const { program, vcpus } = process;
    const pairs = vcpus.map(() => socketPair());
    const far = pairs.map(([, theirs]) => theirs);
    const heir = this.spawn(program, far, vcpus, undefined, 'take-over');
    process.heir = { process: heir, sockets: pairs.map(([ours]) => ours) };
    return 0;
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
    heir.process.domain = domain;
    process.domain = undefined;
    this.occupy(domain, process.vcpus, heir.sockets);
    this.log.info(`${process.program}, process ${process.pid}, has handed over to process ${heir.process.pid}`);
    this.retired.add(process);
    // It sleeps in this very call, of which nothing may come back: its words are another one's now.
    this.post({ op: 'signal', id: process.id, signal: 'SIGKILL' });
    return 0;
  }
}

const isReplaceable = (process: Process): boolean =>
  DOM0.some(({ program, replaceable }) => program === process.program && replaceable);

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

// The processes of domains, as the core thread sees them: a waiting shell becomes a domU's, dom0 has two.
import { readdirSync, readFileSync } from 'node:fs';
import {
  type Arena,
  closeFd,
  type DomainLayout,
  KIND_BOOT,
  type Log,
  monotonicNow,
  PAGE_SIZE,
  socketPair,
  VCPU_CRASH_RECORD,
  VCPU_CRASH_RECORD_SIZE,
  vcpu_page,
  vcpuFrame,
} from '#pvbus';
import type { Domain, DomainProcesses } from './domain.ts';
import { SocketLink } from './link.ts';
import type { Program, ToCore, ToMain } from './process-messages.ts';

interface Process {
  readonly id: number;
  readonly program: Program;
  pid: number;
  domain: Domain | undefined;
  /** The vCPUs of the domain that are threads of this process. */
  vcpus: readonly number[];
  exited: boolean;
  cpuTimeNs: number;
}
interface Shell {
  readonly process: Process;
  readonly socket: number;
}

/** Which of dom0's vCPUs live in which process. */
const DOM0: readonly { program: Program; vcpus: readonly number[] }[] = [
  { program: 'xenstored.js', vcpus: [1] },
  { program: 'dom0.js', vcpus: [0, 2, 3, 4] },
];
export const DOM0_VCPUS = 5;
/** Starting a shell takes a processor that the domain just created can use better for so long. */
const SHELL_DELAY_NS = 100e6;
/** After one that ended by itself. */
const SHELL_RETRY_NS = 5e9;
/** The first descriptor after a child's standard three. */
const FIRST_SOCKET = 3;

export class ProcessTable implements DomainProcesses {
  /** Called when a domain's process has ended, with what it left to say. */
  onExit: (domain: Domain, end: { crash?: string; code: number | undefined; signal: string | undefined }) => void =
    () => {};
  private readonly post: (message: ToMain) => void;
  private readonly log: Log;
  private readonly processes = new Map<number, Process>();
  /** Of domains whose process has ended: what their vCPUs had used when it was last looked at. */
  private readonly spent = new WeakMap<Domain, Map<number, number>>();
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
  private spawn(program: Program, sockets: number[], vcpus: readonly number[], domain: Domain | undefined): Process {
    const id = this.nextId++;
    const process: Process = { id, program, pid: 0, domain, vcpus, exited: false, cpuTimeNs: 0 };
    this.processes.set(id, process);
    this.post({ op: 'spawn', id, program, sockets, vcpus: vcpus.map((v, i) => `${v}:${FIRST_SOCKET + i}`).join(',') });
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
    this.signal(domain, 'SIGSTOP');
  }
  cont(domain: Domain): void {
    this.signal(domain, 'SIGCONT');
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
    if (process.pid !== 0 && !process.exited) process.cpuTimeNs = Math.max(process.cpuTimeNs, cpuTime(process.pid));
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
      this.log.warn(`a prepared ${process.program} ended: ${signal ?? `exit code ${code}`}`);
      if (this.shell?.process === process) {
        closeFd(this.shell.socket);
        this.shell = undefined;
        this.prepareAt = monotonicNow() + SHELL_RETRY_NS;
      }
      return;
    }
    this.spent.set(domain, new Map(this.spent.get(domain)).set(process.vcpus[0]!, process.cpuTimeNs));
    for (const vcpu of process.vcpus) (domain.vcpus[vcpu]!.link as SocketLink | undefined)?.close();
    const crash = crashRecord(domain.memory, domain.layout, process.vcpus);
    this.onExit(domain, { ...(crash !== undefined && { crash }), code, signal });
  }
}

function cpuTime(pid: number): number {
  let total = 0;
  try {
    for (const task of readdirSync(`/proc/${pid}/task`))
      total += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]);
  } catch {
    // It has ended meanwhile: what was counted before stands.
  }
  return total;
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

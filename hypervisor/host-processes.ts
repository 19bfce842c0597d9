// The processes of the host that are domains, or wait to become one, and whose each of them is.
import type { Domain } from './domain.ts';
import { HostProcess, type Signal } from './host-process.ts';
import type { Program, Start, ToMain } from './process-messages.ts';

/** The first descriptor after a child's standard three. */
const FIRST_SOCKET = 3;

export interface Wanted {
  readonly program: Program;
  readonly vcpus: readonly number[];
  /** Each of its vCPUs' end. */
  readonly sockets: readonly number[];
  readonly start: Start;
  /** Of the program, in a row, before it. */
  readonly failures?: number;
}

export class HostProcesses {
  private readonly post: (message: ToMain) => void;
  private readonly signal: Signal;
  private readonly known = new Map<number, HostProcess>();
  private readonly byDomain = new WeakMap<Domain, readonly HostProcess[]>();
  private nextId = 1;

  constructor(post: (message: ToMain) => void, signal: Signal) {
    this.post = post;
    this.signal = signal;
  }

  spawn({ program, vcpus, sockets, start, failures = 0 }: Wanted): HostProcess {
    const id = this.nextId++;
    const process = new HostProcess(id, program, vcpus, this.signal);
    this.known.set(id, process);
    const numbered = vcpus.map((v, i) => `${v}:${FIRST_SOCKET + i}`).join(',');
    this.post({ op: 'spawn', id, program, sockets, vcpus: numbered, start, failures });
    return process;
  }
  byId(id: number): HostProcess | undefined {
    return this.known.get(id);
  }
  all(): Iterable<HostProcess> {
    return this.known.values();
  }
  of(domain: Domain): readonly HostProcess[] {
    return this.byDomain.get(domain) ?? [];
  }
  /** The one that has the thread of this vCPU. */
  withVcpu(domain: Domain, vcpu: number): HostProcess | undefined {
    return this.of(domain).find(process => process.vcpus.includes(vcpu));
  }
  /** It is this domain's from now on, and no other one's. */
  give(process: HostProcess, domain: Domain | undefined): void {
    const before = process.domain;
    if (before) {
      const left = this.of(before).filter(other => other !== process);
      this.byDomain.set(before, left);
    }
    process.domain = domain;
    if (domain) this.byDomain.set(domain, [...this.of(domain), process]);
  }
  /** It has ended. */
  forget(process: HostProcess): void {
    this.known.delete(process.id);
    this.give(process, undefined);
  }
}

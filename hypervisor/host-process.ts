// One process of the host, as the core thread has it: what it is of, what it is told by signals, where its threads may run.
import { constants } from 'node:os';
import { allowCpus, LastWords } from '#pvbus';
import type { Domain } from './domain.ts';
import type { Heir } from './heirs.ts';
import { threadsOf } from './linux-threads.ts';
import type { Program } from './process-messages.ts';
import { VcpuThreads } from './vcpu-threads.ts';

/** Tell a process that is known by a descriptor. */
export type Signal = (pidfd: number, signal: number) => void;

const { signals } = constants;

export class HostProcess {
  readonly id: number;
  readonly program: Program;
  /** The vCPUs of the domain that are threads of this process. */
  vcpus: readonly number[];
  domain: Domain | undefined;
  /** 0 before it is there. */
  pid = 0;
  exited = false;
  /** The one that is to take its place while it lives. */
  heir: Heir<HostProcess> | undefined;
  readonly threads: VcpuThreads = new VcpuThreads(this);
  readonly lastWords = new LastWords();
  private readonly signal: Signal;
  /** A descriptor of it; -1 while there is none. */
  private pidfd = -1;
  /** By SIGSTOP, and by SIGKILL: now, or once it is there. */
  private stopped = false;
  private killed = false;
  /** Stopped by a fault besides, as soon. */
  private held = false;
  /** The CPUs its vCPUs were put on, by Linux's numbers. */
  private readonly places = new Map<number, readonly number[]>();

  constructor(id: number, program: Program, vcpus: readonly number[], signal: Signal) {
    this.id = id;
    this.program = program;
    this.vcpus = vcpus;
    this.signal = signal;
  }

  /** It is there. `pidfd`: -1 for one that is killed because it can be told nothing. */
  spawned(pid: number, pidfd: number): void {
    this.pid = pid;
    this.pidfd = pidfd;
    // What was asked of it before it was there.
    if (this.killed) this.tell(signals.SIGKILL);
    else if (this.stopped || this.held) this.tell(signals.SIGSTOP);
    for (const [vcpu, cpus] of this.places) this.allow(vcpu, cpus);
  }
  /** It is to do what `before` has done, which has ended or is about to. */
  takesPlaceOf(before: HostProcess): void {
    this.threads.before = before.threads.usedNs;
    for (const [vcpu, cpus] of before.places) this.place(vcpu, cpus);
  }
  /** All its threads are there. */
  serves(): void {
    for (const [vcpu, cpus] of this.places) this.allow(vcpu, cpus);
  }
  /** It has ended: the descriptor it was known by, or -1. */
  ended(): number {
    const { pidfd } = this;
    this.exited = true;
    this.pidfd = -1;
    return pidfd;
  }
  private get isThere(): boolean {
    return this.pidfd >= 0;
  }
  private tell(signal: number): void {
    if (this.isThere) this.signal(this.pidfd, signal);
  }

  kill(): void {
    this.killed = true;
    this.tell(signals.SIGKILL);
  }
  stop(): void {
    if (this.stopped) return;
    this.stopped = true;
    this.tell(signals.SIGSTOP);
  }
  /** One that was not stopped hears nothing: a domain that is unpaused for the first time has better things to do. */
  cont(): void {
    if (!this.stopped) return;
    this.stopped = false;
    if (!this.held) this.tell(signals.SIGCONT);
  }
  hold(): void {
    this.held = true;
    this.tell(signals.SIGSTOP);
  }
  letGo(): void {
    this.held = false;
    if (!this.stopped) this.tell(signals.SIGCONT);
  }

  /** The thread of a vCPU, or all threads of a process that has one vCPU, on these CPUs from now on. */
  place(vcpu: number, cpus: readonly number[]): void {
    this.places.set(vcpu, cpus);
    if (this.pid !== 0) this.allow(vcpu, cpus);
  }
  private allow(vcpu: number, cpus: readonly number[]): void {
    // One that has just ended, or a machine that has lost a CPU: nothing is to be done.
    for (const tid of this.vcpus.length === 1 ? threadsOf(this.pid) : this.threads.of(vcpu)) allowCpus(tid, cpus);
  }
}

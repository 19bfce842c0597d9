// The real hypervisor core on a machine whose CPUs, processes and clock are simulated: Linux shares each CPU among the
// threads that want it, in turns of 50 µs, and stops, continues and places them as it is told.
import {
  PAGE_SIZE,
  vcpu_page,
  vcpuFrame,
  XENOLITH_GRANT_contended,
  XENOLITH_WANT_grant,
  XENOLITH_WANT_nothing,
  XENOLITH_WANT_run,
} from '#pvbus';
import type { Domain } from '../../hypervisor/domain.ts';
import { CoreRig, type Guest, type GuestOptions, NotedProcesses } from './core-rig.ts';

export const QUANTUM_NS = 50_000;
const MS = 1e6;

/** What a vCPU does when it has a turn. */
export type Behaviour =
  /** Computes, and looks at its grant now and then. */
  | { readonly kind: 'hog' }
  /** Computes, and looks at nothing. */
  | { readonly kind: 'hostile' }
  /** Computes, and says that it sleeps. */
  | { readonly kind: 'liar' }
  /** Sleeps, and works for a while each period. */
  /** Says that it runs, and sleeps but for a turn now and then. */
  | { readonly kind: 'sitter'; readonly everyMs: number }
  | { readonly kind: 'periodic'; readonly periodMs: number; readonly workMs: number }
  | { readonly kind: 'idle' };

/** Only what the core asked for, and CPU time as the machine below has given it. */
class SimulatedProcesses extends NotedProcesses {
  readonly stopped = new Set<Domain>();
  readonly places = new Map<string, readonly number[]>();
  /** A thread that is not on the machine is stopped for good. */
  threadOf: (domain: Domain, vcpu: number) => SimulatedThread | undefined = () => undefined;
  override sleeps(domain: Domain, vcpu: number): boolean {
    return this.threadOf(domain, vcpu)?.sleeps ?? true;
  }
  override stop(domain: Domain): void {
    super.stop(domain);
    this.stopped.add(domain);
  }
  override cont(domain: Domain): void {
    super.cont(domain);
    this.stopped.delete(domain);
  }
  override place(domain: Domain, vcpu: number, pcpus: readonly number[]): void {
    super.place(domain, vcpu, pcpus);
    this.places.set(`${domain.domid}.${vcpu}`, pcpus);
  }
}

export class SimulatedThread {
  readonly guest: Guest;
  readonly vcpu: number;
  behaviour: Behaviour;
  /** From a wake-up to the first turn with a grant, ns. */
  readonly latencies: number[] = [];
  private readonly machine: SimulatedCpus;
  private asleep = false;
  private waiting = false;
  private wakeAt = 0;
  private wokenAt = -1;
  private workNs = 0;

  constructor(machine: SimulatedCpus, guest: Guest, vcpu: number, behaviour: Behaviour) {
    this.machine = machine;
    this.guest = guest;
    this.vcpu = vcpu;
    this.behaviour = behaviour;
  }
  private word(field: 'grant' | 'want' | 'event_sleeping'): number {
    return (vcpuFrame(this.guest.domain.layout, this.vcpu) * PAGE_SIZE + vcpu_page.at[field]) / 4;
  }
  private get words(): Int32Array {
    return this.guest.domain.memory.words;
  }
  get grant(): number {
    return this.words[this.word('grant')]!;
  }
  get key(): string {
    return `${this.guest.domid}.${this.vcpu}`;
  }
  get cpuNs(): number {
    return this.machine.processes.cpu.get(this.key) ?? 0;
  }
  private note(want: number): void {
    this.words[this.word('want')] = want;
    this.machine.rig.hypervisor.noted(this.guest.domid, this.vcpu, want);
  }
  private sleep(asleep: boolean): void {
    this.asleep = asleep;
    this.words[this.word('event_sleeping')] = asleep ? 1 : 0;
  }

  /** Does it want no turn, as Linux sees it? */
  get sleeps(): boolean {
    const now = this.machine.rig.clock.now();
    if (this.machine.processes.stopped.has(this.guest.domain)) return true;
    if (this.behaviour.kind === 'sitter') return now < this.wakeAt;
    if (this.waiting) return this.grant === 0;
    return this.asleep && (this.behaviour.kind === 'idle' || now < this.wakeAt);
  }
  /** May Linux give it a turn now? */
  wantsTurn(now: number): boolean {
    const { domain } = this.guest;
    if (domain.dying || domain.isShutDown || !domain.creationFinished) return false;
    if (this.machine.processes.stopped.has(domain)) return false;
    if (this.behaviour.kind === 'liar') {
      this.words[this.word('event_sleeping')] = 1;
      return true;
    }
    if (this.behaviour.kind === 'sitter' && now < this.wakeAt) return false;
    if (this.waiting) {
      if (this.grant === 0) return false;
      this.waiting = false;
    }
    if (this.asleep && this.behaviour.kind !== 'idle' && now >= this.wakeAt) {
      this.sleep(false);
      this.wokenAt = Math.max(this.wakeAt, 0);
    }
    return !this.asleep;
  }
  /** Has the CPU for a turn. False: it gave it up at once. */
  run(now: number): boolean {
    const { kind } = this.behaviour;
    if (kind === 'hostile' || kind === 'liar') return true;
    if (this.grant === 0) {
      this.waiting = true;
      this.note(XENOLITH_WANT_grant);
      if (this.grant === 0) return false;
      this.waiting = false;
    }
    if (this.behaviour.kind === 'sitter') this.wakeAt = now + this.behaviour.everyMs * MS;
    if (kind === 'hog' || kind === 'sitter') return true;
    if (this.wokenAt >= 0) {
      if ((this.grant & XENOLITH_GRANT_contended) !== 0) this.note(XENOLITH_WANT_run);
      this.latencies.push(now - this.wokenAt);
      this.wokenAt = -1;
      this.workNs = this.behaviour.kind === 'periodic' ? this.behaviour.workMs * MS : 0;
    }
    if (this.behaviour.kind === 'periodic' && this.workNs > 0) {
      this.workNs -= QUANTUM_NS;
      return true;
    }
    if (this.behaviour.kind === 'periodic') this.wakeAt = Math.max(this.wakeAt, now) + this.behaviour.periodMs * MS;
    if ((this.grant & XENOLITH_GRANT_contended) !== 0) this.note(XENOLITH_WANT_nothing);
    this.sleep(true);
    return false;
  }
}

export class SimulatedCpus {
  readonly processes = new SimulatedProcesses();
  readonly rig: CoreRig;
  readonly threads: SimulatedThread[] = [];
  /** Steps of the scheduler that did something. */
  steps = 0;
  private readonly nrCpus: number;
  private turn = 0;

  constructor(nrCpus: number) {
    this.nrCpus = nrCpus;
    this.rig = new CoreRig({ nrCpus, processes: this.processes });
    this.processes.threadOf = (domain, vcpu) =>
      this.threads.find(thread => thread.guest.domain === domain && thread.vcpu === vcpu);
  }
  /** A domain whose vCPUs, of which the first is up, behave like this. */
  guest(behaviour: Behaviour, options: GuestOptions = {}): SimulatedThread {
    const guest = this.rig.guest({ pages: 16, ...options });
    return this.thread(guest, 0, behaviour);
  }
  thread(guest: Guest, vcpu: number, behaviour: Behaviour): SimulatedThread {
    const thread = new SimulatedThread(this, guest, vcpu, behaviour);
    this.threads.push(thread);
    return thread;
  }

  /** Time passes. */
  run(ms: number): void {
    const { clock, hypervisor } = this.rig;
    for (let left = ms * MS; left > 0; left -= QUANTUM_NS) {
      this.turn++;
      const busy = new Set<SimulatedThread>();
      for (let cpu = 0; cpu < this.nrCpus; cpu++) this.give(cpu, busy);
      clock.advance(QUANTUM_NS);
      if (hypervisor.scheduler.step() === 'progress') this.steps++;
      hypervisor.step();
    }
  }
  /** One turn of a CPU: to whoever wants it, in rotation; one that yields at once leaves it to the next. */
  private give(cpu: number, busy: Set<SimulatedThread>): void {
    const { threads, processes } = this;
    const now = this.rig.clock.now();
    for (let i = 0; i < threads.length; i++) {
      const thread = threads[(this.turn + i) % threads.length]!;
      if (busy.has(thread)) continue;
      const places = processes.places.get(thread.key);
      if (places !== undefined && !places.includes(cpu)) continue;
      if (!thread.wantsTurn(now) || !thread.run(now)) continue;
      busy.add(thread);
      processes.cpu.set(thread.key, thread.cpuNs + QUANTUM_NS);
      return;
    }
  }
  /** What each uses meanwhile, as a share of one CPU. */
  shares(threads: readonly SimulatedThread[], ms: number): number[] {
    const before = threads.map(({ cpuNs }) => cpuNs);
    this.run(ms);
    return threads.map(({ cpuNs }, i) => (cpuNs - before[i]!) / (ms * MS));
  }
  asked(what: string): string[] {
    return this.processes.asked.filter(line => line.startsWith(what));
  }
}

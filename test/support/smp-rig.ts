// vCPU 0 and the others in one thread, each with the kernel that it runs, over the real hypervisor core: whoever has the
// next turn is drawn, a vCPU that is down has none.
import {
  __HYPERVISOR_vcpu_op,
  type Clock,
  domid,
  FrameAllocator,
  getU64,
  type Machine,
  PAGE_SIZE,
  VCPUOP_down,
  Vcpu,
  vcpu_page,
  vcpuFrame,
} from '#pvbus';
import type { Mail } from '../../domu-kernel/smp/mail.ts';
import { Processors } from '../../domu-kernel/smp/processors.ts';
import { SiblingKernel } from '../../domu-kernel/smp/sibling.ts';
import { Tasks } from '../../domu-kernel/tasks.ts';
import { type Timers, vcpuTimers } from '../../domu-kernel/timers.ts';
import { CoreRig, DEFERRED, type Guest } from './core-rig.ts';
import { seeded } from './random.ts';

const KERNEL = 5 * PAGE_SIZE;

function mailPair(): Record<'near' | 'far', Mail> {
  const [toNear, toFar]: [unknown[], unknown[]] = [[], []];
  return {
    near: { post: value => void toFar.push(value), take: () => toNear.shift() },
    far: { post: value => void toNear.push(value), take: () => toFar.shift() },
  };
}

export class SmpRig {
  readonly rig: CoreRig;
  readonly guest: Guest;
  readonly vcpu: Vcpu;
  readonly processors: Processors;
  readonly said: string[] = [];
  readonly siblings = new Map<number, SiblingKernel>();
  /** In the middle of a hypercall that has not returned. */
  readonly away = new Set<number>();
  /** What the program exports. */
  exports: Record<string, (...args: never[]) => unknown> = {};
  /** Something that happens between two turns. */
  meanwhile: () => void = () => {};
  /** A step of what else vCPU 0 runs. */
  also: () => void = () => {};
  private readonly tasks = new Tasks();
  private readonly timers: Timers;
  private readonly random: () => number;
  private readonly clock: Clock | undefined;

  /** For each vCPU but 0, if processes may run there: what lies in its mail, and in vCPU 0's from there. */
  private readonly mails = new Map<number, Record<'near' | 'far', Mail>>();

  /** `clock`: of all its vCPUs; else vCPU 0 has Xen's, which stands still, and the others the host's. */
  constructor(vcpus: number, seed = 1, mediated = false, processes = false, clock?: Clock) {
    this.clock = clock;
    this.rig = new CoreRig({ mediated });
    this.guest = this.rig.guest({ pages: 1024, vcpus });
    this.random = seeded(seed);
    this.vcpu = this.thread(0);
    this.vcpu.frames = new FrameAllocator(8, 1024);
    this.timers = vcpuTimers(this.vcpu, clock ?? this.rig.clock);
    const { vcpu, tasks, timers } = this;
    const write = (text: string): void => void this.said.push(text);
    for (let id = 1; processes && id < vcpus; id++) this.mails.set(id, mailPair());
    const mails = processes ? new Map([...this.mails].map(([id, { near }]) => [id, near])) : undefined;
    const memoryBytes = 1 << 30;
    this.processors = new Processors({
      vcpu,
      tasks,
      timers,
      kernel: KERNEL,
      fifo: undefined,
      write,
      mails,
      memoryBytes,
    });
  }
  private thread(id: number): Vcpu {
    const { guest } = this;
    const link = guest.link(id);
    const machine: Machine = {
      trap: (nr, a0, a1, a2, a3, a4) => {
        guest.vcpuId = id;
        return nr === __HYPERVISOR_vcpu_op && a0 === VCPUOP_down ? this.down(id) : guest.call(nr, a0, a1, a2, a3, a4);
      },
      receive: () => link.receive(),
      note: () => {},
      awaitGrant: () => {},
    };
    const { memory, layout } = guest.domain;
    return new Vcpu(machine, memory.again(), layout, domid(guest.domid), id);
  }
  /** The thread sleeps in the call while the others go on. */
  private down(id: number): number {
    const { guest } = this;
    let returned = false;
    guest.vcpu.complete = () => {
      returned = true;
    };
    if (guest.trap(__HYPERVISOR_vcpu_op, VCPUOP_down, id) !== DEFERRED) return 0;
    this.away.add(id);
    for (let i = 0; !returned; i++) {
      if (i === 100_000) throw new Error(`vCPU ${id} is not brought up again`);
      this.turn();
    }
    this.away.delete(id);
    return 0;
  }
  /** Somebody's turn, unless it is away. */
  turn(): void {
    this.meanwhile();
    this.rig.clock.advance(100_000);
    this.rig.settle();
    const { maxVcpus } = this.guest.domain.layout;
    const id = Math.floor(this.random() * maxVcpus);
    if (this.away.has(id)) return;
    if (id === 0) {
      this.vcpu.events.poll();
      this.processors.step();
      this.timers.expire();
      this.tasks.step();
      this.also();
      this.timers.arm();
      return;
    }
    const sibling = this.siblings.get(id) ?? this.begin(id);
    if (sibling === undefined) return;
    this.away.add(id); // not to be entered again
    sibling.step();
    this.away.delete(id);
  }
  /** Its thread waits until the vCPU is brought up for the first time. */
  private begin(id: number): SiblingKernel | undefined {
    const { view, layout } = { view: this.guest.view, layout: this.guest.domain.layout };
    const page = vcpuFrame(layout, id) * PAGE_SIZE;
    if (getU64(view, page + vcpu_page.at.entry) === 0) return undefined;
    if (getU64(view, page + vcpu_page.at.entry) !== KERNEL) throw new Error('another kernel is to begin');
    const sibling = new SiblingKernel(this.thread(id), getU64(view, page + vcpu_page.at.argument), {
      mail: this.mails.get(id)?.far,
      clock: this.clock,
    });
    // It sleeps while the others have their turns.
    sibling.block = () => this.turn();
    Object.assign(sibling, { exports: this.exports });
    this.siblings.set(id, sibling);
    return sibling;
  }
  async until(condition: () => boolean, what: string): Promise<void> {
    for (let i = 0; !condition(); i++) {
      if (i === 20_000) throw new Error(`${what} has not happened`);
      this.turn();
      if (i % 10 === 0) await null;
    }
  }
  upInXen(): number[] {
    return this.guest.domain.vcpus.filter(({ up }) => up).map(({ id }) => id);
  }
  want(...ids: number[]): void {
    for (let id = 1; id < this.guest.domain.layout.maxVcpus; id++) this.processors.want(id, ids.includes(id));
  }
  async settled(): Promise<void> {
    let settled = false;
    void this.processors.whenSettled().then(() => {
      settled = true;
    });
    await this.until(() => settled, 'every vCPU is as it is wanted');
  }
}

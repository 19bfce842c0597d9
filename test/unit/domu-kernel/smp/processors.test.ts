// vCPU 0 and the others in one thread, each with the kernel that it runs, over the real hypervisor core: whoever has the
// next turn is drawn, a vCPU that is down has none.
import { describe, expect, it } from 'vitest';
import {
  __HYPERVISOR_vcpu_op,
  domid,
  FrameAllocator,
  getU64,
  type Machine,
  PAGE_SIZE,
  RUNSTATE_offline,
  VCPUOP_down,
  Vcpu,
  vcpu_page,
  vcpuFrame,
} from '#pvbus';
import { Processors } from '../../../../domu-kernel/smp/processors.ts';
import { SiblingKernel } from '../../../../domu-kernel/smp/sibling.ts';
import { Tasks } from '../../../../domu-kernel/tasks.ts';
import { type Timers, vcpuTimers } from '../../../../domu-kernel/timers.ts';
import { CoreRig, DEFERRED, type Guest } from '../../../support/core-rig.ts';
import { seeded } from '../../../support/random.ts';

const KERNEL = 5 * PAGE_SIZE;

class Smp {
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
  private readonly tasks = new Tasks();
  private readonly timers: Timers;
  private readonly random: () => number;

  constructor(vcpus: number, seed = 1, mediated = false) {
    this.rig = new CoreRig({ mediated });
    this.guest = this.rig.guest({ pages: 1024, vcpus });
    this.random = seeded(seed);
    this.vcpu = this.thread(0);
    this.vcpu.frames = new FrameAllocator(8, 1024);
    this.timers = vcpuTimers(this.vcpu, this.rig.clock);
    const { vcpu, tasks, timers } = this;
    const write = (text: string): void => void this.said.push(text);
    this.processors = new Processors({ vcpu, tasks, timers, kernel: KERNEL, fifo: undefined, write });
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
    expect(getU64(view, page + vcpu_page.at.entry)).toBe(KERNEL);
    const sibling = new SiblingKernel(this.thread(id), getU64(view, page + vcpu_page.at.argument));
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

describe.each([
  ['without traps', false],
  ['mediated', true],
])('vCPUs, their interrupts %s,', (_, mediated) => {
  it('come up where they are told to, go down and come up again', async () => {
    const smp = new Smp(4, 1, mediated);
    const changes: string[] = [];
    smp.processors.onChange(online => changes.push(online.join()));
    smp.want(1, 3);
    await smp.settled();
    expect([smp.processors.online, smp.upInXen()]).toEqual([
      [0, 1, 3],
      [0, 1, 3],
    ]);
    expect(smp.guest.domain.vcpus.map(({ runstate }) => runstate.state === RUNSTATE_offline)).toEqual([
      ...[false, false, true, false],
    ]);
    smp.processors.want(0, false); // never
    smp.processors.want(9, true);
    smp.meanwhile = () => {
      // Once 1 is down: a thread alone cannot come back from that without somebody else.
      if (!smp.upInXen().includes(1)) smp.want(1, 2, 3);
    };
    smp.want(3);
    await smp.until(() => smp.processors.online.length === 4, 'all are up');
    expect(smp.upInXen()).toEqual([0, 1, 2, 3]);
    expect(changes.at(-1)).toBe('0,1,2,3');
  });

  it('each have one task at a time; vCPU 0 has those that no other one can', async () => {
    const smp = new Smp(3, 2, mediated);
    const where: (number | string)[] = [];
    smp.exports = { where: (n: number) => n + 1, never: () => new Promise(() => {}) };
    const run = (on?: number) => {
      const job = smp.processors.run('where', () => -1, [41], on);
      job.then(
        value => where.push(value as number),
        error => where.push(error.code),
      );
    };
    run();
    await smp.until(() => where.length === 1, 'it ran');
    expect(where).toEqual([-1]);
    run(2);
    await smp.until(() => where.length === 2, 'it failed');
    expect(where[1]).toBe('ENODEV');
    smp.want(1, 2);
    void smp.processors.run('never', () => 0, [], 1);
    for (let i = 0; i < 5; i++) run();
    await smp.until(() => where.length === 7, 'they ran');
    expect(where.slice(2)).toEqual([42, 42, 42, 42, 42]);
  });
});

it('a task that was meant for a vCPU that goes is another one’s', async () => {
  const smp = new Smp(3);
  smp.exports = { slow: () => new Promise(resolve => release.push(resolve)), quick: () => 'there' };
  const release: ((value: unknown) => void)[] = [];
  smp.want(1, 2);
  await smp.settled();
  const slow = smp.processors.run('slow', () => 'here', [], 1);
  const quick = smp.processors.run('quick', () => 'here', [], 1);
  await smp.until(() => release.length === 1, 'the first one has begun');
  smp.want(2);
  let had: unknown;
  void quick.then(value => {
    had = value;
  });
  await smp.until(() => had !== undefined, 'the second one ran');
  expect([had, smp.upInXen()]).toEqual(['there', [0, 1, 2]]);
  let downs = 0;
  smp.meanwhile = () => {
    if (smp.upInXen().includes(1)) return;
    downs++;
    smp.want(1, 2); // lets the thread come back
  };
  void slow.then(value => {
    had = value;
  });
  release[0]!('finished');
  await smp.until(() => had === 'finished', 'the first one has ended');
  await smp.until(() => downs > 0 && smp.processors.online.length === 3, 'it went, and came back');
});

it.each(Array.from({ length: 10 }, (_, seed) => seed))(
  'every task runs once however vCPUs come and go, seed %i',
  async seed => {
    const smp = new Smp(4, seed);
    const random = seeded(1000 + seed);
    const ran: number[] = [];
    const results: number[] = [];
    const task = (n: number): number => {
      ran.push(n);
      return n;
    };
    smp.exports = { task };
    let asked = 0;
    smp.meanwhile = () => {
      if (asked === 200) smp.want(1, 2, 3);
      else if (random() < 0.3) {
        const on = random() < 0.2 ? 1 + Math.floor(random() * 3) : undefined;
        const job = smp.processors.run('task', task as never, [asked++], on);
        job.then(
          value => results.push(value as number),
          error => {
            expect(error.code).toBe('ENODEV');
            results.push(-1);
          },
        );
      }
      if (asked < 200 && random() < 0.1) smp.processors.want(1 + Math.floor(random() * 3), random() < 0.5);
    };
    await smp.until(() => results.length === 200, 'every task has ended');
    expect(new Set(ran).size).toBe(ran.length);
    expect(ran.toSorted((a, b) => a - b)).toEqual(results.filter(n => n >= 0).toSorted((a, b) => a - b));
    await smp.settled();
    expect(smp.upInXen()).toEqual([0, 1, 2, 3]);
  },
);

it('a vCPU that shared_info has no place for has its vcpu_info elsewhere, and is reached without traps', async () => {
  const smp = new Smp(34);
  smp.want(33);
  await smp.settled();
  expect(smp.guest.domain.vcpus[33]!.infoRegistered).toBe(true);
  smp.exports = {};
  const failed = smp.processors.run('nothing', () => 0, [], 33);
  let message = '';
  failed.catch(error => {
    message = error.message;
  });
  await smp.until(() => message !== '', 'it answers');
  expect(message).toBe("the program exports no function 'nothing'");
  smp.siblings.get(33)!.write('a line\n');
  await smp.until(() => smp.said.length > 0, 'it is heard');
  expect(smp.said).toEqual(['a line\n']);
});

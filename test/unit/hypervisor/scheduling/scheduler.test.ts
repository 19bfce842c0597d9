// Who runs, on simulated CPUs: the core is the real one, what it is told of CPU time is what its guests then use.
import { beforeEach, describe, expect, it } from 'vitest';
import {
  PAGE_SIZE,
  setU64,
  VCPUOP_register_runstate_memory_area,
  vcpu_runstate_info,
  XEN_DOMCTL_destroydomain,
  XEN_DOMCTL_pausedomain,
  XEN_DOMCTL_SCHEDOP_putinfo,
  XEN_DOMCTL_scheduler_op,
  XEN_DOMCTL_setvcpuaffinity,
  XEN_DOMCTL_unpausedomain,
  XEN_SCHEDULER_CREDIT2,
  XEN_SCHEDULER_RTDS,
  XEN_VCPUAFFINITY_HARD,
  XENOLITH_GRANT_contended,
  xen_domctl_scheduler_op,
  xen_domctl_vcpuaffinity,
} from '#pvbus';
import { SimulatedCpus, type SimulatedThread } from '../../../support/simulated-cpus.ts';

let machine: SimulatedCpus;
beforeEach(() => {
  machine = new SimulatedCpus(1);
});
const hog = { kind: 'hog' } as const;
const hostile = { kind: 'hostile' } as const;
const liar = { kind: 'liar' } as const;

function setCredit({ guest }: SimulatedThread, weight: number, cap = 0xffff): void {
  const { rc } = machine.rig.dom0.reset().domctl(XEN_DOMCTL_scheduler_op, guest.domid, xen_domctl_scheduler_op, {
    sched_id: XEN_SCHEDULER_CREDIT2,
    cmd: XEN_DOMCTL_SCHEDOP_putinfo,
    u: { credit2: { weight, cap } },
  });
  expect(rc).toBe(0);
}
const act = (cmd: number, { guest }: SimulatedThread): number => machine.rig.dom0.reset().domctl(cmd, guest.domid).rc;
function runstate({ guest, vcpu }: SimulatedThread): readonly number[] {
  machine.rig.hypervisor.life.refreshRunstate(guest.domain.vcpus[vcpu]!);
  return guest.domain.vcpus[vcpu]!.runstate.time;
}
const isStopped = ({ guest }: SimulatedThread): boolean => machine.processes.stopped.has(guest.domain);

describe('a pool in which each who runs can have a pCPU of its own', () => {
  it('lets its vCPUs have their grants, also asleep, and stops nobody', () => {
    machine = new SimulatedCpus(2);
    const threads = [
      machine.guest(hog),
      machine.guest(hostile),
      machine.guest({ kind: 'idle' }),
      machine.guest({ kind: 'idle' }),
    ];
    machine.run(500);
    expect(threads.map(({ grant }) => grant !== 0 && (grant & XENOLITH_GRANT_contended) === 0)).toEqual([
      true,
      true,
      true,
      true,
    ]);
    expect(machine.asked('stop')).toEqual([]);
    expect(machine.shares(threads, 100).map(Math.round)).toEqual([1, 1, 0, 0]);
  });

  it('is looked at once a second while all sleep, and not at all without domains', () => {
    for (let i = 0; i < 20; i++) machine.guest({ kind: 'idle' });
    machine.run(2000);
    machine.steps = 0;
    machine.run(4000);
    expect(machine.steps).toBe(4);
    for (const thread of machine.threads.splice(0)) act(XEN_DOMCTL_destroydomain, thread);
    machine.rig.settle();
    machine.run(300);
    expect(machine.rig.hypervisor.scheduler.nextDeadline()).toBeUndefined();
  });

  it('is free again some time after too many wanted to run', () => {
    const one = machine.guest(hog);
    const other = machine.guest(hog);
    machine.run(100);
    expect([one.grant, other.grant].filter(grant => grant === 0)).toHaveLength(1);
    other.behaviour = { kind: 'idle' };
    machine.run(300);
    expect([one.grant, other.grant]).toEqual([1, 1]);
  });
});

it('says which pCPUs nobody keeps deadlines on, and all when there are none', () => {
  machine = new SimulatedCpus(2);
  const { cpupools, scheduler } = machine.rig.hypervisor;
  const said: (readonly number[])[] = [];
  scheduler.onLeisurely = pcpus => said.push(pcpus);
  expect([cpupools.removeCpu(0, 1), cpupools.create(1, XEN_SCHEDULER_RTDS), cpupools.addCpu(1, 1)]).toEqual([0, 1, 0]);
  expect(said.splice(0).at(-1)).toEqual([0]);
  scheduler.removeCpu(cpupools.byId(0)!, 0);
  scheduler.addCpu(cpupools.byId(1)!, 0);
  expect(said.splice(0).at(-1)).toEqual([0, 1]);
  expect(cpupools.removeCpu(1, 1)).toBe(0);
  expect(said.splice(0)).toEqual([[1]]);
});

describe('a contended pCPU', () => {
  it('is shared by weight, also by one that never yields', () => {
    const threads = [machine.guest(hog), machine.guest(hostile), machine.guest(hog)];
    threads.forEach((thread, i) => {
      setCredit(thread, [256, 512, 1024][i]!);
    });
    machine.run(200);
    const shares = machine.shares(threads, 5000);
    for (const [i, share] of shares.entries()) expect(share / [1 / 7, 2 / 7, 4 / 7][i]!).toBeCloseTo(1, 1.69);
    expect(shares.reduce((a, b) => a + b)).toBeCloseTo(1, 2);
  });

  it('stops who once waited for a grant and never yields again, as soon as the others', () => {
    machine.guest(hog);
    const bad = machine.guest(hog);
    machine.run(500);
    bad.behaviour = hostile;
    machine.run(500);
    const from = machine.processes.asked.length;
    machine.run(1000);
    const stops = machine.processes.asked.slice(from).filter(line => line === `stop ${bad.guest.domid}`);
    // At the end of each of its slices, of 10 ms at most, in half of the time.
    expect(stops.length).toBeGreaterThanOrEqual(45);
  });

  it('stops who does not yield and nobody else, and lets it go on with its next grant', () => {
    const good = machine.guest(hog);
    const bad = machine.guest(hostile);
    machine.run(500);
    const of = ({ guest }: SimulatedThread): string[] =>
      machine.processes.asked.filter(line => /^(stop|cont)/.test(line) && line.endsWith(` ${guest.domid}`));
    // Its first `cont` is that of its first unpause.
    const told = of(bad).slice(1);
    expect(told.length).toBeGreaterThan(10);
    expect(told.every((line, i) => line.startsWith(i % 2 === 0 ? 'stop' : 'cont'))).toBe(true);
    expect(of(good).filter(line => line.startsWith('stop'))).toEqual([]);
  });

  it('is no more for one that says it sleeps', () => {
    const threads = [machine.guest(hog), machine.guest(liar)];
    machine.run(500);
    const [honest] = machine.shares(threads, 4000);
    expect(honest).toBeGreaterThan(0.49);
  });

  it('is given to one that wakes within a slice of a millisecond, past two who compute', () => {
    machine.guest(hog);
    machine.guest(hog);
    const quick = machine.guest({ kind: 'periodic', periodMs: 7, workMs: 0.05 });
    machine.run(4000);
    const late = quick.latencies.slice(20).sort((a, b) => a - b);
    expect(late.length).toBeGreaterThan(400);
    // Credit2's rate limit, and the turn in which it asks.
    expect(late.at(-1)).toBeLessThanOrEqual(1.2e6);
  });

  it('is cleared for one whom the hypervisor wakes before it has asked', () => {
    machine.guest(hog);
    machine.guest(hog);
    const quick = machine.guest({ kind: 'idle' });
    machine.run(500);
    expect(quick.grant).toBe(0);
    const [vcpu] = quick.guest.domain.vcpus;
    // Its thread is not run: Linux has not come to it.
    machine.threads.pop();
    vcpu!.wake();
    machine.run(1.1);
    expect(quick.grant).not.toBe(0);
    // It never says that it is awake, and so it sleeps.
    machine.run(50);
    expect(quick.grant).toBe(0);
  });

  it('holds a cap, whether the domain yields or not, and leaves the rest idle', () => {
    for (const behaviour of [hog, hostile]) {
      const thread = machine.guest(behaviour);
      setCredit(thread, 256, 25);
      machine.run(300);
      expect(machine.shares([thread], 4000)[0]! / 0.25).toBeCloseTo(1, 1.69);
      act(XEN_DOMCTL_destroydomain, thread);
      machine.threads.length = 0;
      machine.rig.settle();
    }
  });
});

it('two pCPUs do not idle while a third vCPU waits, and the three get equal shares', () => {
  machine = new SimulatedCpus(2);
  const threads = [machine.guest(hog), machine.guest(hog), machine.guest(hostile)];
  machine.run(200);
  const shares = machine.shares(threads, 3000);
  expect(shares.reduce((a, b) => a + b)).toBeGreaterThan(1.98);
  for (const share of shares) expect(share * 1.5).toBeCloseTo(1, 1.3);
});

it('two that are pinned to one pCPU share it, and a third one has the other', () => {
  machine = new SimulatedCpus(2);
  const threads = [machine.guest(hog), machine.guest(hog), machine.guest(hog)];
  const { dom0 } = machine.rig;
  for (const { guest } of threads.slice(0, 2)) {
    const bitmap = dom0.reset().alloc(8);
    dom0.bytes[bitmap] = 1;
    const map = { cpumap_hard: { bitmap, nr_bits: 8 } };
    const fields = { vcpu: 0, flags: XEN_VCPUAFFINITY_HARD, ...map };
    expect(dom0.domctl(XEN_DOMCTL_setvcpuaffinity, guest.domid, xen_domctl_vcpuaffinity, fields).rc).toBe(0);
    expect(machine.processes.places.get(`${guest.domid}.0`)).toEqual([0]);
  }
  machine.run(200);
  const shares = machine.shares(threads, 2000);
  expect(shares.map(share => Math.round(share * 20) / 20)).toEqual([0.5, 0.5, 1]);
});

describe('a domain that is stopped for something else', () => {
  it('by pause is not continued by a grant', () => {
    machine.guest(hog);
    const bad = machine.guest(hostile);
    machine.run(100);
    act(XEN_DOMCTL_pausedomain, bad);
    const used = bad.cpuNs;
    const before = machine.processes.asked.length;
    machine.run(300);
    expect(machine.processes.asked.slice(before).filter(line => line.startsWith('cont'))).toEqual([]);
    expect([isStopped(bad), bad.cpuNs]).toEqual([true, used]);
    act(XEN_DOMCTL_unpausedomain, bad);
    machine.run(300);
    expect(bad.cpuNs).toBeGreaterThan(used);
  });

  it('while it was stopped for not yielding, and unpaused, goes on with its next grant', () => {
    const good = machine.guest(hog);
    const bad = machine.guest(hostile);
    for (let i = 0; i < 2000 && !isStopped(bad); i++) machine.run(1);
    act(XEN_DOMCTL_pausedomain, bad);
    act(XEN_DOMCTL_unpausedomain, bad);
    machine.run(1000);
    const [share] = machine.shares([bad], 1000);
    expect(share).toBeGreaterThan(0.45);
    expect(good.cpuNs).toBeGreaterThan(0);
  });

  it('is not in the way of the others, and leaves nothing when it is destroyed', () => {
    const good = machine.guest(hog);
    const bad = machine.guest(hostile);
    for (let i = 0; i < 2000 && !isStopped(bad); i++) machine.run(1);
    act(XEN_DOMCTL_destroydomain, bad);
    machine.threads.splice(machine.threads.indexOf(bad), 1);
    machine.rig.settle();
    machine.run(300);
    expect(machine.shares([good], 200)).toEqual([1]);
    expect(good.grant).toBe(1);
    act(XEN_DOMCTL_destroydomain, good);
    machine.threads.length = 0;
    machine.rig.settle();
    machine.run(300);
    expect(machine.rig.hypervisor.scheduler.nextDeadline()).toBeUndefined();
  });
});

describe('a domain of several vCPUs one of which does not yield', () => {
  it('is stopped as a whole, and gets no more than its share', () => {
    machine = new SimulatedCpus(2);
    const first = machine.guest(hostile, { vcpus: 2 });
    const { life } = machine.rig.hypervisor;
    life.bringUp(first.guest.domain.vcpus[1]!);
    const second = machine.thread(first.guest, 1, hog);
    const others = [machine.guest(hog), machine.guest(hog)];
    machine.run(500);
    const shares = machine.shares([first, second, ...others], 4000);
    expect(shares[0]! + shares[1]!).toBeLessThan(1.02);
    for (const share of shares.slice(2)) expect(share).toBeGreaterThan(0.49);
    expect(machine.asked(`stop ${first.guest.domid}`).length).toBeGreaterThan(0);
  });
});

describe('accounting', () => {
  it('V5 the four times add up to what has passed, and what is waited for is runnable', () => {
    const threads = [
      machine.guest(hog),
      machine.guest(hostile),
      machine.guest({ kind: 'periodic', periodMs: 9, workMs: 1 }),
    ];
    const from = threads.map(thread => runstate(thread).reduce((a, b) => a + b));
    machine.run(2000);
    for (const [i, thread] of threads.entries()) {
      const [running, runnable, blocked, offline] = runstate(thread);
      expect(running! + runnable! + blocked! + offline!).toBe(from[i]! + 2000e6);
      expect(running).toBe(thread.cpuNs);
      if (i < 2) {
        expect(runnable! / 2000e6).toBeGreaterThan(0.4);
        expect(blocked! / 2000e6).toBeLessThan(0.05);
      } else expect(blocked! / 2000e6).toBeGreaterThan(0.7);
    }
  });

  it('V6 the registered area says at every switch what the vCPU does', () => {
    const [one, other] = [machine.guest(hog), machine.guest(hog)];
    const area = 3 * PAGE_SIZE;
    const argument = one.guest.reset().alloc(8);
    setU64(one.guest.view, argument, area);
    expect(one.guest.vcpuOp(VCPUOP_register_runstate_memory_area, 0, argument)).toBe(0);
    machine.run(100);
    const seen = new Set<number>();
    for (let i = 0; i < 200; i++) {
      machine.run(1);
      const state = one.guest.view.getInt32(area + vcpu_runstate_info.at.state, true);
      seen.add(state);
      expect(state).toBe(one.grant !== 0 ? 0 : 1);
      expect(other.grant !== 0 ? 1 : 0).toBe(state);
    }
    expect([...seen].sort()).toEqual([0, 1]);
  });
});

describe('cpupools', () => {
  it('a domain that is moved to a pool of its own has its pCPU alone', () => {
    machine = new SimulatedCpus(2);
    const { cpupools } = machine.rig.hypervisor;
    expect(cpupools.removeCpu(0, 1)).toBe(0);
    const threads = [machine.guest(hog), machine.guest(hostile)];
    machine.run(200);
    expect(machine.shares(threads, 500).every(share => share > 0.4 && share < 0.6)).toBe(true);
    const pool = cpupools.create(5, XEN_SCHEDULER_CREDIT2);
    expect([pool, cpupools.addCpu(5, 1), cpupools.moveDomain(5, threads[1]!.guest.domain)]).toEqual([5, 0, 0]);
    machine.run(200);
    expect(machine.shares(threads, 500)).toEqual([1, 1]);
    expect(cpupools.moveDomain(0, threads[1]!.guest.domain)).toBe(0);
    machine.run(200);
    expect(machine.shares(threads, 500).every(share => share > 0.4 && share < 0.6)).toBe(true);
  });

  it('a pCPU that is taken away leaves who ran there to the others', () => {
    machine = new SimulatedCpus(2);
    const { cpupools } = machine.rig.hypervisor;
    const threads = [machine.guest(hog), machine.guest(hog), machine.guest(hog)];
    machine.run(200);
    expect(cpupools.removeCpu(0, 0)).toBe(0);
    machine.run(200);
    const shares = machine.shares(threads, 2000);
    expect(shares.reduce((a, b) => a + b)).toBeCloseTo(1, 1.5);
    for (const share of shares) expect(share * 3).toBeCloseTo(1, 1);
  });

  it('RTDS gives each its budget, and no more, also to one that never yields', () => {
    const { cpupools } = machine.rig.hypervisor;
    machine = new SimulatedCpus(2);
    const pools = machine.rig.hypervisor.cpupools;
    expect(cpupools).not.toBe(pools);
    pools.removeCpu(0, 1);
    pools.create(1, XEN_SCHEDULER_RTDS);
    pools.addCpu(1, 1);
    const threads = [machine.guest(hog), machine.guest(hostile)];
    for (const { guest } of threads) expect(pools.moveDomain(1, guest.domain)).toBe(0);
    machine.run(200);
    // 4 of 10 ms is what a new vCPU has.
    for (const share of machine.shares(threads, 2000)) expect(share / 0.4).toBeCloseTo(1, 1);
  });
});

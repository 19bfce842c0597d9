// Guests that yield at the wrong moment, hold a pCPU they do not use, or have a vCPU taken away that is stopped: nobody
// else waits for that, and nobody stays stopped.
import { beforeEach, expect, it } from 'vitest';
import { PAGE_SIZE, vcpu_page, vcpuFrame, XEN_SCHEDULER_RTDS, XENOLITH_WANT_nothing } from '#pvbus';
import { SimulatedCpus, type SimulatedThread } from '../../../support/simulated-cpus.ts';

let machine: SimulatedCpus;
beforeEach(() => {
  machine = new SimulatedCpus(1);
});
const hog = { kind: 'hog' } as const;
const hostile = { kind: 'hostile' } as const;
const isStopped = ({ guest }: SimulatedThread): boolean => machine.processes.stopped.has(guest.domain);
function untilStopped(thread: SimulatedThread): void {
  for (let i = 0; i < 2000 && !isStopped(thread); i++) machine.run(0.05);
  expect(isStopped(thread)).toBe(true);
}
/** A domain of two vCPUs that are up. */
function two(first: SimulatedThread['behaviour'], second: SimulatedThread['behaviour']): SimulatedThread[] {
  const thread = machine.guest(first, { vcpus: 2 });
  machine.rig.hypervisor.life.bringUp(thread.guest.domain.vcpus[1]!);
  return [thread, machine.thread(thread.guest, 1, second)];
}

it('the pCPU of one that says it sleeps goes to who waits for it, and not only when somebody looks', () => {
  const threads = [machine.guest(hog), machine.guest(hog)];
  machine.run(100);
  const [has, waits] = threads.sort((a, b) => b.grant - a.grant);
  expect([has!.grant !== 0, waits!.grant]).toEqual([true, 0]);
  machine.rig.hypervisor.noted(has!.guest.domid, 0, XENOLITH_WANT_nothing);
  expect(waits!.grant).not.toBe(0);
});

it('one that says it sleeps at the moment it is stopped goes on to sleep, and is woken as ever', () => {
  machine.guest(hog);
  const late = machine.guest(hostile);
  untilStopped(late);
  // It had said so already; its thread has not come to sleep yet.
  const { domain } = late.guest;
  const page = (vcpuFrame(domain.layout, 0) * PAGE_SIZE) / 4;
  late.behaviour = { kind: 'periodic', periodMs: 5, workMs: 1 };
  domain.memory.words[page + vcpu_page.at.want / 4] = XENOLITH_WANT_nothing;
  machine.rig.hypervisor.noted(late.guest.domid, 0, XENOLITH_WANT_nothing);
  expect([isStopped(late), domain.preempted]).toEqual([false, false]);
  const used = late.cpuNs;
  machine.run(200);
  expect(late.cpuNs - used).toBeGreaterThan(20e6);
});

it('a vCPU that is taken away while its domain is stopped because of it lets the other ones go on', () => {
  machine = new SimulatedCpus(2);
  const [first, second] = two(hog, hostile);
  machine.guest(hog);
  machine.guest(hog);
  untilStopped(second!);
  machine.rig.hypervisor.life.bringDown(second!.guest.domain.vcpus[1]!);
  machine.threads.splice(machine.threads.indexOf(second!), 1);
  const used = first!.cpuNs;
  machine.run(1000);
  expect(first!.cpuNs - used).toBeGreaterThan(400e6);
});

it('one that claims to run and does not is not in the way of those who do', () => {
  machine.guest(hog);
  const good = machine.guest(hog);
  const sitter = machine.guest(hog);
  machine.run(100);
  // Somebody has stopped its process, or its thread sleeps where no safe point is.
  machine.threads.splice(machine.threads.indexOf(sitter), 1);
  const [share] = machine.shares([good], 2000);
  expect(share).toBeGreaterThan(0.45);
});

it('one that claims to run and uses a little now and then pays for the pCPU that it holds', () => {
  const good = machine.guest(hog);
  const sitter = machine.guest({ kind: 'sitter', everyMs: 5 });
  machine.run(100);
  expect(machine.shares([good], 2000)[0]).toBeGreaterThan(0.45);
  expect(machine.shares([sitter], 2000)[0]).toBeLessThan(0.05);
});

it('two of one domain that never yield do not have it stopped and continued all the time', () => {
  machine = new SimulatedCpus(2);
  const { cpupools } = machine.rig.hypervisor;
  expect([cpupools.removeCpu(0, 1), cpupools.create(1, XEN_SCHEDULER_RTDS), cpupools.addCpu(1, 1)]).toEqual([0, 1, 0]);
  const threads = two(hostile, hostile);
  expect(cpupools.moveDomain(1, threads[0]!.guest.domain)).toBe(0);
  // Each has 4 of 10 ms.
  machine.run(500);
  machine.steps = 0;
  machine.run(1000);
  expect(machine.steps).toBeLessThan(2000);
  expect(machine.asked(`stop ${threads[0]!.guest.domid}`).length).toBeLessThan(300);
});

it('a vCPU that is taken down while it computes, and never looks, has its domain stopped for that', () => {
  machine.guest(hog);
  const [spins] = two(hostile, { kind: 'idle' });
  machine.run(200);
  machine.rig.hypervisor.life.bringDown(spins!.guest.domain.vcpus[0]!);
  const before = machine.asked(`stop ${spins!.guest.domid}`).length;
  machine.run(1000);
  expect(machine.asked(`stop ${spins!.guest.domid}`).length - before).toBeGreaterThan(10);
});

it('coming and going does not spare a vCPU the time it has used', () => {
  const good = machine.guest(hog);
  const [, second] = two({ kind: 'idle' }, hog);
  const { life } = machine.rig.hypervisor;
  const vcpu = second!.guest.domain.vcpus[1]!;
  const before = good.cpuNs;
  for (let i = 0; i < 250; i++) {
    machine.run(8);
    life.bringDown(vcpu);
    life.bringUp(vcpu);
  }
  expect((good.cpuNs - before) / 2e9).toBeGreaterThan(0.45);
});

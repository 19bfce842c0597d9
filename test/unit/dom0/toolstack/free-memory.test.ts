// Memory for a new domain where the host has too little: guests give some of theirs, as much as each can; and the
// words of xl when they cannot.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { XEN_DOMCTL_pausedomain } from '#pvbus';
import { DOM0_PAGES, type SimulatedGuest, SimulatedHost } from '../../../support/simulated-host.ts';

const MIB = 256; // pages
const HOST_MIB = 112;
let host: SimulatedHost;
beforeEach(async () => {
  host = await SimulatedHost.start({ hostPages: DOM0_PAGES + HOST_MIB * MIB });
});
afterEach(async () => {
  await host.stop();
  expect(host.core.hypervisor.host.freePages).toBe(HOST_MIB * MIB);
  expect(host.core.hypervisor.host.outstandingPages).toBe(0);
  expect(host.core.internalErrors).toEqual([]);
});

const config = (name: string, memory: number, maxmem = memory): string =>
  [
    `name = "${name}"`,
    `memory = ${memory}`,
    `maxmem = ${maxmem}`,
    `ramdisk = "${host.program('export default () => new Promise(() => {});')}"`,
  ].join('\n');
const make = (name: string, memory: number, maxmem = memory): Promise<SimulatedGuest> =>
  host.create(config(name, memory, maxmem));
const pages = (guest: SimulatedGuest): number => guest.guest.domain.totPages;
const total = (guests: readonly SimulatedGuest[]): number => guests.reduce((n, guest) => n + pages(guest), 0);

describe('a domain that the host has no memory for', () => {
  it('gets it from the others, from each as much as it can spare; their maxmem together is more than the host', async () => {
    const guests: SimulatedGuest[] = [];
    for (let i = 0; i < 8; i++) guests.push(await make(`g${i}`, 16, 64));
    expect(8 * 64).toBeGreaterThan(HOST_MIB);
    expect(pages(guests[7]!)).toBe(16 * MIB);
    expect(total(guests) + host.core.hypervisor.host.freePages).toBe(HOST_MIB * MIB);
    for (const guest of guests.slice(0, 7)) {
      expect(pages(guest)).toBeLessThan(16 * MIB);
      expect(pages(guest)).toBeGreaterThanOrEqual(13 * MIB);
    }
    // They have it back when the person says so, and the host has it.
    await host.run(host.toolstack.destroy(guests[7]!.domid));
    for (const guest of guests.slice(0, 7)) await host.run(host.toolstack.setMemoryTarget(guest.domid, 16 * 1024));
    await host.until(() => total(guests.slice(0, 7)) === 7 * 16 * MIB);
  });

  it('is refused when they cannot spare it, and nobody was asked', async () => {
    const first = await make('first', 60);
    const second = await make('second', 40);
    await expect(make('third', 64)).rejects.toMatchObject({
      code: 'ENOMEM',
      message: 'test.cfg: memory: 64 MiB asked for, 12 MiB of this host are free, and its guests did not give 52 MiB',
    });
    await host.rest();
    expect([pages(first), pages(second)]).toEqual([60 * MIB, 40 * MIB]);
    expect(host.core.hypervisor.domains.list()).toHaveLength(3);
  });

  it('is refused when they do not give it, and they are asked for nothing any more', async () => {
    const first = await make('first', 64);
    // What it could spare is in use.
    const used = first.vcpu.frames.alloc(60 * MIB);
    await expect(make('second', 64)).rejects.toMatchObject({ code: 'ENOMEM' });
    const target = await host.run(host.xs.read(`/local/domain/${first.domid}/memory/target`));
    expect(target).toBe(String(64 * 1024));
    first.vcpu.frames.free(used, 60 * MIB);
    await host.pass(40_000, 1000);
    expect(pages(first)).toBe(64 * MIB);
    // Now it can.
    const second = await make('second', 64);
    expect(pages(second)).toBe(64 * MIB);
    expect(pages(first)).toBe(48 * MIB);
  });

  it('gets what the others give, also when one of them waits for memory itself', async () => {
    const greedy = await make('greedy', 8, 112);
    const giving = await make('giving', 100);
    await host.run(host.toolstack.setMemoryTarget(greedy.domid, 100 * 1024));
    await host.until(() => host.core.hypervisor.host.freePages === 0);
    expect(pages(greedy)).toBe(12 * MIB);
    const third = await make('third', 40);
    expect(pages(third)).toBe(40 * MIB);
    expect(pages(greedy) + pages(giving)).toBe((HOST_MIB - 40) * MIB);
    await host.pass(40_000, 1000);
    expect(pages(greedy)).toBeLessThanOrEqual(12 * MIB);
  });

  it('gets nothing of a guest that is paused, or that has half of its memory already', async () => {
    const first = await make('first', 64);
    host.core.dom0.reset().domctl(XEN_DOMCTL_pausedomain, first.domid);
    await expect(make('second', 64)).rejects.toMatchObject({ code: 'ENOMEM' });
    host.toolstack.unpause(first.domid);
    await make('second', 64);
    expect(pages(first)).toBe(48 * MIB);
    await make('third', 48); // 16 MiB of the first, 32 of the second
    expect(pages(first)).toBe(32 * MIB);
    await expect(make('fourth', 64)).rejects.toMatchObject({ code: 'ENOMEM' });
  });
});

it('two domains at a time do not get the same memory', async () => {
  const both = await Promise.allSettled([make('a', 80), make('b', 80)]);
  // Each at its turn: the second finds what the first does not need. Half of that one's is too little also if it is asked.
  expect(both.filter(one => one.status === 'fulfilled')).toHaveLength(1);
  const more = await Promise.allSettled(['c', 'd', 'e'].map(name => make(name, 16)));
  expect(more.map(one => one.status)).toEqual(['fulfilled', 'fulfilled', 'fulfilled']);
});

it('memory that was promised is kept for the domain being made, and what is left of a promise goes with it', async () => {
  const { host: memory } = host.core.hypervisor;
  let most = 0;
  const making = host.toolstack.create(host.config(config('kept', 32)), { paused: true, monitor: false }, () => {
    most = Math.max(most, memory.outstandingPages);
  });
  await host.run(making);
  expect(most).toBe(32 * MIB);
  expect(memory.outstandingPages).toBe(0);
});

// A guest's balloon, on a simulated host: how much memory a domain has follows what xl mem-set says, as far as the
// guest and the host can, and nothing is lost on the way.
import { fstatSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { PAGE_SIZE } from '#pvbus';
import { DOM0_PAGES, type SimulatedGuest, SimulatedHost } from '../../support/simulated-host.ts';

const MIB = 256; // pages
const HOST_MIB = 96;
/** Frames of hypercall arguments, which may be used for the first time. */
const SCRATCH = 8;
let host: SimulatedHost;
beforeEach(async () => {
  host = await SimulatedHost.start({ hostPages: DOM0_PAGES + HOST_MIB * MIB });
});
afterEach(async () => {
  await host.stop();
  const { hypervisor } = host.core;
  expect(hypervisor.host.freePages).toBe(HOST_MIB * MIB);
  expect(host.core.internalErrors).toEqual([]);
});

const guestOf = (name: string, memory: number, maxmem = memory): Promise<SimulatedGuest> =>
  host.create(
    [
      `name = "${name}"`,
      `memory = ${memory}`,
      `maxmem = ${maxmem}`,
      `ramdisk = "${host.program('export default () => new Promise(() => {});')}"`,
    ].join('\n'),
  );
const set = (guest: SimulatedGuest, mib: number): Promise<void> =>
  host.run(host.toolstack.setMemoryTarget(guest.domid, mib * 1024));
const pagesOf = (guest: SimulatedGuest): number => guest.guest.domain.totPages;
const free = (): number => host.core.hypervisor.host.freePages;
const becomes = (guest: SimulatedGuest, pages: number): Promise<void> =>
  host.until(
    () => pagesOf(guest) === pages,
    () => `dom${guest.domid} having ${pages} pages; it has ${pagesOf(guest)}`,
  );
const held = (guest: SimulatedGuest): number => (fstatSync(guest.guest.domain.memory.fd).blocks * 512) / PAGE_SIZE;
/** Every frame that is nobody's is written to. */
function soil(guest: SimulatedGuest): void {
  const { frames, memory } = guest.vcpu;
  const count = frames.available;
  const taken: { first: number; count: number }[] = [];
  for (let run = frames.takeLowest(count); run !== undefined; run = frames.takeLowest(count)) taken.push(run);
  for (const { first, count } of taken) {
    memory.bytes.fill(0xee, first * PAGE_SIZE, (first + count) * PAGE_SIZE);
    frames.free(first as never, count);
  }
}

describe('a guest', () => {
  it('gives memory back to the machine, and has it again, zeroed', async () => {
    const guest = await guestOf('one', 16);
    soil(guest);
    const before = held(guest);
    await set(guest, 6);
    await becomes(guest, 6 * MIB);
    expect(free()).toBe((HOST_MIB - 6) * MIB);
    expect(held(guest)).toBeLessThan(before - 10 * MIB + SCRATCH);
    await set(guest, 16);
    await becomes(guest, 16 * MIB);
    expect(held(guest)).toBeLessThan(before - 10 * MIB + SCRATCH); // nothing has touched it yet
    const zeroed = Array.from({ length: 16 * MIB }, (_, gfn) => guest.guest.bytes[gfn * PAGE_SIZE]);
    expect(zeroed.filter(byte => byte === 0xee).length).toBeLessThan(6 * MIB);
    expect(guest.vcpu.frames.available).toBeGreaterThan(16 * MIB - 32);
  });

  it('begins with its memory, may have up to maxmem, and no more', async () => {
    const guest = await guestOf('growing', 8, 32);
    expect(pagesOf(guest)).toBe(8 * MIB);
    await set(guest, 32);
    await becomes(guest, 32 * MIB);
    expect(guest.vcpu.frames.available).toBeGreaterThan(31 * MIB);
    await expect(set(guest, 33)).rejects.toMatchObject({
      code: 'EINVAL',
      message: 'memory_dynamic_max must be less than or equal to memory_static_max',
    });
    await set(guest, 8);
    await becomes(guest, 8 * MIB);
  });

  it('keeps what is in use, and some frames for rings; what becomes free later it gives later', async () => {
    const guest = await guestOf('busy', 16);
    const { frames } = guest.vcpu;
    const used = frames.alloc(10 * MIB);
    const rest = frames.available;
    await set(guest, 0);
    await host.rest();
    expect(pagesOf(guest)).toBe(16 * MIB - rest + 64);
    expect(frames.available).toBe(64);
    frames.free(used, 10 * MIB);
    await host.pass(5000);
    expect(frames.available).toBe(64);
    expect(pagesOf(guest)).toBe(6 * MIB - rest + 64);
    // A new target ends the waiting.
    await set(guest, 16);
    await becomes(guest, 16 * MIB);
  });

  it('takes what there is when the host has not enough, and the rest when there is more', async () => {
    const greedy = await guestOf('greedy', 8, HOST_MIB);
    const other = await guestOf('other', 48);
    await set(greedy, HOST_MIB - 8);
    await becomes(greedy, (HOST_MIB - 48) * MIB);
    expect(free()).toBe(0);
    await set(other, 20);
    await becomes(other, 20 * MIB);
    await host.pass(8000);
    expect(pagesOf(greedy)).toBe((HOST_MIB - 20) * MIB);
    expect(free()).toBe(0);
    expect(host.log.lines.filter(line => line.includes('beyond'))).toEqual([]);
  });

  it('cannot have more than its target, which is a limit of the hypervisor as well', async () => {
    const guest = await guestOf('held', 16, 32);
    await set(guest, 8);
    await becomes(guest, 8 * MIB);
    expect(guest.guest.domain.maxPages).toBe(9 * MIB); // Xen: and 1 MiB
    const [info] = await host.run(host.toolstack.list(guest.domid));
    expect(info).toMatchObject({ current_kb: 8192, max_kb: 9216 });
  });

  it('is set up and down many times, and every page is somewhere', async () => {
    const guest = await guestOf('often', 16, 24);
    for (let i = 0; i < 30; i++) {
      const mib = 4 + ((i * 7) % 21);
      await set(guest, mib);
      await becomes(guest, mib * MIB);
      expect(free()).toBe((HOST_MIB - mib) * MIB);
      expect(held(guest)).toBeLessThanOrEqual(guest.guest.domain.physmap.backedFrames);
    }
  });
});

describe('the nodes of', () => {
  it('mem-set and mem-max are those that libxl writes', async () => {
    const guest = await guestOf('nodes', 16, 32);
    const home = `/local/domain/${guest.domid}/memory`;
    const uuid = host.toolstack.config(guest.domid)!.uuid;
    const read = (path: string): Promise<string> => host.run(host.xs.read(path));
    await set(guest, 12);
    expect(await read(`${home}/target`)).toBe('12288');
    expect(await read(`${home}/static-max`)).toBe('32768');
    expect(await read(`/vm/${uuid}/memory`)).toBe('12');
    await host.run(host.toolstack.setMaxMemory(guest.domid, 20 * 1024));
    expect(await read(`${home}/static-max`)).toBe('20480');
    expect(guest.guest.domain.maxPages).toBe(21 * MIB);
    await expect(host.run(host.toolstack.setMaxMemory(guest.domid, 11 * 1024))).rejects.toThrow(
      'memory_static_max must be greater than or or equal to memory_dynamic_max',
    );
    await expect(set(guest, 21)).rejects.toThrow('memory_dynamic_max must be less than');
    expect(host.toolstack.config(guest.domid)).toMatchObject({ memory: 12, maxmem: 20 });
    await becomes(guest, 12 * MIB);
    expect(await host.run(host.xs.directory(home))).toEqual(['static-max', 'target', 'videoram']);
  });
  it('a domain that is not there, or domain 0, are refused', async () => {
    await expect(host.run(host.toolstack.setMemoryTarget(0 as never, 1024))).rejects.toThrow(
      "domain 0's memory is fixed",
    );
    await expect(host.run(host.toolstack.setMaxMemory(77 as never, 1024))).rejects.toMatchObject({ code: 'ESRCH' });
  });
});

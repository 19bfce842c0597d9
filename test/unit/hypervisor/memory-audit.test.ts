// A domain that uses memory it has not: real memfds, and what Linux says they hold.
import { fstatSync } from 'node:fs';
import { beforeEach, describe, expect, it } from 'vitest';
import {
  DOMID_SELF,
  PAGE_SIZE,
  XEN_DOMCTL_destroydomain,
  XENMEM_decrease_reservation,
  XENMEM_populate_physmap,
  XENMEM_remove_from_physmap,
  xen_memory_reservation,
  xen_remove_from_physmap,
} from '#pvbus';
import { CoreRig, type Guest } from '../../support/core-rig.ts';

const PAGES = 64;
let rig: CoreRig;
let guest: Guest;
beforeEach(() => {
  rig = new CoreRig();
  guest = rig.guest({ pages: PAGES });
});

const reserve = (op: number, gfns: readonly number[]): number => {
  const extent_start = guest.reset().putU64s(gfns);
  return guest.memory(
    op,
    guest.put(xen_memory_reservation, { extent_start, nr_extents: gfns.length, domid: DOMID_SELF }),
  );
};
const touch = (first: number, end: number): void => {
  for (let gfn = first; gfn < end; gfn++) guest.bytes[gfn * PAGE_SIZE] = 1;
};
const heldPages = (): number => (fstatSync(guest.domain.memory.fd).blocks * 512) / PAGE_SIZE;
const range = (first: number, count: number): number[] => Array.from({ length: count }, (_, i) => first + i);
const pass = (seconds: number): void => {
  rig.clock.advance(seconds * 1e9);
  rig.settle();
};
const warnings = (): string[] => rig.log.lines.filter(line => line.includes('beyond'));
/** All of its memory in use, also what lies behind its RAM. */
function useAll(): void {
  guest.bytes.fill(1);
}

describe('memory that a domain gives back', () => {
  it('goes back to the machine: its file holds so much less, and what comes again is zero', () => {
    useAll();
    const before = heldPages();
    expect(before).toBe(guest.domain.layout.frames);
    expect(reserve(XENMEM_decrease_reservation, range(10, 40))).toBe(40);
    expect(heldPages()).toBe(before - 40);
    expect(reserve(XENMEM_populate_physmap, range(10, 40))).toBe(40);
    expect(heldPages()).toBe(before - 40); // until it is touched
    expect(guest.bytes.subarray(10 * PAGE_SIZE, 50 * PAGE_SIZE).every(byte => byte === 0)).toBe(true);
    expect(guest.bytes[9 * PAGE_SIZE]).toBe(1);
  });
  it('is zero when it comes again although the domain wrote to it meanwhile', () => {
    reserve(XENMEM_decrease_reservation, [10]);
    touch(10, 11);
    reserve(XENMEM_populate_physmap, [10]);
    expect(guest.bytes[10 * PAGE_SIZE]).toBe(0);
  });
  it('is zero when a pool gives its frames back although the domain wrote below them', () => {
    expect(guest.poolPopulate(0, 55)).toBe(0);
    const below = guest.domain.memory.again();
    below.bytes.fill(1, 55 * PAGE_SIZE, 56 * PAGE_SIZE);
    expect(guest.poolRelease(0, 55)).toBe(0);
    expect(guest.bytes[55 * PAGE_SIZE]).toBe(0);
    below.release();
  });
});

describe('a domain that touches memory it gave back', () => {
  beforeEach(() => {
    useAll();
    reserve(XENMEM_decrease_reservation, range(10, 40));
  });
  it('loses it again, and is named; the second time it crashes', () => {
    touch(10, 17);
    pass(2);
    expect(heldPages()).toBe(guest.domain.layout.frames - 40);
    expect(warnings()).toEqual([
      `dom${guest.domid} uses 7 pages beyond the ${PAGES - 40} it has; they were taken from it`,
    ]);
    expect(guest.domain.isShutDown).toBe(false);
    pass(10);
    expect(warnings()).toHaveLength(1);
    touch(30, 31);
    pass(2);
    expect(guest.domain.isShutDown).toBe(true);
    expect(guest.domain.crashMessage).toBe(
      `dom${guest.domid} uses 1 pages beyond the ${PAGES - 40} it has, which it was warned of before`,
    );
    expect(heldPages()).toBe(guest.domain.layout.frames - 40);
  });
  it('is found by its next memory operation too', () => {
    touch(10, 11);
    reserve(XENMEM_decrease_reservation, [50]);
    expect(warnings()).toHaveLength(1);
    touch(10, 11);
    expect(
      guest.memory(
        XENMEM_remove_from_physmap,
        guest.reset().put(xen_remove_from_physmap, { domid: DOMID_SELF, gpfn: 51 }),
      ),
    ).toBe(0);
    expect(guest.domain.isShutDown).toBe(true);
  });
  it('below the frames of a pool is found as well', () => {
    expect(guest.poolPopulate(0, 55, 2)).toBe(0);
    // The file's own frames are below the pool's.
    const below = guest.domain.memory.again();
    below.bytes.fill(1, 55 * PAGE_SIZE, 57 * PAGE_SIZE);
    pass(2);
    expect(warnings()).toEqual([expect.stringContaining('uses 2 pages beyond')]);
    expect(below.bytes[55 * PAGE_SIZE]).toBe(0);
    below.release();
  });
  it('within what it has costs nobody anything, and is left alone', () => {
    reserve(XENMEM_populate_physmap, range(10, 5));
    touch(20, 25); // five are empty that it has, five used that it has not
    pass(5);
    expect(warnings()).toEqual([]);
  });
});

it('where a file may hold more than was touched, what is too much is taken back and nobody is blamed', () => {
  rig = new CoreRig({ filesAreExact: false });
  guest = rig.guest({ pages: PAGES });
  useAll();
  reserve(XENMEM_decrease_reservation, range(10, 40));
  for (let i = 0; i < 3; i++) {
    touch(10, 17);
    pass(2);
    expect(heldPages()).toBe(guest.domain.layout.frames - 40);
  }
  expect(warnings()).toEqual([]);
  expect(guest.domain.isShutDown).toBe(false);
});

it('many domains are looked at some at a time, each once a second', () => {
  const many = Array.from({ length: 150 }, () => rig.guest({ pages: 4 }));
  for (const one of many) {
    guest = one;
    useAll();
    expect(reserve(XENMEM_decrease_reservation, [1])).toBe(1);
  }
  for (const { bytes } of many) bytes[PAGE_SIZE] = 1;
  pass(1);
  expect(warnings()).toHaveLength(64);
  for (let third = 0; third < 2; third++) pass(1 / 3 + 0.001);
  expect(warnings()).toHaveLength(150);
});

it('a domain that has all its memory is not looked at, nor one that is gone', () => {
  pass(2);
  expect(rig.hypervisor.timersPending).toBe(0);
  reserve(XENMEM_decrease_reservation, [10]);
  expect(rig.hypervisor.timersPending).toBe(1);
  rig.dom0.reset().domctl(XEN_DOMCTL_destroydomain, guest.domid);
  rig.settle();
  expect(rig.hypervisor.timersPending).toBe(0);
});

// Xen: public/memory.h; the rows M1 to M11 of docs/hypercalls.md.

import { beforeEach, describe, expect, it } from 'vitest';
import {
  DOMID_SELF,
  PAGE_SIZE,
  XEN_DOMCTL_destroydomain,
  XEN_DOMCTL_max_mem,
  XEN_EBUSY,
  XEN_EDOM,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOENT,
  XEN_ENOMEM,
  XEN_ENOSYS,
  XEN_EOPNOTSUPP,
  XEN_EPERM,
  XEN_ESRCH,
  XENMAPSPACE_gmfn_foreign,
  XENMAPSPACE_gmfn_range,
  XENMAPSPACE_grant_table,
  XENMAPSPACE_shared_info,
  XENMEM_acquire_resource,
  XENMEM_add_to_physmap,
  XENMEM_add_to_physmap_batch,
  XENMEM_claim_pages,
  XENMEM_current_reservation,
  XENMEM_decrease_reservation,
  XENMEM_exchange,
  XENMEM_increase_reservation,
  XENMEM_maximum_gpfn,
  XENMEM_maximum_ram_page,
  XENMEM_maximum_reservation,
  XENMEM_populate_physmap,
  XENMEM_remove_from_physmap,
  XENMEM_resource_grant_table,
  XENMEM_resource_grant_table_id_status,
  XENMEM_resource_ioreq_server,
  XENMEMF_populate_on_demand,
  xen_add_to_physmap,
  xen_add_to_physmap_batch,
  xen_domctl_max_mem,
  xen_mem_acquire_resource,
  xen_memory_domain,
  xen_memory_exchange,
  xen_memory_reservation,
  xen_remove_from_physmap,
} from '#pvbus';
import { CoreRig, type Guest } from '../../support/core-rig.ts';

const NOBODY = 4711;
let rig: CoreRig;
let a: Guest;
let b: Guest;

beforeEach(() => {
  rig = new CoreRig();
  a = rig.guest();
  b = rig.guest();
});

interface Reservation {
  list?: readonly number[];
  extents?: number;
  order?: number;
  flags?: number;
  domid?: number;
  start?: number;
  listAt?: number;
}
const reserve = (guest: Guest, op: number, r: Reservation = {}): number => {
  const list = r.list ?? [];
  const extent_start = r.listAt ?? guest.reset().putU64s(list);
  if (r.listAt !== undefined) guest.reset();
  const arg = guest.put(xen_memory_reservation, {
    extent_start,
    nr_extents: r.extents ?? list.length,
    extent_order: r.order ?? 0,
    mem_flags: r.flags ?? 0,
    domid: r.domid ?? DOMID_SELF,
  });
  return guest.memory(op | ((r.start ?? 0) << 6), arg);
};
const decrease = (guest: Guest, list: readonly number[], r: Reservation = {}) =>
  reserve(guest, XENMEM_decrease_reservation, { ...r, list });
const populate = (guest: Guest, list: readonly number[], r: Reservation = {}) =>
  reserve(guest, XENMEM_populate_physmap, { ...r, list });
const maxMem = (guest: Guest, pages: number) =>
  rig.dom0.reset().domctl(XEN_DOMCTL_max_mem, guest.domid, xen_domctl_max_mem, { max_memkb: pages * 4 }).rc;

describe('increase, decrease and populate return the extents done, whatever went wrong', () => {
  it('M1 a bad pointer, an unknown domain, no permission, an order too big: 0 or the start', () => {
    for (const op of [XENMEM_increase_reservation, XENMEM_decrease_reservation, XENMEM_populate_physmap]) {
      expect(a.memory(op, 2 ** 40)).toBe(0);
      expect(a.memory(op | (5 << 6), 2 ** 40)).toBe(5);
      expect(reserve(a, op, { list: [1], domid: NOBODY })).toBe(0);
      expect(reserve(a, op, { list: [1], domid: b.domid })).toBe(0);
      expect(reserve(a, op, { list: [1], order: 10 })).toBe(0);
      expect(reserve(a, op, { list: [0, 1], order: 0xffffffff, start: 1 })).toBe(1);
      expect(reserve(a, op, { list: [1], flags: XENMEMF_populate_on_demand })).toBe(0);
      expect(reserve(a, op, { extents: 2, listAt: 2 ** 40 })).toBe(0);
    }
    expect(a.domain.totPages).toBe(64);
  });
  it('M1 out of memory is a partial count', () => {
    const small = new CoreRig({ hostPages: 600 });
    const guest = small.guest();
    expect(small.hypervisor.host.freePages).toBe(24);
    const big = small.createDomain();
    small.dom0.reset().domctl(XEN_DOMCTL_max_mem, big, xen_domctl_max_mem, { max_memkb: 400 });
    expect(small.populate(big, 0, 64)).toBe(24);
    expect(small.hypervisor.host.freePages).toBe(0);
    expect(guest.domain.totPages).toBe(64);
  });
  it('M2 more extents than a continuation can count, or a start beyond them: the start (act 51)', () => {
    expect(reserve(a, XENMEM_populate_physmap, { list: [1], extents: (0xffffffff >>> 6) + 1 })).toBe(0);
    expect(reserve(a, XENMEM_populate_physmap, { list: [1], start: 1 })).toBe(1);
    expect(reserve(a, XENMEM_populate_physmap, { list: [1], start: 0x3ffffff })).toBe(0x3ffffff);
    expect(reserve(a, XENMEM_populate_physmap, { list: [], extents: 0 })).toBe(0);
  });
  it('M3 decrease stops at a gfn that is empty, invalid or named twice', () => {
    expect(decrease(a, [10, 11, 10, 12])).toBe(2);
    expect(decrease(a, [12, 9999])).toBe(1);
    expect(decrease(a, [a.domain.layout.sharedInfo])).toBe(0);
    expect(decrease(a, [2 ** 52])).toBe(0);
    expect(a.domain.totPages).toBe(61);
    expect(rig.hypervisor.host.freePages).toBe(100_000 - 512 - 128 + 3);
  });
  it('M3 an extent goes as a whole or not at all', () => {
    expect(decrease(a, [17])).toBe(1);
    expect(decrease(a, [16], { order: 1 })).toBe(0);
    expect(decrease(a, [18, 24], { order: 1 })).toBe(2);
    expect(a.domain.totPages).toBe(59);
  });
  it('M4 populate stops at max_pages with a partial count, and leaks nothing', () => {
    expect(decrease(a, [10, 11, 12])).toBe(3);
    expect(maxMem(a, 62)).toBe(0);
    expect(populate(a, [10, 11, 12])).toBe(1);
    expect(a.domain.totPages).toBe(62);
    expect(maxMem(a, 64)).toBe(0);
    expect(populate(a, [10])).toBe(0); // it is there already
    expect(populate(a, [11, 12, 64])).toBe(2);
    expect(rig.hypervisor.host.freePages).toBe(100_000 - 512 - 128);
  });
  it('M5 all 256 node numbers make no difference', () => {
    decrease(a, [10]);
    for (let node = 0; node < 256; node++) {
      expect(populate(a, [10], { flags: node << 8 })).toBe(1);
      expect(decrease(a, [10], { flags: node << 8 })).toBe(1);
    }
  });
  it('memory that comes back is zero', () => {
    a.bytes.fill(7, 10 * PAGE_SIZE, 11 * PAGE_SIZE);
    decrease(a, [10]);
    populate(a, [10]);
    expect(a.bytes[10 * PAGE_SIZE]).toBe(0);
  });
  it('increase finds the frames itself and says which', () => {
    decrease(a, [10, 20, 21]);
    const list = a.reset().putU64s([0, 0, 0, 0]);
    const arg = a.put(xen_memory_reservation, { extent_start: list, nr_extents: 4, domid: DOMID_SELF });
    expect(a.memory(XENMEM_increase_reservation, arg)).toBe(3);
    expect([0, 1, 2].map(i => a.view.getUint32(list + 8 * i, true))).toEqual([10, 20, 21]);
  });
  it('a long list is one call, done in slices', () => {
    const big = rig.guest({ pages: 4096 });
    const list = 0; // in its own RAM, in frames that stay
    for (let i = 0; i < 3000; i++) {
      big.view.setUint32(list + 8 * i, 1000 + i, true);
      big.view.setUint32(list + 8 * i + 4, 0, true);
    }
    expect(reserve(big, XENMEM_decrease_reservation, { listAt: list, extents: 3000 })).toBe(3000);
    expect(big.domain.totPages).toBe(1096);
    expect(reserve(big, XENMEM_populate_physmap, { listAt: list, extents: 3000 })).toBe(3000);
    expect(big.domain.totPages).toBe(4096);
  });
});

it('M6 maximum_ram_page and the three reservations', () => {
  const ask = (guest: Guest, op: number, domid: number) =>
    guest.memory(op, guest.reset().put(xen_memory_domain, { domid }));
  expect(a.memory(XENMEM_maximum_ram_page, 0)).toBe(99_999);
  expect(ask(a, XENMEM_current_reservation, DOMID_SELF)).toBe(64);
  decrease(a, [63]);
  expect(ask(a, XENMEM_current_reservation, DOMID_SELF)).toBe(63);
  expect(ask(rig.dom0, XENMEM_maximum_reservation, a.domid)).toBe(64);
  expect(ask(a, XENMEM_maximum_gpfn, DOMID_SELF)).toBe(63);
  for (const op of [XENMEM_current_reservation, XENMEM_maximum_reservation, XENMEM_maximum_gpfn]) {
    expect(ask(a, op, NOBODY)).toBe(-XEN_ESRCH);
    expect(ask(a, op, b.domid)).toBe(-XEN_EPERM);
    expect(a.memory(op, 2 ** 40)).toBe(-XEN_EFAULT);
    expect(a.memory(op | (1 << 6), 0)).toBe(-XEN_EINVAL);
  }
  expect(a.memory(XENMEM_maximum_ram_page | (1 << 6), 0)).toBe(-XEN_EINVAL);
});

describe('M7 exchange, which only guests that know machine frames can use', () => {
  const exchange = (guest: Guest, from: Reservation, to: Reservation, nr_exchanged: number) => {
    guest.reset();
    const side = (r: Reservation) => ({
      extent_start: r.listAt ?? guest.putU64s(r.list ?? [0]),
      nr_extents: r.extents ?? 1,
      extent_order: r.order ?? 0,
      domid: r.domid ?? DOMID_SELF,
    });
    return guest.memory(
      XENMEM_exchange,
      guest.put(xen_memory_exchange, { in: side(from), out: side(to), nr_exchanged }),
    );
  };
  it('M7 an order above the allowed is EPERM', () => {
    expect(exchange(a, { order: 10 }, { order: 10 }, 0)).toBe(-XEN_EPERM);
    expect(exchange(a, {}, { order: 0xffffffff }, 0)).toBe(-XEN_EPERM);
  });
  it('M7 sizes, domids or a count that do not fit are EINVAL', () => {
    expect(exchange(a, {}, {}, 2)).toBe(-XEN_EINVAL);
    expect(exchange(a, {}, { domid: b.domid }, 0)).toBe(-XEN_EINVAL);
    expect(exchange(a, { extents: 2 }, { extents: 3 }, 0)).toBe(-XEN_EINVAL);
    expect(exchange(a, { extents: 2 ** 52, order: 9 }, { extents: 2 ** 52, order: 9 }, 0)).toBe(-XEN_EINVAL);
  });
  it('M7 a forged nr_exchanged that starts outside the lists is EFAULT (XSA-212, act 51)', () => {
    const at = 2 ** 45;
    expect(exchange(a, { extents: at, listAt: 8 }, { extents: at, listAt: 8 }, at - 1)).toBe(-XEN_EFAULT);
    expect(exchange(a, { listAt: 2 ** 44 }, {}, 0)).toBe(-XEN_EFAULT);
  });
  it('M7 a proper call is EOPNOTSUPP, on another domain EPERM', () => {
    expect(exchange(a, {}, {}, 0)).toBe(-XEN_EOPNOTSUPP);
    expect(exchange(a, { domid: b.domid }, { domid: b.domid }, 0)).toBe(-XEN_EPERM);
    expect(a.memory(XENMEM_exchange, 2 ** 40)).toBe(-XEN_EFAULT);
  });
});

describe('M8 add_to_physmap', () => {
  const add = (guest: Guest, space: number, idx: number, gpfn: number, domid = DOMID_SELF) =>
    guest.memory(XENMEM_add_to_physmap, guest.reset().put(xen_add_to_physmap, { domid, space, idx, gpfn }));
  const batch = (guest: Guest, space: number, idxs: number[], gpfns: number[], start = 0, size = idxs.length) => {
    guest.reset();
    const errs = guest.putU32s(idxs.map(() => 0));
    const arg = guest.put(xen_add_to_physmap_batch, {
      domid: DOMID_SELF,
      space,
      size,
      idxs: guest.putU64s(idxs),
      gpfns: guest.putU64s(gpfns),
      errs,
    });
    const rc = guest.memory(XENMEM_add_to_physmap_batch | (start << 6), arg);
    return { rc, errs: idxs.map((_, i) => guest.view.getInt32(errs + 4 * i, true)) };
  };
  it('M8 of a foreign frame is ENOSYS, of a range in a batch EOPNOTSUPP, of a start that does not fit EDOM', () => {
    expect(add(a, XENMAPSPACE_gmfn_foreign, 0, 0)).toBe(-XEN_ENOSYS);
    expect(batch(a, XENMAPSPACE_gmfn_range, [0], [0]).rc).toBe(-XEN_EOPNOTSUPP);
    expect(batch(a, XENMAPSPACE_grant_table, [0], [0], 2).rc).toBe(-XEN_EDOM);
    expect(batch(a, XENMAPSPACE_grant_table, [0], [0], 0x10000).rc).toBe(-XEN_EDOM);
  });
  it('M8 the frames of Xen are at their places already', () => {
    const { sharedInfo, grantFrames } = a.domain.layout;
    expect(add(a, XENMAPSPACE_shared_info, 0, sharedInfo)).toBe(0);
    expect(add(a, XENMAPSPACE_shared_info, 0, 5)).toBe(-XEN_EOPNOTSUPP);
    expect(add(a, XENMAPSPACE_shared_info, 1, sharedInfo)).toBe(-XEN_EINVAL);
    expect(add(a, XENMAPSPACE_grant_table, 2, grantFrames + 2)).toBe(0);
    expect(a.domain.grants.frames).toBe(3);
    expect(add(a, XENMAPSPACE_grant_table, 64, grantFrames + 64)).toBe(-XEN_EINVAL);
    expect(add(a, 77, 0, 0)).toBe(-XEN_ENOSYS);
    expect(add(a, XENMAPSPACE_shared_info, 0, 0, NOBODY)).toBe(-XEN_ESRCH);
    expect(add(a, XENMAPSPACE_shared_info, 0, 0, b.domid)).toBe(-XEN_EPERM);
    expect(batch(a, XENMAPSPACE_grant_table, [0, 99, 1], [grantFrames, 0, 7])).toEqual({
      rc: 0,
      errs: [0, -XEN_EINVAL, -XEN_EOPNOTSUPP],
    });
  });
});

it('M9 remove_from_physmap of an empty gfn is ENOENT, of a frame it gives the page back', () => {
  const remove = (guest: Guest, gpfn: number, domid = DOMID_SELF) =>
    guest.memory(XENMEM_remove_from_physmap, guest.reset().put(xen_remove_from_physmap, { domid, gpfn }));
  expect(remove(a, 9)).toBe(0);
  expect(remove(a, 9)).toBe(-XEN_ENOENT);
  expect(remove(a, 9999)).toBe(-XEN_ENOENT);
  expect(remove(a, a.domain.layout.control)).toBe(-XEN_EINVAL);
  expect(a.poolPopulate(b.domid, 10)).toBe(0);
  expect(remove(a, 10)).toBe(-XEN_EBUSY);
  expect(remove(a, 10, b.domid)).toBe(-XEN_EPERM);
  expect(a.domain.totPages).toBe(63);
});

describe('M10 claim_pages', () => {
  const claim = (
    guest: Guest,
    domid: number,
    pages: number,
    r: { list?: number; order?: number; flags?: number } = {},
  ) =>
    guest.memory(
      XENMEM_claim_pages,
      guest.reset().put(xen_memory_reservation, {
        extent_start: r.list ?? 0,
        nr_extents: pages,
        extent_order: r.order ?? 0,
        mem_flags: r.flags ?? 0,
        domid,
      }),
    );
  it('M10 checks what it is given', () => {
    expect(claim(a, DOMID_SELF, 10)).toBe(-XEN_EPERM);
    expect(claim(rig.dom0, a.domid, 10, { list: 8 })).toBe(-XEN_EINVAL);
    expect(claim(rig.dom0, a.domid, 10, { order: 1 })).toBe(-XEN_EINVAL);
    expect(claim(rig.dom0, a.domid, 10, { flags: 1 })).toBe(-XEN_EINVAL);
    expect(claim(rig.dom0, NOBODY, 10)).toBe(-XEN_EINVAL);
    expect(claim(rig.dom0, a.domid, 64)).toBe(-XEN_EINVAL);
    expect(claim(rig.dom0, a.domid, 65)).toBe(-XEN_EINVAL);
    rig.dom0.reset().domctl(XEN_DOMCTL_destroydomain, b.domid);
    expect(claim(rig.dom0, b.domid, 10)).toBe(-XEN_EINVAL);
  });
  it('M10 a claim shrinks as memory comes, keeps others out, and goes with the domain', () => {
    const { host } = rig.hypervisor;
    maxMem(a, 1000);
    expect(claim(rig.dom0, a.domid, 1000)).toBe(0);
    expect(host.outstandingPages).toBe(936);
    expect(claim(rig.dom0, a.domid, 999)).toBe(-XEN_EINVAL);
    decrease(a, [1, 2]);
    populate(a, [1, 2]);
    expect(host.outstandingPages).toBe(934);
    maxMem(b, 1e6);
    expect(claim(rig.dom0, b.domid, 99_000)).toBe(-XEN_ENOMEM);
    expect(claim(rig.dom0, a.domid, 0)).toBe(0);
    expect(claim(rig.dom0, b.domid, 99_000)).toBe(0);
    rig.dom0.reset().domctl(XEN_DOMCTL_destroydomain, b.domid);
    rig.settle();
    expect(host.outstandingPages).toBe(0);
  });
});

it('M11 acquire_resource', () => {
  const acquire = (guest: Guest, fields: Record<string, number>) => {
    const arg = guest.reset().put(xen_mem_acquire_resource, { type: XENMEM_resource_grant_table, ...fields });
    const rc = guest.memory(XENMEM_acquire_resource, arg);
    return { rc, nr: guest.get(xen_mem_acquire_resource, arg, 'nr_frames') };
  };
  const domid = a.domid;
  expect(acquire(a, { domid: a.domid }).rc).toBe(-XEN_EPERM);
  expect(acquire(rig.dom0, { domid: 0 }).rc).toBe(-XEN_EPERM);
  expect(acquire(a, { domid: b.domid }).rc).toBe(-XEN_EPERM);
  expect(acquire(rig.dom0, { domid: NOBODY }).rc).toBe(-XEN_ESRCH);
  expect(acquire(rig.dom0, { domid, pad: 1 }).rc).toBe(-XEN_EINVAL);
  expect(acquire(rig.dom0, { domid, frame: 0xffffffff, nr_frames: 1, frame_list: 8 }).rc).toBe(-XEN_EINVAL);
  expect(acquire(rig.dom0, { domid, type: 9 }).rc).toBe(-XEN_EINVAL);
  expect(acquire(rig.dom0, { domid, type: XENMEM_resource_ioreq_server }).rc).toBe(-XEN_EINVAL);
  expect(acquire(rig.dom0, { domid, id: XENMEM_resource_grant_table_id_status }).rc).toBe(-XEN_EINVAL);
  expect(acquire(rig.dom0, { domid })).toEqual({ rc: 0, nr: 64 });
  expect(acquire(rig.dom0, { domid, nr_frames: 1 }).rc).toBe(-XEN_EINVAL);
  expect(acquire(rig.dom0, { domid, nr_frames: 1, frame_list: 8 }).rc).toBe(-XEN_EOPNOTSUPP);
});

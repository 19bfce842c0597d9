// Pools: what a domain shares with one peer, and nothing else, is what that peer can see.

import { beforeEach, expect, it } from 'vitest';
import {
  __HYPERVISOR_xenolith_op,
  DOMID_SELF,
  KIND_FOREIGN,
  KIND_FORGET,
  KIND_OVERLAY,
  KIND_POOL,
  KIND_RESTORE,
  PAGE_SIZE,
  POOL_SIZE,
  POOL_SPAN,
  XEN_DOMCTL_destroydomain,
  XEN_EBUSY,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOSPC,
  XEN_ENOSYS,
  XEN_EPERM,
  XEN_ESRCH,
  XENMEM_decrease_reservation,
  XENOLITHOP_map_foreign,
  XENOLITHOP_pool_release,
  xen_memory_reservation,
  xenolith_map_foreign,
  xenolith_pool_populate,
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

const release = (guest: Guest, peer: number, gfn: number, count = 1, flags = 0): number => {
  const arg = guest.reset().put(xenolith_pool_populate, { domid: DOMID_SELF, peer, flags, gfn, nr_frames: count });
  return guest.call(__HYPERVISOR_xenolith_op, XENOLITHOP_pool_release, arg);
};
const mapForeign = (guest: Guest, domid: number): number =>
  guest.call(__HYPERVISOR_xenolith_op, XENOLITHOP_map_foreign, guest.reset().put(xenolith_map_foreign, { domid }));

it('frames that leave RAM for a pool are zero, and what was in them is gone', () => {
  a.bytes.fill(7, 10 * PAGE_SIZE, 12 * PAGE_SIZE);
  expect(a.poolPopulate(b.domid, 10)).toBe(0);
  expect(a.bytes[10 * PAGE_SIZE]).toBe(0);
  expect(a.bytes[11 * PAGE_SIZE]).toBe(7);
  const pool = a.domain.pools.get(b.domain)!;
  a.bytes[10 * PAGE_SIZE + 5] = 9;
  expect(pool.arena.bytes[5]).toBe(9);
  expect(a.domain.totPages).toBe(64);
});

it('both sides see the same bytes through their own mappings', () => {
  const granter = a.kernel();
  const grantee = b.kernel();
  const shared = granter.grants.allocShared(grantee.domid, 3);
  shared.bytes.set([1, 2, 3], 2 * PAGE_SIZE);
  const refs = [0, 1, 2].map(i => granter.grants.grantAccess(grantee.domid, shared.gfn + i));
  const mapped = grantee.grants.map(granter.domid, refs);
  expect([...mapped[2]!.page.bytes.subarray(0, 3)]).toEqual([1, 2, 3]);
  mapped[0]!.page.bytes[100] = 77;
  expect(shared.bytes[100]).toBe(77);
  // The three lie in a row in the pool, and so can be used as one buffer.
  expect(mapped[2]!.offset - mapped[0]!.offset).toBe(2 * PAGE_SIZE);
  expect(granter.grants.endAccess(refs[1]!)).toBe(false);
  expect(() => shared.release()).toThrow(/still granted/);
  grantee.grants.unmap(mapped);
  for (const ref of refs) expect(granter.grants.endAccess(ref)).toBe(true);
  shared.release();
  expect(shared.bytes[100]).toBe(0);
});

it('a frame is zero when it comes back to RAM, and when it is shared again', () => {
  expect(a.poolPopulate(b.domid, 10, 2)).toBe(0);
  const pool = a.domain.pools.get(b.domain)!;
  a.bytes.fill(1, 10 * PAGE_SIZE, 12 * PAGE_SIZE);
  expect(release(a, b.domid, 10, 2)).toBe(0);
  expect(a.bytes.subarray(10 * PAGE_SIZE, 12 * PAGE_SIZE).every(byte => byte === 0)).toBe(true);
  expect(pool.arena.bytes.subarray(0, 2 * PAGE_SIZE).every(byte => byte === 0)).toBe(true);
  a.bytes[10 * PAGE_SIZE] = 3;
  expect(pool.arena.bytes[0]).toBe(0);
  expect(a.poolPopulate(b.domid, 10, 2)).toBe(0);
  expect(a.bytes[10 * PAGE_SIZE]).toBe(0);
});

it('the granter is told of the pool once, and of every change of its frames', () => {
  const { sent } = a.link();
  const start = sent.length;
  a.poolPopulate(b.domid, 10);
  a.poolPopulate(b.domid, 20, 2);
  release(a, b.domid, 10);
  const { id } = a.domain.pools.get(b.domain)!;
  expect(sent.slice(start).map(({ kind, a: x, b: y }) => [kind, x, y])).toEqual([
    [KIND_POOL, id, a.domid + b.domid * 65536],
    [KIND_OVERLAY, 10 + 2 ** 32, id * POOL_SPAN],
    [KIND_OVERLAY, 20 + 2 * 2 ** 32, id * POOL_SPAN + PAGE_SIZE],
    [KIND_RESTORE, 10 + 2 ** 32, 0],
  ]);
});

it('the grantee is sent the pool at its first mapping, each vcpu for itself', () => {
  const { dom0 } = rig;
  const [one, two] = [dom0.link(1), dom0.link(2)];
  a.poolPopulate(0, 10);
  a.grant(9, 0, 10);
  dom0.vcpuId = 2;
  dom0.map(a.domid, 9);
  dom0.map(a.domid, 9);
  const { id, arena } = a.domain.pools.get(dom0.domain)!;
  expect(one.sent).toEqual([]);
  expect(two.sent).toEqual([{ kind: KIND_POOL, a: id, b: a.domid, arena }]);
});

it('what was shared before a vcpu had its link is told when it has', () => {
  const built = rig.guest({ building: true });
  expect(rig.dom0.poolPopulate(0, 60, 2, 0, built.domid)).toBe(0);
  expect(rig.dom0.poolPopulate(0, 10, 1, 0, built.domid)).toBe(0);
  const { id } = built.domain.pools.get(rig.dom0.domain)!;
  expect(built.link().sent.map(({ kind, a: x, b: y }) => [kind, x, y])).toEqual([
    [KIND_POOL, id, built.domid],
    [KIND_OVERLAY, 10 + 2 ** 32, id * POOL_SPAN + 2 * PAGE_SIZE],
    [KIND_OVERLAY, 60 + 2 * 2 ** 32, id * POOL_SPAN],
  ]);
});

it("pool_populate refuses what is no RAM, who is nobody, and what is not the caller's", () => {
  expect(a.poolPopulate(NOBODY, 10)).toBe(-XEN_ESRCH);
  expect(a.poolPopulate(b.domid, 10, 1, 0, NOBODY)).toBe(-XEN_ESRCH);
  expect(a.poolPopulate(b.domid, 10, 1, 0, b.domid)).toBe(-XEN_EPERM);
  expect(a.poolPopulate(b.domid, 10, 0)).toBe(-XEN_EINVAL);
  expect(a.poolPopulate(b.domid, 10, 0xffffffff)).toBe(-XEN_EINVAL);
  expect(a.poolPopulate(b.domid, 63, 2)).toBe(-XEN_EINVAL);
  expect(a.poolPopulate(b.domid, a.domain.layout.sharedInfo)).toBe(-XEN_EINVAL);
  expect(a.poolPopulate(b.domid, 10, 1, 2)).toBe(-XEN_EINVAL);
  expect(a.poolPopulate(b.domid, 10, 2)).toBe(0);
  expect(a.poolPopulate(b.domid, 11)).toBe(-XEN_EINVAL);
  expect(a.poolPopulate(b.domid, 9, 2)).toBe(-XEN_EINVAL);
  expect(a.call(__HYPERVISOR_xenolith_op, 99, 0)).toBe(-XEN_ENOSYS);
  expect(a.call(__HYPERVISOR_xenolith_op, 0, 2 ** 50)).toBe(-XEN_EFAULT);
});

it('pool_release refuses other frames than those shared with that peer', () => {
  a.poolPopulate(b.domid, 10, 2);
  a.poolPopulate(0, 12);
  expect(release(a, 0, 10)).toBe(-XEN_EINVAL);
  expect(release(a, b.domid, 10, 3)).toBe(-XEN_EINVAL);
  expect(release(a, b.domid, 9, 2)).toBe(-XEN_EINVAL);
  expect(release(a, b.domid, 10, 0xffffffff)).toBe(-XEN_EINVAL);
  expect(release(b, a.domid, 10)).toBe(-XEN_EINVAL);
  a.grant(9, b.domid, 11);
  const { handle } = b.map(a.domid, 9);
  expect(release(a, b.domid, 10, 2)).toBe(-XEN_EBUSY);
  b.unmap(handle);
  expect(release(a, b.domid, 10, 2)).toBe(0);
});

it('a pool frame is not given back as memory', () => {
  a.poolPopulate(b.domid, 10);
  const extent_start = a.reset().putU64s([10]);
  const arg = a.put(xen_memory_reservation, { extent_start, nr_extents: 1, domid: DOMID_SELF });
  expect(a.memory(XENMEM_decrease_reservation, arg)).toBe(0);
  expect(a.domain.totPages).toBe(64);
});

it('fault 4: a domain cannot cut its memory into more pieces than a process may map', () => {
  const big = rig.guest({ pages: 4000 });
  let made = 0;
  for (let gfn = 0; gfn < 4000; gfn += 2) {
    const rc = big.poolPopulate(b.domid, gfn);
    if (rc === 0) made++;
    else expect(rc).toBe(-XEN_ENOSPC);
  }
  expect(made).toBeGreaterThan(900);
  expect(made).toBeLessThan(1100);
  for (let gfn = 0; gfn < 2 * made; gfn += 2) expect(release(big, b.domid, gfn)).toBe(0);
  expect(big.domain.seams).toBe(0);
});

it('a pool that is full is ENOSPC', () => {
  const pages = POOL_SIZE / PAGE_SIZE;
  const big = rig.guest({ pages: pages + 10 });
  expect(big.poolPopulate(b.domid, 0, pages)).toBe(0);
  expect(big.poolPopulate(b.domid, pages)).toBe(-XEN_ENOSPC);
  expect(release(big, b.domid, 5)).toBe(0);
  expect(big.poolPopulate(b.domid, pages)).toBe(0);
});

it('when the grantee is gone its pool goes with its last frame, and its successor gets another', () => {
  a.poolPopulate(b.domid, 10, 2);
  const pool = a.domain.pools.get(b.domain)!;
  const { sent } = a.link();
  rig.dom0.reset().domctl(XEN_DOMCTL_destroydomain, b.domid);
  rig.settle();
  expect(sent.at(-1)).toMatchObject({ kind: KIND_FORGET, a: b.domid });
  a.bytes[10 * PAGE_SIZE] = 1;
  expect(a.poolPopulate(b.domid, 20)).toBe(-XEN_ESRCH);
  expect(release(a, b.domid, 10)).toBe(0);
  expect(rig.hypervisor.pools.size).toBe(1);
  expect(release(a, b.domid, 11)).toBe(0);
  expect(rig.hypervisor.pools.size).toBe(0);
  expect(pool.usedPages).toBe(0);
  expect(a.bytes[10 * PAGE_SIZE]).toBe(0);
});

it('fault 40: a pool that is empty goes with its grantee, one that is not with its last frame, also while its grantee is still dying', () => {
  const { pools } = rig.hypervisor;
  const none = pools.size;
  const [used, kept] = [rig.guest(), rig.guest()];
  for (const [peer, gfn] of [
    [b, 10],
    [used, 11],
    [kept, 12],
  ] as const)
    expect(a.poolPopulate(peer.domid, gfn)).toBe(0);
  expect(release(a, b.domid, 10)).toBe(0);
  // dom0 has a page of that one mapped: it stays dying.
  kept.poolPopulate(0, 20);
  kept.grant(30, 0, 20);
  const { handle } = rig.dom0.map(kept.domid, 30);
  expect(pools.size).toBe(none + 4);
  for (const { domid } of [b, used, kept]) rig.dom0.domctl(XEN_DOMCTL_destroydomain, domid);
  rig.settle();
  expect([rig.hypervisor.domains.byId(kept.domid)?.dying, pools.size]).toEqual([true, none + 3]);
  for (const [peer, gfn] of [
    [used, 11],
    [kept, 12],
  ] as const)
    expect(release(a, peer.domid, gfn)).toBe(0);
  rig.dom0.unmap(handle);
  rig.settle();
  expect([rig.hypervisor.domains.byId(kept.domid), pools.size, a.domain.pools.size]).toEqual([undefined, none, 0]);
});

it('map_foreign is for the control domain, and sends the whole memory', () => {
  expect(mapForeign(a, b.domid)).toBe(-XEN_EPERM);
  expect(mapForeign(rig.dom0, NOBODY)).toBe(-XEN_ESRCH);
  const { sent } = rig.dom0.link();
  expect(mapForeign(rig.dom0, a.domid)).toBe(0);
  expect(sent.at(-1)).toEqual({ kind: KIND_FOREIGN, a: a.domid, b: 64 + 2 ** 32, arena: a.domain.memory });
});

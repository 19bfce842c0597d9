// Xen: public/grant_table.h; the rows G1 to G34 of docs/hypercalls.md.

import { beforeEach, describe, expect, it } from 'vitest';
import {
  DOMID_SELF,
  GNTCOPY_dest_gref,
  GNTCOPY_source_gref,
  GNTMAP_contains_pte,
  GNTMAP_device_map,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST_bad_copy_arg,
  GNTST_bad_dev_addr,
  GNTST_bad_domain,
  GNTST_bad_gntref,
  GNTST_bad_handle,
  GNTST_bad_page,
  GNTST_eagain,
  GNTST_general_error,
  GNTST_no_space,
  GNTST_okay,
  GNTST_permission_denied,
  GNTTABOP_copy,
  GNTTABOP_get_status_frames,
  GNTTABOP_get_version,
  GNTTABOP_map_grant_ref,
  GNTTABOP_query_size,
  GNTTABOP_set_version,
  GNTTABOP_setup_table,
  GNTTABOP_swap_grant_ref,
  GNTTABOP_transfer,
  GNTTABOP_unmap_and_replace,
  GNTTABOP_unmap_grant_ref,
  GTF_accept_transfer,
  GTF_permit_access,
  GTF_reading,
  GTF_readonly,
  GTF_sub_page,
  GTF_transitive,
  GTF_writing,
  gnttab_copy,
  gnttab_get_status_frames,
  gnttab_get_version,
  gnttab_map_grant_ref,
  gnttab_query_size,
  gnttab_set_version,
  gnttab_setup_table,
  gnttab_swap_grant_ref,
  gnttab_transfer,
  gnttab_unmap_and_replace,
  gnttab_unmap_grant_ref,
  PAGE_SIZE,
  XEN_DOMCTL_destroydomain,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOSYS,
  XEN_EOPNOTSUPP,
  XEN_EPERM,
  XEN_ESRCH,
  XENOLITH_POOL_readonly,
} from '#pvbus';
import { CoreRig, type Guest } from '../../support/core-rig.ts';

const NOBODY = 4711;
const REF = 20;
/** The granted frame, in a pool towards the mapper. */
const GFN = 5;
let rig: CoreRig;
let granter: Guest;
let mapper: Guest;
let other: Guest;

beforeEach(() => {
  rig = new CoreRig();
  granter = rig.guest();
  mapper = rig.guest();
  other = rig.guest();
  expect(granter.poolPopulate(mapper.domid, GFN, 4)).toBe(0);
  granter.grant(REF, mapper.domid, GFN);
});

const setupTable = (guest: Guest, frames: number, dom = DOMID_SELF, count = 1) => {
  const frame_list = guest.reset().putU64s(new Array(Math.max(1, Math.min(frames, 64))).fill(0));
  const at = guest.put(gnttab_setup_table, { dom, nr_frames: frames, frame_list });
  const rc = guest.gnttab(GNTTABOP_setup_table, at, count);
  return { rc, status: guest.get(gnttab_setup_table, at, 'status'), list: frame_list };
};
interface Side {
  ref?: number;
  gfn?: number;
  domid: number;
  offset?: number;
}
const copy = (guest: Guest, source: Side, dest: Side, len: number): number => {
  const side = (s: Side) => ({
    u: s.ref === undefined ? { gmfn: s.gfn ?? 0 } : { ref: s.ref },
    domid: s.domid,
    offset: s.offset ?? 0,
  });
  const flags = (source.ref === undefined ? 0 : GNTCOPY_source_gref) | (dest.ref === undefined ? 0 : GNTCOPY_dest_gref);
  const at = guest.reset().put(gnttab_copy, { source: side(source), dest: side(dest), len, flags });
  expect(guest.gnttab(GNTTABOP_copy, at, 1)).toBe(0);
  return guest.get(gnttab_copy, at, 'status');
};
const setVersion = (guest: Guest, version: number): { rc: number; version: number } => {
  const at = guest.reset().put(gnttab_set_version, { version });
  const rc = guest.gnttab(GNTTABOP_set_version, at, 1);
  return { rc, version: guest.get(gnttab_set_version, at, 'version') };
};

describe('map_grant_ref', () => {
  it('G1 without host_map and device_map is bad_gntref', () => {
    expect(mapper.map(granter.domid, REF, 0).status).toBe(GNTST_bad_gntref);
    expect(mapper.map(granter.domid, REF, GNTMAP_readonly).status).toBe(GNTST_bad_gntref);
  });
  it('G2 of an unknown domain or of DOMID_SELF is bad_domain', () => {
    for (const dom of [NOBODY, DOMID_SELF, 0x7ff1, 0x7ff4, 0xffff])
      expect(mapper.map(dom, REF)).toMatchObject({ rc: 0, status: GNTST_bad_domain });
  });
  it('G3 of a gref beyond the table is bad_gntref', () => {
    for (const ref of [512, 1 << 20, 0xffffffff]) expect(mapper.map(granter.domid, ref).status).toBe(GNTST_bad_gntref);
    expect(setupTable(granter, 2).status).toBe(GNTST_okay);
    expect(mapper.map(granter.domid, 512).status).toBe(GNTST_general_error);
  });
  it('G4 of an entry that does not permit the caller is general_error and touches no flag', () => {
    for (const flags of [0, GTF_accept_transfer, GTF_transitive, GTF_permit_access | GTF_sub_page]) {
      granter.grant(REF, mapper.domid, GFN);
      granter.view.setUint16(granter.entryAt(REF), flags, true);
      expect(mapper.map(granter.domid, REF).status).toBe(GNTST_general_error);
      expect(granter.entryFlags(REF)).toBe(flags);
    }
    granter.grant(REF, mapper.domid, GFN);
    expect(other.map(granter.domid, REF).status).toBe(GNTST_general_error);
    expect(granter.entryFlags(REF)).toBe(GTF_permit_access);
    expect(other.link().sent).toEqual([]);
  });
  it('G5 writable of a readonly entry is general_error; readonly is okay', () => {
    granter.grant(REF, mapper.domid, GFN, GTF_readonly);
    expect(mapper.map(granter.domid, REF).status).toBe(GNTST_general_error);
    expect(mapper.map(granter.domid, REF, GNTMAP_host_map | GNTMAP_readonly).status).toBe(GNTST_okay);
  });
  it('G5 a page of a read-only pool is mapped for reading only, whatever its entry says', () => {
    expect(granter.poolPopulate(mapper.domid, 30, 1, XENOLITH_POOL_readonly)).toBe(0);
    granter.grant(REF, mapper.domid, 30);
    expect(mapper.map(granter.domid, REF).status).toBe(GNTST_bad_page);
    expect(granter.entryFlags(REF)).toBe(GTF_permit_access);
    expect(mapper.map(granter.domid, REF, GNTMAP_host_map | GNTMAP_readonly).status).toBe(GNTST_okay);
  });
  it('G6 of a frame that is in no pool for the caller is bad_page, and the flags are rolled back', () => {
    expect(granter.poolPopulate(other.domid, 40)).toBe(0);
    for (const gfn of [0, 40, 63, 64, granter.domain.layout.sharedInfo, 0xffffffff]) {
      granter.grant(REF, mapper.domid, gfn);
      expect(mapper.map(granter.domid, REF).status).toBe(GNTST_bad_page);
      expect(granter.entryFlags(REF)).toBe(GTF_permit_access);
      expect(granter.domain.grants.pinned).toBe(0);
    }
  });
  it('G7 with no handle left is no_space; freeing one makes the next succeed', () => {
    const small = rig.guest({ maxMaptrackFrames: 1 });
    granter.poolPopulate(small.domid, 30);
    granter.grant(REF, small.domid, 30);
    granter.grant(REF + 1, small.domid, 30);
    granter.grant(REF + 2, small.domid, 30);
    const handles: number[] = [];
    for (let i = 0; i < 256; i++) {
      const mapped = small.map(granter.domid, REF + (i >> 7));
      expect(mapped.status).toBe(GNTST_okay);
      handles.push(mapped.handle);
    }
    expect(new Set(handles).size).toBe(256);
    expect(small.map(granter.domid, REF + 2).status).toBe(GNTST_no_space);
    expect(small.unmap(handles[100]!)).toBe(GNTST_okay);
    expect(small.map(granter.domid, REF + 2)).toMatchObject({ status: GNTST_okay, handle: handles[100] });
  });
  it('G7 a domain created without maptrack frames maps nothing', () => {
    const none = rig.guest({ maxMaptrackFrames: 0 });
    granter.poolPopulate(none.domid, 30);
    granter.grant(REF, none.domid, 30);
    expect(none.map(granter.domid, REF).status).toBe(GNTST_no_space);
  });
  it('G8 sets reading, and writing too when writable; handles are unique', () => {
    const reader = mapper.map(granter.domid, REF, GNTMAP_host_map | GNTMAP_readonly);
    expect(granter.entryFlags(REF)).toBe(GTF_permit_access | GTF_reading);
    const writer = mapper.map(granter.domid, REF);
    expect(granter.entryFlags(REF)).toBe(GTF_permit_access | GTF_reading | GTF_writing);
    expect(writer.handle).not.toBe(reader.handle);
    expect(writer.bus).toBe(reader.bus);
  });
  it('G8 a domain may map its own grant by its own id', () => {
    expect(granter.poolPopulate(granter.domid, 30)).toBe(0);
    granter.grant(REF, granter.domid, 30);
    expect(granter.map(granter.domid, REF).status).toBe(GNTST_okay);
  });
  it('G9 of an entry another domain has pinned is general_error', () => {
    expect(mapper.map(granter.domid, REF).status).toBe(GNTST_okay);
    granter.poolPopulate(other.domid, 40);
    granter.grant(REF, other.domid, 40);
    expect(other.map(granter.domid, REF).status).toBe(GNTST_general_error);
  });
  it('G9 after 128 pins of a kind the next of that kind is general_error', () => {
    for (const flags of [GNTMAP_host_map, GNTMAP_device_map]) {
      for (let i = 0; i < 128; i++) expect(mapper.map(granter.domid, REF, flags).status).toBe(GNTST_okay);
      expect(mapper.map(granter.domid, REF, flags).status).toBe(GNTST_general_error);
      expect(mapper.map(granter.domid, REF, flags | GNTMAP_readonly).status).toBe(GNTST_okay);
    }
    expect(mapper.domain.grants.mappings).toBe(258);
  });
  it('G10 later maps go by what the first pin found, an upgrade to writing asks the entry again', () => {
    const reader = mapper.map(granter.domid, REF, GNTMAP_host_map | GNTMAP_readonly);
    // The granter revokes by force, and points the entry elsewhere.
    granter.grant(REF, other.domid, 0, GTF_readonly);
    granter.view.setUint16(granter.entryAt(REF), 0, true);
    const again = mapper.map(granter.domid, REF, GNTMAP_host_map | GNTMAP_readonly);
    expect(again).toMatchObject({ status: GNTST_okay, bus: reader.bus });
    expect(mapper.map(granter.domid, REF).status).toBe(GNTST_general_error);
    granter.grant(REF, mapper.domid, 0, GTF_readonly);
    expect(mapper.map(granter.domid, REF).status).toBe(GNTST_general_error);
    granter.grant(REF, mapper.domid, 0);
    expect(mapper.map(granter.domid, REF)).toMatchObject({ status: GNTST_okay, bus: reader.bus });
  });
  it('G11 of an entry that changes at every try is given up after five (act 47)', () => {
    type Exchange = (array: Int32Array, index: number, old: number, value: number) => number;
    const real = Atomics.compareExchange;
    let tries = 0;
    // The granter's other thread, always just between the hypervisor's look and its exchange.
    const flipped: Exchange = (array, index, old, value) => {
      tries++;
      granter.view.setUint16(granter.entryAt(REF), granter.entryFlags(REF) ^ (1 << 5), true);
      return (real as Exchange)(array, index, old, value);
    };
    Atomics.compareExchange = flipped as typeof real;
    try {
      expect(mapper.map(granter.domid, REF).status).toBe(GNTST_general_error);
    } finally {
      Atomics.compareExchange = real;
    }
    expect(tries).toBe(5);
    expect(granter.entryFlags(REF) & (GTF_reading | GTF_writing)).toBe(0);
    expect(granter.domain.grants.pinned).toBe(0);
  });
  it('a PTE to write to is general_error: a translated guest has none', () => {
    expect(mapper.map(granter.domid, REF, GNTMAP_host_map | GNTMAP_contains_pte).status).toBe(GNTST_general_error);
  });
  it('a status is never positive, and a failed element does not stop its batch', () => {
    const at = mapper.reset().putMany(gnttab_map_grant_ref, [
      { host_addr: 1, flags: GNTMAP_host_map, ref: REF, dom: NOBODY, status: 7 },
      { host_addr: 1, flags: GNTMAP_host_map, ref: REF, dom: granter.domid, status: 7 },
      { host_addr: 1, flags: 0, ref: REF, dom: granter.domid, status: 7 },
    ]);
    expect(mapper.gnttab(GNTTABOP_map_grant_ref, at, 3)).toBe(0);
    const statuses = [0, 1, 2].map(i => mapper.get(gnttab_map_grant_ref, at + 32 * i, 'status'));
    expect(statuses).toEqual([GNTST_bad_domain, GNTST_okay, GNTST_bad_gntref]);
  });
});

describe('unmap_grant_ref', () => {
  it('G12 of a handle out of range, never used or unmapped already is bad_handle (act 48)', () => {
    for (const handle of [0, 1, 1 << 20, 0xffffffff]) expect(mapper.unmap(handle)).toBe(GNTST_bad_handle);
    const { handle } = mapper.map(granter.domid, REF);
    expect(other.unmap(handle)).toBe(GNTST_bad_handle);
    expect(mapper.unmap(handle)).toBe(GNTST_okay);
    expect(mapper.unmap(handle)).toBe(GNTST_bad_handle);
  });
  it('G13 with neither address unmaps nothing, and the handle lives on', () => {
    const { handle } = mapper.map(granter.domid, REF);
    expect(mapper.unmap(handle, 0, 0)).toBe(GNTST_okay);
    expect(granter.entryFlags(REF) & GTF_reading).not.toBe(0);
    expect(mapper.unmap(handle)).toBe(GNTST_okay);
  });
  it('G14 with another dev_bus_addr is bad_dev_addr', () => {
    const { handle, bus } = mapper.map(granter.domid, REF, GNTMAP_device_map);
    expect(mapper.unmap(handle, 0, bus + PAGE_SIZE)).toBe(GNTST_bad_dev_addr);
    expect(mapper.unmap(handle, 0, bus)).toBe(GNTST_okay);
  });
  it('G15 both kinds, one by one: the handle goes with the second, one reference each', () => {
    const { handle, bus } = mapper.map(granter.domid, REF, GNTMAP_host_map | GNTMAP_device_map);
    expect(mapper.unmap(handle, 0, bus)).toBe(GNTST_okay);
    expect(granter.entryFlags(REF) & GTF_writing).not.toBe(0);
    expect(mapper.unmap(handle, 0, bus)).toBe(GNTST_okay);
    expect(granter.domain.grants.pinned).toBe(1);
    expect(mapper.unmap(handle)).toBe(GNTST_okay);
    expect(granter.domain.grants.pinned).toBe(0);
    expect(mapper.unmap(handle)).toBe(GNTST_bad_handle);
  });
  it('G16 the last writer clears writing, the last of all clears reading', () => {
    const w1 = mapper.map(granter.domid, REF).handle;
    const w2 = mapper.map(granter.domid, REF).handle;
    const r = mapper.map(granter.domid, REF, GNTMAP_host_map | GNTMAP_readonly).handle;
    const flags = () => granter.entryFlags(REF) & (GTF_reading | GTF_writing);
    mapper.unmap(w1);
    expect(flags()).toBe(GTF_reading | GTF_writing);
    mapper.unmap(w2);
    expect(flags()).toBe(GTF_reading);
    mapper.unmap(r);
    expect(flags()).toBe(0);
  });
  it('G16 only the two flags change in an entry the granter has scribbled on (act 46)', () => {
    const { handle } = mapper.map(granter.domid, REF);
    granter.view.setUint32(granter.entryAt(REF), 0xffffffff, true);
    granter.view.setUint32(granter.entryAt(REF) + 4, 0xdeadbeef, true);
    expect(mapper.unmap(handle)).toBe(GNTST_okay);
    expect(granter.view.getUint32(granter.entryAt(REF), true)).toBe((0xffffffff & ~(GTF_reading | GTF_writing)) >>> 0);
    expect(granter.view.getUint32(granter.entryAt(REF) + 4, true)).toBe(0xdeadbeef);
  });
  it('at another host address than it was mapped at is general_error', () => {
    const { handle } = mapper.map(granter.domid, REF);
    expect(mapper.unmap(handle, 2 * PAGE_SIZE)).toBe(GNTST_general_error);
    expect(mapper.unmap(handle, PAGE_SIZE)).toBe(GNTST_okay);
  });
});

describe('the table', () => {
  it('G17 setup_table grows and never shrinks; 0 frames are okay', () => {
    expect(setupTable(granter, 0)).toMatchObject({ rc: 0, status: GNTST_okay });
    const { status, list } = setupTable(granter, 3);
    expect(status).toBe(GNTST_okay);
    const first = granter.domain.layout.grantFrames;
    expect([0, 1, 2].map(i => granter.view.getUint32(list + 8 * i, true))).toEqual([first, first + 1, first + 2]);
    expect(setupTable(granter, 1).status).toBe(GNTST_okay);
    expect(granter.domain.grants.frames).toBe(3);
    expect(setupTable(granter, 64).status).toBe(GNTST_okay);
  });
  it('G17 setup_table errors', () => {
    expect(setupTable(granter, 1, DOMID_SELF, 0).rc).toBe(-XEN_EINVAL);
    expect(setupTable(granter, 1, DOMID_SELF, 2).rc).toBe(-XEN_EINVAL);
    expect(setupTable(granter, 1, NOBODY)).toMatchObject({ rc: 0, status: GNTST_bad_domain });
    expect(setupTable(granter, 1, other.domid)).toMatchObject({ rc: 0, status: GNTST_permission_denied });
    expect(setupTable(granter, 65)).toMatchObject({ rc: 0, status: GNTST_general_error });
    expect(setupTable(granter, 0xffffffff)).toMatchObject({ rc: 0, status: GNTST_general_error });
    expect(setupTable(rig.dom0, 2, granter.domid)).toMatchObject({ rc: 0, status: GNTST_okay });
    const at = granter.reset().put(gnttab_setup_table, { dom: DOMID_SELF, nr_frames: 9, frame_list: 2 ** 50 });
    expect(granter.gnttab(GNTTABOP_setup_table, at, 1)).toBe(-XEN_EFAULT);
    expect(granter.domain.grants.frames).toBe(2);
  });
  it('G18 query_size', () => {
    const at = granter.reset().put(gnttab_query_size, { dom: DOMID_SELF });
    expect(granter.gnttab(GNTTABOP_query_size, at, 2)).toBe(-XEN_EINVAL);
    expect(granter.gnttab(GNTTABOP_query_size, at, 1)).toBe(0);
    const field = (name: string) => granter.get(gnttab_query_size, at, name);
    expect([field('status'), field('nr_frames'), field('max_nr_frames')]).toEqual([0, 1, 64]);
    const foreign = granter.put(gnttab_query_size, { dom: other.domid });
    expect(granter.gnttab(GNTTABOP_query_size, foreign, 1)).toBe(0);
    expect(granter.get(gnttab_query_size, foreign, 'status')).toBe(GNTST_permission_denied);
  });
  it('G19 transfer is EOPNOTSUPP', () => {
    expect(granter.gnttab(GNTTABOP_transfer, granter.put(gnttab_transfer), 1)).toBe(-XEN_EOPNOTSUPP);
  });
  it('G28 set_version: 1 is in force, 2 is ENOSYS, others EINVAL', () => {
    expect(setVersion(granter, 1)).toEqual({ rc: 0, version: 1 });
    expect(setVersion(granter, 2)).toEqual({ rc: -XEN_ENOSYS, version: 1 });
    expect(setVersion(granter, 3)).toEqual({ rc: -XEN_EINVAL, version: 1 });
    expect(setVersion(granter, 0)).toEqual({ rc: -XEN_EINVAL, version: 1 });
    expect(granter.entryFlags(REF)).toBe(GTF_permit_access);
  });
  it('G29 get_version', () => {
    const ask = (guest: Guest, dom: number) => {
      const at = guest.reset().put(gnttab_get_version, { dom });
      const rc = guest.gnttab(GNTTABOP_get_version, at, 1);
      return rc < 0 ? rc : guest.get(gnttab_get_version, at, 'version');
    };
    expect(ask(granter, DOMID_SELF)).toBe(1);
    expect(ask(granter, NOBODY)).toBe(-XEN_ESRCH);
    expect(ask(granter, other.domid)).toBe(-XEN_EPERM);
    expect(ask(rig.dom0, other.domid)).toBe(1);
  });
  it('G30 get_status_frames: version 1 has none', () => {
    const ask = (nr_frames: number, count = 1) => {
      const at = granter.reset().put(gnttab_get_status_frames, { nr_frames, dom: DOMID_SELF });
      const rc = granter.gnttab(GNTTABOP_get_status_frames, at, count);
      return { rc, status: granter.get(gnttab_get_status_frames, at, 'status') };
    };
    expect(ask(1)).toEqual({ rc: 0, status: GNTST_general_error });
    expect(ask(0)).toEqual({ rc: 0, status: GNTST_okay });
    expect(ask(0, 2).rc).toBe(-XEN_EINVAL);
  });
  it('G31 swap_grant_ref', () => {
    const swap = (ref_a: number, ref_b: number) => {
      const at = granter.reset().put(gnttab_swap_grant_ref, { ref_a, ref_b });
      expect(granter.gnttab(GNTTABOP_swap_grant_ref, at, 1)).toBe(0);
      return granter.get(gnttab_swap_grant_ref, at, 'status');
    };
    expect(swap(REF, 512)).toBe(GNTST_bad_gntref);
    expect(swap(0xffffffff, REF)).toBe(GNTST_bad_gntref);
    expect(swap(REF, REF)).toBe(GNTST_okay);
    expect(swap(REF, 30)).toBe(GNTST_okay);
    expect([granter.entryFlags(REF), granter.entryFlags(30)]).toEqual([0, GTF_permit_access]);
    expect(granter.view.getUint32(granter.entryAt(30) + 4, true)).toBe(GFN);
    const { handle } = mapper.map(granter.domid, 30);
    expect(swap(REF, 30)).toBe(GNTST_eagain);
    mapper.unmap(handle);
    expect(swap(REF, 30)).toBe(GNTST_okay);
  });
  it('G32 unmap_and_replace unmaps when there is nothing to replace with', () => {
    const replace = (handle: number, new_addr: number) => {
      const at = mapper.reset().put(gnttab_unmap_and_replace, { host_addr: PAGE_SIZE, new_addr, handle });
      expect(mapper.gnttab(GNTTABOP_unmap_and_replace, at, 1)).toBe(0);
      return mapper.get(gnttab_unmap_and_replace, at, 'status');
    };
    const { handle } = mapper.map(granter.domid, REF);
    expect(replace(handle, 8 * PAGE_SIZE)).toBe(GNTST_general_error);
    expect(replace(handle, 0)).toBe(GNTST_okay);
    expect(replace(handle, 0)).toBe(GNTST_bad_handle);
  });
});

describe('copy', () => {
  const text = 'copied by the hypervisor';
  const here = (gfn: number, offset = 0): Side => ({ gfn, domid: DOMID_SELF, offset });
  const there = (ref = REF, offset = 0): Side => ({ ref, domid: granter.domid, offset });
  const read = (guest: Guest, gfn: number, offset: number) =>
    Buffer.from(guest.bytes.slice(gfn * PAGE_SIZE + offset, gfn * PAGE_SIZE + offset + text.length)).toString();
  const write = (guest: Guest, gfn: number, offset: number) =>
    guest.bytes.set(Buffer.from(text), gfn * PAGE_SIZE + offset);

  it('G20 of no bytes is okay, whatever the rest says', () => {
    expect(copy(mapper, { gfn: 999, domid: NOBODY }, { gfn: 999, domid: 3 }, 0)).toBe(GNTST_okay);
  });
  it('G21 from or to a frame of another domain without a gref is permission_denied (act 49)', () => {
    expect(copy(mapper, { gfn: 1, domid: granter.domid }, here(1), 8)).toBe(GNTST_permission_denied);
    expect(copy(mapper, here(1), { gfn: 1, domid: mapper.domid }, 8)).toBe(GNTST_permission_denied);
  });
  it('G22 an unknown domain is bad_domain, a bad gref bad_gntref', () => {
    expect(copy(mapper, { ref: REF, domid: NOBODY }, here(1), 8)).toBe(GNTST_bad_domain);
    expect(copy(mapper, there(512), here(1), 8)).toBe(GNTST_bad_gntref);
    expect(copy(mapper, here(1), there(0xffffffff), 8)).toBe(GNTST_bad_gntref);
  });
  it('G23 across the end of a page is bad_copy_arg (act 49)', () => {
    expect(copy(mapper, there(REF, 4000), here(1), 97)).toBe(GNTST_bad_copy_arg);
    expect(copy(mapper, there(), here(1, 4095), 2)).toBe(GNTST_bad_copy_arg);
    expect(copy(mapper, there(), here(1), 65535)).toBe(GNTST_bad_copy_arg);
    expect(copy(mapper, there(), here(1), 4096)).toBe(GNTST_okay);
    expect(copy(mapper, there(REF, 4095), here(1, 4095), 1)).toBe(GNTST_okay);
  });
  it('G24 to a readonly gref is general_error, from one is okay', () => {
    granter.grant(REF, mapper.domid, 50, GTF_readonly);
    write(granter, 50, 100);
    expect(copy(mapper, here(1), there(), 8)).toBe(GNTST_general_error);
    expect(copy(mapper, there(REF, 100), here(2, 7), text.length)).toBe(GNTST_okay);
    expect(read(mapper, 2, 7)).toBe(text);
  });
  it('G25 of an entry for somebody else is general_error', () => {
    granter.grant(REF, other.domid, 50);
    expect(copy(mapper, there(), here(1), 8)).toBe(GNTST_general_error);
    granter.view.setUint16(granter.entryAt(REF), GTF_accept_transfer, true);
    expect(copy(mapper, there(), here(1), 8)).toBe(GNTST_general_error);
  });
  it('G26 leaves no pin, and reading and writing as they were', () => {
    granter.grant(REF, mapper.domid, 50);
    write(mapper, 3, 0);
    expect(copy(mapper, here(3), there(REF, 40), text.length)).toBe(GNTST_okay);
    expect(read(granter, 50, 40)).toBe(text);
    expect(granter.entryFlags(REF)).toBe(GTF_permit_access);
    expect(granter.domain.grants.pinned).toBe(0);
    granter.grant(REF, mapper.domid, GFN);
    const { handle } = mapper.map(granter.domid, REF, GNTMAP_host_map | GNTMAP_readonly);
    expect(copy(mapper, here(3), there(), 8)).toBe(GNTST_okay);
    expect(granter.entryFlags(REF)).toBe(GTF_permit_access | GTF_reading);
    mapper.unmap(handle);
    // A failure half way gives back what was pinned for the other side.
    expect(copy(mapper, there(), here(999), 8)).toBe(GNTST_bad_page);
    expect(granter.entryFlags(REF)).toBe(GTF_permit_access);
    expect(granter.domain.grants.pinned).toBe(0);
  });
  it('G26 between two other domains that both granted', () => {
    granter.grant(REF, mapper.domid, 50);
    other.grant(9, mapper.domid, 51);
    write(granter, 50, 0);
    expect(copy(mapper, there(), { ref: 9, domid: other.domid, offset: 8 }, text.length)).toBe(GNTST_okay);
    expect(read(other, 51, 8)).toBe(text);
  });
  it('G27 of a dying granter is bad_domain', () => {
    expect(rig.dom0.reset().domctl(XEN_DOMCTL_destroydomain, granter.domid).rc).toBe(0);
    expect(copy(mapper, there(), here(1), 8)).toBe(GNTST_bad_domain);
    expect(mapper.map(granter.domid, REF).status).toBe(GNTST_bad_domain);
  });
  it('a frame of the own side that is no memory is bad_page', () => {
    for (const gfn of [64, mapper.domain.layout.control, 2 ** 40])
      expect(copy(mapper, there(), here(gfn), 8)).toBe(GNTST_bad_page);
  });
});

describe('the end of a domain', () => {
  const destroy = (guest: Guest) => rig.dom0.reset().domctl(XEN_DOMCTL_destroydomain, guest.domid);

  it('fault 12: G33 a mapper that dies releases every mapping and clears the flags', () => {
    for (let i = 0; i < 300; i++) {
      granter.grant(100 + i, mapper.domid, GFN + (i % 4));
      expect(mapper.map(granter.domid, 100 + i).status).toBe(GNTST_okay);
    }
    destroy(mapper);
    rig.settle();
    expect(rig.hypervisor.domains.byId(mapper.domid)).toBeUndefined();
    expect(granter.domain.grants.pinned).toBe(0);
    for (let i = 0; i < 300; i++) expect(granter.entryFlags(100 + i)).toBe(GTF_permit_access);
  });
  it('fault 13: G34 a granter that dies while mapped stays until the last mapping goes', () => {
    const free = rig.hypervisor.host.freePages;
    const { handle } = mapper.map(granter.domid, REF);
    const pool = granter.domain.pools.get(mapper.domain)!;
    granter.bytes[GFN * PAGE_SIZE] = 42;
    destroy(granter);
    rig.settle();
    const zombie = rig.hypervisor.domains.byId(granter.domid)!;
    expect(zombie.dying).toBe(true);
    expect(zombie.totPages).toBe(1);
    expect(rig.hypervisor.host.freePages).toBe(free + 63);
    expect(pool.arena.bytes.includes(42)).toBe(true);
    expect(mapper.unmap(handle)).toBe(GNTST_okay);
    rig.settle();
    expect(rig.hypervisor.domains.byId(granter.domid)).toBeUndefined();
    expect(rig.hypervisor.host.freePages).toBe(free + 64);
    expect(rig.hypervisor.pools.size).toBe(0);
  });
});

describe('arguments', () => {
  it('a count with its top bit set is EINVAL, an unreadable array EFAULT, an empty one 0', () => {
    for (const op of [GNTTABOP_map_grant_ref, GNTTABOP_unmap_grant_ref, GNTTABOP_copy, GNTTABOP_swap_grant_ref]) {
      expect(mapper.gnttab(op, mapper.reset().alloc(64), 0x80000000)).toBe(-XEN_EINVAL);
      expect(mapper.gnttab(op, mapper.reset().alloc(64), -1)).toBe(-XEN_EINVAL);
      expect(mapper.gnttab(op, 2 ** 40, 1)).toBe(-XEN_EFAULT);
      expect(mapper.gnttab(op, mapper.reset().alloc(64), 0x7fffffff)).toBe(-XEN_EFAULT);
      expect(mapper.gnttab(op, 2 ** 40, 0)).toBe(0);
    }
    expect(mapper.gnttab(99, 0, 1)).toBe(-XEN_ENOSYS);
  });
  it('a batch longer than a slice is one call, and others are served in between', () => {
    const size = gnttab_unmap_grant_ref.size;
    const at = 0; // the guest's own RAM holds the array
    const count = 1000;
    expect(mapper.gnttab(GNTTABOP_unmap_grant_ref, at, count)).toBe(0);
    for (const i of [0, 255, 256, 999])
      expect(mapper.get(gnttab_unmap_grant_ref, at + i * size, 'status')).toBe(GNTST_bad_handle);
  });
});

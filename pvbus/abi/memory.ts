// Xen: public/memory.h. memory_op(op | start_extent << MEMOP_EXTENT_SHIFT, argument struct).

import { cursorOf, struct, union } from '../struct.ts';

/** Where a continued batch's start extent sits in the op word (Xen's own encoding of memory_op). */
export const MEMOP_EXTENT_SHIFT = 6;

// These three return the number of extents done, never an errno.
export const XENMEM_increase_reservation = 0;
export const XENMEM_decrease_reservation = 1;
export const XENMEM_populate_physmap = 6;

export const XENMEM_maximum_ram_page = 2;
export const XENMEM_current_reservation = 3;
export const XENMEM_maximum_reservation = 4;
export const XENMEM_machphys_mfn_list = 5;
export const XENMEM_add_to_physmap = 7;
export const XENMEM_memory_map = 9;
export const XENMEM_machine_memory_map = 10;
export const XENMEM_exchange = 11;
export const XENMEM_machphys_mapping = 12;
export const XENMEM_set_memory_map = 13;
export const XENMEM_maximum_gpfn = 14;
export const XENMEM_remove_from_physmap = 15;
export const XENMEM_set_pod_target = 16;
export const XENMEM_get_pod_target = 17;
export const XENMEM_get_sharing_freed_pages = 18;
export const XENMEM_get_sharing_shared_pages = 19;
export const XENMEM_paging_op = 20;
export const XENMEM_access_op = 21;
export const XENMEM_sharing_op = 22;
export const XENMEM_add_to_physmap_batch = 23;
export const XENMEM_claim_pages = 24;
export const XENMEM_machphys_compat_mfn_list = 25;
export const XENMEM_get_vnumainfo = 26;
export const XENMEM_reserved_device_memory_map = 27;
export const XENMEM_acquire_resource = 28;

// mem_flags: bits 0-7 address bits, bits 8-15 NUMA node + 1, then:
export const XENMEMF_populate_on_demand = 1 << 16;
export const XENMEMF_exact_node_request = 1 << 17;
export const XENMEMF_vnode = 1 << 18;

/** extent_start: guest pointer to nr_extents frame numbers, each the base of 2^extent_order pages. */
export const xen_memory_reservation = struct('xen_memory_reservation', 32, {
  extent_start: 'u64',
  nr_extents: 'u64',
  extent_order: 'u32',
  mem_flags: 'u32',
  domid: 'u16',
});
export const XenMemoryReservation = cursorOf(xen_memory_reservation);

export const xen_memory_exchange = struct('xen_memory_exchange', 72, {
  in: xen_memory_reservation,
  out: xen_memory_reservation,
  nr_exchanged: 'u64', // in and out: must start as 0
});
export const XenMemoryExchange = cursorOf(xen_memory_exchange);

/** The argument of current_reservation, maximum_reservation and maximum_gpfn. */
export const xen_memory_domain = struct('xen_memory_domain', 2, { domid: 'u16' });
export const XenMemoryDomain = cursorOf(xen_memory_domain);

export const XENMAPSPACE_shared_info = 0;
export const XENMAPSPACE_grant_table = 1;
export const XENMAPSPACE_gmfn = 2;
export const XENMAPSPACE_gmfn_range = 3;
export const XENMAPSPACE_gmfn_foreign = 4; // add_to_physmap_batch only
export const XENMAPSPACE_dev_mmio = 5;

/** Place page `idx` of `space` at guest frame `gpfn`. `size` counts pages, for gmfn_range only. */
export const xen_add_to_physmap = struct('xen_add_to_physmap', 24, {
  domid: 'u16',
  size: 'u16',
  space: 'u32',
  idx: 'u64',
  gpfn: 'u64',
});
export const XenAddToPhysmap = cursorOf(xen_add_to_physmap);
/** Set in idx with XENMAPSPACE_grant_table: the frame is one of version 2's status frames. */
export const XENMAPIDX_grant_table_status = 0x80000000;

export const xen_add_to_physmap_batch_extra = union('xen_add_to_physmap_batch_extra', 2, {
  foreign_domid: 'u16',
  res0: 'u16',
});
export const xen_add_to_physmap_batch = struct('xen_add_to_physmap_batch', 32, {
  domid: 'u16',
  space: 'u16',
  size: 'u16',
  u: xen_add_to_physmap_batch_extra,
  idxs: 'u64',
  gpfns: 'u64',
  errs: 'u64',
});
export const XenAddToPhysmapBatch = cursorOf(xen_add_to_physmap_batch);

export const xen_remove_from_physmap = struct('xen_remove_from_physmap', 16, { domid: 'u16', gpfn: 'u64' });
export const XenRemoveFromPhysmap = cursorOf(xen_remove_from_physmap);

export const xen_memory_map = struct('xen_memory_map', 16, { nr_entries: 'u32', buffer: 'u64' });
export const XenMemoryMap = cursorOf(xen_memory_map);

export const xen_foreign_memory_map = struct('xen_foreign_memory_map', 24, { domid: 'u16', map: xen_memory_map });
export const XenForeignMemoryMap = cursorOf(xen_foreign_memory_map);

export const xen_pod_target = struct('xen_pod_target', 40, {
  target_pages: 'u64',
  tot_pages: 'u64',
  pod_cache_pages: 'u64',
  pod_entries: 'u64',
  domid: 'u16',
});
export const XenPodTarget = cursorOf(xen_pod_target);

export const xen_mem_acquire_resource = struct('xen_mem_acquire_resource', 32, {
  domid: 'u16',
  type: 'u16', // XENMEM_resource_*
  id: 'u32',
  nr_frames: 'u32', // in with a list; out when the list is null
  pad: 'u32',
  frame: 'u64',
  frame_list: 'u64',
});
export const XenMemAcquireResource = cursorOf(xen_mem_acquire_resource);
export const XENMEM_resource_ioreq_server = 0;
export const XENMEM_resource_grant_table = 1;
export const XENMEM_resource_vmtrace_buf = 2;
export const XENMEM_resource_grant_table_id_shared = 0;
export const XENMEM_resource_grant_table_id_status = 1;

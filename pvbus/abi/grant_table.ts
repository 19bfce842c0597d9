// Xen: public/grant_table.h. grant_table_op(cmd, array of argument structs, count).
// The call returns -errno only when the array itself is bad; every element has a `status` (GNTST_*).

import { cursorOf, struct, union } from '../struct.ts';

/**
 * One entry of a version 1 table: `domid` may use `frame` as `flags` allow.
 * The granter writes domid and frame before flags; it revokes by compare-exchange of flags to 0,
 * which must fail while Xen keeps GTF_reading or GTF_writing set.
 */
export const grant_entry_v1 = struct('grant_entry_v1', 8, { flags: 'u16', domid: 'u16', frame: 'u32' });
export const GrantEntryV1 = cursorOf(grant_entry_v1);

export const GNTTAB_NR_RESERVED_ENTRIES = 8; // set up by the toolstack, not for a guest's allocator
export const GNTTAB_RESERVED_CONSOLE = 0;
export const GNTTAB_RESERVED_XENSTORE = 1;

export const GTF_invalid = 0; // types: the low two bits
export const GTF_permit_access = 1;
export const GTF_accept_transfer = 2;
export const GTF_transitive = 3;
export const GTF_type_mask = 3;
export const GTF_readonly = 1 << 2; // by the granter
export const GTF_reading = 1 << 3; // by Xen: mapped or being copied from
export const GTF_writing = 1 << 4; // by Xen: mapped writable or being copied to
export const GTF_PWT = 1 << 5;
export const GTF_PCD = 1 << 6;
export const GTF_PAT = 1 << 7;
export const GTF_sub_page = 1 << 8;
export const GTF_transfer_committed = 1 << 2;
export const GTF_transfer_completed = 1 << 3;

export const GNTTABOP_map_grant_ref = 0;
export const GNTTABOP_unmap_grant_ref = 1;
export const GNTTABOP_setup_table = 2;
export const GNTTABOP_dump_table = 3;
export const GNTTABOP_transfer = 4;
export const GNTTABOP_copy = 5;
export const GNTTABOP_query_size = 6;
export const GNTTABOP_unmap_and_replace = 7;
export const GNTTABOP_set_version = 8;
export const GNTTABOP_get_status_frames = 9;
export const GNTTABOP_get_version = 10;
export const GNTTABOP_swap_grant_ref = 11;
export const GNTTABOP_cache_flush = 12;

/** In: host_addr, flags (GNTMAP_*), ref, dom. Out: status, handle, dev_bus_addr. */
export const gnttab_map_grant_ref = struct('gnttab_map_grant_ref', 32, {
  host_addr: 'u64',
  flags: 'u32',
  ref: 'u32',
  dom: 'u16',
  status: 'i16',
  handle: 'u32',
  dev_bus_addr: 'u64',
});
export const GnttabMapGrantRef = cursorOf(gnttab_map_grant_ref);

/** An address of 0 leaves that kind of mapping alone. Out: status. */
export const gnttab_unmap_grant_ref = struct('gnttab_unmap_grant_ref', 24, {
  host_addr: 'u64',
  dev_bus_addr: 'u64',
  handle: 'u32',
  status: 'i16',
});
export const GnttabUnmapGrantRef = cursorOf(gnttab_unmap_grant_ref);

/** Make the table at least nr_frames long; frame_list (a guest pointer) receives the frames. Out: status. */
export const gnttab_setup_table = struct('gnttab_setup_table', 24, {
  dom: 'u16',
  nr_frames: 'u32',
  status: 'i16',
  frame_list: 'u64',
});
export const GnttabSetupTable = cursorOf(gnttab_setup_table);

export const gnttab_dump_table = struct('gnttab_dump_table', 4, { dom: 'u16', status: 'i16' });
export const GnttabDumpTable = cursorOf(gnttab_dump_table);

export const gnttab_transfer = struct('gnttab_transfer', 24, { mfn: 'u64', domid: 'u16', ref: 'u32', status: 'i16' });
export const GnttabTransfer = cursorOf(gnttab_transfer);

export const gnttab_copy_ptr_u = union('gnttab_copy_ptr_u', 8, { ref: 'u32', gmfn: 'u64' });
export const gnttab_copy_ptr = struct('gnttab_copy_ptr', 16, { u: gnttab_copy_ptr_u, domid: 'u16', offset: 'u16' });
export const GnttabCopyPtr = cursorOf(gnttab_copy_ptr);
/** Copy len bytes within one page; a side is a gref when its GNTCOPY_ flag is set, else the caller's own gmfn. */
export const gnttab_copy = struct('gnttab_copy', 40, {
  source: gnttab_copy_ptr,
  dest: gnttab_copy_ptr,
  len: 'u16',
  flags: 'u16',
  status: 'i16',
});
export const GnttabCopy = cursorOf(gnttab_copy);
export const GNTCOPY_source_gref = 1 << 0;
export const GNTCOPY_dest_gref = 1 << 1;

/** In: dom. Out: the rest. */
export const gnttab_query_size = struct('gnttab_query_size', 16, {
  dom: 'u16',
  nr_frames: 'u32',
  max_nr_frames: 'u32',
  status: 'i16',
});
export const GnttabQuerySize = cursorOf(gnttab_query_size);

export const gnttab_unmap_and_replace = struct('gnttab_unmap_and_replace', 24, {
  host_addr: 'u64',
  new_addr: 'u64',
  handle: 'u32',
  status: 'i16',
});
export const GnttabUnmapAndReplace = cursorOf(gnttab_unmap_and_replace);

/** In: the version asked for. Out: the version in force. */
export const gnttab_set_version = struct('gnttab_set_version', 4, { version: 'u32' });
export const GnttabSetVersion = cursorOf(gnttab_set_version);

export const gnttab_get_status_frames = struct('gnttab_get_status_frames', 16, {
  nr_frames: 'u32',
  dom: 'u16',
  status: 'i16',
  frame_list: 'u64',
});
export const GnttabGetStatusFrames = cursorOf(gnttab_get_status_frames);

export const gnttab_get_version = struct('gnttab_get_version', 8, { dom: 'u16', pad: 'u16', version: 'u32' });
export const GnttabGetVersion = cursorOf(gnttab_get_version);

export const gnttab_swap_grant_ref = struct('gnttab_swap_grant_ref', 12, { ref_a: 'u32', ref_b: 'u32', status: 'i16' });
export const GnttabSwapGrantRef = cursorOf(gnttab_swap_grant_ref);

export const gnttab_cache_flush_a = union('gnttab_cache_flush_a', 8, { dev_bus_addr: 'u64', ref: 'u32' });
export const gnttab_cache_flush = struct('gnttab_cache_flush', 16, {
  a: gnttab_cache_flush_a,
  offset: 'u16',
  length: 'u16',
  op: 'u32', // GNTTAB_CACHE_*
});
export const GnttabCacheFlush = cursorOf(gnttab_cache_flush);
export const GNTTAB_CACHE_CLEAN = 1 << 0;
export const GNTTAB_CACHE_INVAL = 1 << 1;
export const GNTTAB_CACHE_SOURCE_GREF = 0x80000000;

export const GNTMAP_device_map = 1 << 0; // for devices: dev_bus_addr comes back
export const GNTMAP_host_map = 1 << 1; // for the CPU: at host_addr
export const GNTMAP_readonly = 1 << 2;
export const GNTMAP_application_map = 1 << 3;
export const GNTMAP_contains_pte = 1 << 4;
export const GNTMAP_guest_avail_mask = 0xffff0000;

// Status of one element. Never positive.
export const GNTST_okay = 0;
export const GNTST_general_error = -1;
export const GNTST_bad_domain = -2;
export const GNTST_bad_gntref = -3;
export const GNTST_bad_handle = -4;
export const GNTST_bad_virt_addr = -5;
export const GNTST_bad_dev_addr = -6;
export const GNTST_no_device_space = -7;
export const GNTST_permission_denied = -8;
export const GNTST_bad_page = -9;
export const GNTST_bad_copy_arg = -10;
export const GNTST_address_too_big = -11;
export const GNTST_eagain = -12;
export const GNTST_no_space = -13;

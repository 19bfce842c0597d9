// Xen: public/io/blkif.h. The block device protocol: requests in slots, data in granted pages.

import { cursorOf, struct, union } from '../struct.ts';

export const BLKIF_OP_READ = 0;
export const BLKIF_OP_WRITE = 1;
export const BLKIF_OP_WRITE_BARRIER = 2; // with 'feature-barrier': ordered after all before, before all after
export const BLKIF_OP_FLUSH_DISKCACHE = 3; // with 'feature-flush-cache': no segments needed
export const BLKIF_OP_RESERVED_1 = 4; // once used by a fork; answer BLKIF_RSP_EOPNOTSUPP
export const BLKIF_OP_DISCARD = 5; // with 'feature-discard'
export const BLKIF_OP_INDIRECT = 6; // with 'feature-max-indirect-segments'

export const BLKIF_MAX_SEGMENTS_PER_REQUEST = 11;
export const BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST = 8;

export const BLKIF_RSP_OKAY = 0;
export const BLKIF_RSP_ERROR = -1;
export const BLKIF_RSP_EOPNOTSUPP = -2;

// Bits of the backend's 'info' key.
export const VDISK_CDROM = 0x1;
export const VDISK_REMOVABLE = 0x2;
export const VDISK_READONLY = 0x4;

/** Part of one granted page. Sectors are 512 bytes whatever 'sector-size' says; both ends are inclusive. */
export const blkif_request_segment = struct('blkif_request_segment', 8, {
  gref: 'u32',
  first_sect: 'u8',
  last_sect: 'u8',
});
export const BlkifRequestSegment = cursorOf(blkif_request_segment);

export const blkif_request = struct('blkif_request', 112, {
  operation: 'u8',
  nr_segments: 'u8',
  handle: 'u16', // the virtual device number; a backend may ignore it
  id: 'u64', // the frontend's own; echo it untouched
  sector_number: 'u64', // counts 512s whatever 'sector-size' says
  seg: { of: blkif_request_segment, count: BLKIF_MAX_SEGMENTS_PER_REQUEST },
});
export const BlkifRequest = cursorOf(blkif_request);

/** BLKIF_OP_DISCARD. */
export const blkif_request_discard = struct('blkif_request_discard', 32, {
  operation: 'u8',
  flag: 'u8', // BLKIF_DISCARD_SECURE or 0
  handle: 'u16',
  id: 'u64',
  sector_number: 'u64',
  nr_sectors: 'u64',
});
export const BlkifRequestDiscard = cursorOf(blkif_request_discard);
export const BLKIF_DISCARD_SECURE = 1 << 0;

/** BLKIF_OP_INDIRECT: indirect_op is READ or WRITE; each indirect page holds 512 segments. */
export const blkif_request_indirect = struct('blkif_request_indirect', 64, {
  operation: 'u8',
  indirect_op: 'u8',
  nr_segments: 'u16',
  id: 'u64',
  sector_number: 'u64',
  handle: 'u16',
  indirect_grefs: { of: 'u32', count: BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST },
});
export const BlkifRequestIndirect = cursorOf(blkif_request_indirect);

export const blkif_response = struct('blkif_response', 16, { id: 'u64', operation: 'u8', status: 'i16' });
export const BlkifResponse = cursorOf(blkif_response);

/** One slot of the ring. */
export const blkif_sring_entry = union('blkif_sring_entry', 112, { req: blkif_request, rsp: blkif_response });

/** Keys a backend writes into its own directory (the toolstack's among them). */
export const blkifBackendKeys = [
  'params',
  'mode',
  'type',
  'physical-device',
  'dev',
  'bootable',
  'discard-enable',
  'direct-io-safe',
  'feature-barrier',
  'feature-discard',
  'feature-flush-cache',
  'feature-persistent',
  'feature-max-indirect-segments',
  'max-ring-page-order',
  'max-ring-pages',
  'multi-queue-max-queues',
  'discard-alignment',
  'discard-granularity',
  'discard-secure',
  'info',
  'sectors',
  'sector-size',
  'physical-sector-size',
] as const;
export type BlkifBackendKey = (typeof blkifBackendKeys)[number];

/** Keys a frontend writes into its own directory; 'ring-ref0'.. replace 'ring-ref' when there are several pages. */
export const blkifFrontendKeys = [
  'event-channel',
  'ring-ref',
  'ring-page-order',
  'num-ring-pages',
  'multi-queue-num-queues',
  'protocol',
  'feature-persistent',
  'virtual-device',
  'device-type',
] as const;
export type BlkifFrontendKey = (typeof blkifFrontendKeys)[number];

// Xen: public/io/ring.h. The head of a shared ring page; the slots start right behind it.

import { struct } from '../struct.ts';

/**
 * Each producer index is written by one end only. An event index says "wake me when you produce this one".
 * `pvt` and `__pad` are not used.
 */
export const sring = struct('sring', 64, {
  req_prod: 'u32',
  req_event: 'u32',
  rsp_prod: 'u32',
  rsp_event: 'u32',
  pvt: { of: 'u8', count: 4 },
  __pad: { of: 'u8', count: 44 },
});

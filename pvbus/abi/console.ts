// Xen: public/io/console.h. One page, two byte streams; `in` flows to the guest, `out` from it.

import { cursorOf, struct } from '../struct.ts';

export const XENCONS_IN_SIZE = 1024;
export const XENCONS_OUT_SIZE = 2048;

/** Indices run freely; the byte of index i is at i & (size - 1). */
export const xencons_interface = struct('xencons_interface', 3088, {
  in: { of: 'u8', count: XENCONS_IN_SIZE },
  out: { of: 'u8', count: XENCONS_OUT_SIZE },
  in_cons: 'u32',
  in_prod: 'u32',
  out_cons: 'u32',
  out_prod: 'u32',
});
export const XenconsInterface = cursorOf(xencons_interface);

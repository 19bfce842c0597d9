// Xen: public/io/9pfs.h. Messages of 9P between a guest and whoever shares a folder with it.
import { struct } from '../struct.ts';

/**
 * The index page of one of its rings: 2^ring_order pages whose grefs follow (`ref`) hold the bytes, `in` (to the frontend)
 * in the first half, `out` in the second. pvcalls_data_intf is the same, with errors in what is padding here.
 */
export const xen_9pfs_data_intf = struct('xen_9pfs_data_intf', 132, {
  in_cons: 'u32',
  in_prod: 'u32',
  pad1: { of: 'u8', count: 56 },
  out_cons: 'u32',
  out_prod: 'u32',
  pad2: { of: 'u8', count: 56 },
  ring_order: 'u32',
});

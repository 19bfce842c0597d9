// What dom0's backends have counted of each domain's devices, as xentop asks for it: a request of toolstack-protocol.ts.
import { integer, listOf, quantity, record, type Shaped } from './message-shape.ts';
import { domid, op } from './toolstack-op.ts';

/** Receive and transmit are the backend's, as Xen's `vifD.N` interfaces count them: `rx` is what the guest sent. */
const vifCounters = record({
  devid: integer(),
  rx_bytes: quantity,
  rx_packets: quantity,
  rx_errors: quantity,
  rx_dropped: quantity,
  tx_bytes: quantity,
  tx_packets: quantity,
  tx_errors: quantity,
  tx_dropped: quantity,
});
export type VifCounters = Shaped<typeof vifCounters>;

/** Xen: the files of xen-backend/vbd-D-V/statistics. Sectors have 512 bytes. */
const vbdCounters = record({
  devid: integer(),
  oo_req: quantity,
  rd_req: quantity,
  wr_req: quantity,
  rd_sect: quantity,
  wr_sect: quantity,
});
export type VbdCounters = Shaped<typeof vbdCounters>;

const deviceCounters = record({
  domid,
  vifs: listOf(vifCounters, 65_536),
  vbds: listOf(vbdCounters, 65_536),
});
export type DeviceCounters = Shaped<typeof deviceCounters>;

export const COUNTER_OPS = {
  /** Of every domain with a device that dom0 serves, in order of domid. A reconnected device begins at 0 again. */
  counters: op({}, listOf(deviceCounters, 65_536)),
} as const;

// What one vbd has done. Only its ring's worker writes here; the names are those of Linux's sysfs
// (xen-backend/vbd-D-V/statistics), which is where xentop looks for them.

export interface VbdStats {
  /** Turns that ended with requests waiting: the ring was busier than its budget. */
  oo_req: number;
  rd_req: number;
  wr_req: number;
  f_req: number;
  ds_req: number;
  /** In 512s. */
  rd_sect: number;
  wr_sect: number;
  /** Requests answered with another status than OKAY. */
  errors: number;
  /** Notifications sent to the frontend. */
  notified: number;
  /** Pages the frontend lends for good that are mapped now, and how often one had to make room. */
  persistent: number;
  evicted: number;
}

export const newVbdStats = (): VbdStats => ({
  oo_req: 0,
  rd_req: 0,
  wr_req: 0,
  f_req: 0,
  ds_req: 0,
  rd_sect: 0,
  wr_sect: 0,
  errors: 0,
  notified: 0,
  persistent: 0,
  evicted: 0,
});

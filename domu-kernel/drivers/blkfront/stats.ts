// What one disk's driver has done. Only blkfront writes here.

export interface BlkfrontStats {
  requests: number;
  responses: number;
  /** Responses with another status than OKAY. */
  errors: number;
  /** Notifications sent to the backend. */
  notified: number;
  /** Requests sent again after the backend had been replaced. */
  replayed: number;
  /** Pages never to be used again, since a backend that is gone still has them mapped. */
  quarantined: number;
}

export const newBlkfrontStats = (): BlkfrontStats => ({
  requests: 0,
  responses: 0,
  errors: 0,
  notified: 0,
  replayed: 0,
  quarantined: 0,
});

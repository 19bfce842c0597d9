// What one network interface's driver has done. Only netfront writes here.

export class NetfrontStats {
  txFrames = 0;
  txBytes = 0;
  /** Frames the backend answered with an error, or takes none like. */
  txErrors = 0;
  /** Calls of send or txBuffer that found no room. */
  txFull = 0;
  rxFrames = 0;
  rxBytes = 0;
  /** Pages the backend gave back without a frame. */
  rxErrors = 0;
  /** Notifications sent to the backend. */
  notified = 0;
  /** Pages of ours the backend keeps mapped. */
  staticGrants = 0;
  /** Pages never to be used again, since a backend that is gone still has them mapped. */
  quarantined = 0;
}

// Counters of one pvcalls frontend; nothing else writes them.

export class PvcallsFrontStats {
  commands = 0;
  failed = 0;
  /** From the host. */
  bytesIn = 0;
  /** To the host. */
  bytesOut = 0;
  /** Sets of pages the backend did not give back; they are never used again. */
  quarantined = 0;
}

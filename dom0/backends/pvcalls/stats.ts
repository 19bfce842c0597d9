// Counters of the pvcalls backend; nothing else writes them.

export class PvcallsStats {
  commands = 0;
  /** Commands answered with an error. */
  errors = 0;
  accepted = 0;
  connected = 0;
  /** From the host to guests. */
  bytesIn = 0;
  /** From guests to the host. */
  bytesOut = 0;
  /** Data rings given up because of impossible indices. */
  badRings = 0;
}

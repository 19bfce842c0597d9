// Counters of one console.
export class ConsoleStats {
  /** Bytes the guest wrote, and bytes it was given. */
  outBytes = 0;
  inBytes = 0;
  /** Times the guest had to wait because it wrote faster than the limit. */
  throttled = 0;
  /** Clients that were cut off because they did not read. */
  slowClients = 0;
  /** Bytes the log file could not take. */
  logDropped = 0;
}

import { type Log, SystemCallError, XEN_ENOMEM } from '#pvbus';

/** The host has no descriptors left, or no memory; whoever needed them goes without. -errno; throws what is no such error. */
export type Shortage = (what: string, error: unknown) => number;
export const tellShortage =
  (log: Log): Shortage =>
  (what, error) => {
    if (!(error instanceof SystemCallError)) throw error;
    log.warn(`${what}: ${error.message}`);
    return -XEN_ENOMEM;
  };

// A process of the host gives up what it will not need.
import { hasNoNewPrivileges, type Log, type Policy, prepareFilter, SystemCallError, whyNoSeccomp } from '#pvbus';

/** From here on, on every thread. On a machine without filters it goes on without; the host's log says so. */
export function confine(policyOf: (pid: number) => Policy, log: Log): void {
  if (whyNoSeccomp() !== undefined || !hasNoNewPrivileges()) return; // the hypervisor has said why
  try {
    prepareFilter(policyOf(process.pid))();
  } catch (error) {
    if (!(error instanceof SystemCallError)) throw error;
    log.warn(`this process keeps every system call: ${error.message}`);
  }
}

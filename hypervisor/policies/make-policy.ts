import { XEN_SCHEDULER_CREDIT, XEN_SCHEDULER_CREDIT2, XEN_SCHEDULER_NULL, XEN_SCHEDULER_RTDS } from '#pvbus';
import { Credit } from './credit.ts';
import { Credit2 } from './credit2.ts';
import { Null } from './null.ts';
import type { Policy } from './policy.ts';
import { Rtds } from './rtds.ts';

/** For a cpupool without pCPUs yet, of a host that has `nrCpus`. Undefined: there is no such scheduler. */
export function makePolicy(sched_id: number, nrCpus: number): Policy | undefined {
  switch (sched_id) {
    case XEN_SCHEDULER_CREDIT:
      return new Credit(nrCpus);
    case XEN_SCHEDULER_CREDIT2:
      return new Credit2(nrCpus);
    case XEN_SCHEDULER_RTDS:
      return new Rtds(nrCpus);
    case XEN_SCHEDULER_NULL:
      return new Null(nrCpus);
    default:
      return undefined;
  }
}

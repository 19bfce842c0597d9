// Where each vCPU is, as the records of pCPUs tell.
import {
  DOMID_IDLE,
  TRC_PV_HYPERCALL_V2,
  TRC_SCHED_CONTINUE_RUNNING,
  TRC_SCHED_RUNSTATE_CHANGE,
  TRC_SCHED_SWITCH,
  TRC_XENOLITH_HYPERCALL_RETURN,
} from '#pvbus';
import type { TraceRecord } from './records.ts';

/** Xen's one word for a vCPU. */
export const vcpuName = (domid: number, vcpu: number): number => ((domid << 16) | vcpu) >>> 0;

const RUNSTATE = ~0x330;

/** The vCPU a pCPU's record is of; undefined: of none, or it does not say. */
export function vcpuOf({ event, extra }: TraceRecord): number | undefined {
  if ((event & RUNSTATE) === TRC_SCHED_RUNSTATE_CHANGE) return extra[0];
  switch (event) {
    case TRC_SCHED_CONTINUE_RUNNING:
    case TRC_XENOLITH_HYPERCALL_RETURN:
      return extra[0];
    case TRC_PV_HYPERCALL_V2:
      return extra[extra.length - 1];
    case TRC_SCHED_SWITCH:
      return extra[2] === DOMID_IDLE ? undefined : vcpuName(extra[2]!, extra[3]!);
    default:
      return undefined;
  }
}

export class Placement {
  readonly #cpus = new Map<number, number>();

  hear(record: TraceRecord): void {
    if (!('cpu' in record.source)) return;
    const name = vcpuOf(record);
    if (name !== undefined) this.#cpus.set(name, record.source.cpu);
  }
  /** The pCPU a vCPU was last seen on; 0 for one that was never. */
  cpuOf(name: number): number {
    return this.#cpus.get(name) ?? 0;
  }
}

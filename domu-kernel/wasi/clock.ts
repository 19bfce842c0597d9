// clock_res_get, clock_time_get, and what time it is for the other calls.
import { type Clock, XenError } from '#pvbus';
import type { Process } from '../process/process.ts';
import { CLOCKID_MONOTONIC, CLOCKID_PROCESS_CPUTIME_ID, CLOCKID_REALTIME, CLOCKID_THREAD_CPUTIME_ID } from './abi.ts';
import { at, storeU64 } from './memory.ts';

/** Nanoseconds since 1970. The wall clock is kept in milliseconds with a fraction: good for a quarter microsecond. */
export function realtimeNs(clock: Clock): bigint {
  const ms = clock.wallMs();
  const whole = Math.floor(ms);
  return BigInt(whole) * 1_000_000n + BigInt(Math.floor((ms - whole) * 1e6));
}

/** EINVAL for a clock that does not exist. */
export function clockNs(clock: Clock, process: Process, id: number): bigint {
  switch (id >>> 0) {
    case CLOCKID_REALTIME:
      return realtimeNs(clock);
    case CLOCKID_MONOTONIC:
      return BigInt(Math.floor(clock.now()));
    case CLOCKID_PROCESS_CPUTIME_ID:
    case CLOCKID_THREAD_CPUTIME_ID:
      // A process has one thread.
      return BigInt(Math.floor(process.usedNs));
    default:
      throw new XenError('EINVAL', `clock ${id >>> 0}`);
  }
}

const RESOLUTION_NS: Readonly<Record<number, bigint>> = {
  [CLOCKID_REALTIME]: 250n,
  [CLOCKID_MONOTONIC]: 1n,
  [CLOCKID_PROCESS_CPUTIME_ID]: 1n,
  [CLOCKID_THREAD_CPUTIME_ID]: 1n,
};

export const clockCalls = ({ clock }: { readonly clock: Clock }) => ({
  clock_res_get(process: Process, id: number, result: number): number {
    const resolution = RESOLUTION_NS[id >>> 0];
    if (resolution === undefined) throw new XenError('EINVAL', `clock ${id >>> 0}`);
    storeU64(process.view, at(process, result, 8), resolution);
    return 0;
  },
  /** Exact whatever `precision` would allow. */
  clock_time_get(process: Process, id: number, _precision: bigint, result: number): number {
    const now = clockNs(clock, process, id);
    storeU64(process.view, at(process, result, 8), now);
    return 0;
  },
});

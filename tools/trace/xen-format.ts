// The file that Xen's xentrace writes: for each run of records of one pCPU a TRC_TRACE_CPU_CHANGE that says how long it is,
// then the records as they lie in memory. What a vCPU has told itself stands with the pCPU it was on, the vCPU's name in
// front of its words.
import { TRC_LOST_RECORDS, TRC_TRACE_CPU_CHANGE, traceHeader } from '#pvbus';
import { Placement, vcpuName } from './placement.ts';
import type { TraceRecord } from './records.ts';

export class XenFormat {
  readonly #placement = new Placement();

  begin(): Uint8Array {
    return new Uint8Array(0);
  }
  /** These records, in the order of time, which goes on where the last ones ended. */
  write(records: readonly TraceRecord[]): Uint8Array {
    const perCpu = new Map<number, number[]>();
    for (const record of records) {
      this.#placement.hear(record);
      const { source, at, event, extra } = record;
      const own = 'cpu' in source ? undefined : vcpuName(source.domid, source.vcpu);
      const cpu = 'cpu' in source ? source.cpu : this.#placement.cpuOf(own!);
      // Xen's own record of losses has the vCPU in it.
      const words = own === undefined || event === TRC_LOST_RECORDS ? extra : [own, ...extra];
      const window = perCpu.get(cpu) ?? [];
      perCpu.set(cpu, window);
      window.push(traceHeader(event, words.length, true), at % 2 ** 32, Math.floor(at / 2 ** 32), ...words);
    }
    const words: number[] = [];
    for (const [cpu, window] of perCpu) {
      words.push(traceHeader(TRC_TRACE_CPU_CHANGE, 2, false), cpu, window.length * 4);
      for (const word of window) words.push(word);
    }
    return new Uint8Array(Uint32Array.from(words).buffer);
  }
  end(): Uint8Array {
    return new Uint8Array(0);
  }
}

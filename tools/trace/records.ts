// Records out of the rings' bytes. Those of a pCPU are the hypervisor's; those of a vCPU are its domain's, who may have
// written anything there.
import {
  TRACE_SLOT_SIZE,
  TRC_TRACE_WRAP_BUFFER,
  TRC_XENOLITH_BLK,
  TRC_XENOLITH_BLOCK,
  TRC_XENOLITH_EVTCHN_SEND,
  TRC_XENOLITH_EVTCHN_UPCALL,
  TRC_XENOLITH_NET,
  TRC_XENOLITH_REQUESTS_PUSHED,
  TRC_XENOLITH_REQUESTS_SEEN,
  TRC_XENOLITH_RESPONSES_PUSHED,
  TRC_XENOLITH_RESPONSES_SEEN,
  TRC_XENOLITH_UNTOLD,
  TRC_XENOLITH_WAKE,
  traceEvent,
  traceExtra,
  traceTimed,
} from '#pvbus';

/** Whose ring a record was in. */
export type Source = { readonly cpu: number } | { readonly domid: number; readonly vcpu: number };

export interface TraceRecord {
  readonly source: Source;
  /** Monotonic ns. */
  readonly at: number;
  readonly event: number;
  readonly extra: readonly number[];
}

/** The records of a pCPU's ring. Throws when its end is in the middle of one. */
export function cpuRecords(cpu: number, bytes: Uint8Array): TraceRecord[] {
  const source = { cpu };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const records: TraceRecord[] = [];
  let at = 0;
  for (let from = 0; from < bytes.length; ) {
    const header = view.getUint32(from, true);
    const timed = traceTimed(header);
    const count = traceExtra(header);
    const words = from + (timed ? 12 : 4);
    const end = words + 4 * count;
    if (end > bytes.length) throw new Error(`the trace of pCPU ${cpu} ends inside a record`);
    if (timed) at = time(view, from + 4);
    const event = traceEvent(header);
    if (event !== TRC_TRACE_WRAP_BUFFER) records.push({ source, at, event, extra: wordsAt(view, words, count) });
    from = end;
  }
  return records;
}

const RING_EVENTS = [
  TRC_XENOLITH_REQUESTS_PUSHED,
  TRC_XENOLITH_REQUESTS_SEEN,
  TRC_XENOLITH_RESPONSES_PUSHED,
  TRC_XENOLITH_RESPONSES_SEEN,
];
/** How many words each event has that a vCPU may record, at least and at most. */
const VCPU_EVENTS = new Map<number, readonly [number, number]>([
  [TRC_XENOLITH_EVTCHN_SEND, [3, 4]],
  [TRC_XENOLITH_EVTCHN_UPCALL, [1, 4]],
  [TRC_XENOLITH_BLOCK, [0, 0]],
  [TRC_XENOLITH_WAKE, [0, 0]],
  [TRC_XENOLITH_UNTOLD, [0, 1]],
  ...[TRC_XENOLITH_BLK, TRC_XENOLITH_NET].flatMap(kind =>
    RING_EVENTS.map(event => [kind + event, [4, 4]] as [number, [number, number]]),
  ),
]);

/**
 * The records of a vCPU's ring. untrusted: what no vCPU of ours writes, or is from another time than `from` to `to`, is
 * counted and left out.
 */
export function vcpuRecords(
  source: { readonly domid: number; readonly vcpu: number },
  bytes: Uint8Array,
  from: number,
  to: number,
): { records: TraceRecord[]; bad: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const records: TraceRecord[] = [];
  let bad = 0;
  for (let slot = 0; slot + TRACE_SLOT_SIZE <= bytes.length; slot += TRACE_SLOT_SIZE) {
    const header = view.getUint32(slot, true);
    const event = traceEvent(header);
    const count = traceExtra(header);
    const words = VCPU_EVENTS.get(event);
    const at = time(view, slot + 4);
    const known = words !== undefined && count >= words[0] && count <= words[1] && traceTimed(header);
    if (known && at >= from && at <= to) records.push({ source, at, event, extra: wordsAt(view, slot + 12, count) });
    else bad++;
  }
  return { records, bad };
}

const time = (view: DataView, at: number): number => view.getUint32(at + 4, true) * 2 ** 32 + view.getUint32(at, true);
const wordsAt = (view: DataView, at: number, count: number): number[] =>
  Array.from({ length: count }, (_, i) => view.getUint32(at + 4 * i, true));

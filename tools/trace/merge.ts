// The records of all rings as one stream in the order of time.
import { TRC_LOST_RECORDS, TRC_XENOLITH_UNTOLD, type TraceEvent } from '#pvbus';
import { cpuRecords, type TraceRecord, vcpuRecords } from './records.ts';

/** A record's time is taken a moment before it can be seen in its ring: so long may a vCPU take between the two. */
const LATE_NS = 2_000_000;
/** untrusted: no vCPU's record can be newer than the round that read it by more than this. */
const EARLY_NS = 1_000_000_000;

export class Merge {
  readonly #since: number;
  #pending: TraceRecord[] = [];
  /** The time of the last round. */
  #until: number;
  /** Whose silence has begun. */
  readonly #silent = new Set<string>();
  records = 0;
  lost = 0;
  /** Events of which only their number was recorded. */
  untold = 0;
  /** Records of domains that were none. */
  bad = 0;

  /** Nothing is older than `since`. */
  constructor(since: number) {
    this.#since = since;
    this.#until = since;
  }
  /** What this event completes, in order of time. */
  add({ until, chunks }: TraceEvent): TraceRecord[] {
    for (const { cpu, domid, vcpu, lost, records } of chunks) {
      if (cpu !== null) {
        const got = cpuRecords(cpu, records);
        for (const { event, extra } of got) if (event === TRC_LOST_RECORDS) this.lost += extra[0]!;
        this.#take(got);
      } else if (domid !== null && vcpu !== null) {
        const source = { domid, vcpu };
        const got = vcpuRecords(source, records, this.#since - LATE_NS, (until ?? this.#until) + EARLY_NS);
        if (lost > 0) this.#pending.push(lostRecords(source, lost, got.records[0]?.at ?? this.#until));
        this.#take(got.records);
        this.lost += lost;
        this.bad += got.bad;
      }
    }
    if (until === null) return [];
    this.#until = until;
    return this.#before(until - LATE_NS);
  }
  /** What is left when nothing more comes. */
  rest(): TraceRecord[] {
    return this.#before(Number.POSITIVE_INFINITY);
  }
  #take(records: readonly TraceRecord[]): void {
    for (const record of records) {
      if (record.event === TRC_XENOLITH_UNTOLD && !this.#silence(record)) continue;
      this.#pending.push(record);
      this.records++;
    }
  }
  /** False: the end of a silence that was the trace's before this one. */
  #silence({ source, extra }: TraceRecord): boolean {
    const whose = 'cpu' in source ? `${source.cpu}` : `${source.domid}/${source.vcpu}`;
    if (extra.length === 0) this.#silent.add(whose);
    else if (!this.#silent.delete(whose)) return false;
    this.untold += extra[0] ?? 0;
    return true;
  }
  #before(before: number): TraceRecord[] {
    const ready = this.#pending.filter(({ at }) => at < before);
    this.#pending = this.#pending.filter(({ at }) => at >= before);
    return ready.sort((a, b) => a.at - b.at);
  }
}

/** As the hypervisor tells of its own. */
function lostRecords(source: { domid: number; vcpu: number }, lost: number, at: number): TraceRecord {
  const count = Math.min(lost, 0xffffffff);
  const whose = source.domid | (source.vcpu << 16);
  return { source, at, event: TRC_LOST_RECORDS, extra: [count, whose, at % 2 ** 32, Math.floor(at / 2 ** 32)] };
}

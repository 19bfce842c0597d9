// Which record is the consequence of which: a notification and the handler it ran, requests published and seen.
import {
  TRC_LOST_RECORDS,
  TRC_XENOLITH_BLK,
  TRC_XENOLITH_EVTCHN_RAISED,
  TRC_XENOLITH_EVTCHN_SEND,
  TRC_XENOLITH_EVTCHN_UPCALL,
  TRC_XENOLITH_NET,
  TRC_XENOLITH_REQUESTS_PUSHED,
  TRC_XENOLITH_REQUESTS_SEEN,
  TRC_XENOLITH_RESPONSES_PUSHED,
  TRC_XENOLITH_RESPONSES_SEEN,
  TRC_XENOLITH_UNTOLD,
} from '#pvbus';
import type { TraceRecord } from './records.ts';

/** Causes that nothing has come of yet, for each channel: the oldest go. */
const MAX_WAITING = 256;

interface Cause {
  readonly record: TraceRecord;
  /** A count of notifications, or the index after the last request: modulo 2^32. */
  readonly until: number;
}

/** Is `a` at or before `b`, both counting modulo 2^32? */
const notAfter = (a: number, b: number): boolean => ((b - a) | 0) >= 0;

export class Flows {
  readonly #waiting = new Map<string, Cause[]>();

  /** The records that `record`, the next in time, is a consequence of. */
  hear(record: TraceRecord): TraceRecord[] {
    const { source, event, extra } = record;
    // What waits may have had its consequence among what is not known.
    if (event === TRC_XENOLITH_UNTOLD || event === TRC_LOST_RECORDS) this.#waiting.clear();
    const kind = event & ~0xfff;
    if (kind === TRC_XENOLITH_BLK || kind === TRC_XENOLITH_NET) return this.#handOver(record, kind);
    if (event === TRC_XENOLITH_EVTCHN_RAISED) {
      this.#cause(`${extra[0]! >>> 16}/${extra[1]}`, record, 0);
      return [];
    }
    if (!('domid' in source)) return [];
    const [port, peer = 0, slot, count = 0] = extra;
    // untrusted: who is a part of every key is the owner of the ring, never a word of the record.
    if (event === TRC_XENOLITH_EVTCHN_SEND) {
      if (extra.length === 3) this.#cause(`${source.domid}/${slot}`, record, 0);
      else this.#cause(`${source.domid}>${peer & 0xffff}/${slot}`, record, count);
      return [];
    }
    if (event !== TRC_XENOLITH_EVTCHN_UPCALL) return [];
    if (extra.length === 1) return this.#consequence(`${source.domid}/${port}`, 0).slice(0, 1);
    // The first of several that one upcall answers is the one that woke the vCPU.
    const raised = this.#consequence(`${source.domid}/${port}`, 0);
    return [...raised, ...this.#consequence(`${peer & 0xffff}>${source.domid}/${slot}`, count)].slice(0, 1);
  }

  #handOver(record: TraceRecord, kind: number): TraceRecord[] {
    const [frontend, gref, , to] = record.extra;
    const ring = `${kind}/${frontend}/${gref}`;
    switch (record.event - kind) {
      case TRC_XENOLITH_REQUESTS_PUSHED:
        this.#cause(`${ring}/requests`, record, to!);
        return [];
      case TRC_XENOLITH_RESPONSES_PUSHED:
        this.#cause(`${ring}/responses`, record, to!);
        return [];
      case TRC_XENOLITH_REQUESTS_SEEN:
        return this.#consequence(`${ring}/requests`, to!);
      case TRC_XENOLITH_RESPONSES_SEEN:
        return this.#consequence(`${ring}/responses`, to!);
      default:
        return [];
    }
  }
  #cause(channel: string, record: TraceRecord, until: number): void {
    const causes = this.#waiting.get(channel) ?? [];
    this.#waiting.set(channel, causes);
    causes.push({ record, until });
    if (causes.length > MAX_WAITING) causes.shift();
  }
  #consequence(channel: string, until: number): TraceRecord[] {
    const causes = this.#waiting.get(channel);
    if (causes === undefined) return [];
    const done = causes.filter(cause => notAfter(cause.until, until));
    if (done.length > 0) this.#waiting.set(channel, causes.slice(done.length));
    return done.map(({ record }) => record);
  }
}

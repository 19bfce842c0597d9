// The trace as Chrome's trace event JSON, which ui.perfetto.dev opens: a track for each pCPU with the vCPUs that ran on it,
// tracks for each vCPU's hypercalls and events, arrows from what one vCPU handed over to where another took it.
import {
  DOMID_IDLE,
  TRACE_SPAN_NS,
  TRC_LOST_RECORDS,
  TRC_MEM_PAGE_GRANT_MAP,
  TRC_MEM_PAGE_GRANT_UNMAP,
  TRC_PV_HYPERCALL_V2,
  TRC_SCHED_SWITCH,
  TRC_XENOLITH_BLK,
  TRC_XENOLITH_BLOCK,
  TRC_XENOLITH_EVTCHN_RAISED,
  TRC_XENOLITH_EVTCHN_SEND,
  TRC_XENOLITH_EVTCHN_UPCALL,
  TRC_XENOLITH_GRANT_COPY,
  TRC_XENOLITH_HYPERCALL_RETURN,
  TRC_XENOLITH_NET,
  TRC_XENOLITH_REQUESTS_PUSHED,
  TRC_XENOLITH_REQUESTS_SEEN,
  TRC_XENOLITH_RESPONSES_PUSHED,
  TRC_XENOLITH_RESPONSES_SEEN,
  TRC_XENOLITH_UNTOLD,
  TRC_XENOLITH_WAKE,
} from '#pvbus';
import { Flows } from './flows.ts';
import { hypercallName } from './hypercall-names.ts';
import { Placement, vcpuName, vcpuOf } from './placement.ts';
import type { TraceRecord } from './records.ts';

interface Track {
  readonly pid: number;
  readonly tid: number;
}
type Json = Record<string, unknown>;

const PCPUS = 1;
/** Lanes of one pCPU: more than one vCPU says at the same time that it runs, where Linux decides between them. */
const LANES = 64;
const domainPid = (domid: number): number => 1000 + domid;
/** Tracks of one vCPU. */
const HYPERCALLS = 0;
const EVENTS = 1;

interface Running {
  readonly cpu: number;
  readonly lane: number;
  readonly since: number;
}
interface Call {
  readonly at: number;
  readonly nr: number;
  readonly cmd: number | undefined;
}

export class Perfetto {
  readonly #since: number;
  readonly #names: ReadonlyMap<number, string>;
  readonly #placement = new Placement();
  readonly #flows = new Flows();
  readonly #known = new Set<string>();
  readonly #running = new Map<number, Running>();
  readonly #lanes = new Map<number, boolean[]>();
  readonly #calls = new Map<number, Call>();
  /** vCPUs that tell nothing, and since when. */
  readonly #silences = new Map<number, number>();
  #out: string[] = [];
  #flowId = 0;
  #last: number;
  #empty = true;

  /** Times are shown from `since` on. `names`: domid -> name. */
  constructor(since: number, names: ReadonlyMap<number, string>) {
    this.#since = since;
    this.#names = names;
    this.#last = since;
  }
  begin(): Uint8Array {
    return Buffer.from('{"displayTimeUnit":"ns","traceEvents":[\n');
  }
  write(records: readonly TraceRecord[]): Uint8Array {
    for (const record of records) this.#hear(record);
    const text = this.#out.join('');
    this.#out = [];
    return Buffer.from(text);
  }
  end(): Uint8Array {
    for (const name of [...this.#running.keys()]) this.#stops(name, this.#last);
    for (const name of this.#silences.keys()) this.#silenceEnds(name, this.#last, 'events not told');
    const text = this.#out.join('');
    this.#out = [];
    return Buffer.from(`${text}\n]}\n`);
  }

  #hear(record: TraceRecord): void {
    const { source, at, event } = record;
    this.#last = at;
    this.#placement.hear(record);
    if ('cpu' in source) this.#ofCpu(record, source.cpu);
    else this.#ofVcpu(record, vcpuName(source.domid, source.vcpu));
    const to = this.#eventTrack(record);
    for (const cause of this.#flows.hear(record)) {
      const from = this.#eventTrack(cause);
      const id = ++this.#flowId;
      const kind = flowName(event);
      this.#put({ ph: 's', name: kind, cat: 'hand-over', id, ts: this.#ts(cause.at), ...from });
      this.#put({ ph: 'f', bp: 'e', name: kind, cat: 'hand-over', id, ts: this.#ts(at), ...to });
    }
  }

  #ofCpu(record: TraceRecord, cpu: number): void {
    const { at, event, extra } = record;
    switch (event) {
      case TRC_SCHED_SWITCH:
        if (extra[0] !== DOMID_IDLE) this.#stops(vcpuName(extra[0]!, extra[1]!), at);
        if (extra[2] !== DOMID_IDLE) this.#runs(vcpuName(extra[2]!, extra[3]!), at);
        return;
      case TRC_PV_HYPERCALL_V2: {
        const name = vcpuOf(record);
        if (name === undefined) return;
        const op = extra[0]!;
        // Xen: two bits for each argument, from bit 20 on.
        const cmd = (op & (3 << 20)) !== 0 ? extra[1] : undefined;
        this.#calls.set(name, { at, nr: op & 0xfffff, cmd });
        this.#runs(name, at);
        return;
      }
      case TRC_XENOLITH_HYPERCALL_RETURN:
        this.#returned(extra[0]!, at, extra[1]!);
        return;
      case TRC_XENOLITH_EVTCHN_RAISED:
        this.#instant(record, `raise port ${extra[1]}`);
        return;
      case TRC_MEM_PAGE_GRANT_MAP:
        this.#instant(record, `grant map of ${this.#name(extra[0]!)}`);
        return;
      case TRC_MEM_PAGE_GRANT_UNMAP:
        this.#instant(record, `grant unmap of ${this.#name(extra[0]!)}`);
        return;
      case TRC_XENOLITH_GRANT_COPY:
        this.#instant(record, `grant copy of ${extra[2]} bytes`);
        return;
      case TRC_LOST_RECORDS:
        this.#pcpuInstant(`${extra[0]} records lost`, at, cpu);
        return;
      case TRC_XENOLITH_UNTOLD:
        // The answers to these may be among what is not told.
        this.#calls.clear();
        if (extra.length > 0) this.#pcpuInstant(`${extra[0]} events not told`, at, cpu);
        return;
      default:
    }
  }

  #ofVcpu(record: TraceRecord, name: number): void {
    const { at, event, extra } = record;
    if (event === TRC_XENOLITH_UNTOLD && extra.length > 0) this.#sleptSince(name, at);
    if (event === TRC_XENOLITH_BLOCK) this.#stops(name, at);
    else this.#runs(name, at);
    switch (event) {
      case TRC_XENOLITH_BLOCK:
      case TRC_XENOLITH_WAKE:
        return;
      case TRC_XENOLITH_EVTCHN_SEND:
        this.#instant(record, `send port ${extra[0]}`);
        return;
      case TRC_XENOLITH_EVTCHN_UPCALL:
        this.#instant(record, `upcall port ${extra[0]}`);
        return;
      case TRC_LOST_RECORDS:
        this.#instant(record, `${extra[0]} records lost`);
        return;
      case TRC_XENOLITH_UNTOLD:
        if (extra.length === 0) this.#silences.set(name, at);
        else this.#silenceEnds(name, at, `${extra[0]} events not told`);
        return;
      default:
        this.#instant(record, ringText(event, extra));
    }
  }

  // ---- who runs ----

  #runs(name: number, at: number): void {
    const was = this.#running.get(name);
    const cpu = this.#placement.cpuOf(name);
    if (was?.cpu === cpu) return;
    if (was !== undefined) this.#stops(name, at);
    const lanes = this.#lanes.get(cpu) ?? [];
    this.#lanes.set(cpu, lanes);
    const free = lanes.indexOf(false);
    const lane = free >= 0 ? free : Math.min(lanes.length, LANES - 1);
    lanes[lane] = true;
    this.#running.set(name, { cpu, lane, since: at });
  }
  #stops(name: number, at: number): void {
    const running = this.#running.get(name);
    if (running === undefined) return;
    this.#running.delete(name);
    this.#lanes.get(running.cpu)![running.lane] = false;
    const track = this.#pcpuTrack(running.cpu, running.lane);
    this.#slice(track, `${this.#name(name >>> 16)} v${name & 0xffff}`, 'running', running.since, at, {});
  }
  #returned(name: number, at: number, result: number): void {
    const call = this.#calls.get(name);
    if (call === undefined) return;
    this.#calls.delete(name);
    const track = this.#vcpuTrack(name, HYPERCALLS);
    this.#slice(track, hypercallName(call.nr, call.cmd), 'hypercall', call.at, at, { result: result | 0 });
  }

  /** A silence ends with its span if there is anything to tell. When it goes on, the vCPU has slept since then. */
  #sleptSince(name: number, at: number): void {
    const since = this.#silences.get(name);
    if (since === undefined) return;
    const end = (Math.floor(since / TRACE_SPAN_NS) + 1) * TRACE_SPAN_NS;
    if (at - end > TRACE_SPAN_NS) this.#stops(name, end);
  }
  #silenceEnds(name: number, at: number, what: string): void {
    const since = this.#silences.get(name) ?? at;
    this.#silences.delete(name);
    this.#slice(this.#vcpuTrack(name, EVENTS), what, 'event', since, at, {});
  }

  // ---- tracks ----

  #name(domid: number): string {
    const name = this.#names.get(domid);
    return name === undefined ? `dom${domid}` : `${name} (dom${domid})`;
  }
  #pcpuTrack(cpu: number, lane: number): Track {
    const name = lane === 0 ? `pCPU ${cpu}` : `pCPU ${cpu}, also`;
    return this.#track({ pid: PCPUS, tid: cpu * LANES + lane + 1 }, 'pCPUs', name);
  }
  #vcpuTrack(name: number, which: number): Track {
    const vcpu = name & 0xffff;
    const what = which === HYPERCALLS ? 'hypercalls' : 'events and I/O';
    const track = { pid: domainPid(name >>> 16), tid: vcpu * 2 + which + 1 };
    return this.#track(track, this.#name(name >>> 16), `vcpu${vcpu} ${what}`);
  }
  /** Where a record stands: with the vCPU that made it, or that it is of. */
  #eventTrack(record: TraceRecord): Track {
    const { source, event, extra } = record;
    if ('domid' in source) return this.#vcpuTrack(vcpuName(source.domid, source.vcpu), EVENTS);
    const own = event === TRC_XENOLITH_EVTCHN_RAISED || event === TRC_XENOLITH_GRANT_COPY ? extra[0] : vcpuOf(record);
    return own === undefined ? this.#pcpuTrack(source.cpu, 0) : this.#vcpuTrack(own, EVENTS);
  }
  #track(track: Track, process: string, thread: string): Track {
    const key = `${track.pid}/${track.tid}`;
    if (this.#known.has(key)) return track;
    if (!this.#known.has(`${track.pid}`)) {
      this.#known.add(`${track.pid}`);
      const { pid } = track;
      this.#put({ ph: 'M', name: 'process_name', pid, tid: 0, args: { name: process } });
      this.#put({ ph: 'M', name: 'process_sort_index', pid, tid: 0, args: { sort_index: pid } });
    }
    this.#known.add(key);
    this.#put({ ph: 'M', name: 'thread_name', ...track, args: { name: thread } });
    this.#put({ ph: 'M', name: 'thread_sort_index', ...track, args: { sort_index: track.tid } });
    return track;
  }

  // ---- events ----

  #slice(track: Track, name: string, cat: string, from: number, to: number, args: Json): void {
    const ts = this.#ts(from);
    this.#put({ ph: 'X', name, cat, ts, dur: round((to - from) / 1000), ...track, args });
  }
  /** A slice without length: arrows begin and end at slices. */
  #instant(record: TraceRecord, name: string): void {
    this.#slice(this.#eventTrack(record), name, 'event', record.at, record.at, {});
  }
  #pcpuInstant(name: string, at: number, cpu: number): void {
    this.#put({ ph: 'i', s: 'p', name, ts: this.#ts(at), ...this.#pcpuTrack(cpu, 0) });
  }
  #ts(at: number): number {
    return round((at - this.#since) / 1000);
  }
  #put(event: Json): void {
    this.#out.push(this.#empty ? '' : ',\n', JSON.stringify(event));
    this.#empty = false;
  }
}

/** Microseconds to the ns. */
const round = (us: number): number => Math.round(us * 1000) / 1000;

const RING_VERBS = new Map([
  [TRC_XENOLITH_REQUESTS_PUSHED, ['request', 'pushed']],
  [TRC_XENOLITH_REQUESTS_SEEN, ['request', 'seen']],
  [TRC_XENOLITH_RESPONSES_PUSHED, ['response', 'pushed']],
  [TRC_XENOLITH_RESPONSES_SEEN, ['response', 'seen']],
] as const);

function ringText(event: number, extra: readonly number[]): string {
  const kind = event & ~0xfff;
  const [noun, verb] = RING_VERBS.get((event - kind) as typeof TRC_XENOLITH_REQUESTS_PUSHED) ?? ['event', 'seen'];
  const count = (extra[3]! - extra[2]!) >>> 0;
  return `${kind === TRC_XENOLITH_BLK ? 'blk' : 'net'} ${count} ${noun}${count === 1 ? '' : 's'} ${verb}`;
}
const flowName = (event: number): string =>
  (event & ~0xfff) === TRC_XENOLITH_BLK ? 'blk' : (event & ~0xfff) === TRC_XENOLITH_NET ? 'net' : 'event';

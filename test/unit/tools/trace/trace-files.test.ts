// The two files that `xl trace` writes, and how records become them.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  __HYPERVISOR_event_channel_op,
  EVTCHNOP_close,
  TRACE_SLOT_SIZE,
  TRACE_SPAN_NS,
  TRC_LOST_RECORDS,
  TRC_PV_HYPERCALL_V2,
  TRC_SCHED_CONTINUE_RUNNING,
  TRC_SCHED_SWITCH,
  TRC_TRACE_WRAP_BUFFER,
  TRC_XENOLITH_BLK,
  TRC_XENOLITH_BLOCK,
  TRC_XENOLITH_EVTCHN_RAISED,
  TRC_XENOLITH_EVTCHN_SEND,
  TRC_XENOLITH_EVTCHN_UPCALL,
  TRC_XENOLITH_HYPERCALL_RETURN,
  TRC_XENOLITH_REQUESTS_PUSHED,
  TRC_XENOLITH_REQUESTS_SEEN,
  TRC_XENOLITH_UNTOLD,
  TRC_XENOLITH_WAKE,
  type TraceChunk,
  type TraceEvent,
  traceHeader,
} from '#pvbus';
import { compile, whyNoCompiler } from '../../../../tools/layouts/ask-gcc.ts';
import { Flows } from '../../../../tools/trace/flows.ts';
import { Merge } from '../../../../tools/trace/merge.ts';
import { Perfetto } from '../../../../tools/trace/perfetto.ts';
import { cpuRecords, type Source, type TraceRecord } from '../../../../tools/trace/records.ts';
import { Spool } from '../../../../tools/trace/spool.ts';
import { XenFormat } from '../../../../tools/trace/xen-format.ts';

const SINCE = 7 * 2 ** 32;
const name = (domid: number, vcpu = 0): number => (domid << 16) | vcpu;
const of = (source: Source, at: number, event: number, ...extra: number[]): TraceRecord => ({
  source,
  at: SINCE + at,
  event,
  extra,
});
const onCpu = (cpu: number, at: number, event: number, ...extra: number[]) => of({ cpu }, at, event, ...extra);
const byVcpu = (domid: number, at: number, event: number, ...extra: number[]) =>
  of({ domid, vcpu: 0 }, at, event, ...extra);

/** The bytes of a record in its ring. */
function bytesOf({ source, at, event, extra }: TraceRecord): number[] {
  const words = [traceHeader(event, extra.length, true), at % 2 ** 32, Math.floor(at / 2 ** 32), ...extra];
  if ('domid' in source) while (words.length < TRACE_SLOT_SIZE / 4) words.push(0xabad1dea);
  return [...new Uint8Array(Uint32Array.from(words).buffer)];
}
function chunk(records: readonly TraceRecord[], lost = 0): TraceChunk {
  const { source } = records[0]!;
  const whose = 'cpu' in source ? { cpu: source.cpu, domid: null, vcpu: null } : { cpu: null, ...source };
  return { ...whose, lost, records: Uint8Array.from(records.flatMap(bytesOf)) };
}
const event = (until: number | null, ...chunks: TraceChunk[]): TraceEvent => ({
  event: 'trace',
  until: until === null ? null : SINCE + until,
  chunks,
});

describe('records of a pCPU', () => {
  it('are read without what fills the end of the buffer', () => {
    const wrap = [...new Uint8Array(Uint32Array.from([traceHeader(TRC_TRACE_WRAP_BUFFER, 2, false), 1, 2]).buffer)];
    const first = onCpu(3, 10, TRC_SCHED_SWITCH, 1, 0, 2, 0);
    const second = onCpu(3, 11, TRC_SCHED_CONTINUE_RUNNING, 5);
    expect(cpuRecords(3, Uint8Array.from([...bytesOf(first), ...wrap, ...bytesOf(second)]))).toEqual([first, second]);
  });
  it('that end in the middle of one are an error', () => {
    const bytes = Uint8Array.from(bytesOf(onCpu(0, 1, TRC_SCHED_SWITCH, 1, 0, 2, 0)));
    expect(() => cpuRecords(0, bytes.subarray(0, bytes.length - 4))).toThrow('ends inside a record');
  });
});

describe('the merge of all rings', () => {
  it('is in the order of time, and holds back what a later round may precede', () => {
    const merge = new Merge(SINCE);
    const late = 20e6;
    const a = [onCpu(0, 5, TRC_SCHED_SWITCH, 1, 0, 2, 0), onCpu(0, late - 1e6, TRC_SCHED_CONTINUE_RUNNING, 1)];
    const b = [byVcpu(1, 1, TRC_XENOLITH_WAKE), byVcpu(1, 7, TRC_XENOLITH_BLOCK)];
    expect(merge.add(event(null, chunk(a)))).toEqual([]);
    expect(merge.add(event(late, chunk(b)))).toEqual([b[0], a[0], b[1]]);
    const c = byVcpu(1, late - 1.5e6, TRC_XENOLITH_WAKE);
    expect(merge.add(event(2 * late, chunk([c])))).toEqual([c, a[1]]);
    expect(merge.rest()).toEqual([]);
    expect(merge).toMatchObject({ records: 5, lost: 0, bad: 0 });
  });
  it('counts what was lost, and says it where it was', () => {
    const merge = new Merge(SINCE);
    const lost = onCpu(1, 3, TRC_LOST_RECORDS, 40, 0, 0, 7);
    merge.add(event(1, chunk([lost])));
    merge.add(event(2, chunk([byVcpu(2, 9, TRC_XENOLITH_BLOCK)], 100)));
    expect(merge.lost).toBe(140);
    expect(merge.rest().map(({ event, extra }) => [event, ...extra])).toEqual([
      [TRC_LOST_RECORDS, 40, 0, 0, 7],
      [TRC_LOST_RECORDS, 100, 2, 9, 7],
      [TRC_XENOLITH_BLOCK],
    ]);
  });
  it('counts what was only counted', () => {
    const merge = new Merge(SINCE);
    const cpu = [onCpu(1, 3, TRC_XENOLITH_UNTOLD), onCpu(1, 4, TRC_XENOLITH_UNTOLD, 5)];
    const own = [byVcpu(2, 1, TRC_XENOLITH_UNTOLD), byVcpu(2, 2, TRC_XENOLITH_UNTOLD, 70)];
    // It was silent before this trace began.
    const old = byVcpu(3, 1, TRC_XENOLITH_UNTOLD, 1e6);
    merge.add(event(5, chunk(cpu), chunk(own), chunk([old])));
    expect(merge.untold).toBe(75);
    expect(merge.records).toBe(4);
    expect(merge.rest().length).toBe(4);
  });
  it('leaves out a domain’s records from another time', () => {
    const merge = new Merge(SINCE);
    const bad = [byVcpu(1, -1e9, TRC_XENOLITH_BLOCK), byVcpu(1, 3600e9, TRC_XENOLITH_BLOCK)];
    expect(merge.add(event(50e6, chunk([...bad, byVcpu(1, 5, TRC_XENOLITH_WAKE)]))).length).toBe(1);
    expect(merge.bad).toBe(2);
  });
});

it('the spool gives back what it was given', () => {
  const spool = new Spool();
  const events = [
    event(null, chunk([onCpu(0, 1, TRC_SCHED_CONTINUE_RUNNING, 1)]), chunk([byVcpu(3, 2, TRC_XENOLITH_BLOCK)], 4)),
    event(5, chunk([onCpu(1, 3, TRC_SCHED_SWITCH, 1, 2, 3, 4)])),
  ];
  for (const one of events) spool.add(one);
  expect([...spool.events()]).toEqual(events);
  spool.close();
});

describe('what is the consequence of what', () => {
  const send = (at: number, count: number) => byVcpu(1, at, TRC_XENOLITH_EVTCHN_SEND, 4, 2, 9, count);
  const upcall = (at: number, count: number) => byVcpu(2, at, TRC_XENOLITH_EVTCHN_UPCALL, 6, 1, 9, count);

  it('an upcall is that of the first notification since the last upcall', () => {
    const flows = new Flows();
    const first = send(1, 0xffffffff);
    const third = send(3, 1);
    for (const record of [first, send(2, 0)]) expect(flows.hear(record)).toEqual([]);
    expect(flows.hear(upcall(4, 0))).toEqual([first]);
    flows.hear(third);
    expect(flows.hear(upcall(5, 0))).toEqual([]);
    expect(flows.hear(upcall(6, 1))).toEqual([third]);
  });
  it('nobody hears what a domain says in another’s name', () => {
    const flows = new Flows();
    flows.hear(byVcpu(5, 1, TRC_XENOLITH_EVTCHN_SEND, 4, 2, 9, 1)); // it is dom5's, to dom2: not dom1's
    expect(flows.hear(upcall(2, 1))).toEqual([]);
  });
  it('a port of the hypervisor’s, and a domain’s channel to itself', () => {
    const flows = new Flows();
    const raised = onCpu(0, 1, TRC_XENOLITH_EVTCHN_RAISED, name(2), 6);
    flows.hear(raised);
    expect(flows.hear(byVcpu(2, 2, TRC_XENOLITH_EVTCHN_UPCALL, 6))).toEqual([raised]);
    const self = byVcpu(0, 3, TRC_XENOLITH_EVTCHN_SEND, 11, 0, 12);
    flows.hear(self);
    expect(flows.hear(byVcpu(0, 4, TRC_XENOLITH_EVTCHN_UPCALL, 12))).toEqual([self]);
  });
  it('requests that are seen are all those pushed since', () => {
    const flows = new Flows();
    const push = (at: number, from: number, to: number) =>
      byVcpu(1, at, TRC_XENOLITH_BLK + TRC_XENOLITH_REQUESTS_PUSHED, 1, 8, from, to);
    const see = (at: number, to: number) => byVcpu(0, at, TRC_XENOLITH_BLK + TRC_XENOLITH_REQUESTS_SEEN, 1, 8, 0, to);
    const pushes = [push(1, 0xfffffffe, 0), push(2, 0, 3), push(3, 3, 4)];
    for (const one of pushes) flows.hear(one);
    expect(flows.hear(see(4, 3))).toEqual(pushes.slice(0, 2));
    expect(flows.hear(see(5, 4))).toEqual(pushes.slice(2));
  });
  it.each([[byVcpu(2, 6, TRC_XENOLITH_UNTOLD)], [byVcpu(0, 6, TRC_LOST_RECORDS, 3, 0, 0, 0)]])(
    'nothing from before %j is a cause: what came of it may not be known',
    gap => {
      const flows = new Flows();
      flows.hear(send(5, 1));
      flows.hear(gap);
      expect(flows.hear(upcall(8, 1))).toEqual([]);
      const cause = send(9, 2);
      flows.hear(cause);
      expect(flows.hear(upcall(10, 2))).toEqual([cause]);
    },
  );
  it('what nothing comes of is forgotten', () => {
    const flows = new Flows();
    for (let i = 0; i < 1000; i++) flows.hear(send(i, i));
    const heard = flows.hear(upcall(2000, 999));
    expect(heard.map(({ at }) => at - SINCE)).toEqual([1000 - 256]);
  });
});

const story: TraceRecord[] = [
  onCpu(1, 0, TRC_SCHED_CONTINUE_RUNNING, name(1)),
  onCpu(0, 100, TRC_SCHED_SWITCH, 0x7fff, 0, 2, 0),
  byVcpu(1, 1000, TRC_XENOLITH_BLK + TRC_XENOLITH_REQUESTS_PUSHED, 1, 8, 0, 2),
  byVcpu(1, 1100, TRC_XENOLITH_EVTCHN_SEND, 4, 2, 9, 1),
  byVcpu(1, 1500, TRC_XENOLITH_BLOCK),
  byVcpu(2, 3000, TRC_XENOLITH_EVTCHN_UPCALL, 6, 1, 9, 1),
  byVcpu(2, 3300, TRC_XENOLITH_BLK + TRC_XENOLITH_REQUESTS_SEEN, 1, 8, 0, 2),
  onCpu(0, 4000, TRC_PV_HYPERCALL_V2, (1 << 20) | (1 << 30) | __HYPERVISOR_event_channel_op, EVTCHNOP_close, name(2)),
  onCpu(0, 5000, TRC_XENOLITH_HYPERCALL_RETURN, name(2), 0xffffffea),
  onCpu(0, 6000, TRC_SCHED_SWITCH, 2, 0, 0x7fff, 0),
];

describe('the file for Perfetto', () => {
  interface Shown {
    ph: string;
    name: string;
    pid: number;
    tid: number;
    ts: number;
    dur: number;
    id: number;
    cat: string;
    args: Record<string, unknown>;
  }
  function shown(records: readonly TraceRecord[]): Shown[] {
    const perfetto = new Perfetto(SINCE, new Map([[1, 'web']]));
    const parts = [perfetto.begin()];
    for (const record of records) parts.push(perfetto.write([record]));
    parts.push(perfetto.end());
    return JSON.parse(Buffer.concat(parts).toString()).traceEvents;
  }
  const events = shown(story);
  const track = ({ pid, tid }: Shown): string => {
    const label = (kind: string, thread: number) =>
      events.find(e => e.ph === 'M' && e.name === kind && e.pid === pid && e.tid === thread)?.args.name;
    return `${label('process_name', 0)} / ${label('thread_name', tid)}`;
  };

  it('is empty, and valid, when nothing happened', () => {
    expect(shown([])).toEqual([]);
  });
  it('shows on each pCPU which vCPU ran, by its domain’s name where it has one', () => {
    const running = events.filter(e => e.cat === 'running').map(e => [track(e), e.name, e.ts, e.dur]);
    expect(running).toEqual([
      ['pCPUs / pCPU 1', 'web (dom1) v0', 1, 0.5],
      ['pCPUs / pCPU 0', 'dom2 v0', 0.1, 5.9],
    ]);
  });
  it('shows a hypercall from its beginning to its answer, by name', () => {
    const calls = events.filter(e => e.cat === 'hypercall').map(e => [track(e), e.name, e.ts, e.dur, e.args]);
    expect(calls).toEqual([['dom2 / vcpu0 hypercalls', 'event_channel_op close', 4, 1, { result: -22 }]]);
  });
  it('has an arrow for each hand-over, from slice to slice', () => {
    const arrow = (ph: string) => events.filter(e => e.ph === ph).map(e => [e.id, e.name, track(e), e.ts]);
    expect(arrow('s')).toEqual([
      [1, 'event', 'web (dom1) / vcpu0 events and I/O', 1.1],
      [2, 'blk', 'web (dom1) / vcpu0 events and I/O', 1],
    ]);
    expect(arrow('f')).toEqual([
      [1, 'event', 'dom2 / vcpu0 events and I/O', 3],
      [2, 'blk', 'dom2 / vcpu0 events and I/O', 3.3],
    ]);
    for (const end of events.filter(e => e.ph === 's' || e.ph === 'f'))
      expect(events.some(e => e.ph === 'X' && e.pid === end.pid && e.tid === end.tid && e.ts === end.ts)).toBe(true);
  });
  it('shows a vCPU that has more to tell than it may as running, and how much it was', () => {
    const from = -(SINCE % TRACE_SPAN_NS);
    const silent = shown([
      byVcpu(1, from + 1000, TRC_XENOLITH_WAKE),
      byVcpu(1, from + 2000, TRC_XENOLITH_UNTOLD),
      byVcpu(1, from + TRACE_SPAN_NS, TRC_XENOLITH_UNTOLD, 99),
      byVcpu(1, from + TRACE_SPAN_NS + 5000, TRC_XENOLITH_BLOCK),
    ]);
    const slices = (cat: string) => silent.filter(e => e.cat === cat).map(e => [e.name, e.dur]);
    expect(slices('running')).toEqual([['web (dom1) v0', (TRACE_SPAN_NS + 4000) / 1000]]);
    expect(slices('event')).toEqual([['99 events not told', (TRACE_SPAN_NS - 2000) / 1000]]);
  });
  it('shows it asleep when it says nothing for longer than it has to', () => {
    const from = -(SINCE % TRACE_SPAN_NS);
    const silent = shown([
      byVcpu(1, from + 2000, TRC_XENOLITH_UNTOLD),
      byVcpu(1, from + 1e9, TRC_XENOLITH_UNTOLD, 3),
      byVcpu(1, from + 1e9 + 3000, TRC_XENOLITH_BLOCK),
    ]);
    expect(silent.filter(e => e.cat === 'running').map(e => e.dur)).toEqual([(TRACE_SPAN_NS - 2000) / 1000, 3]);
  });
  it('does not take the answer to a hypercall that was not told for that to another', () => {
    const op = (1 << 20) | (1 << 30) | __HYPERVISOR_event_channel_op;
    const calls = shown([
      onCpu(0, 1, TRC_PV_HYPERCALL_V2, op, EVTCHNOP_close, name(2)),
      onCpu(0, 2, TRC_XENOLITH_UNTOLD),
      onCpu(0, 3e6, TRC_XENOLITH_UNTOLD, 4000),
      onCpu(0, 3e6 + 1, TRC_XENOLITH_HYPERCALL_RETURN, name(2), 0),
    ]);
    expect(calls.filter(e => e.cat === 'hypercall')).toEqual([]);
    expect(calls.filter(e => e.ph === 'i').map(e => e.name)).toEqual(['4000 events not told']);
  });
  it('gives two vCPUs that say at the same time that they run on a pCPU a track each', () => {
    const wakes = shown([
      byVcpu(1, 1, TRC_XENOLITH_WAKE),
      byVcpu(2, 2, TRC_XENOLITH_WAKE),
      byVcpu(1, 3, TRC_XENOLITH_BLOCK),
      byVcpu(2, 4, TRC_XENOLITH_BLOCK),
    ]);
    const tids = wakes.filter(e => e.cat === 'running').map(e => e.tid);
    expect(new Set(tids).size).toBe(2);
  });
});

const noCompiler = whyNoCompiler();
describe.skipIf(noCompiler !== undefined)(`xentrace’s file${noCompiler ? ` (skipped: ${noCompiler})` : ''}`, () => {
  const folder = mkdtempSync(join(tmpdir(), 'trace-dump-'));
  const program = join(folder, 'dump');
  beforeAll(() => compile(fileURLToPath(new URL('../../../abi/trace-dump.c', import.meta.url)), program));
  afterAll(() => rmSync(folder, { recursive: true }));
  function dump(batches: readonly (readonly TraceRecord[])[]): string[] {
    const format = new XenFormat();
    const parts = [format.begin(), ...batches.map(records => format.write(records)), format.end()];
    const file = join(folder, 'trace.bin');
    writeFileSync(file, Buffer.concat(parts));
    return execFileSync(program, [file], { encoding: 'utf8' }).split('\n').filter(Boolean);
  }
  const line = (cpu: number, { at, event, extra }: TraceRecord, ...front: number[]): string =>
    [cpu, event.toString(16), at, ...[...front, ...extra].map(word => (word >>> 0).toString(16))].join(' ');

  it('is what Xen’s t_rec reads, each pCPU’s part in the order of time', () => {
    const lines = dump([story.slice(0, 4), [], story.slice(4)]);
    const first = (cpu: number, records: TraceRecord[]) =>
      records.map(record =>
        'cpu' in record.source ? line(cpu, record) : line(cpu, record, name(record.source.domid)),
      );
    expect(lines).toEqual([
      ...first(1, [story[0]!, story[2]!, story[3]!]),
      ...first(0, [story[1]!]),
      ...first(1, [story[4]!]),
      ...first(0, story.slice(5)),
    ]);
  });
  it('has losses as Xen writes them', () => {
    const lost = byVcpu(2, 5, TRC_LOST_RECORDS, 100, 2, 5, 7);
    expect(dump([[lost]])).toEqual([line(0, lost)]);
  });
});

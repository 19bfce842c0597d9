import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  Arena,
  type Clock,
  domain_control,
  domainLayout,
  PAGE_SIZE,
  TOLD_PER_SPAN,
  TRACE_SLOT_SIZE,
  TRACE_SLOTS,
  TRACE_SPAN_NS,
  TRC_ALL,
  TRC_SCHED,
  TRC_XENOLITH_BLK,
  TRC_XENOLITH_BLOCK,
  TRC_XENOLITH_BRIEF,
  TRC_XENOLITH_EVTCHN_SEND,
  TRC_XENOLITH_NET,
  TRC_XENOLITH_UNTOLD,
  traceFrame,
  traceHeader,
  VcpuTrace,
} from '#pvbus';
import { VcpuRing } from '../../../dom0/toolstack/trace-rings.ts';
import { type TraceRecord, vcpuRecords } from '../../../tools/trace/records.ts';

const layout = domainLayout(4, 2);
const VCPU = 1;
const OWNER = { domid: 7, vcpu: VCPU };
let arena: Arena;
let now: number;
const clock: Clock = { now: () => now++, wallMs: () => 0 };

const setMask = (mask: number): void =>
  arena.view.setUint32(layout.control * PAGE_SIZE + domain_control.at.trace, mask, true);
const head = (): number => traceFrame(layout, VCPU) * PAGE_SIZE;
const setCount = (count: number): void => arena.view.setUint32(head(), count, true);
const records = (bytes: Uint8Array): TraceRecord[] => {
  const { records: good, bad } = vcpuRecords(OWNER, bytes, 0, Number.MAX_SAFE_INTEGER);
  expect(bad).toBe(0);
  return good;
};

beforeEach(() => {
  arena = Arena.create('vcpu-trace-test', layout.frames * PAGE_SIZE);
  now = 3 * 2 ** 32 + 5;
  setMask(TRC_ALL);
});
afterEach(() => arena.release());

describe('a vCPU’s trace', () => {
  it('is off, and leaves its ring alone, while the hypervisor wants nothing', () => {
    setMask(0);
    const trace = new VcpuTrace(arena, layout, 7, VCPU, clock);
    expect(trace.on).toBe(false);
    trace.record(TRC_XENOLITH_BLOCK, 0);
    expect(arena.bytes.subarray(head()).every(byte => byte === 0)).toBe(true);
    setMask(TRC_ALL);
    expect(trace.on).toBe(true);
  });
  it('holds what is wanted of it, in the words of Xen’s t_rec', () => {
    const trace = new VcpuTrace(arena, layout, 7, VCPU, clock);
    setMask(TRC_SCHED);
    trace.record(TRC_XENOLITH_BLOCK, 0);
    setMask(TRC_XENOLITH_EVTCHN_SEND & 0x0ffff000);
    trace.record(TRC_XENOLITH_BLOCK, 0); // another subclass
    trace.record(TRC_XENOLITH_EVTCHN_SEND, 4, 0xfffffff1, 2, 3, 4);
    const at = head() + PAGE_SIZE;
    const words = Array.from({ length: 8 }, (_, i) => arena.view.getUint32(at + 4 * i, true));
    expect(words).toEqual([traceHeader(TRC_XENOLITH_EVTCHN_SEND, 4, true) >>> 0, 5, 3, 0xfffffff1, 2, 3, 4, 0]);
    expect(arena.view.getUint32(head(), true)).toBe(1);
  });
  it('goes on where the thread before it stopped', () => {
    setCount(41);
    new VcpuTrace(arena, layout, 7, VCPU, clock).record(TRC_XENOLITH_BLOCK, 0);
    expect(arena.view.getUint32(head(), true)).toBe(42);
    expect(arena.view.getUint32(head() + PAGE_SIZE + 41 * TRACE_SLOT_SIZE, true)).not.toBe(0);
  });
  it('is brief where that is wanted: the beginning of each span, then how much more there was', () => {
    setMask(TRC_ALL | TRC_XENOLITH_BRIEF);
    const step = TRACE_SPAN_NS / 1024;
    const trace = new VcpuTrace(arena, layout, 7, VCPU, { now: () => now, wallMs: () => 0 });
    const reader = new VcpuRing(arena.fd, layout, VCPU, 'now');
    now = 7 * TRACE_SPAN_NS;
    for (let i = 0; i < 2048; i++, now += step) if (trace.admits()) trace.record(TRC_XENOLITH_EVTCHN_SEND, 3, i);
    trace.tick(now);
    const got = records(reader.take());
    const sends = got.filter(({ event }) => event === TRC_XENOLITH_EVTCHN_SEND).map(({ extra }) => extra[0]!);
    const silences = got.filter(({ event }) => event === TRC_XENOLITH_UNTOLD).map(({ extra }) => extra);
    expect(sends.slice(0, TOLD_PER_SPAN)).toEqual(Array.from({ length: TOLD_PER_SPAN }, (_, i) => i));
    expect(silences.map(extra => extra.length)).toEqual([0, 1, 0, 1]);
    expect(sends.length + silences[1]![0]! + silences[3]![0]!).toBe(2048);
    // Who asks for everything has it.
    setMask(TRC_ALL);
    for (let i = 0; i < 2048; i++) if (trace.admits()) trace.record(TRC_XENOLITH_EVTCHN_SEND, 3, i);
    expect(records(reader.take()).length).toBe(2048);
  });
  it('is read from its first record on when its domain is new', () => {
    const trace = new VcpuTrace(arena, layout, 7, VCPU, clock);
    trace.record(TRC_XENOLITH_BLOCK, 0);
    trace.record(TRC_XENOLITH_BLOCK, 0);
    expect(new VcpuRing(arena.fd, layout, VCPU, 'now').take().length).toBe(0);
    expect(new VcpuRing(arena.fd, layout, VCPU, 'start').take().length).toBe(2 * TRACE_SLOT_SIZE);
  });
  it('of a ring says what is handed over, and only once what is looked at twice', () => {
    const trace = new VcpuTrace(arena, layout, 7, VCPU, clock);
    const reader = new VcpuRing(arena.fd, layout, VCPU, 'now');
    const blk = trace.ring(TRC_XENOLITH_BLK, 7, 8);
    blk.requestsPushed(0xfffffffe, 3);
    blk.responsesSeen(1, 2);
    blk.responsesSeen(1, 2);
    const net = trace.ring(TRC_XENOLITH_NET, 9, 10);
    net.requestsSeen(0, 2);
    net.requestsSeen(1, 2);
    net.requestsSeen(1, 3);
    net.responsesPushed(0, 1);
    expect(records(reader.take()).map(({ event, extra }) => [event, ...extra])).toEqual([
      [TRC_XENOLITH_BLK + 1, 7, 8, 0xfffffffe, 3],
      [TRC_XENOLITH_BLK + 4, 7, 8, 1, 2],
      [TRC_XENOLITH_NET + 2, 9, 10, 0, 2],
      [TRC_XENOLITH_NET + 2, 9, 10, 1, 3],
      [TRC_XENOLITH_NET + 3, 9, 10, 0, 1],
    ]);
  });
});

describe('the reader of a vCPU’s ring', () => {
  it.each([0, TRACE_SLOTS - 3, 2 ** 32 - 5])('takes every record once, in order, from %i records on', from => {
    setCount(from);
    const trace = new VcpuTrace(arena, layout, 7, VCPU, clock);
    const reader = new VcpuRing(arena.fd, layout, VCPU, 'now');
    let next = 0;
    let expected = 0;
    for (let round = 0; round < 300; round++) {
      for (let i = 0; i < (round * 7) % 100; i++) trace.record(TRC_XENOLITH_EVTCHN_SEND, 3, next++);
      for (const { extra } of records(reader.take())) expect(extra[0]).toBe(expected++);
      expect(reader.lost).toBe(0);
    }
    expect(expected).toBe(next);
    expect(reader.take().length).toBe(0);
  });
  it('that comes too late gets the newest, and knows how many it has lost', () => {
    const trace = new VcpuTrace(arena, layout, 7, VCPU, clock);
    const reader = new VcpuRing(arena.fd, layout, VCPU, 'now');
    for (let i = 0; i < TRACE_SLOTS + 100; i++) trace.record(TRC_XENOLITH_EVTCHN_SEND, 3, i);
    const got = records(reader.take()).map(({ extra }) => extra[0]!);
    // The slot after the newest may be in use at this moment.
    expect(reader.lost).toBe(101);
    expect(got).toEqual(got.map((_, i) => 101 + i));
    expect(got.at(-1)).toBe(TRACE_SLOTS + 99);
  });
  it('gets no more than a ring’s worth of a domain that claims four thousand million', () => {
    const reader = new VcpuRing(arena.fd, layout, VCPU, 'now');
    setCount(0xffffffff);
    const got = reader.take();
    expect(got.length).toBeLessThanOrEqual(TRACE_SLOTS * TRACE_SLOT_SIZE);
    expect(reader.lost).toBe(0xffffffff - got.length / TRACE_SLOT_SIZE);
    // Nothing in it is a record: it is said, and left out.
    expect(vcpuRecords(OWNER, got, 0, Number.MAX_SAFE_INTEGER)).toEqual({
      records: [],
      bad: got.length / TRACE_SLOT_SIZE,
    });
  });
  it('that is older than the count goes on with what comes', () => {
    setCount(5000);
    const reader = new VcpuRing(arena.fd, layout, VCPU, 'now');
    setCount(4990);
    reader.take();
    setCount(4991);
    expect(reader.take().length).toBe(TRACE_SLOT_SIZE);
  });
});

describe('a record of a domain', () => {
  const slot = (...words: number[]): Uint8Array =>
    new Uint8Array(Uint32Array.from([...words, ...new Array<number>(8 - words.length).fill(0)]).buffer);
  const header = (event: number, extra: number, timed = true): number => traceHeader(event, extra, timed) >>> 0;

  it.each([
    ['no event of a vCPU', slot(header(0x21021, 1), 50, 0, 7 << 16)],
    ['an event of nobody', slot(header(0x8001fff, 1), 50, 0, 1)],
    ['the hypervisor’s own', slot(header(0x8002003, 2), 50, 0, 1, 2)],
    ['too short for its event', slot(header(TRC_XENOLITH_EVTCHN_SEND, 2), 50, 0, 1, 2)],
    ['longer than a slot', slot(header(TRC_XENOLITH_EVTCHN_SEND, 7), 50, 0, 1, 2)],
    ['without a time', slot(header(TRC_XENOLITH_BLOCK, 0, false), 50, 0)],
    ['from before the trace', slot(header(TRC_XENOLITH_BLOCK, 0), 9, 0)],
    ['from the future', slot(header(TRC_XENOLITH_BLOCK, 0), 101, 0)],
    ['from the far future', slot(header(TRC_XENOLITH_BLOCK, 0), 50, 0xffffffff)],
    ['nothing', slot()],
  ])('that is %s is counted and left out', (_, bytes) => {
    expect(vcpuRecords(OWNER, bytes, 10, 100)).toEqual({ records: [], bad: 1 });
  });
  it('that is in order is its owner’s, whatever it says', () => {
    const bytes = slot(header(TRC_XENOLITH_EVTCHN_SEND, 4), 50, 0, 1, 0, 3, 4);
    expect(vcpuRecords(OWNER, bytes, 10, 100)).toEqual({
      records: [{ source: OWNER, at: 50, event: TRC_XENOLITH_EVTCHN_SEND, extra: [1, 0, 3, 4] }],
      bad: 0,
    });
  });
});

// Xen: public/trace.h, and tbuf_op of public/sysctl.h.
import { beforeEach, describe, expect, it } from 'vitest';
import {
  __HYPERVISOR_grant_table_op,
  __HYPERVISOR_sched_op,
  __HYPERVISOR_xen_version,
  __HYPERVISOR_xenolith_op,
  DOMID_XEN,
  domain_control,
  GNTTABOP_map_grant_ref,
  KIND_FOREIGN,
  PAGE_SIZE,
  RUNSTATE_blocked,
  RUNSTATE_running,
  SCHEDOP_block,
  TOLD_PER_SPAN,
  TRACE_SPAN_NS,
  TRC_ALL,
  TRC_DOM0_DOM_ADD,
  TRC_DOM0_DOM_REM,
  TRC_LOST_RECORDS,
  TRC_MEM_PAGE_GRANT_MAP,
  TRC_MEM_PAGE_GRANT_UNMAP,
  TRC_PV,
  TRC_PV_HYPERCALL_V2,
  TRC_SCHED,
  TRC_SCHED_CONTINUE_RUNNING,
  TRC_SCHED_RUNSTATE_CHANGE,
  TRC_SCHED_SWITCH,
  TRC_XENOLITH_BRIEF,
  TRC_XENOLITH_EVTCHN_RAISED,
  TRC_XENOLITH_HYPERCALL_RETURN,
  TRC_XENOLITH_UNTOLD,
  t_buf,
  t_info,
  VIRQ_TBUF,
  XEN_DOMCTL_destroydomain,
  XEN_DOMCTL_pausedomain,
  XEN_DOMCTL_unpausedomain,
  XEN_EBUSY,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_EPERM,
  XEN_SYSCTL_TBUFOP_disable,
  XEN_SYSCTL_TBUFOP_enable,
  XEN_SYSCTL_TBUFOP_get_info,
  XEN_SYSCTL_TBUFOP_set_cpu_mask,
  XEN_SYSCTL_TBUFOP_set_evt_mask,
  XEN_SYSCTL_TBUFOP_set_size,
  XEN_SYSCTL_tbuf_op,
  XENOLITHOP_map_foreign,
  XENVER_version,
  xen_sysctl_tbuf_op,
  xenolith_map_foreign,
} from '#pvbus';
import { CpuRing } from '../../../dom0/toolstack/trace-rings.ts';
import { TraceBuffers } from '../../../hypervisor/trace-buffers.ts';
import { cpuRecords } from '../../../tools/trace/records.ts';
import { CoreRig, type Guest, StoppedClock } from '../../support/core-rig.ts';

const NR_CPUS = 4;
let rig: CoreRig;
let dom0: Guest;
let guest: Guest;

beforeEach(() => {
  rig = new CoreRig({ nrCpus: NR_CPUS });
  dom0 = rig.dom0;
  guest = rig.guest();
});

const tbuf = (cmd: number, fields: Record<string, number> = {}, by: Guest = dom0): number =>
  by.reset().sysctl(XEN_SYSCTL_tbuf_op, xen_sysctl_tbuf_op, { cmd, ...fields }).rc;
function info(): { evt_mask: number; buffer_mfn: number; size: number } {
  const { rc, u } = dom0.reset().sysctl(XEN_SYSCTL_tbuf_op, xen_sysctl_tbuf_op, { cmd: XEN_SYSCTL_TBUFOP_get_info });
  expect(rc).toBe(0);
  const field = (name: string): number => dom0.get(xen_sysctl_tbuf_op, u, name);
  return { evt_mask: field('evt_mask'), buffer_mfn: field('buffer_mfn'), size: field('size') };
}
const buffers = (): TraceBuffers => rig.hypervisor.trace.buffers;
/** What a control domain finds in `cpu`'s buffer from here on, by way of t_info alone. */
function reader(cpu: number): CpuRing {
  const { view, bytes } = buffers().arena!;
  const at = info().buffer_mfn * PAGE_SIZE;
  const list = at + 4 * view.getUint16(at + t_info.size + 2 * cpu, true);
  const pages = view.getUint16(at + t_info.at.tbuf_size, true);
  const mfns = Array.from({ length: pages }, (_, i) => view.getUint32(list + 4 * i, true));
  expect(mfns).toEqual(mfns.map((_, i) => mfns[0]! + i));
  return new CpuRing(bytes.subarray(mfns[0]! * PAGE_SIZE, (mfns[0]! + pages) * PAGE_SIZE));
}
function start(mask = TRC_ALL): CpuRing[] {
  expect(tbuf(XEN_SYSCTL_TBUFOP_set_size, { size: 2 })).toBe(0);
  const rings = Array.from({ length: NR_CPUS }, (_, cpu) => reader(cpu));
  expect(tbuf(XEN_SYSCTL_TBUFOP_set_evt_mask, { evt_mask: mask })).toBe(0);
  expect(tbuf(XEN_SYSCTL_TBUFOP_enable)).toBe(0);
  rings.forEach(take);
  return rings;
}
const take = (ring: CpuRing): number[][] => cpuRecords(0, ring.take()).map(({ event, extra }) => [event, ...extra]);
/** Of what has come into any of them, that of one pCPU after that of another, the events of a kind. */
const taken = (rings: CpuRing[], ...events: number[]): number[][] =>
  rings.flatMap(take).filter(([event]) => events.includes(event!));
const CALLS = [TRC_PV_HYPERCALL_V2, TRC_XENOLITH_HYPERCALL_RETURN];
const traceWord = ({ domain }: Guest): number =>
  domain.memory.view.getUint32(domain.layout.control * PAGE_SIZE + domain_control.at.trace, true);
const name = ({ domid }: Guest, vcpu = 0): number => (domid << 16) | vcpu;

describe('tbuf_op', () => {
  it('is for the control domain: EPERM for others, and nothing happens', () => {
    for (const cmd of [0, 1, 2, 3, 4, 5, 6]) expect(tbuf(cmd, { size: 2 }, guest)).toBe(-XEN_EPERM);
    expect(info().buffer_mfn).toBe(0);
  });
  it('get_info before there are buffers has no frame, no size, and every event', () => {
    expect(info()).toEqual({ evt_mask: TRC_ALL, buffer_mfn: 0, size: 0 });
  });
  it('enable without buffers is EINVAL; an unknown command too', () => {
    expect(tbuf(XEN_SYSCTL_TBUFOP_enable)).toBe(-XEN_EINVAL);
    expect(tbuf(6)).toBe(-XEN_EINVAL);
    expect(traceWord(guest)).toBe(0);
  });
  it('set_size makes a buffer for each pCPU once: EBUSY for the same size again, EINVAL for another one, or none', () => {
    for (const size of [0, 1025, 0xffffffff]) expect(tbuf(XEN_SYSCTL_TBUFOP_set_size, { size })).toBe(-XEN_EINVAL);
    expect(tbuf(XEN_SYSCTL_TBUFOP_set_size, { size: 3 })).toBe(0);
    expect(tbuf(XEN_SYSCTL_TBUFOP_set_size, { size: 3 })).toBe(-XEN_EBUSY);
    expect(tbuf(XEN_SYSCTL_TBUFOP_set_size, { size: 4 })).toBe(-XEN_EINVAL);
    const { buffer_mfn, size } = info();
    expect(buffer_mfn).not.toBe(0);
    expect(size).toBe(PAGE_SIZE);
    for (let cpu = 0; cpu < NR_CPUS; cpu++) reader(cpu);
  });
  it('set_cpu_mask from memory that is not there is EFAULT; with a map it chooses who is traced', () => {
    const rings = start();
    dom0.reset();
    const mask = dom0.putU64s([0b10]);
    const set = (bitmap: number): number => {
      const u = { cmd: XEN_SYSCTL_TBUFOP_set_cpu_mask, cpu_mask: { bitmap, nr_bits: 64 } };
      return dom0.sysctl(XEN_SYSCTL_tbuf_op, xen_sysctl_tbuf_op, u).rc;
    };
    expect(set(2 ** 40)).toBe(-XEN_EFAULT);
    expect(set(mask)).toBe(0);
    rings.forEach(take);
    buffers().write(0, TRC_SCHED_SWITCH, 1, 7);
    buffers().write(1, TRC_SCHED_SWITCH, 1, 8);
    expect(rings.map(take)).toEqual([[], [[TRC_SCHED_SWITCH, 8]], [], []]);
  });
  it('set_evt_mask lets through what its class and its subclass let through', () => {
    const [ring] = start(TRC_PV);
    expect(info().evt_mask).toBe(TRC_PV);
    take(ring!);
    buffers().write(0, TRC_SCHED_SWITCH, 0);
    buffers().write(0, TRC_PV_HYPERCALL_V2, 1, 5);
    expect(take(ring!)).toContainEqual([TRC_PV_HYPERCALL_V2, 5]);
    expect(tbuf(XEN_SYSCTL_TBUFOP_set_evt_mask, { evt_mask: TRC_SCHED_RUNSTATE_CHANGE & TRC_SCHED })).toBe(0);
    take(ring!);
    buffers().write(0, TRC_SCHED_SWITCH, 0); // another subclass
    buffers().write(0, TRC_SCHED_RUNSTATE_CHANGE, 1, 9);
    expect(take(ring!)).toEqual([[TRC_SCHED_RUNSTATE_CHANGE, 9]]);
  });
  it('map_foreign of DOMID_XEN brings the buffers to the control domain alone', () => {
    const map = (by: Guest): number =>
      by.call(
        __HYPERVISOR_xenolith_op,
        XENOLITHOP_map_foreign,
        by.reset().put(xenolith_map_foreign, { domid: DOMID_XEN }),
      );
    dom0.link();
    expect(map(dom0)).toBe(-XEN_EINVAL);
    start();
    expect(map(guest)).toBe(-XEN_EPERM);
    expect(map(dom0)).toBe(0);
    expect(dom0.link().sent.at(-1)).toMatchObject({ kind: KIND_FOREIGN, a: DOMID_XEN, arena: buffers().arena });
  });
});

describe('while tracing is on', () => {
  it('every domain’s word says so, also one that is made meanwhile; and off again', () => {
    expect(traceWord(guest)).toBe(0);
    start(TRC_SCHED);
    const late = rig.guest();
    for (const domain of [dom0, guest, late]) expect(traceWord(domain)).toBe(TRC_SCHED);
    expect(tbuf(XEN_SYSCTL_TBUFOP_disable)).toBe(0);
    for (const domain of [dom0, guest, late]) expect(traceWord(domain)).toBe(0);
  });
  it('the first records say which vCPUs there are', () => {
    expect(tbuf(XEN_SYSCTL_TBUFOP_set_size, { size: 2 })).toBe(0);
    const rings = Array.from({ length: NR_CPUS }, (_, cpu) => reader(cpu));
    expect(tbuf(XEN_SYSCTL_TBUFOP_enable)).toBe(0);
    const vcpus = [0, 1, 2, 3, 4].map(id => name(dom0, id));
    expect(taken(rings, TRC_SCHED_CONTINUE_RUNNING).map(([, vcpu]) => vcpu)).toEqual([...vcpus, name(guest)]);
  });
  it('a hypercall is recorded with command and caller, then its answer', () => {
    const rings = start();
    rings.forEach(take);
    const version = guest.call(__HYPERVISOR_xen_version, XENVER_version);
    const op = (1 << 20) | (1 << 30) | __HYPERVISOR_xen_version;
    expect(taken(rings, ...CALLS)).toEqual([
      [TRC_PV_HYPERCALL_V2, op, XENVER_version, name(guest)],
      [TRC_XENOLITH_HYPERCALL_RETURN, name(guest), version],
    ]);
  });
  it('where it is to be brief, hypercalls are told only up to a limit; what the scheduler does always is', () => {
    const rings = start(TRC_ALL | TRC_XENOLITH_BRIEF);
    const got: number[][] = [];
    for (let i = 0; i < 2 * TOLD_PER_SPAN; i++) {
      guest.call(__HYPERVISOR_xen_version, XENVER_version);
      rig.hypervisor.trace.switched(0, guest.vcpu, undefined);
      rig.clock.advance(1);
      got.push(...rings.flatMap(take));
    }
    // The answer to the call that turned it on was one of them.
    expect(got.filter(([event]) => CALLS.includes(event!)).length).toBe(TOLD_PER_SPAN - 1);
    expect(got.filter(([event]) => event === TRC_SCHED_SWITCH).length).toBe(2 * TOLD_PER_SPAN);
    expect(got.filter(([event]) => event === TRC_XENOLITH_UNTOLD)).toEqual([[TRC_XENOLITH_UNTOLD]]);
    rig.clock.advance(TRACE_SPAN_NS);
    guest.call(__HYPERVISOR_xen_version, XENVER_version);
    for (let i = 0; i < 64; i++) guest.call(__HYPERVISOR_xen_version, XENVER_version);
    const untold = rings.flatMap(take).find(([event]) => event === TRC_XENOLITH_UNTOLD)!;
    expect(untold[1]).toBeGreaterThan(TOLD_PER_SPAN * 3);
  });
  it('a hypercall that waits is recorded when it begins, and when it has its answer', () => {
    const rings = start();
    const late = rig.guest();
    rings.forEach(take);
    late.sched(SCHEDOP_block);
    const op = (1 << 20) | (1 << 30) | __HYPERVISOR_sched_op;
    expect(taken(rings, ...CALLS)).toEqual([[TRC_PV_HYPERCALL_V2, op, SCHEDOP_block, name(late)]]);
    late.vcpu.finish(0);
    expect(taken(rings, ...CALLS)).toEqual([[TRC_XENOLITH_HYPERCALL_RETURN, name(late), 0]]);
  });
  it('mapping and unmapping a grant names the granter, and a map’s count is an argument', () => {
    guest.domain.grants.grow(1);
    guest.poolPopulate(0, 3);
    guest.grant(9, 0, 3);
    const rings = start();
    rings.forEach(take);
    const { handle } = dom0.map(guest.domid, 9);
    expect(dom0.unmap(handle)).toBe(0);
    dom0.unmap(handle); // not mapped any more: nothing to tell
    const records = rings.flatMap(take);
    const op = (1 << 20) | (1 << 24) | (1 << 30) | __HYPERVISOR_grant_table_op;
    expect(records[0]).toEqual([TRC_PV_HYPERCALL_V2, op, GNTTABOP_map_grant_ref, 1, name(dom0)]);
    expect(records.filter(([event]) => event! >> 16 === TRC_MEM_PAGE_GRANT_MAP >> 16)).toEqual([
      [TRC_MEM_PAGE_GRANT_MAP, guest.domid],
      [TRC_MEM_PAGE_GRANT_UNMAP, guest.domid],
    ]);
  });
  it('a port that the hypervisor makes pending is recorded once, with who hears it', () => {
    rig = new CoreRig({ mediated: true, nrCpus: NR_CPUS });
    dom0 = rig.dom0;
    guest = rig.guest();
    const [here, there] = guest.connect(dom0);
    dom0.takePending(there);
    const rings = start();
    rings.forEach(take);
    guest.send(here);
    guest.send(here);
    expect(taken(rings, TRC_XENOLITH_EVTCHN_RAISED)).toEqual([[TRC_XENOLITH_EVTCHN_RAISED, name(dom0), there]]);
  });
  it('domains that come and go are recorded', () => {
    const rings = start();
    rings.forEach(take);
    const late = rig.guest();
    expect(taken(rings, TRC_DOM0_DOM_ADD)).toEqual([[TRC_DOM0_DOM_ADD, late.domid]]);
    dom0.reset().domctl(XEN_DOMCTL_destroydomain, late.domid);
    rig.settle();
    expect(taken(rings, TRC_DOM0_DOM_REM)).toEqual([[TRC_DOM0_DOM_REM, late.domid]]);
  });
  it('a change of runstate is Xen’s, with both states in the event', () => {
    const rings = start();
    rings.forEach(take);
    const { trace } = rig.hypervisor;
    trace.runstate(guest.vcpu, RUNSTATE_running, RUNSTATE_blocked);
    trace.runstate(guest.vcpu, RUNSTATE_blocked, RUNSTATE_blocked);
    expect(rings.flatMap(take)).toEqual([[0x21021, name(guest)]]);
  });
  it('a domain that is paused and unpaused shows it in its runstate', () => {
    const rings = start();
    rings.forEach(take);
    dom0.reset().domctl(XEN_DOMCTL_pausedomain, guest.domid);
    dom0.reset().domctl(XEN_DOMCTL_unpausedomain, guest.domid);
    const changes = rings.flatMap(take).filter(([event]) => (event! & ~0x330) === TRC_SCHED_RUNSTATE_CHANGE);
    expect(changes).toEqual([
      [0x21031, name(guest)],
      [0x21301, name(guest)],
    ]);
  });
  it('a switch names who ran and who runs; nobody is the idle domain', () => {
    const rings = start();
    rings.forEach(take);
    rig.hypervisor.trace.switched(1, guest.vcpu, undefined);
    expect(rings.map(take)).toEqual([[], [[TRC_SCHED_SWITCH, guest.domid, 0, 0x7fff, 1]], [], []]);
  });
});

describe('a buffer', () => {
  const clock = new StoppedClock();
  const SIZE = PAGE_SIZE - t_buf.size;
  let half: number;
  let broken: number[];
  let one: TraceBuffers;
  let ring: CpuRing;
  let bytes: Uint8Array;

  beforeEach(() => {
    half = 0;
    broken = [];
    one = new TraceBuffers(
      1,
      clock,
      () => half++,
      cpu => broken.push(cpu),
    );
    expect(one.setSize(1)).toBe(0);
    bytes = one.arena!.bytes.subarray(2 * PAGE_SIZE, 3 * PAGE_SIZE);
    ring = new CpuRing(bytes);
    one.enable();
  });

  it('is read whole and in order however records of all lengths fall over its end', () => {
    let next = 0;
    let expected = 0;
    for (let round = 0; round < 5000; round++) {
      for (let i = 0; i < 1 + (round % 5); i++) one.write(0, TRC_SCHED_SWITCH, (next * 5) % 8, next, next, next++);
      for (const { event, extra } of cpuRecords(0, ring.take())) {
        expect(event).toBe(TRC_SCHED_SWITCH);
        expect(extra.length).toBe((expected * 5) % 8);
        for (const word of extra.slice(0, 3)) expect(word).toBe(expected);
        expected++;
      }
    }
    expect(expected).toBe(next);
    expect(broken).toEqual([]);
  });
  it('that is full loses what comes, and says how many and since when before the next record', () => {
    for (let i = 0; i < 1000; i++) one.write(0, TRC_SCHED_SWITCH, 1, i);
    const kept = cpuRecords(0, ring.take());
    expect(kept.length).toBe(Math.floor(SIZE / 16));
    expect(kept.map(({ extra }) => extra[0])).toEqual(kept.map((_, i) => i));
    const since = clock.now();
    clock.advance(5_000_000_000);
    one.write(0, TRC_SCHED_SWITCH, 1, 4711);
    const [lost, after] = cpuRecords(0, ring.take());
    expect(lost).toMatchObject({ event: TRC_LOST_RECORDS, at: clock.now() });
    expect(lost!.extra).toEqual([1000 - kept.length, 0, since % 2 ** 32, Math.floor(since / 2 ** 32)]);
    expect(after!.extra).toEqual([4711]);
  });
  it('that was disabled has forgotten what it lost', () => {
    for (let i = 0; i < 1000; i++) one.write(0, TRC_SCHED_SWITCH, 1, i);
    one.disable();
    ring.take();
    one.enable();
    one.write(0, TRC_SCHED_SWITCH, 1, 1);
    expect(cpuRecords(0, ring.take()).map(({ event }) => event)).toEqual([TRC_SCHED_SWITCH]);
  });
  it('tells once when it has become half full', () => {
    for (let i = 0; i < 200; i++) one.write(0, TRC_SCHED_SWITCH, 1, i);
    expect(half).toBe(1);
    ring.take();
    for (let i = 0; i < 200; i++) one.write(0, TRC_SCHED_SWITCH, 1, i);
    expect(half).toBe(2);
  });
  it.each([
    ['not a whole word', 2],
    ['beyond twice the size', 2 * SIZE],
    ['ahead of the hypervisor', 400],
    ['behind by more than the buffer', SIZE + 32],
  ])('whose reader’s index is %s is not written to, and tracing ends', (_, cons) => {
    for (let i = 0; i < 5; i++) one.write(0, TRC_SCHED_SWITCH, 1, i);
    new DataView(bytes.buffer, bytes.byteOffset).setUint32(t_buf.at.cons, cons, true);
    const before = bytes.slice();
    one.write(0, TRC_SCHED_SWITCH, 1, 99);
    one.write(0, TRC_SCHED_SWITCH, 1, 99);
    expect(broken).toEqual([0]);
    expect(one.enabled).toBe(false);
    expect(Buffer.compare(bytes, before)).toBe(0);
  });
});

it('a reader’s index that cannot be ends tracing for every domain, and is said', () => {
  start();
  const { view } = buffers().arena!;
  for (let cpu = 0; cpu < NR_CPUS; cpu++) view.setUint32((2 + 2 * cpu) * PAGE_SIZE + t_buf.at.cons, 3, true);
  guest.call(__HYPERVISOR_xen_version, XENVER_version);
  expect(traceWord(guest)).toBe(0);
  expect(rig.log.lines.at(-1)).toMatch(/^trace: the reader's index of pCPU \d's buffer cannot be; tracing is off$/);
});

it('VIRQ_TBUF tells dom0 that a buffer is half full', () => {
  const port = dom0.bindVirq(VIRQ_TBUF);
  start();
  for (let i = 0; i < 400; i++) buffers().write(0, TRC_SCHED_SWITCH, 1, i);
  expect(dom0.pending(port)).toBe(true);
});

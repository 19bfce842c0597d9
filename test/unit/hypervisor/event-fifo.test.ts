// Xen: public/event_channel.h, the FIFO ABI: rows E33 to E35, the FIFO remarks of E1 to E4 and E29, and delivery.

import { beforeEach, describe, expect, it } from 'vitest';
import {
  DOMID_SELF,
  EVTCHN_FIFO_NR_CHANNELS,
  EVTCHNOP_bind_ipi,
  EVTCHNOP_bind_vcpu,
  EVTCHNOP_reset,
  EVTCHNSTAT_ipi,
  EVTCHNSTAT_unbound,
  evtchn_bind_ipi,
  evtchn_bind_vcpu,
  evtchn_reset,
  PAGE_SIZE,
  PORT_TABLE_ENTRIES,
  SCHEDOP_poll,
  sched_poll,
  VIRQ_TIMER,
  XEN_DOMCTL_destroydomain,
  XEN_DOMCTL_pausedomain,
  XEN_EACCES,
  XEN_EAGAIN,
  XEN_EBUSY,
  XEN_EINVAL,
  XEN_ENOENT,
  XEN_ENOSPC,
  XEN_ENOSYS,
  XEN_EOPNOTSUPP,
  XENMEM_decrease_reservation,
  xen_memory_reservation,
} from '#pvbus';
import { checkInvariants } from '../../support/core-invariants.ts';
import { CoreRig, DEFERRED, type Guest } from '../../support/core-rig.ts';
import { BUSY, FifoGuest, LINKED, MASKED, PENDING } from '../../support/fifo-guest.ts';
import fc from '../../support/properties.ts';

let rig: CoreRig;
/** Sends; 2-level. */
let a: Guest;
/** Hears; FIFO once a test says so. */
let b: Guest;
let fifo: FifoGuest;

beforeEach(() => {
  rig = new CoreRig();
  a = rig.guest();
  b = rig.guest({ vcpus: 2 });
  fifo = new FifoGuest(b);
});

const useFifo = () => {
  expect(fifo.init().rc).toBe(0);
  expect(fifo.expand()).toBe(0);
};
const channels = (n: number): [here: number, there: number][] =>
  Array.from({ length: n }, () => {
    const pair = a.connect(b);
    return pair;
  });
const bindIpi = (guest: Guest, vcpu: number): number => {
  const at = guest.reset().put(evtchn_bind_ipi, { vcpu });
  const rc = guest.evtchn(EVTCHNOP_bind_ipi, at);
  return rc < 0 ? rc : guest.get(evtchn_bind_ipi, at, 'port');
};
const bindVcpu = (guest: Guest, port: number, vcpu: number): number =>
  guest.evtchn(EVTCHNOP_bind_vcpu, guest.reset().put(evtchn_bind_vcpu, { port, vcpu }));
const reset = (guest: Guest, dom = DOMID_SELF): number =>
  guest.evtchn(EVTCHNOP_reset, guest.reset().put(evtchn_reset, { dom }));
const decrease = (guest: Guest, gfn: number): number => {
  const extent_start = guest.reset().putU64s([gfn]);
  const arg = guest.put(xen_memory_reservation, { extent_start, nr_extents: 1, domid: DOMID_SELF });
  return guest.memory(XENMEM_decrease_reservation, arg);
};

describe('init_control', () => {
  it('E33 bad vcpu ENOENT; offset beyond the page or not aligned EINVAL; bad gfn EINVAL', () => {
    expect(fifo.init(2).rc).toBe(-XEN_ENOENT);
    expect(fifo.init(0, 8, PAGE_SIZE - 64).rc).toBe(-XEN_EINVAL);
    expect(fifo.init(0, 8, 0xffffffff).rc).toBe(-XEN_EINVAL);
    expect(fifo.init(0, 8, 4).rc).toBe(-XEN_EINVAL);
    for (const gfn of [64, b.domain.layout.sharedInfo, 1e6, 2 ** 52]) expect(fifo.init(0, gfn).rc).toBe(-XEN_EINVAL);
    // Nothing has switched.
    expect(fifo.expand()).toBe(-XEN_EOPNOTSUPP);
  });
  it('E33 the first success returns 17 link bits and switches the domain over; a second of one vcpu is EINVAL', () => {
    expect(fifo.init()).toEqual({ rc: 0, linkBits: 17 });
    expect(fifo.init().rc).toBe(-XEN_EINVAL);
    expect(fifo.init(1).rc).toBe(0);
    expect(b.status(EVTCHN_FIFO_NR_CHANNELS - 1).rc).toBe(0);
    expect(b.status(EVTCHN_FIFO_NR_CHANNELS).rc).toBe(-XEN_EINVAL);
    expect(a.status(4096).rc).toBe(-XEN_EINVAL);
  });
  it('E33 keeps what is pending, which is raised when there is an event word for it', () => {
    const [here, there] = a.connect(b);
    const quiet = a.connect(b)[1];
    a.send(here);
    expect(b.pending(there)).toBe(true);
    b.clearUpcall();
    expect(fifo.init().rc).toBe(0);
    expect([b.pending(there), b.upcallPending()]).toEqual([false, false]);
    expect(fifo.expand()).toBe(0);
    expect(b.upcallPending()).toBe(true);
    expect(fifo.consume()).toEqual([there]);
    expect(fifo.word(quiet)).toBe(0);
  });
  it('E33 a frame it was given stays RAM until a reset', () => {
    useFifo();
    for (const gfn of [fifo.controlGfn, fifo.arrays[0]!]) {
      expect(decrease(b, gfn)).toBe(0);
      expect(b.poolPopulate(a.domid, gfn)).toBeLessThan(0);
    }
    expect(reset(b)).toBe(0);
    for (const gfn of [fifo.controlGfn, fifo.arrays[0]!]) expect(decrease(b, gfn)).toBe(1);
  });
  it('E33 a frame of a pool is none to put events into', () => {
    expect(b.poolPopulate(a.domid, 8)).toBe(0);
    expect(fifo.init(0, 8).rc).toBe(-XEN_EINVAL);
  });
});

describe('expand_array', () => {
  it('E34 of a 2-level domain EOPNOTSUPP, of a bad gfn EINVAL, of a full array ENOSPC', () => {
    expect(fifo.expand()).toBe(-XEN_EOPNOTSUPP);
    fifo.init();
    for (const gfn of [64, b.domain.layout.sharedInfo, 2 ** 52]) expect(fifo.expand(gfn)).toBe(-XEN_EINVAL);
    // One frame may be all of them: what is lost by that are the guest's own events.
    for (let i = 0; i < 128; i++) expect(fifo.expand(20)).toBe(0);
    expect(fifo.expand(21)).toBe(-XEN_ENOSPC);
  });
  it('E34 what was raised without a word is raised once there is one, and not lost when it is masked there', () => {
    fifo.init();
    const [[h1, t1], [h2, t2]] = channels(2) as [[number, number], [number, number]];
    for (const here of [h1, h2, h1]) expect(a.send(here)).toBe(0);
    expect(b.upcallPending()).toBe(false);
    b.view.setUint32(9 * PAGE_SIZE + 4 * t2, MASKED, true);
    expect(fifo.expand(9)).toBe(0);
    expect(fifo.consume()).toEqual([t1]);
    expect(fifo.is(t2, PENDING | MASKED)).toBe(true);
    expect(fifo.unmask(t2)).toBe(0);
    expect(fifo.consume()).toEqual([t2]);
  });
});

describe('set_priority', () => {
  it('E35 2-level ENOSYS, bad port EINVAL, unusable port EACCES, priority beyond 15 EINVAL', () => {
    const [, there] = a.connect(b);
    expect(fifo.setPriority(there, 3)).toBe(-XEN_ENOSYS);
    useFifo();
    expect(fifo.setPriority(EVTCHN_FIFO_NR_CHANNELS, 3)).toBe(-XEN_EINVAL);
    expect(fifo.setPriority(0xffffffff, 3)).toBe(-XEN_EINVAL);
    for (const port of [0, 700]) expect(fifo.setPriority(port, 3)).toBe(-XEN_EACCES);
    expect(fifo.setPriority(there, 16)).toBe(-XEN_EINVAL);
    expect(fifo.setPriority(there, 0xffffffff)).toBe(-XEN_EINVAL);
    for (const priority of [0, 15, 7]) expect(fifo.setPriority(there, priority)).toBe(0);
  });
  it('E35 orders events: the lower number first, those of one priority as they came', () => {
    useFifo();
    const made = channels(6);
    const ports = made.map(([, there]) => there);
    [9, 0, 7, 0, 15, 9].forEach((priority, i) => void fifo.setPriority(ports[i]!, priority));
    for (const [here] of made) a.send(here);
    const [p0, p1, p2, p3, p4, p5] = ports;
    expect(fifo.ready()).toBe((1 << 9) | 1 | (1 << 7) | (1 << 15));
    expect(fifo.consume()).toEqual([p1, p3, p2, p0, p5, p4]);
    expect(fifo.consume()).toEqual([]);
  });
  it('E35 is forgotten with the port, which begins again with 7', () => {
    useFifo();
    const [here, there] = a.connect(b);
    fifo.setPriority(there, 0);
    b.close(there);
    a.close(here);
    const [again, same] = a.connect(b);
    expect(same).toBe(there);
    a.send(again);
    expect(fifo.ready()).toBe(1 << 7);
  });
});

describe('FIFO delivery', () => {
  beforeEach(() => useFifo());

  it('a send makes the word pending and linked and tells once, until the guest has looked', () => {
    const [[h1, t1], [h2, t2]] = channels(2) as [[number, number], [number, number]];
    b.clearUpcall();
    a.send(h1);
    expect([fifo.is(t1, PENDING | LINKED), b.upcallPending(), fifo.ready()]).toEqual([true, true, 1 << 7]);
    b.clearUpcall();
    a.send(h1);
    a.send(h2);
    // The queue is not empty: no other upcall; the new port follows the old one.
    expect(b.upcallPending()).toBe(false);
    expect(fifo.word(t1) & 0x1ffff).toBe(t2);
    expect(fifo.consume()).toEqual([t1, t2]);
    a.send(h1);
    expect(b.upcallPending()).toBe(true);
    expect(fifo.consume()).toEqual([t1]);
  });
  it('a masked port is pending and not linked; an unmask links it', () => {
    const [here, there] = a.connect(b);
    b.clearUpcall();
    fifo.mask(there);
    a.send(here);
    expect([fifo.is(there, PENDING), fifo.is(there, LINKED), b.upcallPending()]).toEqual([true, false, false]);
    expect(fifo.unmask(there)).toBe(0);
    expect([fifo.is(there, PENDING | LINKED), b.upcallPending()]).toEqual([true, true]);
    expect(fifo.consume()).toEqual([there]);
  });
  it('one that is masked after it was linked is passed over, and comes with the unmask', () => {
    const [here, there] = a.connect(b);
    a.send(here);
    fifo.mask(there);
    expect(fifo.consume()).toEqual([]);
    expect(fifo.unmask(there)).toBe(0);
    expect(fifo.consume()).toEqual([there]);
  });
  it('a poll hears a masked port, and one that has no word yet', () => {
    rig = new CoreRig({ mediated: true });
    [a, b] = [rig.guest(), rig.guest()];
    fifo = new FifoGuest(b);
    fifo.init();
    const [here, there] = a.connect(b);
    const polling = () => {
      const results: number[] = [];
      b.vcpu.complete = result => results.push(result);
      const ports = b.reset().putU32s([there]);
      const rc = b.sched(SCHEDOP_poll, b.put(sched_poll, { ports, nr_ports: 1 }));
      return { rc, results };
    };
    const early = polling();
    expect(early.rc).toBe(DEFERRED);
    a.send(here);
    expect(early.results).toEqual([0]);
    expect(polling().rc).toBe(0);
    fifo.expand();
    fifo.consume();
    fifo.mask(there);
    const masked = polling();
    expect(masked.rc).toBe(DEFERRED);
    a.send(here);
    expect(masked.results).toEqual([0]);
    expect(b.upcallPending()).toBe(false);
  });
  it('virqs and ipis come by it too, each on its own vcpu', () => {
    expect(fifo.init(1).rc).toBe(0);
    const timer = b.bindVirq(VIRQ_TIMER);
    const ipi = bindIpi(b, 1);
    expect(b.status(ipi).status).toBe(EVTCHNSTAT_ipi);
    rig.hypervisor.trap(b.domid, 0, 15, 1); // set_timer_op, long past
    b.send(ipi);
    expect([b.upcallPending(0), b.upcallPending(1)]).toEqual([true, true]);
    expect(fifo.consume(1)).toEqual([ipi]);
    expect(fifo.consume(0)).toEqual([timer]);
  });
  it('a vcpu without a control block hears nothing; what was for it stays pending', () => {
    const ipi = bindIpi(b, 1);
    expect(b.send(ipi)).toBe(0);
    expect([fifo.is(ipi, PENDING), fifo.is(ipi, LINKED), b.upcallPending(1)]).toEqual([true, false, false]);
    expect(fifo.init(1).rc).toBe(0);
    expect(b.send(ipi)).toBe(0);
    expect(fifo.consume(1)).toEqual([ipi]);
  });
  it('a port that moves to another vcpu stays in the queue it is in, and joins the other one next time', () => {
    expect(fifo.init(1).rc).toBe(0);
    const [[h1, t1], [h2, t2]] = channels(2) as [[number, number], [number, number]];
    a.send(h1);
    expect(bindVcpu(b, t1, 1)).toBe(0);
    a.send(h1);
    // t1 was the end of the first queue. It is not to be taken for it once it is in the second.
    expect(fifo.consume(0)).toEqual([t1]);
    a.send(h1);
    a.send(h2);
    expect(fifo.consume(1)).toEqual([t1]);
    expect(fifo.consume(0)).toEqual([t2]);
  });
  it('two domains of different ABIs hear each other', () => {
    const [here, there] = a.connect(b);
    a.takePending(here);
    expect(b.send(there)).toBe(0);
    expect([a.pending(here), a.selected(here), a.upcallPending()]).toEqual([true, true, true]);
    expect(a.send(here)).toBe(0);
    expect(fifo.consume()).toEqual([there]);
  });
  it('a channel of the domain to itself is mediated: a queue has one writer at its end', () => {
    const there = b.allocUnbound(b.domid);
    const here = b.bindInterdomain(b.domid, there);
    expect(fifo.consume()).toEqual([here]);
    expect(b.send(here)).toBe(0);
    expect(fifo.consume()).toEqual([there]);
    expect(b.domain.vcpus.map(vcpu => vcpu.localChannels)).toEqual([0, 0]);
  });
});

describe('allocation', () => {
  it('E1 a closed port that lies in a queue is skipped, and given out once it has been taken from there', () => {
    useFifo();
    const [[h1, t1], [, t2]] = channels(2) as [[number, number], [number, number]];
    a.send(h1);
    expect(b.close(t1)).toBe(0);
    expect([fifo.is(t1, PENDING), fifo.is(t1, LINKED)]).toEqual([false, true]);
    expect(b.allocUnbound(a.domid)).toBe(t2 + 1);
    expect(b.allocUnbound(a.domid)).toBe(t2 + 2);
    expect(fifo.consume()).toEqual([]);
    expect(b.allocUnbound(a.domid)).toBe(t1);
    checkInvariants(rig.hypervisor);
  });
  it('E4 a domain has 131071 ports and no more; those beyond the port table are notified by the hypervisor', () => {
    useFifo();
    for (let port = 1; port < EVTCHN_FIFO_NR_CHANNELS; port++)
      if (b.allocUnbound(a.domid) !== port) throw new Error(`port ${port}`);
    expect(b.allocUnbound(a.domid)).toBe(-XEN_ENOSPC);
    expect(b.bindVirq(VIRQ_TIMER)).toBe(-XEN_ENOSPC);
    const last = EVTCHN_FIFO_NR_CHANNELS - 1;
    const [direct, mediated, far] = [PORT_TABLE_ENTRIES - 1, PORT_TABLE_ENTRIES, last].map(port =>
      a.bindInterdomain(b.domid, port),
    ) as [number, number, number];
    expect([direct, mediated, far].map(port => a.domain.ports.at(port).pair !== undefined)).toEqual([
      true,
      false,
      false,
    ]);
    for (let page = 1; page < 128; page++) expect(fifo.expand(10 + (page % 40))).toBe(0);
    a.send(far);
    expect(fifo.is(last, PENDING | LINKED)).toBe(true);
    for (const port of [4711, 99]) expect(b.close(port)).toBe(0);
    expect([b.allocUnbound(0), b.allocUnbound(0), b.allocUnbound(0)]).toEqual([99, 4711, -XEN_ENOSPC]);
    expect(reset(b)).toBe(0);
    expect(b.domain.ports.open).toBe(0);
    expect(a.domain.ports.at(far).state).toBe(EVTCHNSTAT_unbound);
    checkInvariants(rig.hypervisor);
  });
  it('E4 max_event_channels holds under FIFO as well', () => {
    const small = rig.guest({ maxEvtchnPort: 5000 });
    const own = new FifoGuest(small);
    own.init();
    for (let port = 1; port <= 5000; port++) expect(small.allocUnbound(0)).toBe(port);
    expect(small.allocUnbound(0)).toBe(-XEN_ENOSPC);
  });
  it('E4 a guest that says of every word that it is linked gets no port, and the search ends', () => {
    fifo.init();
    expect(fifo.expand(9)).toBe(0);
    for (let i = 1; i < 128; i++) expect(fifo.expand(10)).toBe(0);
    b.bytes.fill(0xff, 9 * PAGE_SIZE, 11 * PAGE_SIZE);
    for (let i = 0; i < 3; i++) expect(b.allocUnbound(0)).toBe(-XEN_ENOSPC);
    b.bytes.fill(0, 9 * PAGE_SIZE, 11 * PAGE_SIZE);
    // Those it left lying are looked at a few at a time.
    expect(b.allocUnbound(0)).toBeGreaterThan(0);
    expect(a.allocUnbound(0)).toBe(1);
  });
});

describe('reset', () => {
  it('E29 falls back to the 2-level ABI, from which the domain may switch again', () => {
    useFifo();
    const [here] = a.connect(b);
    a.send(here);
    expect(reset(b)).toBe(0);
    expect(fifo.expand()).toBe(-XEN_EOPNOTSUPP);
    expect(b.status(4096).rc).toBe(-XEN_EINVAL);
    const [again, there] = a.connect(b);
    b.clearUpcall();
    a.send(again);
    expect([b.pending(there), b.selected(there), b.upcallPending()]).toEqual([true, true, true]);
    expect(fifo.init()).toEqual({ rc: 0, linkBits: 17 });
  });
  it('E31 a second one while one is unfinished is EBUSY; E32 ports opened meanwhile make the first EAGAIN (act 43)', () => {
    useFifo();
    for (let i = 0; i < 3000; i++) b.allocUnbound(0);
    rig.dom0.reset().domctl(XEN_DOMCTL_pausedomain, b.domid);
    const results: number[] = [];
    const { dom0 } = rig;
    dom0.vcpuId = 0;
    dom0.vcpu.complete = result => results.push(result);
    expect(dom0.trap(32, EVTCHNOP_reset, dom0.reset().put(evtchn_reset, { dom: b.domid }))).toBe(DEFERRED);
    dom0.vcpuId = 1;
    expect(reset(dom0, b.domid)).toBe(-XEN_EBUSY);
    expect(dom0.allocUnbound(0, b.domid)).toBeGreaterThan(0);
    rig.settle();
    expect(results).toEqual([-XEN_EAGAIN]);
    expect(b.domain.ports.open).toBe(1);
    expect(fifo.expand()).toBe(0); // still FIFO
    expect(reset(dom0, b.domid)).toBe(0);
    expect(b.domain.ports.open).toBe(0);
  });
  it('E31 one whose thread has gone is in nobody’s way', () => {
    for (let i = 0; i < 3000; i++) b.allocUnbound(0);
    rig.dom0.reset().domctl(XEN_DOMCTL_pausedomain, b.domid);
    const { dom0 } = rig;
    dom0.vcpuId = 1;
    expect(dom0.trap(32, EVTCHNOP_reset, dom0.reset().put(evtchn_reset, { dom: b.domid }))).toBe(DEFERRED);
    rig.replaceThread(dom0.vcpu);
    dom0.vcpuId = 0;
    expect(reset(dom0, b.domid)).toBe(0);
    expect(b.domain.ports.open).toBe(0);
  });
});

describe('a hostile guest', () => {
  /** Everything of its memory but what the hypervisor is to write to for events. */
  const rest = (): Buffer => {
    const copy = Buffer.from(b.bytes.subarray(0, b.domain.layout.sharedInfo * PAGE_SIZE));
    for (const gfn of [fifo.controlGfn, ...fifo.arrays]) copy.fill(0, gfn * PAGE_SIZE, (gfn + 1) * PAGE_SIZE);
    return copy;
  };
  const act = fc.record({
    what: fc.constantFrom('word', 'control', 'send', 'close', 'connect', 'priority', 'unmask', 'move', 'consume'),
    port: fc.integer({ min: 1, max: 12 }),
    value: fc.oneof(
      fc.nat(0xffffffff),
      fc.constantFrom(LINKED, LINKED + 1, PENDING + LINKED + 0x1ffff, BUSY + LINKED, MASKED, BUSY, 0),
    ),
  });

  it('whatever it writes into words and control blocks, it loses its own events and nothing else happens', () => {
    fc.assert(
      fc.property(fc.array(act, { maxLength: 80 }), acts => {
        rig = new CoreRig();
        a = rig.guest();
        b = rig.guest({ vcpus: 2 });
        fifo = new FifoGuest(b);
        useFifo();
        fifo.init(1);
        const made = channels(8);
        const [mine, theirs] = a.connect(rig.dom0);
        const before = rest();
        for (const { what, port, value } of acts) {
          if (what === 'word') fifo.setWord(port, value);
          else if (what === 'control') b.view.setUint32(fifo.controlGfn * PAGE_SIZE + 4 * (value % 36), value, true);
          else if (what === 'send') expect(a.send(made[port % 8]![0])).toBe(0);
          else if (what === 'close') b.close(port);
          else if (what === 'connect') a.bindInterdomain(b.domid, b.allocUnbound(a.domid));
          else if (what === 'priority') fifo.setPriority(port, value % 17);
          else if (what === 'unmask') fifo.unmask(port);
          else if (what === 'move') bindVcpu(b, port, value % 2);
          else b.clearUpcall(value % 2);
        }
        expect(rest().equals(before)).toBe(true);
        rig.dom0.takePending(theirs);
        expect(a.send(mine)).toBe(0);
        expect(rig.dom0.pending(theirs)).toBe(true);
        checkInvariants(rig.hypervisor);
        expect(rig.internalErrors).toEqual([]);
        // It may mend what it broke: empty queues, unmasked words, and events come again.
        for (const gfn of [fifo.controlGfn, ...fifo.arrays]) b.bytes.fill(0, gfn * PAGE_SIZE, (gfn + 1) * PAGE_SIZE);
        const [here, there] = a.connect(b);
        expect(bindVcpu(b, there, 0)).toBe(0);
        const fresh = new FifoGuest(b);
        fresh.arrays.push(...fifo.arrays);
        fresh.consume();
        a.send(here);
        expect(fresh.consume()).toContain(there);
      }),
      { numRuns: 200 },
    );
  });
  it('one that dies as FIFO leaves nothing behind', () => {
    useFifo();
    const made = channels(3);
    for (const [here] of made) a.send(here);
    rig.dom0.reset().domctl(XEN_DOMCTL_destroydomain, b.domid);
    rig.settle();
    expect(rig.hypervisor.domains.byId(b.domid)).toBeUndefined();
    for (const [here] of made) expect(a.send(here)).toBe(0);
    checkInvariants(rig.hypervisor);
    expect(rig.internalErrors).toEqual([]);
  });
});

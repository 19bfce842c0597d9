// Hypercalls that a plan has refused or delayed: what a domain hears, how often, and that nobody else hears of it. The
// plan comes as dom0's toolstack gives it.
import { beforeEach, describe, expect, it } from 'vitest';
import {
  __HYPERVISOR_event_channel_op,
  __HYPERVISOR_multicall,
  __HYPERVISOR_xenolith_op,
  EVTCHNOP_alloc_unbound,
  EVTCHNOP_status,
  evtchn_alloc_unbound,
  evtchn_status,
  type Fault,
  getI64,
  MEMOP_EXTENT_SHIFT,
  multicall_entry,
  XEN_DOMCTL_destroydomain,
  XEN_E2BIG,
  XEN_EAGAIN,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOBUFS,
  XEN_ENOMEM,
  XEN_ENOSPC,
  XEN_EPERM,
  XENMEM_populate_physmap,
  XENOLITH_FAULT_plant,
  XENOLITH_FAULT_show,
  XENOLITHOP_fault,
  xenolith_fault,
} from '#pvbus';
import { ControlCalls } from '../../../dom0/toolstack/control-calls.ts';
import { XcFaults } from '../../../dom0/toolstack/xc-faults.ts';
import { HypercallTable } from '../../../hypervisor/hypercall-table.ts';
import { checkInvariants } from '../../support/core-invariants.ts';
import { CoreRig, DEFERRED, type Guest } from '../../support/core-rig.ts';

let rig: CoreRig;
let a: Guest;
let b: Guest;
let faults: XcFaults;
beforeEach(() => {
  rig = new CoreRig();
  [a, b] = [rig.guest(), rig.guest()];
  faults = new XcFaults({ calls: new ControlCalls(rig.dom0.kernel()) });
});

const NAME = 'p@f';
const textOf = (fault: Partial<Fault>, startedNs = 0): string =>
  JSON.stringify({ plan: 'p', seed: 7, startedNs, fault: { name: 'f', part: 'hypercall', ...fault } });
const plant = (guest: Guest, fault: Partial<Fault>, startedNs?: number): boolean =>
  faults.plant(guest.domid, textOf(fault, startedNs));
const alloc = (guest: Guest): number => guest.allocUnbound(0);

describe('a hypercall that is refused', () => {
  it('is not done, hears the error, and is counted; other commands, other hypercalls and other domains are served', () => {
    expect(plant(a, { op: 'EVTCHNOP_alloc_unbound', nth: [2, 3], error: 'ENOSPC' })).toBe(true);
    const ports = a.domain.ports.open;
    expect([1, 2, 3, 4].map(() => Math.sign(alloc(a)))).toEqual([1, -1, -1, 1]);
    expect(a.domain.ports.open).toBe(ports + 2);
    expect(alloc(b)).toBeGreaterThan(0);
    expect(a.status(1).rc).toBe(0);
    expect(faults.injected(a.domid, NAME)).toEqual({
      ...{ seen: 4, injected: 2, last: [2, 3], where: `EVTCHNOP_alloc_unbound by dom${a.domid}`, domid: a.domid },
    });
    faults.remove(a.domid, NAME);
    expect(alloc(a)).toBeGreaterThan(0);
    expect(faults.injected(a.domid, NAME)).toBeUndefined();
    expect(() => faults.remove(a.domid, NAME)).not.toThrow();
    checkInvariants(rig.hypervisor);
  });

  it('has the error that is named, of a whole hypercall or of all of them', () => {
    plant(a, { op: 'event_channel_op', times: 2, error: 'EPERM' });
    expect([a.status(1).rc, alloc(a), Math.sign(alloc(a))]).toEqual([-XEN_EPERM, -XEN_EPERM, 1]);
    faults.remove(a.domid, NAME);
    plant(a, { nth: [2], error: 'ENOMEM' });
    expect([Math.sign(alloc(a)), a.poolPopulate(0, 10)]).toEqual([1, 0]); // of ours none is on the list
    expect(a.consoleIo(9, 0, 0)).toBe(-XEN_ENOMEM);
  });

  it('may be one of ours, and one that goes on where it was cut short', () => {
    plant(a, { op: 'XENOLITHOP_pool_populate', error: 'ENOSPC' });
    expect([a.poolPopulate(0, 10), a.poolRelease(0, 10)]).toEqual([-XEN_ENOSPC, -XEN_EINVAL]);
    faults.remove(a.domid, NAME);
    plant(a, { op: 'XENMEM_populate_physmap', error: 'EAGAIN' });
    expect(a.memory(XENMEM_populate_physmap + (3 << MEMOP_EXTENT_SHIFT), 0)).toBe(-XEN_EAGAIN);
  });

  it('may be an element of a multicall', () => {
    plant(a, { op: 'EVTCHNOP_alloc_unbound', nth: [1], error: 'EAGAIN' });
    const ask = { dom: a.domid, remote_dom: 0 };
    a.reset();
    const args = [a.put(evtchn_alloc_unbound, ask), a.put(evtchn_alloc_unbound, ask)];
    const list = a.putMany(
      multicall_entry,
      args.map(arg => ({ op: __HYPERVISOR_event_channel_op, args: [EVTCHNOP_alloc_unbound, arg, 0, 0, 0, 0] })),
    );
    expect(a.call(__HYPERVISOR_multicall, list, 2)).toBe(0);
    const results = [0, 1].map(i => getI64(a.view, list + i * multicall_entry.size + multicall_entry.at.result));
    expect(results).toEqual([-XEN_EAGAIN, 0]);
  });

  it('of two faults is the first one’s, and the other has counted it', () => {
    plant(a, { op: 'EVTCHNOP_alloc_unbound', error: 'ENOSPC' });
    plant(a, { name: 'g', op: 'event_channel_op', error: 'EPERM' });
    expect([alloc(a), a.status(1).rc]).toEqual([-XEN_ENOSPC, -XEN_EPERM]);
    expect(faults.injected(a.domid, 'p@g')).toMatchObject({ seen: 2, injected: 1 });
    // One of them goes; the other still stands there.
    faults.remove(a.domid, NAME);
    expect(alloc(a)).toBe(-XEN_EPERM);
  });
});

describe('a hypercall that is delayed', () => {
  const ALLOC = { op: 'EVTCHNOP_alloc_unbound', delay: 20 } as const;
  /** It waits, and what it hears in the end. */
  function begin(guest: Guest): number[] {
    const heard: number[] = [];
    guest.vcpu.complete = result => heard.push(result);
    const arg = guest.reset().put(evtchn_alloc_unbound, { dom: guest.domid, remote_dom: 0 });
    expect(guest.trap(__HYPERVISOR_event_channel_op, EVTCHNOP_alloc_unbound, arg)).toBe(DEFERRED);
    return heard;
  }
  it('is done at its time and not before; other domains are served meanwhile', () => {
    plant(a, ALLOC);
    const ports = a.domain.ports.open;
    const heard = begin(a);
    rig.clock.advance(19e6);
    rig.settle();
    expect([heard, a.domain.ports.open, Math.sign(alloc(b))]).toEqual([[], ports, 1]);
    rig.clock.advance(1e6);
    rig.settle();
    expect([heard, a.domain.ports.open]).toEqual([[0], ports + 1]);
    expect(rig.hypervisor.timersPending).toBe(0);
  });
  it('is done when the fault goes', () => {
    plant(a, ALLOC);
    const heard = begin(a);
    faults.remove(a.domid, NAME);
    rig.settle();
    expect(heard).toEqual([0]);
    expect(rig.hypervisor.timersPending).toBe(0);
  });
  it('in a multicall keeps what is behind it waiting', () => {
    plant(a, ALLOC);
    const heard: number[] = [];
    a.vcpu.complete = result => heard.push(result);
    a.reset();
    const op = __HYPERVISOR_event_channel_op;
    const first = a.put(evtchn_alloc_unbound, { dom: a.domid, remote_dom: 0 });
    const second = a.put(evtchn_status, { dom: a.domid, port: 1 });
    const list = a.putMany(multicall_entry, [
      { op, args: [EVTCHNOP_alloc_unbound, first, 0, 0, 0, 0], result: 99 },
      { op, args: [EVTCHNOP_status, second, 0, 0, 0, 0], result: 99 },
    ]);
    const results = () => [0, 1].map(i => getI64(a.view, list + i * multicall_entry.size + multicall_entry.at.result));
    expect(a.trap(__HYPERVISOR_multicall, list, 2)).toBe(DEFERRED);
    expect([heard, results()]).toEqual([[], [99, 99]]);
    rig.clock.advance(20e6);
    rig.settle();
    expect([heard, results()]).toEqual([[0], [0, 0]]);
  });
  it('of a thread that is gone is not done', () => {
    plant(rig.dom0, ALLOC);
    const ports = rig.dom0.domain.ports.open;
    begin(rig.dom0);
    rig.replaceThread(rig.dom0.domain.vcpus[0]!);
    rig.clock.advance(20e6);
    rig.settle();
    expect(rig.dom0.domain.ports.open).toBe(ports);
  });
  it('of a domain that ends meanwhile leaves nothing', () => {
    plant(a, ALLOC);
    const heard = begin(a);
    expect(rig.dom0.domctl(XEN_DOMCTL_destroydomain, a.domid).rc).toBe(0);
    rig.settle();
    rig.clock.advance(20e6);
    rig.settle();
    expect([heard, rig.hypervisor.timersPending, rig.hypervisor.domains.byId(a.domid)]).toEqual([[], 0, undefined]);
    // What it has done can still be asked for.
    expect(faults.injected(a.domid, NAME)).toMatchObject({ seen: 1, injected: 1 });
    checkInvariants(rig.hypervisor);
  });
});

it('a fault that is given again goes on, one of a later plan and one at another domain of that number begin at 1', () => {
  const REFUSED = { op: 'EVTCHNOP_alloc_unbound', nth: [2], error: 'ENOSPC' };
  plant(a, REFUSED);
  alloc(a);
  plant(a, REFUSED);
  expect(alloc(a)).toBe(-XEN_ENOSPC);
  plant(a, REFUSED, 5);
  expect([Math.sign(alloc(a)), alloc(a)]).toEqual([1, -XEN_ENOSPC]);
  expect(rig.dom0.domctl(XEN_DOMCTL_destroydomain, a.domid).rc).toBe(0);
  rig.settle();
  expect(faults.plant(a.domid, textOf(REFUSED))).toBe(false);
});

it('while there is none, and of hypercalls that none is for, the handlers are the plain ones', () => {
  const made: number[] = [];
  const { replace } = HypercallTable.prototype;
  HypercallTable.prototype.replace = function (nr, make) {
    made.push(make === undefined ? -nr : nr);
    replace.call(this, nr, make);
  };
  try {
    for (let i = 0; i < 100; i++) alloc(a);
    expect(made).toEqual([]);
    plant(a, { op: 'EVTCHNOP_alloc_unbound', error: 'ENOSPC' });
    faults.remove(a.domid, NAME);
    expect(made).toEqual([__HYPERVISOR_event_channel_op, -__HYPERVISOR_event_channel_op]);
  } finally {
    HypercallTable.prototype.replace = replace;
  }
});

it('what is no fault of a hypercall is refused, and so is who is no control domain', () => {
  const ask = (guest: Guest, what: number, text: string, room = text.length): number => {
    guest.reset();
    const bytes = new TextEncoder().encode(text);
    const at = guest.alloc(Math.max(bytes.length, Math.min(room, 8192)));
    guest.bytes.set(bytes, at);
    const arg = guest.put(xenolith_fault, { domid: a.domid, what, length: bytes.length, room, text: at });
    return guest.call(__HYPERVISOR_xenolith_op, XENOLITHOP_fault, arg);
  };
  const good = textOf({ error: 'ENOMEM' });
  expect(ask(a, XENOLITH_FAULT_plant, good)).toBe(-XEN_EPERM);
  for (const text of ['', '{', textOf({ part: 'disk', error: 'EIO' }), textOf({ error: 'EIO' })])
    expect(ask(rig.dom0, XENOLITH_FAULT_plant, text)).toBe(-XEN_EINVAL);
  expect(ask(rig.dom0, XENOLITH_FAULT_plant, good, 1 << 20)).toBe(-XEN_E2BIG);
  expect(ask(rig.dom0, 9, good)).toBe(-XEN_EINVAL);
  expect(rig.dom0.call(__HYPERVISOR_xenolith_op, XENOLITHOP_fault, 2 ** 40)).toBe(-XEN_EFAULT);
  expect(ask(rig.dom0, XENOLITH_FAULT_plant, good)).toBe(0);
  expect(ask(rig.dom0, XENOLITH_FAULT_show, NAME)).toBe(-XEN_ENOBUFS);
});

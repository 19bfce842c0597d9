// Established channels are notified without the hypervisor: what it writes for that, and the domains' own
// code (pvbus) on top of it, both ends and the hypervisor in one thread.

import { beforeEach, describe, expect, it } from 'vitest';
import {
  __HYPERVISOR_event_channel_op,
  DOORBELL_SLOTS,
  domain_control,
  EVTCHNOP_bind_vcpu,
  EVTCHNOP_send,
  type EvtchnPort,
  evtchn_bind_vcpu,
  type Vcpu as GuestVcpu,
  KIND_DOORBELL,
  KIND_FORGET,
  monotonicNow,
  NR_DOORBELL_SLOTS,
  PAGE_SIZE,
  PortEntry,
  port_entry,
  SCHEDOP_block,
  shared_info,
  VCPUOP_register_vcpu_info,
  vcpu_page,
  vcpu_register_vcpu_info,
  vcpuFrame,
  XEN_DOMCTL_destroydomain,
  XEN_EINVAL,
  XEN_ENOSPC,
  XENOLITH_SLEEPS_poll,
} from '#pvbus';
import { checkInvariants } from '../../support/core-invariants.ts';
import { CoreRig, DEFERRED, type Guest } from '../../support/core-rig.ts';

let rig: CoreRig;
let a: Guest;
let b: Guest;

beforeEach(() => {
  rig = new CoreRig();
  a = rig.guest();
  b = rig.guest();
});

const entry = (guest: Guest, port: number) =>
  new PortEntry(guest.view, guest.domain.layout.portTable * PAGE_SIZE + port * port_entry.size);
const control = (guest: Guest, field: keyof typeof domain_control.at) =>
  guest.view.getUint32(guest.domain.layout.control * PAGE_SIZE + domain_control.at[field], true);
const bindVcpu = (guest: Guest, port: number, vcpu: number) =>
  guest.evtchn(EVTCHNOP_bind_vcpu, guest.reset().put(evtchn_bind_vcpu, { port, vcpu }));
const destroy = (guest: Guest) => {
  rig.dom0.reset().domctl(XEN_DOMCTL_destroydomain, guest.domid);
  rig.settle();
};

it('the port tables of both ends say how to notify, and their version moves', () => {
  const before = control(a, 'port_table_version');
  const [here, there] = a.connect(b);
  expect(entry(a, here)).toMatchObject({
    state: 2,
    direct: 1,
    notify_vcpu: 0,
    remote_domid: b.domid,
    remote_vcpu: 0,
    slot: 0,
  });
  expect(entry(b, there)).toMatchObject({ state: 2, direct: 1, remote_domid: a.domid, slot: 0 });
  expect(control(a, 'port_table_version')).toBeGreaterThan(before);
  expect(control(a, 'nr_ports')).toBe(2);
  expect(control(a, 'mediated')).toBe(0);
  const generation = entry(b, there).generation;
  a.close(here);
  expect(entry(a, here)).toMatchObject({ state: 0, direct: 0 });
  expect(entry(b, there)).toMatchObject({ state: 1, direct: 0, remote_domid: a.domid });
  expect(entry(b, there).generation).not.toBe(generation);
});

it('kernels notify one another without a trap, and every event arrives', () => {
  const here = a.kernel();
  const there = b.kernel();
  const port = there.events.allocUnbound(here.domid);
  const mine = here.events.bindInterdomain(there.domid, port);
  let heard = 0;
  let answered = 0;
  there.events.on(port, () => {
    heard++;
    there.events.notify(port);
  });
  here.events.on(mine, () => {
    answered++;
  });
  here.events.poll();
  there.events.poll();
  [heard, answered] = [0, 0];
  let traps = 0;
  const { trap } = rig.hypervisor;
  rig.hypervisor.trap = (...args) => {
    traps++;
    return trap.apply(rig.hypervisor, args);
  };
  for (let i = 1; i <= 100; i++) {
    here.events.notify(mine);
    expect(there.events.poll()).toBe(true);
    expect(here.events.poll()).toBe(true);
    expect([heard, answered]).toEqual([i, i]);
  }
  expect(there.events.poll()).toBe(false);
  expect(traps).toBe(0);
});

it('a send that traps although it need not is delivered, and the page handed out for the next', () => {
  const { dom0 } = rig;
  const two = dom0.link(2);
  const [here, there] = dom0.connect(a);
  dom0.vcpuId = 2;
  expect(two.sent).toEqual([]);
  expect(dom0.send(here)).toBe(0);
  expect(a.pending(there)).toBe(true);
  expect(two.sent.map(({ kind, a: peer }) => [kind, peer])).toEqual([[KIND_DOORBELL, a.domid]]);
  dom0.send(here);
  expect(two.sent).toHaveLength(1);
});

it('the page goes to the vcpus that need it, once, and to one that gets its link late', () => {
  const { dom0 } = rig;
  const links = [0, 1, 2].map(vcpu => dom0.link(vcpu));
  const [here] = dom0.connect(a);
  dom0.connect(a);
  expect(links.map(link => link.sent.length)).toEqual([1, 0, 0]);
  expect(bindVcpu(dom0, here, 2)).toBe(0);
  expect(links.map(link => link.sent.length)).toEqual([1, 0, 1]);
  expect(a.link().sent.map(({ kind, a: peer }) => [kind, peer])).toEqual([[KIND_DOORBELL, 0]]);
});

it('a port that moves to another vcpu begins a generation that counts an event', () => {
  const { dom0 } = rig;
  const [here, there] = dom0.connect(a);
  const old = entry(dom0, here).generation;
  bindVcpu(dom0, here, 3);
  expect(entry(a, there).remote_vcpu).toBe(3);
  expect(entry(dom0, here)).toMatchObject({ notify_vcpu: 3, direct: 1 });
  expect(entry(dom0, here).generation).not.toBe(old);
  const base = dom0.view.getUint32(
    dom0.domain.layout.portTable * PAGE_SIZE + here * port_entry.size + port_entry.at.since,
    true,
  );
  const pair = dom0.domain.doorbells.get(a.domain)!;
  expect(base).not.toBe(pair.count(a.domain, entry(dom0, here).slot) >>> 0);
  expect([dom0.domain.vcpus[0]!.hears.size, dom0.domain.vcpus[3]!.hears.size]).toEqual([0, 1]);
});

it('what the closer sent last is not lost with the channel', () => {
  const here = a.kernel();
  const there = b.kernel();
  const port = there.events.allocUnbound(here.domid);
  const mine = here.events.bindInterdomain(there.domid, port);
  let heard = 0;
  there.events.on(port, () => heard++);
  there.events.poll();
  heard = 0;
  here.events.notify(mine);
  here.events.close(mine);
  there.events.poll();
  expect(heard).toBe(1);
});

it('a vcpu leaves alone what another one of its domain has bound and will hear', () => {
  const main = rig.dom0.kernel(0);
  const xenstored = rig.dom0.kernel(1);
  const guest = a.kernel();
  const port = guest.events.allocUnbound(xenstored.domid);
  const mine = xenstored.events.bindInterdomain(guest.domid, port); // on vcpu 0, as every new port
  guest.events.poll(); // it has the doorbell
  rig.dom0.takePending(mine); // Xen: a port that is bound begins with an event
  guest.events.notify(port);
  main.events.poll();
  expect(rig.dom0.pending(mine)).toBe(false);
  let heard = 0;
  xenstored.events.on(mine, () => heard++);
  xenstored.events.poll();
  expect(heard).toBeGreaterThan(0);
  // However late the other vcpu looks at its doorbell, an event that is to come is heard.
  for (let i = 0; i < 10; i++) {
    guest.events.notify(port);
    if (i % 2 === 0) main.events.poll();
    heard = 0;
    xenstored.events.poll();
    expect(heard).toBe(1);
  }
});

it('fault 9: a slot that is used again does not bring events of its past', () => {
  const [here, there] = a.connect(b);
  const pair = a.domain.doorbells.get(b.domain)!;
  const words = pair as unknown as { arena: { words: Int32Array } };
  Atomics.add(words.arena.words, DOORBELL_SLOTS + entry(a, here).slot, 5);
  a.close(here);
  b.close(there);
  const [, again] = a.connect(b);
  const at = b.domain.layout.portTable * PAGE_SIZE + again * port_entry.size + port_entry.at.since;
  expect(b.view.getUint32(at, true)).toBe(5);
  expect(b.pending(again)).toBe(false);
});

it('fault 9: what is sent while the peer closes comes nowhere else, neither now nor to the next channel there', () => {
  const other = rig.guest();
  const [from, to] = [a.kernel(), b.kernel()];
  const port = to.events.allocUnbound(from.domid);
  const mine = from.events.bindInterdomain(to.domid, port);
  to.events.poll();
  b.takePending(port);
  // It does not know yet: its next notification goes by the doorbell, or, asked, by a hypercall.
  to.events.close(port);
  from.events.notify(mine);
  expect(a.send(mine)).toBe(0);
  const [, again] = other.connect(b);
  expect(again).toBe(port);
  b.takePending(again);
  from.events.notify(mine);
  expect(a.send(mine)).toBe(0);
  to.events.poll();
  expect(b.pending(again)).toBe(false);
  a.close(mine);
  expect(a.send(mine)).toBe(-XEN_EINVAL);
  expect(b.pending(again)).toBe(false);
  checkInvariants(rig.hypervisor);
});

it('beyond the slots of a page channels are mediated, and work', () => {
  const channels = Array.from({ length: NR_DOORBELL_SLOTS + 2 }, () => a.connect(b));
  const direct = channels.filter(([here]) => entry(a, here).direct === 1);
  expect(direct).toHaveLength(NR_DOORBELL_SLOTS);
  const [here, there] = channels.at(-1)!;
  expect(entry(b, there).direct).toBe(0);
  expect(a.send(here)).toBe(0);
  expect(b.pending(there)).toBe(true);
});

it('beyond 126 peers of a vcpu channels are mediated', () => {
  const { dom0 } = rig;
  const guests = Array.from({ length: 128 }, () => rig.guest({ pages: 2 }));
  const channels = guests.map(guest => dom0.connect(guest));
  expect(channels.filter(([here]) => entry(dom0, here).direct === 1)).toHaveLength(126);
  const [here, there] = channels.at(-1)!;
  expect(guests.at(-1)!.send(there)).toBe(0);
  expect(dom0.takePending(here)).toBe(true);
  // Another vcpu has room for them, but not for more than its own 126.
  expect(bindVcpu(dom0, channels[0]![0], 1)).toBe(0);
  const extra = dom0.connect(rig.guest({ pages: 2 }));
  expect(entry(dom0, extra[0]).direct).toBe(1);
  expect(bindVcpu(dom0, channels[0]![0], 0)).toBe(-XEN_ENOSPC);
});

it('in mediated mode nothing is direct, and the domains know', () => {
  const mediated = new CoreRig({ mediated: true });
  const [x, y] = [mediated.guest(), mediated.guest()];
  const [here, there] = x.connect(y);
  expect([entry(x, here).direct, entry(y, there).direct]).toEqual([0, 0]);
  expect(control(x, 'mediated')).toBe(1);
  expect(mediated.hypervisor.doorbells.size).toBe(0);
  const kx = x.kernel();
  const ky = y.kernel();
  const port = ky.events.allocUnbound(kx.domid);
  const mine = kx.events.bindInterdomain(ky.domid, port);
  let heard = 0;
  ky.events.on(port, () => heard++);
  ky.events.poll();
  heard = 0;
  kx.events.notify(mine);
  expect(ky.events.poll()).toBe(true);
  expect(heard).toBe(1);
});

it('when a domain is gone its peers forget its page, and its successor gets a new one', () => {
  const { sent } = a.link();
  const [, there] = b.connect(a);
  destroy(b);
  expect(sent.map(({ kind, a: peer }) => [kind, peer])).toEqual([
    [KIND_DOORBELL, b.domid],
    [KIND_FORGET, b.domid],
  ]);
  expect(entry(a, there)).toMatchObject({ state: 1, direct: 0 });
  expect(a.domain.doorbells.size).toBe(0);
  expect(rig.hypervisor.doorbells.size).toBe(0);
});

it('a domain that holds a doorbell back, or forges its counts, disturbs only its own channels', () => {
  const [h1] = a.connect(b);
  const [h2, t2] = a.connect(rig.dom0);
  const pair = a.domain.doorbells.get(b.domain) as unknown as { arena: { words: Int32Array } };
  pair.arena.words.fill(-1);
  expect(a.send(h1)).toBe(0);
  expect(a.send(h2)).toBe(0);
  expect(rig.dom0.pending(t2)).toBe(true);
  a.bytes.fill(0xff, a.domain.layout.portTable * PAGE_SIZE, (a.domain.layout.portTable + 16) * PAGE_SIZE);
  expect(a.trap(__HYPERVISOR_event_channel_op, EVTCHNOP_send, 0)).toBeLessThanOrEqual(0);
  expect(a.close(h1)).toBe(0);
  expect(rig.internalErrors).toEqual([]);
});

describe('an interrupt between processors', () => {
  it('is raised without a trap, and wakes the vcpu it was bound to', () => {
    const smp = rig.guest({ vcpus: 2 });
    const [zero, one] = [smp.kernel(0), smp.kernel(1)];
    const ipi = zero.events.bindIpi(1);
    expect(entry(smp, ipi)).toMatchObject({ state: 5, direct: 2, notify_vcpu: 1, remote_vcpu: 1, slot: ipi });
    let heard = 0;
    one.events.on(ipi, () => heard++);
    while (one.events.poll());
    heard = 0;
    const { trap } = rig.hypervisor;
    rig.hypervisor.trap = () => {
      throw new Error('it traps');
    };
    for (let i = 1; i <= 100; i++) {
      zero.events.notify(ipi);
      expect(one.wakeWords.changed()).toBe(true);
      zero.events.poll();
      one.events.poll();
      expect(heard).toBe(i);
      one.events.notify(ipi); // to itself
      one.events.poll();
      expect(heard).toBe(i + 1);
      heard--;
    }
    rig.hypervisor.trap = trap;
    checkInvariants(rig.hypervisor);
    zero.events.close(ipi);
    expect(smp.domain.vcpus.map(vcpu => vcpu.localChannels)).toEqual([0, 0]);
    checkInvariants(rig.hypervisor);
  });

  it('traps where the flags of the vcpu are not in the domain’s memory, or the host is mediated', () => {
    const many = rig.guest({ vcpus: 33 });
    expect(entry(many, many.kernel().events.bindIpi(32)).direct).toBe(0);
    rig = new CoreRig({ mediated: true });
    const smp = rig.guest({ vcpus: 2 });
    const [zero, one] = [smp.kernel(0), smp.kernel(1)];
    const ipi = zero.events.bindIpi(1);
    expect(entry(smp, ipi).direct).toBe(0);
    let heard = 0;
    one.events.on(ipi, () => heard++);
    one.events.poll();
    zero.events.notify(ipi);
    one.events.poll();
    expect(heard).toBeGreaterThan(0);
  });
});

describe('a poll that does not trap', () => {
  /** The vCPU is about to sleep in a poll; `meanwhile` comes between its last look and the sleep. */
  const polling = (kernel: GuestVcpu, meanwhile: () => void): string => {
    let slept = 'not at all';
    const { wakeWords } = kernel;
    const { sleep } = wakeWords;
    wakeWords.sleep = (futexes, deadline, how, over) => {
      const { arm } = wakeWords;
      wakeWords.arm = set => {
        slept = 'until it was woken';
        arm.call(wakeWords, set);
      };
      meanwhile();
      sleep.call(wakeWords, futexes, deadline, how, () => {
        const ended = over!();
        if (ended) slept = 'no longer';
        return ended;
      });
      wakeWords.arm = arm;
    };
    kernel.poll([kick(kernel)], monotonicNow() + 1e9);
    return slept;
  };
  const kick = (kernel: GuestVcpu) => kicks.get(kernel)!;
  const kicks = new Map<GuestVcpu, EvtchnPort>();
  function pair() {
    const smp = rig.guest({ vcpus: 2 });
    const [zero, one] = [smp.kernel(0), smp.kernel(1)];
    kicks.set(one, zero.events.bindIpi(1));
    one.events.poll();
    return { smp, zero, one };
  }

  it('returns at once when the port is pending, which it leaves so', () => {
    const { smp, zero, one } = pair();
    zero.events.notify(kick(one));
    expect(polling(one, () => {})).toBe('not at all');
    expect(smp.pending(kick(one))).toBe(true);
    expect([one.events.take(kick(one)), one.events.take(kick(one))]).toEqual([true, false]);
  });
  it('hears what comes between its look and its sleep, of a masked port too', () => {
    for (const masked of [false, true]) {
      const { smp, zero, one } = pair();
      smp.mask(kick(one), masked);
      expect(polling(one, () => zero.events.notify(kick(one)))).toBe('no longer');
    }
  });
  it('is woken for a masked port by its own domain and by the hypervisor', () => {
    const { smp, zero, one } = pair();
    smp.mask(kick(one));
    const page = vcpuFrame(smp.domain.layout, 1) * PAGE_SIZE;
    const seq = () => smp.view.getUint32(page + vcpu_page.at.event_seq, true);
    const send = [() => zero.events.notify(kick(one)), () => smp.send(kick(one))];
    smp.vcpuId = 0;
    for (const notify of send) {
      const before = seq();
      notify();
      expect(seq()).toBe(before); // it does not poll
      one.events.take(kick(one));
      smp.view.setUint32(page + vcpu_page.at.event_sleeping, XENOLITH_SLEEPS_poll, true);
      notify();
      expect(seq()).toBe(before + 1);
      one.events.take(kick(one));
      smp.view.setUint32(page + vcpu_page.at.event_sleeping, 0, true);
    }
  });
  it('ends at its deadline, and leaves other events to the next turn', () => {
    const { zero, one } = pair();
    const other = zero.events.bindIpi(1);
    let heard = 0;
    one.events.on(other, () => heard++);
    while (one.events.poll());
    heard = 0;
    zero.events.notify(other);
    one.poll([kick(one)], monotonicNow() + 1000);
    expect([heard, one.events.pending()]).toEqual([0, true]);
    one.events.poll();
    expect(heard).toBe(1);
  });
});

describe('a channel of a domain to itself', () => {
  /** Both ends, each on a vCPU of dom0 whose thread could be in another process. */
  function ends() {
    const [zero, one] = [rig.dom0.kernel(0), rig.dom0.kernel(1)];
    const there = zero.events.allocUnbound(zero.domid);
    const here = one.events.bindInterdomain(zero.domid, there);
    const heard = { here: 0, there: 0 };
    zero.events.on(there, () => heard.there++);
    one.events.on(here, () => heard.here++);
    for (const kernel of [zero, one]) while (kernel.events.poll());
    heard.here = heard.there = 0;
    checkInvariants(rig.hypervisor);
    return { zero, one, here, there, heard };
  }
  const traps = () => {
    const counted = { n: 0 };
    const { trap } = rig.hypervisor;
    rig.hypervisor.trap = (...args) => {
      counted.n++;
      return trap.apply(rig.hypervisor, args);
    };
    return counted;
  };

  it('is notified without a trap, once for each event that was seen', () => {
    const { zero, one, here, there, heard } = ends();
    const counted = traps();
    for (let i = 1; i <= 50; i++) {
      one.events.notify(here);
      expect(zero.wakeWords.changed()).toBe(true);
      expect(zero.events.poll()).toBe(true);
      zero.events.notify(there);
      zero.events.notify(there);
      expect(one.events.poll()).toBe(true);
      expect(one.events.poll()).toBe(false);
      expect(heard).toEqual({ here: i, there: i });
    }
    expect(counted.n).toBe(0);
    expect(entry(rig.dom0, here)).toMatchObject({ direct: 2, slot: there, remote_vcpu: 0, notify_vcpu: 1 });
  });

  it('leaves a masked port pending, and tells nobody', () => {
    const { zero, one, here, there, heard } = ends();
    rig.dom0.mask(there);
    one.events.notify(here);
    expect(zero.events.poll()).toBe(false);
    expect([heard.there, rig.dom0.pending(there)]).toEqual([0, true]);
    rig.dom0.mask(there, false);
    zero.events.on(there, () => heard.there++);
    zero.events.poll();
    expect(heard.there).toBe(1);
  });

  it('loses no event on its way to another vcpu, whoever had read the port table when', () => {
    const { one, here, there } = ends();
    const three = rig.dom0.kernel(3);
    let heard = 0;
    one.events.notify(here);
    three.events.on(there, () => heard++);
    three.events.poll();
    expect(heard).toBe(1);
    // The sender's route is old: it wakes the vCPU that has gone, sees that, and wakes the right one.
    one.events.notify(here);
    expect(three.events.poll()).toBe(true);
    expect(heard).toBe(2);
    expect(rig.dom0.domain.vcpus.map(vcpu => vcpu.localChannels)).toEqual([0, 1, 0, 1, 0]);
    checkInvariants(rig.hypervisor);
  });

  it('finds the flags where they have been moved to, also those of a channel that was there before', () => {
    const { zero, one, here, heard } = ends();
    const arg = rig.dom0.reset().put(vcpu_register_vcpu_info, { mfn: 3, offset: 64 });
    rig.dom0.vcpuOp(VCPUOP_register_vcpu_info, 0, arg);
    // Xen: everything is looked at once.
    expect(zero.wakeWords.changed()).toBe(true);
    zero.events.poll();
    heard.there = 0;
    const counted = traps();
    one.events.notify(here);
    expect(rig.dom0.bytes[3 * PAGE_SIZE + 64]).toBe(1);
    expect(rig.dom0.upcallPending(0)).toBe(false);
    zero.events.poll();
    expect([heard.there, counted.n]).toEqual([1, 0]);
  });

  it('is mediated for a vcpu whose flags are not in its memory, and on a host where all are', () => {
    const many = rig.guest({ vcpus: 34 });
    const [first, last] = [many.kernel(0), many.kernel(33)];
    const port = first.events.allocUnbound(first.domid);
    const other = first.events.bindInterdomain(first.domid, port);
    expect(entry(many, other).direct).toBe(2);
    first.events.on(port, () => {});
    last.events.on(other, () => {});
    expect([entry(many, port).direct, entry(many, other).direct]).toEqual([0, 0]);
    expect(many.domain.vcpus.map(vcpu => vcpu.localChannels).filter(n => n !== 0)).toEqual([]);
    rig = new CoreRig({ mediated: true });
    const { zero, one, here, heard } = ends();
    const counted = traps();
    one.events.notify(here);
    zero.events.poll();
    expect([heard.there, counted.n]).toEqual([1, 1]);
  });

  it('keeps the hypervisor from letting its hearers sleep in a hypercall', () => {
    const { one } = ends();
    rig.dom0.vcpuId = 1;
    while (one.events.poll());
    rig.dom0.clearUpcall(1);
    expect(rig.dom0.sched(SCHEDOP_block)).toBe(0);
    rig.dom0.vcpuId = 2;
    expect(rig.dom0.sched(SCHEDOP_block)).toBe(DEFERRED);
  });

  it('is an ordinary unbound port again when its other end is closed', () => {
    const { zero, one, here, there } = ends();
    one.events.close(here);
    expect(entry(rig.dom0, there)).toMatchObject({ state: 1, direct: 0 });
    zero.events.notify(there);
    expect(rig.dom0.domain.vcpus.map(vcpu => vcpu.localChannels)).toEqual([0, 0, 0, 0, 0]);
    checkInvariants(rig.hypervisor);
  });

  it('tells again what a thread made pending that died before it told of it', () => {
    const { zero, one, here, there, heard } = ends();
    // The first half of a notification: the bit, and no more.
    const byte = rig.dom0.domain.layout.sharedInfo * PAGE_SIZE + shared_info.at.evtchn_pending + (there >> 3);
    rig.dom0.bytes[byte]! |= 1 << (there & 7);
    one.events.notify(here);
    expect(zero.events.poll()).toBe(false);
    rig.replaceThread(rig.dom0.domain.vcpus[1]!);
    zero.events.poll();
    expect(heard.there).toBe(1);
  });
});

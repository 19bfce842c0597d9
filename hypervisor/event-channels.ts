// Event channels: the states of ports, and how an event becomes pending.
// Xen: common/event_channel.c; public/event_channel.h.
import {
  EVTCHN_FIFO_PRIORITY_DEFAULT,
  EVTCHN_FIFO_PRIORITY_MIN,
  EVTCHNSTAT_closed,
  EVTCHNSTAT_interdomain,
  EVTCHNSTAT_ipi,
  EVTCHNSTAT_unbound,
  EVTCHNSTAT_virq,
  PAGE_SIZE,
  PORT_TABLE_ENTRIES,
  PortEntry,
  port_entry,
  XEN_EACCES,
  XEN_EAGAIN,
  XEN_EBUSY,
  XEN_EEXIST,
  XEN_EINVAL,
  XEN_ENOENT,
  XEN_ENOSPC,
  XEN_ENOSYS,
  XEN_EOPNOTSUPP,
  XENOLITH_PORT_doorbell,
  XENOLITH_PORT_local,
} from '#pvbus';
import { type Domain, type Vcpu, waitsForEvent } from './domain.ts';
import { type DoorbellPages, MAX_DIRECT_PEERS } from './doorbell-pages.ts';
import { TwoLevelEvents } from './event-2l.ts';
import { NEWLY_PENDING, TELL } from './event-abi.ts';
import { FifoEvents } from './event-fifo.ts';
import type { Port } from './port-table.ts';
import type { Trace } from './trace.ts';

/** Ports closed in one step of a reset. */
const RESET_SLICE = 1024;

export class EventChannels {
  private readonly doorbells: DoorbellPages;
  private readonly trace: Trace;
  private readonly entry = new PortEntry(new DataView(new ArrayBuffer(port_entry.size)));

  constructor(doorbells: DoorbellPages, trace: Trace) {
    this.doorbells = doorbells;
    this.trace = trace;
  }

  // ---- operations; a port or 0, or -errno ----

  /** EVTCHNOP_alloc_unbound in `domain`, for `remoteDomid`, which need not exist. */
  allocUnbound(domain: Domain, remoteDomid: number): number {
    const port = this.allocate(domain);
    if (port < 0) return port;
    const entry = domain.ports.at(port);
    entry.remoteDomid = remoteDomid;
    this.opened(domain, port, EVTCHNSTAT_unbound, 0);
    return port;
  }

  /** EVTCHNOP_bind_interdomain by `caller` to `remotePort` of `remote`. */
  bindInterdomain(caller: Vcpu, remote: Domain, remotePort: number): number {
    const { domain } = caller;
    const there = remote.ports.opened(remotePort);
    if (there === undefined || there.state !== EVTCHNSTAT_unbound || there.remoteDomid !== domain.domid)
      return -XEN_EINVAL;
    const port = this.allocate(domain);
    if (port < 0) return port;
    const here = domain.ports.at(port);
    here.remote = remote;
    here.remoteDomid = remote.domid;
    here.remotePort = remotePort;
    there.remote = domain;
    there.remotePort = port;
    there.state = EVTCHNSTAT_interdomain;
    there.generation = (there.generation + 1) & 0xffff;
    here.notify_vcpu = 0;
    // Of ports beyond the table the domains' own code knows no route.
    if (port < PORT_TABLE_ENTRIES && remotePort < PORT_TABLE_ENTRIES) this.route(domain, here, remote, there, caller);
    this.opened(domain, port, EVTCHNSTAT_interdomain, 0);
    this.publish(remote, remotePort);
    // The peer now has to listen to the doorbell.
    remote.vcpus[there.notify_vcpu]!.wake();
    // Xen: the peer may have notified before there was a port here; assume that it has.
    this.raise(domain, port);
    return port;
  }

  /** EVTCHNOP_bind_virq; the checks that need to know about handlers are in virq.ts. */
  bindVirq(domain: Domain, virq: number, vcpu: Vcpu): number {
    if (vcpu.virqToPort[virq] !== 0) return -XEN_EEXIST;
    const port = this.allocate(domain);
    if (port < 0) return port;
    domain.ports.at(port).virq = virq;
    vcpu.virqToPort[virq] = port;
    this.opened(domain, port, EVTCHNSTAT_virq, vcpu.id);
    return port;
  }

  /** EVTCHNOP_bind_ipi */
  bindIpi(domain: Domain, vcpuId: number): number {
    const vcpu = domain.vcpu(vcpuId);
    if (vcpu === undefined) return -XEN_ENOENT;
    const port = this.allocate(domain);
    if (port < 0) return port;
    const here = domain.ports.at(port);
    // It is its own other end.
    here.remote = domain;
    here.remotePort = port;
    if (port < PORT_TABLE_ENTRIES) this.setLocal(domain, [here], vcpu);
    this.opened(domain, port, EVTCHNSTAT_ipi, vcpuId);
    return port;
  }

  /** EVTCHNOP_close */
  close(domain: Domain, port: number): number {
    const here = domain.ports.opened(port);
    if (here === undefined) return -XEN_EINVAL;
    if (here.state === EVTCHNSTAT_interdomain) {
      const remote = here.remote!;
      const remotePort = here.remotePort;
      const there = remote.ports.at(remotePort);
      this.unroute(domain, here, remote, there, remotePort);
      there.state = EVTCHNSTAT_unbound;
      there.remote = undefined;
      there.remoteDomid = domain.domid;
      there.generation = (there.generation + 1) & 0xffff;
      this.publish(remote, remotePort);
    } else if (here.state === EVTCHNSTAT_virq) {
      for (const vcpu of domain.vcpus) if (vcpu.virqToPort[here.virq] === port) vcpu.virqToPort[here.virq] = 0;
    } else if (here.state === EVTCHNSTAT_ipi) clearLocal(domain, here);
    here.state = EVTCHNSTAT_closed;
    here.remote = undefined;
    here.notify_vcpu = 0;
    here.generation = (here.generation + 1) & 0xffff;
    domain.ports.closedOne(port);
    domain.eventAbi.clearPending(port, here);
    this.publish(domain, port);
    return 0;
  }

  /** EVTCHNOP_send by `caller`. */
  send(caller: Vcpu, port: number): number {
    const { domain } = caller;
    const here = domain.ports.opened(port);
    if (here === undefined) return -XEN_EINVAL;
    switch (here.state) {
      case EVTCHNSTAT_interdomain:
        // It trapped although it need not: it has not got the page.
        if (here.pair !== undefined) here.pair.send(caller);
        this.raise(here.remote!, here.remotePort);
        return 0;
      case EVTCHNSTAT_ipi:
        this.raise(domain, port);
        return 0;
      case EVTCHNSTAT_unbound:
        return 0; // nobody is there yet
      default:
        return -XEN_EINVAL;
    }
  }

  /** EVTCHNOP_bind_vcpu */
  bindVcpu(domain: Domain, port: number, vcpuId: number, perVcpuVirq: (virq: number) => boolean): number {
    const vcpu = domain.vcpu(vcpuId);
    if (vcpu === undefined) return -XEN_ENOENT;
    const here = domain.ports.opened(port);
    if (here === undefined) return -XEN_EINVAL;
    if (here.state === EVTCHNSTAT_ipi || (here.state === EVTCHNSTAT_virq && perVcpuVirq(here.virq))) return -XEN_EINVAL;
    if (here.notify_vcpu !== vcpuId) {
      const rc = this.move(domain, port, here, vcpu);
      if (rc < 0) return rc;
    }
    here.owner = vcpuId;
    return 0;
  }
  /** Another vCPU is to hear the port. 0 or -errno. */
  private move(domain: Domain, port: number, here: Port, vcpu: Vcpu): number {
    if (here.pair !== undefined) {
      const remote = here.remote!;
      if (!canHear(vcpu, remote)) return -XEN_ENOSPC;
      unhear(domain.vcpus[here.notify_vcpu]!, remote);
      hear(vcpu, remote);
      here.notify_vcpu = vcpu.id;
      here.pair.send(vcpu);
      // order: the sender's entry first. A sender that rang the old vCPU had not seen it, so its bump is
      // older than the base read below, and the new vCPU takes it for an event.
      this.publish(remote, here.remotePort);
      here.generation = (here.generation + 1) & 0xffff;
      here.base = (here.pair.count(remote, here.slot) - 1) | 0;
      this.publish(domain, port);
      vcpu.wake();
    } else {
      if (here.local && vcpu.infoAddress === 0) this.unsetLocal(domain, port, here);
      if (here.local) {
        domain.vcpus[here.notify_vcpu]!.localChannels--;
        vcpu.localChannels++;
      }
      here.notify_vcpu = vcpu.id;
      this.publish(domain, port);
      if (here.state === EVTCHNSTAT_interdomain) this.publish(here.remote!, here.remotePort);
    }
    return 0;
  }

  /** EVTCHNOP_unmask */
  unmask(domain: Domain, port: number): number {
    if (!domain.ports.valid(port)) return -XEN_EINVAL;
    const here = domain.ports.opened(port);
    if (here === undefined) return 0;
    if (domain.eventAbi.unmask(port, here)) this.upcall(domain.vcpus[here.notify_vcpu]!);
    return 0;
  }

  // ---- the FIFO ABI ----

  /** EVTCHNOP_init_control: the first of a domain switches it over. */
  initControl(domain: Domain, vcpuId: number, gfn: number, offset: number): number {
    const vcpu = domain.vcpu(vcpuId);
    if (vcpu === undefined) return -XEN_ENOENT;
    const { eventAbi } = domain;
    if (eventAbi instanceof FifoEvents) return eventAbi.place(vcpu, gfn, offset);
    const fifo = new FifoEvents(domain);
    const rc = fifo.place(vcpu, gfn, offset);
    if (rc < 0) return rc;
    for (let port = 1; port < domain.ports.used; port++) {
      const here = domain.ports.opened(port);
      if (here === undefined) continue;
      // It is raised when it has an event word.
      here.pendingSaved = eventAbi.pending(port, here);
      eventAbi.clearPending(port, here);
      // A queue has one writer at its end, the hypervisor.
      if (here.local) this.unsetLocal(domain, port, here);
    }
    domain.eventAbi = fifo;
    domain.ports.resize(fifo.nrPorts);
    return 0;
  }
  /** EVTCHNOP_expand_array */
  expandArray(domain: Domain, gfn: number): number {
    const { eventAbi, ports } = domain;
    if (!(eventAbi instanceof FifoEvents)) return -XEN_EOPNOTSUPP;
    const first = eventAbi.addPage(gfn);
    if (first < 0) return first;
    for (let port = first; port < Math.min(first + PAGE_SIZE / 4, ports.used); port++) {
      const here = ports.at(port);
      if (!here.pendingSaved) continue;
      here.pendingSaved = false;
      this.raise(domain, port);
    }
    return 0;
  }
  /** EVTCHNOP_set_priority: of the events to come. */
  setPriority(domain: Domain, port: number, priority: number): number {
    if (!domain.ports.valid(port)) return -XEN_EINVAL;
    if (!(domain.eventAbi instanceof FifoEvents)) return -XEN_ENOSYS;
    const here = domain.ports.opened(port);
    if (here === undefined) return -XEN_EACCES;
    if (priority > EVTCHN_FIFO_PRIORITY_MIN) return -XEN_EINVAL;
    here.priority = priority;
    return 0;
  }

  // ---- closing many ----

  /** EVTCHNOP_reset by `by` begins; `continueReset` does it. 0 or -errno. */
  beginReset(domain: Domain, by: Vcpu): number {
    const { resetting } = domain.ports;
    // The one who began may be gone, and with it what it left undone.
    if (resetting !== undefined && resetting.by.incarnation === resetting.incarnation && !resetting.by.domain.dying)
      return -XEN_EBUSY;
    domain.ports.resetting = { by, incarnation: by.incarnation, next: 1 };
    return 0;
  }
  /** A slice of a reset that has begun: its result, or undefined when there is more to do. */
  continueReset(domain: Domain): number | undefined {
    const { ports } = domain;
    const reset = ports.resetting!;
    reset.next = this.closeFrom(domain, reset.next, RESET_SLICE);
    if (reset.next < ports.used) return undefined;
    ports.resetting = undefined;
    // Xen: one that was opened meanwhile must not be in the way of the ABI's change.
    if (ports.open > 0) return -XEN_EAGAIN;
    if (domain.eventAbi instanceof FifoEvents) {
      domain.eventAbi.release();
      domain.eventAbi = new TwoLevelEvents(domain);
      ports.resize(domain.eventAbi.nrPorts);
    }
    return 0;
  }
  /** EVTCHNOP_reset, and the death of a domain: close up to `budget` ports from `from`; returns where it stopped. */
  closeFrom(domain: Domain, from: number, budget: number): number {
    const end = Math.min(domain.ports.used, from + budget);
    for (let port = from; port < end; port++) this.close(domain, port);
    return end;
  }

  // ---- delivery ----

  /** Make `port` pending and tell its vCPU, by the rules of the domain's ABI. */
  raise(domain: Domain, port: number): void {
    const here = domain.ports.at(port);
    const did = domain.eventAbi.setPending(port, here);
    if ((did & NEWLY_PENDING) !== 0) this.trace.raised(domain.vcpus[here.notify_vcpu]!, port);
    if ((did & TELL) !== 0) this.upcall(domain.vcpus[here.notify_vcpu]!);
    if ((did & NEWLY_PENDING) === 0) return;
    // A poll hears masked ports too. Who polls without a trap looks when it is woken.
    if ((did & TELL) === 0 && domain.vcpus[here.notify_vcpu]!.polls) domain.vcpus[here.notify_vcpu]!.wake();
    for (const vcpu of domain.vcpus)
      if (vcpu.waiting?.kind === 'poll' && vcpu.waiting.ports.includes(port)) vcpu.finish(0);
  }
  /** The same for one that may be pending without its vCPU having been told: whoever was to do so has died. */
  raiseAgain(domain: Domain, port: number): void {
    const here = domain.ports.at(port);
    if (domain.eventAbi.setPendingAgain(port, here)) this.upcall(domain.vcpus[here.notify_vcpu]!);
  }
  /** The vCPU has an event to look at. */
  upcall(vcpu: Vcpu): void {
    vcpu.info.raiseUpcall();
    if (waitsForEvent(vcpu.waiting)) vcpu.finish(0);
    vcpu.wake();
  }

  /** Its flags are elsewhere now; the domain's own code, which raises them, is to look where. */
  infoMoved({ domain }: Vcpu): void {
    Atomics.add(domain.memory.words, domain.controlWord('port_table_version'), 1);
  }

  // ---- what the domain is told ----

  /** The domain has got memory: describe in its port table what it has got so far. */
  publishAll(domain: Domain): void {
    for (let port = 1; port < domain.ports.used; port++) this.publish(domain, port);
  }
  /** A vCPU has got its link: send the pages it listens to. */
  sendAll(vcpu: Vcpu): void {
    for (const [peer, pair] of vcpu.domain.doorbells) {
      pair.forgetSent(vcpu);
      if (vcpu.hears.has(peer)) pair.send(vcpu);
    }
  }

  private allocate(domain: Domain): number {
    if (domain.dying) return -XEN_EINVAL;
    const port = domain.ports.lowestFree(closed => domain.eventAbi.lingers(closed));
    return port === 0 ? -XEN_ENOSPC : port;
  }
  private opened(domain: Domain, port: number, state: number, vcpuId: number): void {
    const here = domain.ports.at(port);
    here.state = state;
    here.notify_vcpu = vcpuId;
    here.owner = vcpuId;
    here.generation = (here.generation + 1) & 0xffff;
    here.priority = EVTCHN_FIFO_PRIORITY_DEFAULT;
    domain.ports.openedOne(port);
    this.publish(domain, port);
  }

  /** Find a way for the two ends that does without the hypervisor, if there is one. */
  private route(domain: Domain, here: Port, remote: Domain, there: Port, caller: Vcpu): void {
    const hearer = domain.vcpus[here.notify_vcpu]!;
    const remoteHearer = remote.vcpus[there.notify_vcpu]!;
    if (domain === remote) {
      this.setLocal(domain, [here, there], hearer, remoteHearer);
      return;
    }
    if (!canHear(hearer, remote) || !canHear(remoteHearer, domain)) return;
    const pair = this.doorbells.pair(domain, remote);
    const slot = pair?.alloc() ?? -1;
    if (pair === undefined || slot < 0) return;
    for (const [end, writer] of [[here, remote] as const, [there, domain] as const]) {
      end.pair = pair;
      end.slot = slot;
      end.base = pair.count(writer, slot);
    }
    hear(hearer, remote);
    hear(remoteHearer, domain);
    // order: the page, then the port table that speaks of it.
    pair.send(caller);
    pair.send(hearer);
    pair.send(remoteHearer);
  }
  private setLocal(domain: Domain, ends: readonly Port[], ...hearers: readonly Vcpu[]): void {
    if (this.doorbells.mediated || !(domain.eventAbi instanceof TwoLevelEvents)) return;
    // The domain's own code cannot reach flags that are not in its memory.
    if (hearers.some(({ infoAddress }) => infoAddress === 0)) return;
    for (const end of ends) end.local = true;
    for (const hearer of hearers) hearer.localChannels++;
  }
  private unsetLocal(domain: Domain, port: number, here: Port): void {
    clearLocal(domain, here, domain.ports.at(here.remotePort));
    this.publish(domain, port);
    this.publish(domain, here.remotePort);
  }
  private unroute(domain: Domain, here: Port, remote: Domain, there: Port, remotePort: number): void {
    const { pair } = here;
    if (here.local) clearLocal(domain, here, there);
    if (pair === undefined) return;
    unhear(domain.vcpus[here.notify_vcpu]!, remote);
    unhear(remote.vcpus[there.notify_vcpu]!, domain);
    // What the closer sent last may lie in the slot still; the peer will not look there again.
    const late = pair.count(domain, here.slot) !== there.base;
    here.pair = undefined;
    there.pair = undefined;
    pair.free(here.slot);
    if (late) this.raise(remote, remotePort);
  }

  /** Write a port's entry in the domain's port table. */
  private publish(domain: Domain, port: number): void {
    if (!domain.hasMemory || port >= PORT_TABLE_ENTRIES) return;
    const { memory, layout } = domain;
    const here = domain.ports.at(port);
    const { entry } = this;
    entry.view = memory.view;
    entry.base = layout.portTable * PAGE_SIZE + port * port_entry.size;
    entry.state = here.state;
    entry.direct = here.pair !== undefined ? XENOLITH_PORT_doorbell : here.local ? XENOLITH_PORT_local : 0;
    entry.notify_vcpu = here.notify_vcpu;
    entry.remote_domid = here.remoteDomid;
    entry.remote_vcpu = here.remote === undefined ? 0 : here.remote.ports.at(here.remotePort).notify_vcpu;
    entry.slot = here.local ? here.remotePort : here.slot;
    entry.generation = here.generation;
    entry.since = here.base >>> 0;
    Atomics.store(memory.words, domain.controlWord('nr_ports'), Math.min(domain.ports.used, PORT_TABLE_ENTRIES));
    // order: the entry, then the version. Who reads the table between the two reads it again.
    Atomics.add(memory.words, domain.controlWord('port_table_version'), 1);
  }
}

function clearLocal(domain: Domain, ...ends: readonly Port[]): void {
  for (const end of ends) {
    if (!end.local) continue;
    end.local = false;
    domain.vcpus[end.notify_vcpu]!.localChannels--;
  }
}
const canHear = (vcpu: Vcpu, peer: Domain): boolean => vcpu.hears.has(peer) || vcpu.hears.size < MAX_DIRECT_PEERS;
const hear = (vcpu: Vcpu, peer: Domain): void => void vcpu.hears.set(peer, (vcpu.hears.get(peer) ?? 0) + 1);
function unhear(vcpu: Vcpu, peer: Domain): void {
  const n = vcpu.hears.get(peer) ?? 0;
  if (n <= 1) vcpu.hears.delete(peer);
  else vcpu.hears.set(peer, n - 1);
}

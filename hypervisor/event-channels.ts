// Event channels, 2-level: the states of ports, and how an event becomes pending.
// Xen: common/event_channel.c and event_2l.c; public/event_channel.h.
import {
  EVTCHN_2L_NR_CHANNELS,
  EVTCHNSTAT_closed,
  EVTCHNSTAT_interdomain,
  EVTCHNSTAT_ipi,
  EVTCHNSTAT_unbound,
  EVTCHNSTAT_virq,
  PAGE_SIZE,
  PortEntry,
  port_entry,
  XEN_EEXIST,
  XEN_EINVAL,
  XEN_ENOENT,
  XEN_ENOSPC,
  XEN_LEGACY_MAX_VCPUS,
  XENOLITH_PORT_doorbell,
  XENOLITH_PORT_local,
} from '#pvbus';
import type { Domain, Vcpu } from './domain.ts';
import { type DoorbellPages, type DoorbellPair, MAX_DIRECT_PEERS } from './doorbell-pages.ts';

/** One port of one domain. Which fields mean something depends on `state` (EVTCHNSTAT_*). */
export class Port {
  state = EVTCHNSTAT_closed;
  /** The vCPU that hears it. */
  notify_vcpu = 0;
  /** The vCPU whose thread has it: that made it, or that it was bound to last. */
  owner = 0;
  /** unbound: who may bind to it. interdomain: the other end's domain. */
  remoteDomid = 0;
  /** interdomain */
  remote: Domain | undefined;
  remotePort = 0;
  virq = 0;
  /** interdomain, notified without the hypervisor: the page, and the slot in it. */
  pair: DoorbellPair | undefined;
  slot = 0;
  /** interdomain, both ends in one domain, whose own code notifies. */
  local = false;
  /** Counts bindings, so that the domain's own code sees that this is another one. */
  generation = 0;
  /** What the peer's slot counted when this generation began. */
  base = 0;
}

/** All ports of one domain. Port 0 is reserved for ever. */
export class PortTable {
  private readonly ports: Port[] = [new Port()];
  /** Ports from here on may be free; all below are not. */
  private firstFree = 1;
  private readonly limit: number;
  /** Ports that are not closed. */
  open = 0;

  constructor(highestPort: number) {
    this.limit = Math.min(highestPort + 1, EVTCHN_2L_NR_CHANNELS);
  }

  /** One past the highest port ever used. */
  get used(): number {
    return this.ports.length;
  }
  /** A port in any state but closed and reserved. */
  opened(port: number): Port | undefined {
    const entry = this.ports[port];
    return entry !== undefined && entry.state !== EVTCHNSTAT_closed ? entry : undefined;
  }
  /** Could this number be a port of the 2-level ABI? */
  valid(port: number): boolean {
    return port >= 0 && port < EVTCHN_2L_NR_CHANNELS;
  }
  /** The lowest free port, still closed; 0 when there is none. */
  lowestFree(): number {
    let port = this.firstFree;
    while (port < this.ports.length && this.ports[port]!.state !== EVTCHNSTAT_closed) port++;
    this.firstFree = port;
    if (port >= this.limit) return 0;
    if (port === this.ports.length) this.ports.push(new Port());
    return port;
  }
  at(port: number): Port {
    return this.ports[port]!;
  }
  openedOne(): void {
    this.open++;
  }
  closedOne(port: number): void {
    this.open--;
    if (port < this.firstFree) this.firstFree = port;
  }
}

export class EventChannels {
  private readonly doorbells: DoorbellPages;
  private readonly entry = new PortEntry(new DataView(new ArrayBuffer(port_entry.size)));

  constructor(doorbells: DoorbellPages) {
    this.doorbells = doorbells;
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
    this.route(domain, here, remote, there, caller);
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
    if (domain.vcpu(vcpuId) === undefined) return -XEN_ENOENT;
    const port = this.allocate(domain);
    if (port < 0) return port;
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
    }
    here.state = EVTCHNSTAT_closed;
    here.remote = undefined;
    here.notify_vcpu = 0;
    here.generation = (here.generation + 1) & 0xffff;
    domain.ports.closedOne(port);
    domain.shared.clearPending(port);
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
    if (domain.shared.testAndClearMask(port) && domain.shared.pending(port)) this.select(domain, here, port);
    return 0;
  }

  /** EVTCHNOP_reset, and the death of a domain: close up to `budget` ports from `from`; returns where it stopped. */
  closeFrom(domain: Domain, from: number, budget: number): number {
    const end = Math.min(domain.ports.used, from + budget);
    for (let port = from; port < end; port++) this.close(domain, port);
    return end;
  }

  // ---- delivery ----

  /** Make `port` pending and tell its vCPU, by the 2-level rules. */
  raise(domain: Domain, port: number): void {
    const { shared } = domain;
    // order: pending, then selector, then upcall; the guest clears them the other way round.
    if (shared.testAndSetPending(port)) return;
    if (!shared.masked(port)) this.select(domain, domain.ports.at(port), port);
    // A poll hears masked ports too.
    for (const vcpu of domain.vcpus)
      if (vcpu.waiting?.kind === 'poll' && vcpu.waiting.ports.includes(port)) vcpu.finish(0);
  }
  /** The same for one that may be pending without its vCPU having been told: whoever was to do so has died. */
  raiseAgain(domain: Domain, port: number): void {
    domain.shared.testAndSetPending(port);
    if (domain.shared.masked(port)) return;
    const vcpu = domain.vcpus[domain.ports.at(port).notify_vcpu]!;
    vcpu.info.testAndSelect(port);
    this.upcall(vcpu);
  }
  private select(domain: Domain, here: Port, port: number): void {
    const vcpu = domain.vcpus[here.notify_vcpu]!;
    if (!vcpu.info.testAndSelect(port)) this.upcall(vcpu);
  }
  /** The vCPU has an event to look at. */
  upcall(vcpu: Vcpu): void {
    vcpu.info.raiseUpcall();
    if (vcpu.waiting !== undefined && vcpu.waiting.kind !== 'shutdown') vcpu.finish(0);
    vcpu.wake();
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
    const port = domain.ports.lowestFree();
    return port === 0 ? -XEN_ENOSPC : port;
  }
  private opened(domain: Domain, port: number, state: number, vcpuId: number): void {
    const here = domain.ports.at(port);
    here.state = state;
    here.notify_vcpu = vcpuId;
    here.owner = vcpuId;
    here.generation = (here.generation + 1) & 0xffff;
    domain.ports.openedOne();
    this.publish(domain, port);
  }

  /** Find a way for the two ends that does without the hypervisor, if there is one. */
  private route(domain: Domain, here: Port, remote: Domain, there: Port, caller: Vcpu): void {
    const hearer = domain.vcpus[here.notify_vcpu]!;
    const remoteHearer = remote.vcpus[there.notify_vcpu]!;
    if (domain === remote) {
      if (!this.doorbells.mediated) this.setLocal([here, there], hearer, remoteHearer);
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
  private setLocal(ends: readonly Port[], ...hearers: readonly Vcpu[]): void {
    // Their flags are to be where the domain's own code looks for them.
    if (hearers.some(({ id, infoRegistered }) => id >= XEN_LEGACY_MAX_VCPUS || infoRegistered)) return;
    for (const end of ends) end.local = true;
    for (const hearer of hearers) hearer.localChannels++;
  }
  private unroute(domain: Domain, here: Port, remote: Domain, there: Port, remotePort: number): void {
    const { pair } = here;
    if (here.local) {
      for (const end of [here, there]) {
        end.local = false;
        domain.vcpus[end.notify_vcpu]!.localChannels--;
      }
    }
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
    if (!domain.hasMemory) return;
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
    Atomics.store(memory.words, domain.controlWord('nr_ports'), domain.ports.used);
    // order: the entry, then the version. Who reads the table between the two reads it again.
    Atomics.add(memory.words, domain.controlWord('port_table_version'), 1);
  }
}

const canHear = (vcpu: Vcpu, peer: Domain): boolean => vcpu.hears.has(peer) || vcpu.hears.size < MAX_DIRECT_PEERS;
const hear = (vcpu: Vcpu, peer: Domain): void => void vcpu.hears.set(peer, (vcpu.hears.get(peer) ?? 0) + 1);
function unhear(vcpu: Vcpu, peer: Domain): void {
  const n = vcpu.hears.get(peer) ?? 0;
  if (n <= 1) vcpu.hears.delete(peer);
  else vcpu.hears.set(peer, n - 1);
}

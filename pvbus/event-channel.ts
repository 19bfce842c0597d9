// The guest's side of event channels: ports, notification, and delivery from the doorbells and the
// shared_info page to handlers.
import {
  EVTCHNOP_alloc_unbound,
  EVTCHNOP_bind_interdomain,
  EVTCHNOP_bind_ipi,
  EVTCHNOP_bind_vcpu,
  EVTCHNOP_bind_virq,
  EVTCHNOP_close,
  EVTCHNOP_send,
  EVTCHNOP_status,
  EVTCHNOP_unmask,
  evtchn_alloc_unbound,
  evtchn_bind_interdomain,
  evtchn_bind_ipi,
  evtchn_bind_vcpu,
  evtchn_bind_virq,
  evtchn_close,
  evtchn_send,
  evtchn_status,
  evtchn_unmask,
} from './abi/event_channel.ts';
import { __HYPERVISOR_event_channel_op, DOMID_SELF, shared_info, vcpu_info } from './abi/xen.ts';
import {
  DOORBELL_SLEEPING,
  DOORBELL_SLOTS,
  DOORBELL_WAKE,
  domain_control,
  KIND_DOORBELL,
  KIND_FORGET,
  NR_DOORBELL_SLOTS,
  PAGE_SIZE,
  PortEntry,
  port_entry,
  VCPU_INFO_UNIT,
  vcpu_page,
  vcpuFrame,
  XENOLITH_PORT_doorbell,
  XENOLITH_PORT_local,
  XENOLITH_SLEEPS_poll,
} from './abi/xenolith.ts';
import { Arena } from './arena.ts';
import { type Domid, type EvtchnPort, type Gfn, port } from './brands.ts';
import { Doorbell, wakeVcpu } from './doorbell.ts';
import { errnoName, XenError } from './errors.ts';
import { FifoEvents } from './event-fifo.ts';
import type { ControlMessage } from './linux.ts';
import { TRC_XENOLITH_EVTCHN_SEND, TRC_XENOLITH_EVTCHN_UPCALL } from './trace-events.ts';
import type { Vcpu } from './vcpu.ts';
import type { VcpuTrace } from './vcpu-trace.ts';

const MAX_PORTS = 4096;

/** A direct channel, as the port table last described it. */
interface Route {
  readonly port: EvtchnPort;
  readonly generation: number;
  readonly doorbell: Doorbell;
  readonly slot: number;
  readonly remoteVcpu: number;
  /** What the peer's slot counted when its events were last taken. */
  last: number;
}
/** A channel of this domain to itself: where its other end is. */
interface LocalRoute {
  readonly remotePort: number;
  readonly remoteVcpu: number;
  /** Guest address of that vCPU's vcpu_info. */
  readonly info: number;
}
/** A doorbell with the channels of it that this vCPU hears. */
export interface Bell {
  readonly doorbell: Doorbell;
  heard: Route[];
}

export class EventChannels {
  private readonly vcpu: Vcpu;
  private readonly trace: VcpuTrace;
  private readonly handlers: ((() => void) | undefined)[] = new Array(MAX_PORTS).fill(undefined);
  /** Ports with a handler here, as bits in the order of evtchn_pending; other vCPUs have the others. */
  private readonly mine = new Int32Array(MAX_PORTS / 32);
  private readonly routes: (Route | undefined)[] = new Array(MAX_PORTS).fill(undefined);
  private readonly locals: (LocalRoute | undefined)[] = new Array(MAX_PORTS).fill(undefined);
  private readonly bells = new Map<number, Bell>();
  // Words others write while we look. An atomic load costs a call, so plain loads read them where an atomic
  // operation has come before in the same turn: the engine then loads again, and x86 keeps loads in order.
  private readonly words: Int32Array;
  private readonly bytes: Uint8Array;
  private readonly pendingWords: number;
  private readonly maskWords: number;
  private upcallByte: number;
  private selWord: number;
  private readonly versionWord: number;
  private readonly entry: InstanceType<typeof PortEntry>;
  private version = -1;
  private stale = true;
  /** When the domain's kernel has chosen the FIFO ABI. */
  private fifo: FifoEvents | undefined;

  constructor(vcpu: Vcpu) {
    const { memory, layout, id } = vcpu;
    this.vcpu = vcpu;
    this.trace = vcpu.trace;
    this.words = memory.words;
    this.bytes = memory.bytes;
    const info = layout.sharedInfo * PAGE_SIZE;
    this.pendingWords = (info + shared_info.at.evtchn_pending) / 4;
    this.maskWords = (info + shared_info.at.evtchn_mask) / 4;
    this.upcallByte = this.infoOf(id) + vcpu_info.at.evtchn_upcall_pending;
    this.selWord = (this.infoOf(id) + vcpu_info.at.evtchn_pending_sel) / 4;
    this.versionWord = (layout.control * PAGE_SIZE + domain_control.at.port_table_version) / 4;
    this.entry = new PortEntry(memory.view);
  }

  /**
   * Events come by the FIFO ABI from here on. Call it on vCPU 0 first, and on each other vCPU of the domain with what
   * that call returned, before that vCPU binds or hears a port. Throws XenError.
   */
  useFifo(directory?: Gfn): Gfn {
    const { vcpu } = this;
    const fifo = new FifoEvents(vcpu, directory);
    // Ports that the domain builder has made.
    fifo.cover(vcpu.memory.view.getUint32(vcpu.layout.control * PAGE_SIZE + domain_control.at.nr_ports, true));
    this.fifo = fifo;
    this.handlers.forEach((handler, p) => {
      if (handler) this.lookAt(p);
    });
    return fifo.directory;
  }
  /** FIFO: events of `p` come before those of ports with a higher number; 7 is what a port begins with. Throws XenError. */
  setPriority(p: EvtchnPort, priority: number): void {
    if (this.fifo === undefined)
      throw new XenError('ENOSYS', `dom${this.vcpu.domid}: set_priority without the FIFO ABI`);
    this.fifo.setPriority(p, priority);
  }

  // ---- ports ----

  /** A new port that `remote` may bind to. */
  allocUnbound(remote: Domid): EvtchnPort {
    const { scratch } = this.vcpu;
    const at = scratch.reset().alloc(evtchn_alloc_unbound.size);
    scratch.view.setUint16(at + evtchn_alloc_unbound.at.dom, DOMID_SELF, true);
    scratch.view.setUint16(at + evtchn_alloc_unbound.at.remote_dom, remote, true);
    this.op(EVTCHNOP_alloc_unbound, at, `alloc_unbound for dom${remote}`);
    return this.opened(scratch.view.getUint32(at + evtchn_alloc_unbound.at.port, true));
  }
  /** A new port joined to `remotePort`, which `remote` has allocated for this domain. */
  bindInterdomain(remote: Domid, remotePort: EvtchnPort): EvtchnPort {
    const { scratch } = this.vcpu;
    const at = scratch.reset().alloc(evtchn_bind_interdomain.size);
    scratch.view.setUint16(at + evtchn_bind_interdomain.at.remote_dom, remote, true);
    scratch.view.setUint32(at + evtchn_bind_interdomain.at.remote_port, remotePort, true);
    this.op(EVTCHNOP_bind_interdomain, at, `bind_interdomain to port ${remotePort} of dom${remote}`);
    return this.opened(scratch.view.getUint32(at + evtchn_bind_interdomain.at.local_port, true));
  }
  /** A new port that `notify` makes pending on a vCPU of this domain. */
  bindIpi(vcpu: number): EvtchnPort {
    const { scratch } = this.vcpu;
    const at = scratch.reset().alloc(evtchn_bind_ipi.size);
    scratch.view.setUint32(at + evtchn_bind_ipi.at.vcpu, vcpu, true);
    this.op(EVTCHNOP_bind_ipi, at, `bind_ipi to vcpu ${vcpu}`);
    return this.opened(scratch.view.getUint32(at + evtchn_bind_ipi.at.port, true));
  }
  /** A new port that hears `virq` on this vCPU (a global virq: on vCPU 0). */
  bindVirq(virq: number, vcpu = this.vcpu.id): EvtchnPort {
    const { scratch } = this.vcpu;
    const at = scratch.reset().alloc(evtchn_bind_virq.size);
    scratch.view.setUint32(at + evtchn_bind_virq.at.virq, virq, true);
    scratch.view.setUint32(at + evtchn_bind_virq.at.vcpu, vcpu, true);
    this.op(EVTCHNOP_bind_virq, at, `bind_virq ${virq}`);
    return this.opened(scratch.view.getUint32(at + evtchn_bind_virq.at.port, true));
  }
  /** Close a port of this domain; its handler is forgotten. */
  close(p: EvtchnPort): void {
    const { scratch } = this.vcpu;
    this.off(p);
    const at = scratch.reset().alloc(evtchn_close.size);
    scratch.view.setUint32(at + evtchn_close.at.port, p, true);
    this.fifo?.forget(p);
    this.op(EVTCHNOP_close, at, `close of port ${p}`);
  }
  /** Hear `p` on this vCPU from now on: `handler` runs in `poll`. An event that came before is not lost. */
  on(p: EvtchnPort, handler: () => void): void {
    this.handlers[p] = handler;
    this.mine[p >>> 5]! |= 1 << (p & 31);
    if (this.vcpu.id !== 0) this.bindVcpu(p);
    this.stale = true;
    this.lookAt(p);
  }
  /** It may be pending already. */
  private lookAt(p: number): void {
    if (this.fifo !== undefined) this.fifo.lookAt(p);
    else Atomics.or(this.words, this.selWord + (p >>> 11), 1 << ((p >>> 6) & 31));
    Atomics.store(this.bytes, this.upcallByte, 1);
    this.vcpu.wakeWords.onChange();
  }
  private opened(p: number): EvtchnPort {
    this.fifo?.cover(p);
    return port(p);
  }
  off(p: EvtchnPort): void {
    this.handlers[p] = undefined;
    this.mine[p >>> 5]! &= ~(1 << (p & 31));
    this.stale = true;
  }
  private isMine(p: number): boolean {
    return (this.mine[p >>> 5]! & (1 << (p & 31))) !== 0;
  }
  /** EVTCHNOP_send. */
  notify(p: EvtchnPort): void {
    if (this.stale || this.words[this.versionWord] !== this.version) this.readPortTable();
    const route = this.routes[p];
    if (route) {
      if (this.trace.admits()) this.traceSend(route);
      route.doorbell.ring(route.slot, route.remoteVcpu);
      // order: ring, then look at the version again. The peer may just have moved its end to another vCPU,
      // which looked at the slot before the ring; the hypervisor tells us of the move before it tells them.
      if (this.words[this.versionWord] === this.version) return;
      this.readPortTable();
      const now = this.routes[p];
      if (now !== undefined && now.remoteVcpu !== route.remoteVcpu) now.doorbell.ring(now.slot, now.remoteVcpu);
      return;
    }
    const local = this.locals[p];
    if (local) {
      if (this.trace.admits()) this.trace.record(TRC_XENOLITH_EVTCHN_SEND, 3, p, this.vcpu.domid, local.remotePort);
      this.raise(local);
      // order: as with a doorbell, for the same reason.
      if (this.words[this.versionWord] === this.version) return;
      this.readPortTable();
      const now = this.locals[p];
      if (now !== undefined && (now.remoteVcpu !== local.remoteVcpu || now.info !== local.info)) this.select(now);
      return;
    }
    const { scratch } = this.vcpu;
    const at = scratch.reset().alloc(evtchn_send.size);
    scratch.view.setUint32(at + evtchn_send.at.port, p, true);
    this.op(EVTCHNOP_send, at, `send on port ${p}`);
  }
  /** The other end is this domain's own: what the hypervisor would do for it can be done here. */
  private raise(end: LocalRoute): void {
    const { remotePort } = end;
    const bit = 1 << (remotePort & 31);
    if ((Atomics.or(this.words, this.pendingWords + (remotePort >>> 5), bit) & bit) !== 0) return;
    if ((Atomics.load(this.words, this.maskWords + (remotePort >>> 5)) & bit) === 0) this.select(end);
    // order: pending, then how it sleeps. Who polls says so first, and then looks at the port.
    else if (this.polls(end.remoteVcpu)) wakeVcpu(this.vcpu.memory, this.vcpu.layout, end.remoteVcpu);
  }
  private polls(vcpu: number): boolean {
    const word = (vcpuFrame(this.vcpu.layout, vcpu) * PAGE_SIZE + vcpu_page.at.event_sleeping) / 4;
    return Atomics.load(this.words, word) === XENOLITH_SLEEPS_poll;
  }
  private select({ remotePort, remoteVcpu, info }: LocalRoute): void {
    const { memory, layout } = this.vcpu;
    const sel = (info + vcpu_info.at.evtchn_pending_sel) / 4 + (remotePort >>> 11);
    Atomics.or(this.words, sel, 1 << ((remotePort >>> 6) & 31));
    Atomics.store(this.bytes, info + vcpu_info.at.evtchn_upcall_pending, 1);
    wakeVcpu(memory, layout, remoteVcpu);
  }
  private bindVcpu(p: EvtchnPort): void {
    const { scratch } = this.vcpu;
    const at = scratch.reset().alloc(evtchn_bind_vcpu.size);
    scratch.view.setUint32(at + evtchn_bind_vcpu.at.port, p, true);
    scratch.view.setUint32(at + evtchn_bind_vcpu.at.vcpu, this.vcpu.id, true);
    // EINVAL: a VIRQ or IPI, which is bound to its vCPU for good.
    const rc = this.vcpu.hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_bind_vcpu, at);
    if (rc < 0 && errnoName(-rc) !== 'EINVAL')
      throw new XenError(errnoName(-rc), `bind_vcpu of port ${p} to vcpu ${this.vcpu.id}`);
  }
  private op(cmd: number, at: number, what: string): void {
    const rc = this.vcpu.hypercall(__HYPERVISOR_event_channel_op, cmd, at);
    if (rc < 0) throw new XenError(errnoName(-rc), `dom${this.vcpu.domid}: ${what}`);
  }

  // ---- delivery ----

  /** True when `poll` has something to deliver. */
  pending(): boolean {
    return this.stale || Atomics.load(this.bytes, this.upcallByte) !== 0;
  }
  /** Run the handlers of ports with a new event. True when any ran. Handlers may bind and close ports. */
  poll(): boolean {
    this.gather();
    return this.fifo === undefined ? this.deliver() : this.deliverQueued(this.fifo);
  }
  /** Have every event that has come shown by its pending bit. Runs no handler. */
  gather(): void {
    const { wakeWords } = this.vcpu;
    if (wakeWords.take(0)) this.vcpu.takeControlMessages();
    if (this.stale || this.words[this.versionWord] !== this.version) this.readPortTable();
    for (let i = 1; i < wakeWords.count; i++) {
      if (!wakeWords.take(i)) continue;
      const bell = wakeWords.owner(i);
      if (bell) this.listen(bell);
    }
  }
  /** Has one of these ports an event, masked or not? What doorbells say is in `gather` first. */
  anyPending(ports: readonly EvtchnPort[]): boolean {
    for (let i = 0; i < ports.length; i++) {
      const p = ports[i]!;
      if (this.fifo !== undefined) {
        if (this.fifo.pending(p)) return true;
      } else if ((Atomics.load(this.words, this.pendingWords + (p >>> 5)) & (1 << (p & 31))) !== 0) return true;
    }
    return false;
  }
  /** Take the event of a port without a handler. False when it has none. */
  take(p: EvtchnPort): boolean {
    if (this.fifo !== undefined) return this.fifo.clearPending(p);
    const bit = 1 << (p & 31);
    return (Atomics.and(this.words, this.pendingWords + (p >>> 5), ~bit) & bit) !== 0;
  }
  /** A doorbell's wake word was bumped. */
  private listen(bell: Bell): void {
    const { heard } = bell;
    // One channel alone: the bump has said it, and the slot's cache line need not come over. (A bump without
    // a notification would be a spurious event, which guests have to bear anyway.)
    if (heard.length === 1) this.setPending(heard[0]!.port);
    else this.compare(bell);
  }
  /** Take what a doorbell's slots say that is new, into shared_info. */
  private compare(bell: Bell): void {
    const { theirs } = bell.doorbell;
    const { heard } = bell;
    for (let i = 0; i < heard.length; i++) {
      const route = heard[i]!;
      const count = Atomics.load(theirs, DOORBELL_SLOTS + route.slot);
      if (count === route.last) continue;
      route.last = count;
      this.setPending(route.port);
    }
  }
  // Xen: the 2-level rules of event_2l.c's contract: pending bit, then selector, then upcall.
  private setPending(p: EvtchnPort): void {
    if (this.fifo !== undefined) {
      if (this.fifo.setPending(p)) this.bytes[this.upcallByte] = 1;
      return;
    }
    const bit = 1 << (p & 31);
    if ((Atomics.or(this.words, this.pendingWords + (p >>> 5), bit) & bit) !== 0) return;
    if ((this.words[this.maskWords + (p >>> 5)]! & bit) !== 0) return;
    Atomics.or(this.words, this.selWord + (p >>> 11), 1 << ((p >>> 6) & 31));
    // Plain: only this thread looks at the flag, and the hypervisor, too, only ever raises it.
    this.bytes[this.upcallByte] = 1;
  }
  private deliver(): boolean {
    let ran = false;
    while (this.bytes[this.upcallByte] !== 0) {
      // order: the flag goes down before the selector is taken: an event that comes later raises it again. The
      // first half is exchanged whatever is in it, since that is the fence; a load could run ahead of the store.
      this.bytes[this.upcallByte] = 0;
      for (let half = 0; half < 2; half++) {
        if (half > 0 && this.words[this.selWord + half] === 0) continue;
        let sel = Atomics.exchange(this.words, this.selWord + half, 0);
        while (sel !== 0) {
          const bit = 31 - Math.clz32(sel & -sel);
          sel &= sel - 1;
          const word = (half * 32 + bit) * 2;
          if (this.deliverWord(word)) ran = true;
          if (this.deliverWord(word + 1)) ran = true;
        }
      }
    }
    return ran;
  }
  private deliverQueued(fifo: FifoEvents): boolean {
    let ran = false;
    while (this.bytes[this.upcallByte] !== 0) {
      // order: the flag goes down before the queues are looked at: an event that comes later raises it again.
      this.bytes[this.upcallByte] = 0;
      for (let p = fifo.take(); p !== 0; p = fifo.take()) {
        const handler = this.handlers[p];
        if (handler === undefined) this.passOn(p);
        else {
          fifo.clearPending(p);
          if (this.trace.admits()) this.traceUpcall(p);
          handler();
          ran = true;
        }
      }
    }
    return ran;
  }
  /** It was in this vCPU's queue when it moved to another one; an unmask has it put into the right one. */
  private passOn(p: number): void {
    const { scratch } = this.vcpu;
    const asked = scratch.reset().alloc(evtchn_status.size);
    scratch.view.setUint16(asked + evtchn_status.at.dom, DOMID_SELF, true);
    scratch.view.setUint32(asked + evtchn_status.at.port, p, true);
    const rc = this.vcpu.hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_status, asked);
    // Nobody hears it yet, or it is closed: it stays pending until someone does.
    if (rc < 0 || scratch.view.getUint32(asked + evtchn_status.at.vcpu, true) === this.vcpu.id) return;
    const at = scratch.reset().alloc(evtchn_unmask.size);
    scratch.view.setUint32(at + evtchn_unmask.at.port, p, true);
    this.op(EVTCHNOP_unmask, at, `unmask of port ${p}`);
  }
  private deliverWord(word: number): boolean {
    let bits = this.words[this.pendingWords + word]! & this.mine[word]!;
    if (bits === 0) return false;
    bits &= ~this.words[this.maskWords + word]!;
    let ran = false;
    while (bits !== 0) {
      const low = bits & -bits;
      bits &= bits - 1;
      Atomics.and(this.words, this.pendingWords + word, ~low);
      const handler = this.handlers[word * 32 + 31 - Math.clz32(low)];
      if (handler) {
        if (this.trace.admits()) this.traceUpcall(word * 32 + 31 - Math.clz32(low));
        handler();
        ran = true;
      }
    }
    return ran;
  }

  // ---- what the trace is told ----

  private traceSend({ port: p, doorbell, slot, remoteVcpu }: Route): void {
    const count = doorbell.mine[DOORBELL_SLOTS + slot]! + 1;
    this.trace.record(TRC_XENOLITH_EVTCHN_SEND, 4, p, doorbell.peer | (remoteVcpu << 16), slot, count);
  }
  private traceUpcall(p: number): void {
    const route = this.routes[p];
    if (route === undefined) this.trace.record(TRC_XENOLITH_EVTCHN_UPCALL, 1, p);
    else {
      const { doorbell, slot } = route;
      const count = doorbell.theirs[DOORBELL_SLOTS + slot]!;
      this.trace.record(TRC_XENOLITH_EVTCHN_UPCALL, 4, p, doorbell.peer, slot, count);
    }
  }

  // ---- what the hypervisor tells ----

  /** KIND_DOORBELL and KIND_FORGET. */
  control(m: ControlMessage): void {
    if (m.kind === KIND_DOORBELL) this.addBell(m.a, Arena.adopt(m.fd, PAGE_SIZE));
    else if (m.kind === KIND_FORGET) this.removeBell(m.a);
  }
  private addBell(peer: number, arena: Arena): void {
    arena.closeFile();
    this.removeBell(peer);
    const doorbell = new Doorbell(arena, this.vcpu.domid, peer);
    const bell: Bell = { doorbell, heard: [] };
    this.bells.set(peer, bell);
    const { id } = this.vcpu;
    const flag = { array: doorbell.mine, index: DOORBELL_SLEEPING + id };
    this.vcpu.wakeWords.add(doorbell.theirs, doorbell.theirsAddress, 4 * (DOORBELL_WAKE + id), flag, bell);
    this.stale = true;
  }
  private removeBell(peer: number): void {
    const bell = this.bells.get(peer);
    if (!bell) return;
    this.bells.delete(peer);
    this.vcpu.wakeWords.remove(bell.doorbell.theirsAddress, 4 * (DOORBELL_WAKE + this.vcpu.id));
    for (let p = 0; p < MAX_PORTS; p++) if (this.routes[p]?.doorbell === bell.doorbell) this.routes[p] = undefined;
    bell.doorbell.release();
    this.stale = true;
  }
  /** Guest address of a vCPU's vcpu_info. */
  private infoOf(vcpu: number): number {
    const { layout } = this.vcpu;
    const said = Atomics.load(this.words, (vcpuFrame(layout, vcpu) * PAGE_SIZE + vcpu_page.at.info) / 4) >>> 0;
    if (said !== 0) return said * VCPU_INFO_UNIT;
    return layout.sharedInfo * PAGE_SIZE + shared_info.at.vcpu_info + vcpu * vcpu_info.size;
  }
  /** Learn every port's binding again, and look at every slot: its bump may be older than the binding's news. */
  private readPortTable(): void {
    const { memory, layout, id } = this.vcpu;
    this.stale = false;
    // order: version before the table; a change made meanwhile shows as another version.
    this.version = Atomics.load(this.words, this.versionWord);
    for (const bell of this.bells.values()) bell.heard = [];
    this.upcallByte = this.infoOf(id) + vcpu_info.at.evtchn_upcall_pending;
    this.selWord = (this.infoOf(id) + vcpu_info.at.evtchn_pending_sel) / 4;
    const used = memory.view.getUint32(layout.control * PAGE_SIZE + domain_control.at.nr_ports, true);
    const { entry } = this;
    for (let p = 1; p < MAX_PORTS; p++) {
      entry.base = layout.portTable * PAGE_SIZE + p * port_entry.size;
      const direct = p < used ? entry.direct : 0;
      this.locals[p] =
        direct === XENOLITH_PORT_local
          ? { remotePort: entry.slot, remoteVcpu: entry.remote_vcpu, info: this.infoOf(entry.remote_vcpu) }
          : undefined;
      const bell = direct === XENOLITH_PORT_doorbell ? this.bells.get(entry.remote_domid) : undefined;
      if (!bell || entry.slot >= NR_DOORBELL_SLOTS) {
        this.routes[p] = undefined;
        if (p >= used) break;
        continue;
      }
      const old = this.routes[p];
      const same = old !== undefined && old.generation === entry.generation && old.doorbell === bell.doorbell;
      const route: Route = {
        port: port(p),
        generation: entry.generation,
        doorbell: bell.doorbell,
        slot: entry.slot,
        remoteVcpu: entry.remote_vcpu,
        last: same ? old.last : entry.since | 0,
      };
      this.routes[p] = route;
      // Only what has a handler here. A port that is on its way from this vCPU to another would else be made
      // pending by this one, late perhaps, and the other, finding it pending, would not look at it again.
      if (entry.notify_vcpu === id && this.isMine(p)) bell.heard.push(route);
    }
    for (const bell of this.bells.values()) this.compare(bell);
  }
}

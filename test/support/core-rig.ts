// The hypervisor's core in one thread: the real core on real memory, with domains that are only as alive
// as a test makes them. Arguments are written into their memory as a guest would write them.
import {
  __HYPERVISOR_console_io,
  __HYPERVISOR_domctl,
  __HYPERVISOR_event_channel_op,
  __HYPERVISOR_grant_table_op,
  __HYPERVISOR_memory_op,
  __HYPERVISOR_sched_op,
  __HYPERVISOR_sysctl,
  __HYPERVISOR_vcpu_op,
  __HYPERVISOR_xenolith_op,
  Arena,
  domid as asDomid,
  type Clock,
  type ControlMessage,
  DOMID_ANY,
  DOMID_SELF,
  dupFd,
  EVTCHNOP_alloc_unbound,
  EVTCHNOP_bind_interdomain,
  EVTCHNOP_bind_virq,
  EVTCHNOP_close,
  EVTCHNOP_send,
  EVTCHNOP_status,
  evtchn_alloc_unbound,
  evtchn_bind_interdomain,
  evtchn_bind_virq,
  evtchn_close,
  evtchn_send,
  evtchn_status,
  GNTMAP_host_map,
  GNTTABOP_map_grant_ref,
  GNTTABOP_unmap_grant_ref,
  GTF_permit_access,
  Vcpu as GuestVcpu,
  getU64,
  gnttab_map_grant_ref,
  gnttab_unmap_grant_ref,
  type Log,
  type Machine,
  PAGE_SIZE,
  type Struct,
  shared_info,
  VCPU_FRAMES,
  VGCF_online,
  vcpu_guest_context,
  vcpu_info,
  vcpuFrame,
  XEN_DOMCTL_createdomain,
  XEN_DOMCTL_INTERFACE_VERSION,
  XEN_DOMCTL_max_mem,
  XEN_DOMCTL_max_vcpus,
  XEN_DOMCTL_setvcpucontext,
  XEN_DOMCTL_unpausedomain,
  XEN_EBUSY,
  XEN_ENOENT,
  XEN_SYSCTL_INTERFACE_VERSION,
  XENMEM_populate_physmap,
  XENOLITHOP_pool_populate,
  XENOLITHOP_pool_release,
  xen_domctl,
  xen_domctl_createdomain,
  xen_domctl_max_mem,
  xen_domctl_max_vcpus,
  xen_domctl_vcpucontext,
  xen_memory_reservation,
  xen_sysctl,
  xenolith_pool_populate,
} from '#pvbus';
import type { Domain, DomainProcesses, Vcpu, VcpuLink } from '../../hypervisor/domain.ts';
import { DEFERRED, Hypervisor, type HypervisorOptions, type Result } from '../../hypervisor/hypervisor.ts';
import { type Replacement, Replacements } from '../../hypervisor/replacements.ts';

export { DEFERRED };

/** Time stands still until a test moves it. */
export class StoppedClock implements Clock {
  ns = 1_000_000_000;
  wall = Date.UTC(2026, 10, 21);
  now(): number {
    return this.ns;
  }
  wallMs(): number {
    return this.wall;
  }
  advance(ns: number): void {
    this.ns += ns;
    this.wall += ns / 1e6;
  }
}

export class LineLog implements Log {
  readonly lines: string[] = [];
  info(line: string): void {
    this.lines.push(line);
  }
  warn(line: string): void {
    this.lines.push(line);
  }
  error(line: string): void {
    this.lines.push(`error: ${line}`);
  }
}

/** What would be processes: only notes of what the core asked for. A killed one ends at the rig's next step. */
export class NotedProcesses implements DomainProcesses {
  /** Domid, vCPU, and for how many ms, of each. */
  readonly struck: number[][] = [];
  strike({ domain, id }: Vcpu, stopMs: number): number {
    this.struck.push([domain.domid, id, stopMs]);
    return 0;
  }
  /** Domid (undefined: the hypervisor), what, and how much is left, of each. */
  readonly exhausted: (number | undefined)[][] = [];
  exhaust(vcpu: Vcpu | undefined, what: number, left: number): number {
    this.exhausted.push([vcpu?.domain.domid, what, left]);
    return 0;
  }
  readonly replacements = new Replacements();
  replacement(number: number): Replacement | undefined {
    return this.replacements.from(number);
  }
  readonly asked: string[] = [];
  readonly killed: Domain[] = [];
  readonly cpu = new Map<string, number>();
  onStart: (domain: Domain) => void = () => {};

  /** What `start` says: 0 or -errno. */
  startResult = 0;
  start(domain: Domain): number {
    if (this.startResult < 0) return this.startResult;
    this.asked.push(`start ${domain.domid}`);
    this.onStart(domain);
    return 0;
  }
  kill(domain: Domain): void {
    this.asked.push(`kill ${domain.domid}`);
    this.killed.push(domain);
  }
  stop(domain: Domain): void {
    this.asked.push(`stop ${domain.domid}`);
  }
  cont(domain: Domain): void {
    this.asked.push(`cont ${domain.domid}`);
  }
  /** vCPUs for whose process another one waits. */
  readonly heirs = new Set<Vcpu>();
  onHandOver: (vcpu: Vcpu) => void = () => {};
  prepareSuccessor(vcpu: Vcpu): number {
    if (this.heirs.has(vcpu)) return -XEN_EBUSY;
    this.asked.push(`successor ${vcpu.domain.domid}.${vcpu.id}`);
    this.heirs.add(vcpu);
    return 0;
  }
  successorWaits(vcpu: Vcpu): boolean {
    return this.heirs.has(vcpu);
  }
  handOver(vcpu: Vcpu): number {
    if (!this.heirs.delete(vcpu)) return -XEN_ENOENT;
    this.onHandOver(vcpu);
    return 0;
  }
  place(domain: Domain, vcpu: number, pcpus: readonly number[]): void {
    this.asked.push(`place ${domain.domid}.${vcpu} ${pcpus.join(' ')}`);
  }
  cpuTimeNs(domain: Domain, vcpu: number): number {
    return this.cpu.get(`${domain.domid}.${vcpu}`) ?? 0;
  }
  sleeps(_domain: Domain, _vcpu: number): boolean {
    return false;
  }
}

export interface Sent {
  readonly kind: number;
  readonly a: number;
  readonly b: number;
  readonly arena: Arena | undefined;
}
/** A vCPU's link that keeps what was sent. */
export class QueueLink implements VcpuLink {
  readonly sent: Sent[] = [];
  private taken = 0;
  send(kind: number, a: number, b: number, arena?: Arena): void {
    this.sent.push({ kind, a, b, arena });
  }
  receive(): ControlMessage | undefined {
    const next = this.sent[this.taken];
    if (next === undefined) return undefined;
    this.taken++;
    return { kind: next.kind, a: next.a, b: next.b, fd: next.arena === undefined ? -1 : fileOf(next.arena) };
  }
}

/** As a socket keeps it for who has not looked yet: what was released meanwhile is memory without another end. */
function fileOf(arena: Arena): number {
  if (arena.fd >= 0) return dupFd(arena.fd);
  const blank = Arena.createUnseen('released', arena.size);
  const fd = dupFd(blank.fd);
  blank.release();
  return fd;
}

type Fields = { readonly [field: string]: number | Fields | readonly number[] };
const SIZE: Record<string, number> = { u8: 1, i8: 1, u16: 2, i16: 2, u32: 4, i32: 4, u64: 8 };

function setScalar(view: DataView, at: number, type: string, value: number): void {
  if (type === 'u64') {
    // Hostile values too: anything that fits 64 bits.
    view.setBigUint64(at, BigInt.asUintN(64, BigInt(value)), true);
  } else if (type === 'u32' || type === 'i32') view.setUint32(at, value >>> 0, true);
  else if (type === 'u16' || type === 'i16') view.setUint16(at, value & 0xffff, true);
  else view.setUint8(at, value & 0xff);
}
function getScalar(view: DataView, at: number, type: string): number {
  switch (type) {
    case 'u64':
      return getU64(view, at);
    case 'u32':
      return view.getUint32(at, true);
    case 'i32':
      return view.getInt32(at, true);
    case 'u16':
      return view.getUint16(at, true);
    case 'i16':
      return view.getInt16(at, true);
    case 'i8':
      return view.getInt8(at);
    default:
      return view.getUint8(at);
  }
}
export function putStruct(view: DataView, at: number, s: Struct, fields: Fields): void {
  for (const [name, value] of Object.entries(fields)) {
    const type = s.fields[name];
    if (type === undefined) throw new Error(`${s.name} has no field ${name}`);
    const where = at + s.at[name]!;
    if (typeof type === 'string') setScalar(view, where, type, value as number);
    else if ('count' in type) {
      (value as readonly number[]).forEach((v, i) => {
        if (typeof type.of !== 'string') throw new Error(`${name}: an array of structs`);
        setScalar(view, where + i * SIZE[type.of]!, type.of, v);
      });
    } else putStruct(view, where, type, value as Fields);
  }
}

/** One domain as its own kernel would see it, one vCPU at a time. */
export class Guest {
  readonly rig: CoreRig;
  readonly domain: Domain;
  /** The vCPU that traps. */
  vcpuId = 0;
  private next = 0;

  constructor(rig: CoreRig, domain: Domain) {
    this.rig = rig;
    this.domain = domain;
    this.reset();
  }
  get domid(): number {
    return this.domain.domid;
  }
  get view(): DataView {
    return this.domain.memory.view;
  }
  get bytes(): Uint8Array {
    return this.domain.memory.bytes;
  }
  get vcpu(): Vcpu {
    return this.domain.vcpus[this.vcpuId]!;
  }
  /** The link of a vCPU, made at the first call. */
  link(vcpu = 0): QueueLink {
    const { link } = this.domain.vcpus[vcpu]!;
    if (link instanceof QueueLink) return link;
    const made = new QueueLink();
    this.domain.vcpus[vcpu]!.link = made;
    this.rig.hypervisor.linked(this.domain.vcpus[vcpu]!);
    return made;
  }

  // ---- argument memory: the seven scratch pages of vCPU 0 ----

  reset(): this {
    if (this.domain.hasMemory) this.next = (vcpuFrame(this.domain.layout, 0) + 1) * PAGE_SIZE;
    return this;
  }
  alloc(size: number): number {
    const at = this.next;
    const end = (vcpuFrame(this.domain.layout, 0) + VCPU_FRAMES) * PAGE_SIZE;
    if (at + size > end) throw new Error('out of argument memory');
    this.next = (at + size + 7) & ~7;
    this.bytes.fill(0, at, at + size);
    return at;
  }
  put(s: Struct, fields: Fields = {}): number {
    const at = this.alloc(s.size);
    putStruct(this.view, at, s, fields);
    return at;
  }
  putMany(s: Struct, list: readonly Fields[]): number {
    const at = this.alloc(s.size * list.length);
    for (const [i, fields] of list.entries()) putStruct(this.view, at + i * s.size, s, fields);
    return at;
  }
  putU64s(values: readonly number[]): number {
    const at = this.alloc(8 * Math.max(1, values.length));
    for (const [i, v] of values.entries()) setScalar(this.view, at + 8 * i, 'u64', v);
    return at;
  }
  putU32s(values: readonly number[]): number {
    const at = this.alloc(4 * Math.max(1, values.length));
    for (const [i, v] of values.entries()) this.view.setUint32(at + 4 * i, v, true);
    return at;
  }
  get<F extends string>(s: Struct, at: number, field: F): number {
    const type = s.fields[field];
    if (typeof type !== 'string') throw new Error(`${s.name}.${field} is no scalar`);
    return getScalar(this.view, at + s.at[field]!, type);
  }

  // ---- hypercalls ----

  /** A trap as it is. */
  trap(nr: number, ...args: number[]): Result {
    const [a0, a1, a2, a3, a4] = args;
    return this.rig.hypervisor.trap(this.domid, this.vcpuId, nr, a0, a1, a2, a3, a4);
  }
  /** A trap that must come to an answer by itself, if need be in slices. */
  call(nr: number, ...args: number[]): number {
    let result: number | undefined;
    this.vcpu.complete = r => {
      result = r;
    };
    const now = this.trap(nr, ...args);
    if (now !== DEFERRED) return now;
    for (let i = 0; result === undefined && i < 1_000_000; i++)
      if (this.rig.hypervisor.step() === 'idle') throw new Error('the hypercall does not return');
    return result!;
  }
  evtchn(cmd: number, arg: number): number {
    return this.call(__HYPERVISOR_event_channel_op, cmd, arg);
  }
  gnttab(cmd: number, arg: number, count: number): number {
    return this.call(__HYPERVISOR_grant_table_op, cmd, arg, count);
  }
  memory(cmd: number, arg: number): number {
    return this.call(__HYPERVISOR_memory_op, cmd, arg);
  }
  sched(cmd: number, arg = 0): Result {
    return this.trap(__HYPERVISOR_sched_op, cmd, arg);
  }
  vcpuOp(cmd: number, vcpu: number, arg = 0): number {
    return this.call(__HYPERVISOR_vcpu_op, cmd, vcpu, arg);
  }
  consoleIo(cmd: number, count: number, buffer: number): number {
    return this.call(__HYPERVISOR_console_io, cmd, count, buffer);
  }
  /** The result, and the address of the operation, which holds its answers. */
  domctl(
    cmd: number,
    domain: number,
    u?: Struct,
    fields: Fields = {},
    version = XEN_DOMCTL_INTERFACE_VERSION,
  ): { rc: number; u: number; domain: number } {
    const at = this.put(xen_domctl, { cmd, interface_version: version, domain });
    if (u) putStruct(this.view, at + xen_domctl.at.u, u, fields);
    const rc = this.call(__HYPERVISOR_domctl, at);
    return { rc, u: at + xen_domctl.at.u, domain: this.get(xen_domctl, at, 'domain') };
  }
  sysctl(
    cmd: number,
    u?: Struct,
    fields: Fields = {},
    version = XEN_SYSCTL_INTERFACE_VERSION,
  ): { rc: number; u: number } {
    const at = this.put(xen_sysctl, { cmd, interface_version: version });
    if (u) putStruct(this.view, at + xen_sysctl.at.u, u, fields);
    return { rc: this.call(__HYPERVISOR_sysctl, at), u: at + xen_sysctl.at.u };
  }

  // ---- event channels ----

  allocUnbound(remote: number, dom = DOMID_SELF): number {
    const at = this.reset().put(evtchn_alloc_unbound, { dom, remote_dom: remote });
    const rc = this.evtchn(EVTCHNOP_alloc_unbound, at);
    return rc < 0 ? rc : this.get(evtchn_alloc_unbound, at, 'port');
  }
  bindInterdomain(remote: number, remotePort: number): number {
    const at = this.reset().put(evtchn_bind_interdomain, { remote_dom: remote, remote_port: remotePort });
    const rc = this.evtchn(EVTCHNOP_bind_interdomain, at);
    return rc < 0 ? rc : this.get(evtchn_bind_interdomain, at, 'local_port');
  }
  bindVirq(virq: number, vcpu = 0): number {
    const at = this.reset().put(evtchn_bind_virq, { virq, vcpu });
    const rc = this.evtchn(EVTCHNOP_bind_virq, at);
    return rc < 0 ? rc : this.get(evtchn_bind_virq, at, 'port');
  }
  close(port: number): number {
    return this.evtchn(EVTCHNOP_close, this.reset().put(evtchn_close, { port }));
  }
  send(port: number): number {
    return this.evtchn(EVTCHNOP_send, this.reset().put(evtchn_send, { port }));
  }
  status(port: number, dom = DOMID_SELF): { rc: number; status: number; vcpu: number; u: number } {
    const at = this.reset().put(evtchn_status, { dom, port });
    const rc = this.evtchn(EVTCHNOP_status, at);
    const field = (name: string): number => this.get(evtchn_status, at, name);
    return { rc, status: field('status'), vcpu: field('vcpu'), u: at + evtchn_status.at.u };
  }
  /** A channel to `other`: this end's port and its. */
  connect(other: Guest): [here: number, there: number] {
    const there = other.allocUnbound(this.domid);
    const here = this.bindInterdomain(other.domid, there);
    if (here < 0) throw new Error(`bind_interdomain: ${here}`);
    this.takePending(here);
    return [here, there];
  }

  // ---- the guest's own event bits ----

  private sharedByte(field: 'evtchn_pending' | 'evtchn_mask', port: number): number {
    return this.domain.layout.sharedInfo * PAGE_SIZE + shared_info.at[field] + (port >> 3);
  }
  pending(port: number): boolean {
    return (this.bytes[this.sharedByte('evtchn_pending', port)]! & (1 << (port & 7))) !== 0;
  }
  /** Test and clear. */
  takePending(port: number): boolean {
    const was = this.pending(port);
    this.bytes[this.sharedByte('evtchn_pending', port)]! &= ~(1 << (port & 7));
    return was;
  }
  mask(port: number, on = true): void {
    const at = this.sharedByte('evtchn_mask', port);
    if (on) this.bytes[at]! |= 1 << (port & 7);
    else this.bytes[at]! &= ~(1 << (port & 7));
  }
  masked(port: number): boolean {
    return (this.bytes[this.sharedByte('evtchn_mask', port)]! & (1 << (port & 7))) !== 0;
  }
  infoAt(vcpu = this.vcpuId): number {
    return this.domain.layout.sharedInfo * PAGE_SIZE + shared_info.at.vcpu_info + vcpu * vcpu_info.size;
  }
  upcallPending(vcpu = this.vcpuId): boolean {
    return this.bytes[this.infoAt(vcpu) + vcpu_info.at.evtchn_upcall_pending] !== 0;
  }
  selected(port: number, vcpu = this.vcpuId): boolean {
    const word = port >> 6;
    return (this.bytes[this.infoAt(vcpu) + vcpu_info.at.evtchn_pending_sel + (word >> 3)]! & (1 << (word & 7))) !== 0;
  }
  /** What a kernel does in its upcall: flag and selector go down, pending bits stay. */
  clearUpcall(vcpu = this.vcpuId): void {
    const at = this.infoAt(vcpu);
    this.bytes[at + vcpu_info.at.evtchn_upcall_pending] = 0;
    this.bytes.fill(0, at + vcpu_info.at.evtchn_pending_sel, at + vcpu_info.at.evtchn_pending_sel + 8);
  }

  // ---- grants ----

  poolPopulate(peer: number, gfn: number, count = 1, flags = 0, granter = DOMID_SELF): number {
    const arg = this.reset().put(xenolith_pool_populate, { domid: granter, peer, flags, gfn, nr_frames: count });
    return this.call(__HYPERVISOR_xenolith_op, XENOLITHOP_pool_populate, arg);
  }
  poolRelease(peer: number, gfn: number, count = 1, flags = 0): number {
    const arg = this.reset().put(xenolith_pool_populate, { domid: DOMID_SELF, peer, flags, gfn, nr_frames: count });
    return this.call(__HYPERVISOR_xenolith_op, XENOLITHOP_pool_release, arg);
  }
  entryAt(ref: number): number {
    return this.domain.layout.grantFrames * PAGE_SIZE + ref * 8;
  }
  grant(ref: number, peer: number, gfn: number, flags = 0): void {
    const at = this.entryAt(ref);
    this.view.setUint32(at + 4, gfn, true);
    this.view.setUint16(at + 2, peer, true);
    this.view.setUint16(at, GTF_permit_access | flags, true);
  }
  entryFlags(ref: number): number {
    return this.view.getUint16(this.entryAt(ref), true);
  }
  map(
    granter: number,
    ref: number,
    flags = GNTMAP_host_map,
  ): { rc: number; status: number; handle: number; bus: number } {
    const at = this.reset().put(gnttab_map_grant_ref, { host_addr: PAGE_SIZE, flags, ref, dom: granter });
    const rc = this.gnttab(GNTTABOP_map_grant_ref, at, 1);
    const field = (name: string): number => this.get(gnttab_map_grant_ref, at, name);
    return { rc, status: field('status'), handle: field('handle'), bus: field('dev_bus_addr') };
  }
  unmap(handle: number, host = PAGE_SIZE, bus = 0): number {
    const at = this.reset().put(gnttab_unmap_grant_ref, { host_addr: host, dev_bus_addr: bus, handle });
    const rc = this.gnttab(GNTTABOP_unmap_grant_ref, at, 1);
    return rc < 0 ? rc : this.get(gnttab_unmap_grant_ref, at, 'status');
  }

  /**
   * The guest's own pvbus code on this vCPU, in this thread, over a mapping of its own. `door`: what lies between it
   * and the hypervisor.
   */
  kernel(id = 0, door: (machine: Machine) => Machine = machine => machine): GuestVcpu {
    const link = this.link(id);
    const machine: Machine = {
      trap: (nr, a0, a1, a2, a3, a4) => {
        this.vcpuId = id;
        return this.call(nr, a0, a1, a2, a3, a4);
      },
      receive: () => link.receive(),
      note: () => {},
      awaitGrant: () => {
        throw new Error(`dom${this.domid} vcpu${id} has no pCPU`);
      },
    };
    return new GuestVcpu(door(machine), this.domain.memory.again(), this.domain.layout, asDomid(this.domid), id);
  }
}

export interface GuestOptions {
  readonly pages?: number;
  readonly vcpus?: number;
  readonly maxMaptrackFrames?: number;
  readonly maxEvtchnPort?: number;
  readonly flags?: number;
  /** Leave it as the builder has it: paused, no vCPU context. */
  readonly building?: boolean;
}

export class CoreRig {
  readonly clock = new StoppedClock();
  readonly log = new LineLog();
  readonly processes: NotedProcesses;
  readonly hypervisor: Hypervisor;
  readonly dom0: Guest;

  constructor(options: Partial<HypervisorOptions> & { dom0Pages?: number; dom0Vcpus?: number } = {}) {
    this.processes = options.processes instanceof NotedProcesses ? options.processes : new NotedProcesses();
    this.hypervisor = new Hypervisor({
      clock: this.clock,
      log: this.log,
      processes: this.processes,
      hostPages: 100_000,
      nrCpus: 4,
      cpuKhz: 2_000_000,
      ...options,
    });
    this.processes.onHandOver = vcpu => this.replaceThread(vcpu);
    const { dom0Pages = 512, dom0Vcpus = 5 } = options;
    this.dom0 = new Guest(this, this.hypervisor.createDomain0({ max_vcpus: dom0Vcpus, max_pages: dom0Pages }));
  }

  /** Give the memory of all that is still there back: of thousands of rigs in one process none waits for another. */
  close(): void {
    const { domains, pools, doorbells } = this.hypervisor;
    for (const pool of pools.list()) pool.arena.release();
    const all = domains.list();
    for (const domain of all) doorbells.forget(domain, all);
    for (const domain of all) domain.memory.release();
  }

  /** A running domain, built by dom0 through hypercalls. */
  guest(options: GuestOptions = {}): Guest {
    const { pages = 64, vcpus = 1 } = options;
    const domid = this.createDomain(options);
    const { dom0 } = this;
    must(dom0.reset().domctl(XEN_DOMCTL_max_vcpus, domid, xen_domctl_max_vcpus, { max: vcpus }).rc);
    must(dom0.reset().domctl(XEN_DOMCTL_max_mem, domid, xen_domctl_max_mem, { max_memkb: pages * 4 }).rc);
    if (this.populate(domid, 0, pages) !== pages) throw new Error('cannot populate a test domain');
    const guest = this.guestOf(domid);
    if (options.building) return guest;
    const ctxt = dom0.reset().put(vcpu_guest_context, { flags: VGCF_online });
    must(dom0.domctl(XEN_DOMCTL_setvcpucontext, domid, xen_domctl_vcpucontext, { vcpu: 0, ctxt }).rc);
    must(dom0.reset().domctl(XEN_DOMCTL_unpausedomain, domid).rc);
    return guest;
  }
  createDomain(options: GuestOptions = {}, domid = DOMID_ANY): number {
    const made = this.dom0.reset().domctl(XEN_DOMCTL_createdomain, domid, xen_domctl_createdomain, {
      flags: options.flags ?? 0,
      max_vcpus: options.vcpus ?? 1,
      max_evtchn_port: options.maxEvtchnPort ?? 0xffffffff,
      max_grant_frames: -1,
      max_maptrack_frames: options.maxMaptrackFrames ?? -1,
      grant_opts: 1,
    });
    if (made.rc < 0) throw new Error(`createdomain: ${made.rc}`);
    return made.domain;
  }
  /** A domain as its own kernel sees it. */
  guestOf(domid: number): Guest {
    return new Guest(this, this.hypervisor.domains.byId(domid)!);
  }
  populate(domid: number, first: number, count: number): number {
    let done = 0;
    while (done < count) {
      const batch = Math.min(count - done, 1024);
      const extent_start = this.dom0.reset().putU64s(Array.from({ length: batch }, (_, i) => first + done + i));
      const arg = this.dom0.put(xen_memory_reservation, { extent_start, nr_extents: batch, domid });
      const got = this.dom0.memory(XENMEM_populate_physmap, arg);
      done += got;
      if (got < batch) break;
    }
    return done;
  }

  /** The thread of a vCPU of dom0 is gone, and another one is there. */
  replaceThread(vcpu: Vcpu): void {
    this.hypervisor.vacated(vcpu);
    vcpu.link = new QueueLink();
    this.hypervisor.taken(vcpu);
  }

  /** Killed processes end, timers fire, domains die: until nothing is left to do now. */
  settle(): void {
    for (let i = 0; i < 1_000_000; i++) {
      const dead = this.processes.killed.shift();
      if (dead) this.hypervisor.domainExited(dead.domid, { signal: 'SIGKILL' });
      else if (this.hypervisor.step() === 'idle') return;
    }
    throw new Error('the hypervisor does not come to rest');
  }
  /** No bug of the core itself has shown. */
  get internalErrors(): string[] {
    return this.log.lines.filter(line => line.includes('internal error'));
  }
}

function must(rc: number): void {
  if (rc < 0) throw new Error(`the rig's own hypercall failed: ${rc}`);
}

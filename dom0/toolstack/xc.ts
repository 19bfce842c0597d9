// Control hypercalls as functions, one each. Nothing here decides anything. Throws XenError with the
// hypervisor's errno, naming the operation and the domain.
import {
  __HYPERVISOR_event_channel_op,
  __HYPERVISOR_memory_op,
  __HYPERVISOR_platform_op,
  __HYPERVISOR_sched_op,
  __HYPERVISOR_xen_version,
  __HYPERVISOR_xenolith_op,
  domid as asDomid,
  port as asPort,
  cpu_user_regs,
  type Domid,
  EVTCHNOP_alloc_unbound,
  type EvtchnPort,
  errnoName,
  evtchn_alloc_unbound,
  type ForeignFrames,
  type ForeignMemory,
  ForeignWindow,
  SCHEDOP_remote_shutdown,
  SCHEDOP_shutdown,
  sched_remote_shutdown,
  sched_shutdown,
  type Vcpu,
  VGCF_in_kernel,
  VGCF_online,
  vcpu_guest_context,
  XEN_CAPABILITIES_INFO_LEN,
  XEN_CHANGESET_INFO_LEN,
  XEN_COMMANDLINE_LEN,
  XEN_DOMCTL_createdomain,
  XEN_DOMCTL_destroydomain,
  XEN_DOMCTL_getdomaininfo,
  XEN_DOMCTL_getvcpucontext,
  XEN_DOMCTL_max_mem,
  XEN_DOMCTL_max_vcpus,
  XEN_DOMCTL_pausedomain,
  XEN_DOMCTL_setdomainhandle,
  XEN_DOMCTL_settimeoffset,
  XEN_DOMCTL_setvcpucontext,
  XEN_DOMCTL_unpausedomain,
  XEN_DOMINF_blocked,
  XEN_DOMINF_dying,
  XEN_DOMINF_paused,
  XEN_DOMINF_running,
  XEN_DOMINF_shutdown,
  XEN_DOMINF_shutdownmask,
  XEN_DOMINF_shutdownshift,
  XEN_EXTRAVERSION_LEN,
  XEN_SYSCTL_debug_keys,
  XEN_SYSCTL_getdomaininfolist,
  XEN_SYSCTL_physinfo,
  XEN_SYSCTL_readconsole,
  XEN_SYSCTL_sched_id,
  XENMEM_populate_physmap,
  XENOLITHOP_confinement,
  XENOLITHOP_exhaust,
  XENOLITHOP_map_foreign,
  XENOLITHOP_pool_populate,
  XENOLITHOP_process_memory,
  XENOLITHOP_service,
  XENOLITHOP_strike,
  XENPF_INTERFACE_VERSION,
  XENPF_settime64,
  XENVER_capabilities,
  XENVER_changeset,
  XENVER_commandline,
  XENVER_compile_info,
  XENVER_extraversion,
  XENVER_pagesize,
  XENVER_platform_parameters,
  XENVER_version,
  XenError,
  xen_arch_domainconfig,
  xen_compile_info,
  xen_domctl,
  xen_domctl_createdomain,
  xen_domctl_getdomaininfo,
  xen_domctl_max_mem,
  xen_domctl_max_vcpus,
  xen_domctl_setdomainhandle,
  xen_domctl_settimeoffset,
  xen_domctl_vcpucontext,
  xen_memory_reservation,
  xen_platform_op,
  xen_platform_parameters,
  xen_sysctl_debug_keys,
  xen_sysctl_getdomaininfolist,
  xen_sysctl_physinfo,
  xen_sysctl_readconsole,
  xen_sysctl_sched_id,
  xenolith_exhaust,
  xenolith_map_foreign,
  xenolith_pool_populate,
  xenolith_service,
  xenolith_strike,
  xenpf_settime64,
} from '#pvbus';
import { ControlCalls, get64, set64 } from './control-calls.ts';

/** What getdomaininfo tells of a domain. */
export interface XcDomainInfo {
  readonly domid: Domid;
  readonly uuid: string;
  readonly dying: boolean;
  readonly shutdown: boolean;
  readonly paused: boolean;
  readonly blocked: boolean;
  readonly running: boolean;
  /** SHUTDOWN_*; it has a meaning only with `shutdown`. */
  readonly shutdownReason: number;
  readonly totPages: number;
  readonly maxPages: number;
  readonly outstandingPages: number;
  /** ns */
  readonly cpuTime: number;
  readonly onlineVcpus: number;
  /** -1 of one that has no vCPUs yet. */
  readonly maxVcpuId: number;
  readonly cpupool: number;
}

export interface XcPhysinfo {
  readonly threads_per_core: number;
  readonly cores_per_socket: number;
  readonly nr_cpus: number;
  readonly max_cpu_id: number;
  readonly nr_nodes: number;
  readonly cpu_khz: number;
  readonly capabilities: number;
  readonly total_pages: number;
  readonly free_pages: number;
  readonly outstanding_pages: number;
  readonly hw_cap: readonly number[];
}

export interface XcVersion {
  readonly major: number;
  readonly minor: number;
  readonly extraversion: string;
  readonly capabilities: string;
  readonly changeset: string;
  readonly commandline: string;
  readonly pagesize: number;
  readonly virt_start: number;
  readonly compiler: string;
  readonly compile_by: string;
  readonly compile_domain: string;
  readonly compile_date: string;
}

export interface CreateDomain {
  readonly uuid: string;
  readonly maxVcpus: number;
  /** null: the hypervisor's default. */
  readonly maxGrantFrames: number | null;
  readonly maxMaptrackFrames: number | null;
  readonly maxEvtchnPort: number | null;
}

/** The order of the extents a populate asks for first: 2 MiB, what Xen allows a control domain. */
const BIG_ORDER = 9;
const DOMINFO_BATCH = 64;

export class Xc {
  readonly vcpu: Vcpu;
  readonly calls: ControlCalls;
  readonly #window = new ForeignWindow();

  constructor(vcpu: Vcpu) {
    this.vcpu = vcpu;
    this.calls = new ControlCalls(vcpu);
  }

  // ---- domctl ----

  /** A new domain, paused once, without memory. */
  createDomain(create: CreateDomain): Domid {
    const { at } = xen_domctl_createdomain;
    const made = this.calls.domctl(XEN_DOMCTL_createdomain, 0, `create a domain`, (view, u) => {
      writeHandle(view, u + at.handle, create.uuid);
      view.setUint32(u + at.max_vcpus, create.maxVcpus, true);
      view.setUint32(u + at.max_evtchn_port, create.maxEvtchnPort ?? 0xffffffff, true);
      view.setInt32(u + at.max_grant_frames, create.maxGrantFrames ?? -1, true);
      view.setInt32(u + at.max_maptrack_frames, create.maxMaptrackFrames ?? -1, true);
      view.setUint32(u + at.grant_opts, 1, true);
      view.setUint32(u + at.arch + xen_arch_domainconfig.at.emulation_flags, 0, true);
    });
    return asDomid(this.vcpu.scratch.view.getUint16(made - xen_domctl.at.u + xen_domctl.at.domain, true));
  }
  /** Its process is to be a program of the host's, XENOLITH_SERVICE_*. Before it has memory. */
  setService(domid: Domid, service: number): void {
    const { view } = this.vcpu.scratch;
    const at = this.vcpu.scratch.reset().alloc(xenolith_service.size);
    view.setUint16(at + xenolith_service.at.domid, domid, true);
    view.setUint32(at + xenolith_service.at.service, service, true);
    const rc = this.vcpu.hypercall(__HYPERVISOR_xenolith_op, XENOLITHOP_service, at);
    this.calls.check(rc, `make dom${domid} a program of the host's`);
  }
  /** XENOLITH_LAYER_*: what confines the process of every domU. */
  confinement(): number {
    const layers = this.vcpu.hypercall(__HYPERVISOR_xenolith_op, XENOLITHOP_confinement);
    this.calls.check(layers, 'ask what confines domains');
    return layers;
  }
  /** MiB that the processes of domUs may have beyond their domains' memory. */
  processMemory(): number {
    const mib = this.vcpu.hypercall(__HYPERVISOR_xenolith_op, XENOLITHOP_process_memory);
    this.calls.check(mib, 'ask what memory the processes of domains may have');
    return mib;
  }
  /** Kill the process of a vCPU, or stop it for so long. */
  strike(domid: Domid, vcpu: number, stopMs: number): void {
    const { view } = this.vcpu.scratch;
    const at = this.vcpu.scratch.reset().alloc(xenolith_strike.size);
    view.setUint16(at + xenolith_strike.at.domid, domid, true);
    view.setUint16(at + xenolith_strike.at.vcpu, vcpu, true);
    view.setUint32(at + xenolith_strike.at.stop_ms, stopMs, true);
    const rc = this.vcpu.hypercall(__HYPERVISOR_xenolith_op, XENOLITHOP_strike, at);
    this.calls.check(rc, `strike the process of dom${domid} vcpu ${vcpu}`);
  }
  /** The process of a vCPU, or with DOMID_XEN the hypervisor's, has so much left of XENOLITH_EXHAUST_*. */
  exhaust(domid: number, vcpu: number, what: number, left: number): void {
    const { view } = this.vcpu.scratch;
    const at = this.vcpu.scratch.reset().alloc(xenolith_exhaust.size);
    view.setUint16(at + xenolith_exhaust.at.domid, domid, true);
    view.setUint16(at + xenolith_exhaust.at.vcpu, vcpu, true);
    view.setUint32(at + xenolith_exhaust.at.what, what, true);
    view.setUint32(at + xenolith_exhaust.at.left, left, true);
    const rc = this.vcpu.hypercall(__HYPERVISOR_xenolith_op, XENOLITHOP_exhaust, at);
    this.calls.check(rc, `change what the process of dom${domid} vcpu ${vcpu} may have`);
  }
  /** The wall clock: `wallMs` is the time when the system time was `systemNs`. */
  setWallClock(wallMs: number, systemNs: number): void {
    const { view } = this.vcpu.scratch;
    const at = this.vcpu.scratch.reset().alloc(xen_platform_op.size);
    view.setUint32(at + xen_platform_op.at.cmd, XENPF_settime64, true);
    view.setUint32(at + xen_platform_op.at.interface_version, XENPF_INTERFACE_VERSION, true);
    const u = at + xen_platform_op.at.u;
    view.setBigUint64(u + xenpf_settime64.at.secs, BigInt(Math.floor(wallMs / 1000)), true);
    view.setUint32(u + xenpf_settime64.at.nsecs, Math.floor((wallMs % 1000) * 1e6), true);
    view.setUint32(u + xenpf_settime64.at.mbz, 0, true);
    view.setBigUint64(u + xenpf_settime64.at.system_time, BigInt(Math.floor(systemNs)), true);
    const rc = this.vcpu.hypercall(__HYPERVISOR_platform_op, at);
    this.calls.check(rc, 'set the wall clock');
  }
  /** The domain begins to die. ESRCH when it is gone. */
  destroyDomain(domid: Domid): void {
    this.calls.domctl(XEN_DOMCTL_destroydomain, domid, `destroy dom${domid}`);
  }
  pauseDomain(domid: Domid): void {
    this.calls.domctl(XEN_DOMCTL_pausedomain, domid, `pause dom${domid}`);
  }
  unpauseDomain(domid: Domid): void {
    this.calls.domctl(XEN_DOMCTL_unpausedomain, domid, `unpause dom${domid}`);
  }
  /** Of the domain's wall clock to the host's. */
  setTimeOffset(domid: Domid, seconds: number): void {
    this.calls.domctl(XEN_DOMCTL_settimeoffset, domid, `set the time offset of dom${domid}`, (view, u) =>
      view.setBigInt64(u + xen_domctl_settimeoffset.at.time_offset_seconds, BigInt(seconds), true),
    );
  }
  maxMem(domid: Domid, kib: number): void {
    this.calls.domctl(XEN_DOMCTL_max_mem, domid, `set the memory limit of dom${domid}`, (view, u) =>
      set64(view, u + xen_domctl_max_mem.at.max_memkb, kib),
    );
  }
  maxVcpus(domid: Domid, max: number): void {
    this.calls.domctl(XEN_DOMCTL_max_vcpus, domid, `set the vcpus of dom${domid}`, (view, u) =>
      view.setUint32(u + xen_domctl_max_vcpus.at.max, max, true),
    );
  }
  setHandle(domid: Domid, uuid: string): void {
    this.calls.domctl(XEN_DOMCTL_setdomainhandle, domid, `set the uuid of dom${domid}`, (view, u) =>
      writeHandle(view, u + xen_domctl_setdomainhandle.at.handle, uuid),
    );
  }
  /** The state vCPU `vcpu` starts with: `rip` the kernel image, `rsi` start_info, both guest addresses. */
  setVcpuContext(domid: Domid, vcpu: number, rip: number, rsi: number): void {
    const scratch = this.vcpu.scratch.reset();
    const ctxt = scratch.alloc(vcpu_guest_context.size);
    const regs = ctxt + vcpu_guest_context.at.user_regs;
    set64(scratch.view, ctxt + vcpu_guest_context.at.flags, VGCF_in_kernel | VGCF_online);
    set64(scratch.view, regs + cpu_user_regs.at.rip, rip);
    set64(scratch.view, regs + cpu_user_regs.at.rsi, rsi);
    const what = `set the state of dom${domid} vcpu${vcpu}`;
    this.calls.domctlMore(XEN_DOMCTL_setvcpucontext, domid, what, (view, u) => {
      view.setUint32(u + xen_domctl_vcpucontext.at.vcpu, vcpu, true);
      set64(view, u + xen_domctl_vcpucontext.at.ctxt, ctxt);
    });
  }
  /** Its vcpu_guest_context; undefined for a vCPU that has not been set up. */
  vcpuContext(domid: Domid, vcpu: number): Uint8Array | undefined {
    const scratch = this.vcpu.scratch.reset();
    const ctxt = scratch.alloc(vcpu_guest_context.size);
    const op = scratch.alloc(xen_domctl.size);
    const rc = this.calls.tryDomctl(op, XEN_DOMCTL_getvcpucontext, domid, (view, u) => {
      view.setUint32(u + xen_domctl_vcpucontext.at.vcpu, vcpu, true);
      set64(view, u + xen_domctl_vcpucontext.at.ctxt, ctxt);
    });
    return rc < 0 ? undefined : scratch.bytes.slice(ctxt, ctxt + vcpu_guest_context.size);
  }
  /** undefined when there is no such domain. */
  domainInfo(domid: Domid): XcDomainInfo | undefined {
    const scratch = this.vcpu.scratch.reset();
    const op = scratch.alloc(xen_domctl.size);
    const rc = this.calls.tryDomctl(op, XEN_DOMCTL_getdomaininfo, domid);
    if (rc < 0) {
      if (errnoName(-rc) === 'ESRCH') return undefined;
      throw new XenError(errnoName(-rc), `get the state of dom${domid}`);
    }
    const info = readDomainInfo(scratch.view, op + xen_domctl.at.u);
    return info.domid === domid ? info : undefined; // Xen: 4.17 answers with the next domain that exists
  }

  // ---- sysctl ----

  /** Every domain, in order of domid. */
  domainInfoList(): XcDomainInfo[] {
    const infos: XcDomainInfo[] = [];
    for (let first = 0; ; ) {
      const scratch = this.vcpu.scratch.reset();
      const buffer = scratch.alloc(DOMINFO_BATCH * xen_domctl_getdomaininfo.size);
      const { at } = xen_sysctl_getdomaininfolist;
      const u = this.calls.sysctlMore(XEN_SYSCTL_getdomaininfolist, 'list the domains', (view, arg) => {
        view.setUint16(arg + at.first_domain, first, true);
        view.setUint32(arg + at.max_domains, DOMINFO_BATCH, true);
        set64(view, arg + at.buffer, buffer);
      });
      const got = scratch.view.getUint32(u + at.num_domains, true);
      for (let i = 0; i < got; i++)
        infos.push(readDomainInfo(scratch.view, buffer + i * xen_domctl_getdomaininfo.size));
      if (got < DOMINFO_BATCH) return infos;
      first = infos[infos.length - 1]!.domid + 1;
    }
  }
  physinfo(): XcPhysinfo {
    const u = this.calls.sysctl(XEN_SYSCTL_physinfo, "get the host's state");
    const { view } = this.vcpu.scratch;
    const { at } = xen_sysctl_physinfo;
    const u32 = (offset: number): number => view.getUint32(u + offset, true);
    return {
      threads_per_core: u32(at.threads_per_core),
      cores_per_socket: u32(at.cores_per_socket),
      nr_cpus: u32(at.nr_cpus),
      max_cpu_id: u32(at.max_cpu_id),
      nr_nodes: u32(at.nr_nodes),
      cpu_khz: u32(at.cpu_khz),
      capabilities: u32(at.capabilities),
      total_pages: get64(view, u + at.total_pages),
      free_pages: get64(view, u + at.free_pages),
      outstanding_pages: get64(view, u + at.outstanding_pages),
      hw_cap: Array.from({ length: 8 }, (_, i) => u32(at.hw_cap + 4 * i)),
    };
  }
  /** XEN_SCHEDULER_* */
  schedId(): number {
    const u = this.calls.sysctl(XEN_SYSCTL_sched_id, 'get the scheduler');
    return this.vcpu.scratch.view.getUint32(u + xen_sysctl_sched_id.at.sched_id, true);
  }
  /** All of the hypervisor's console ring; `clear` empties it. */
  readConsole(clear: boolean): string {
    const parts: Uint8Array[] = [];
    const { at } = xen_sysctl_readconsole;
    for (let index = 0; ; ) {
      const scratch = this.vcpu.scratch.reset();
      const size = 16384;
      const buffer = scratch.alloc(size);
      const u = this.calls.sysctlMore(XEN_SYSCTL_readconsole, "read the hypervisor's console", (view, arg) => {
        view.setUint8(arg + at.clear, 0);
        view.setUint8(arg + at.incremental, 1);
        view.setUint32(arg + at.index, index, true);
        set64(view, arg + at.buffer, buffer);
        view.setUint32(arg + at.count, size, true);
      });
      const count = scratch.view.getUint32(u + at.count, true);
      if (count > 0) parts.push(scratch.bytes.slice(buffer, buffer + Math.min(count, size)));
      index = scratch.view.getUint32(u + at.index, true);
      if (count < size) break;
    }
    if (clear) {
      this.calls.sysctl(XEN_SYSCTL_readconsole, "clear the hypervisor's console", (view, arg) =>
        view.setUint8(arg + at.clear, 1),
      );
    }
    return Buffer.concat(parts).toString('utf8');
  }
  /** Print state to the hypervisor's console ring, a letter each. */
  debugKeys(keys: string): void {
    const scratch = this.vcpu.scratch.reset();
    const text = Buffer.from(keys, 'latin1');
    const buffer = scratch.alloc(Math.max(text.length, 1));
    scratch.bytes.set(text, buffer);
    const { at } = xen_sysctl_debug_keys;
    this.calls.sysctlMore(XEN_SYSCTL_debug_keys, `press the debug keys ${JSON.stringify(keys)}`, (view, arg) => {
      set64(view, arg + at.keys, buffer);
      view.setUint32(arg + at.nr_keys, text.length, true);
    });
  }

  // ---- version ----

  version(): XcVersion {
    const { vcpu } = this;
    const text = (cmd: number, bytes: number, offset = 0, length = bytes): string => {
      const at = vcpu.scratch.reset().alloc(bytes);
      this.calls.check(vcpu.hypercall(__HYPERVISOR_xen_version, cmd, at), 'get the version');
      return cString(vcpu.scratch.bytes.subarray(at + offset, at + offset + length));
    };
    const version = this.calls.check(vcpu.hypercall(__HYPERVISOR_xen_version, XENVER_version), 'get the version');
    const info = xen_compile_info;
    const compiled = (from: number, to: number): string => text(XENVER_compile_info, info.size, from, to - from);
    const parameters = vcpu.scratch.reset().alloc(xen_platform_parameters.size);
    this.calls.check(
      vcpu.hypercall(__HYPERVISOR_xen_version, XENVER_platform_parameters, parameters),
      'get the platform',
    );
    const virt_start = get64(vcpu.scratch.view, parameters + xen_platform_parameters.at.virt_start);
    return {
      major: version >>> 16,
      minor: version & 0xffff,
      extraversion: text(XENVER_extraversion, XEN_EXTRAVERSION_LEN),
      capabilities: text(XENVER_capabilities, XEN_CAPABILITIES_INFO_LEN),
      changeset: text(XENVER_changeset, XEN_CHANGESET_INFO_LEN),
      commandline: text(XENVER_commandline, XEN_COMMANDLINE_LEN),
      pagesize: this.calls.check(vcpu.hypercall(__HYPERVISOR_xen_version, XENVER_pagesize), 'get the page size'),
      virt_start,
      compiler: compiled(info.at.compiler, info.at.compile_by),
      compile_by: compiled(info.at.compile_by, info.at.compile_domain),
      compile_domain: compiled(info.at.compile_domain, info.at.compile_date),
      compile_date: compiled(info.at.compile_date, info.size),
    };
  }

  // ---- a domain being built ----

  /** Memory at gfns 0 .. nrPages - 1. Throws ENOMEM when the host or the domain's limit has less. */
  populatePhysmap(domid: Domid, nrPages: number): void {
    let done = 0;
    const bigs = Math.floor(nrPages / 2 ** BIG_ORDER);
    done = this.#populate(domid, BIG_ORDER, 0, bigs) * 2 ** BIG_ORDER;
    const rest = nrPages - done;
    const small = this.#populate(domid, 0, done, rest);
    if (small === rest) return;
    const mib = (pages: number): number => Math.floor(pages / 256);
    throw new XenError('ENOMEM', `dom${domid}: ${mib(nrPages)} MiB asked for, ${mib(done + small)} MiB are there`);
  }
  /** Extents in a row from gfn `first`; returns how many were populated. */
  #populate(domid: Domid, order: number, first: number, count: number): number {
    const { at, size } = xen_memory_reservation;
    for (let done = 0; done < count; ) {
      const scratch = this.vcpu.scratch.reset();
      const arg = scratch.alloc(size);
      const batch = Math.min(count - done, Math.floor((scratch.size - 256) / 8));
      const extents = scratch.alloc(batch * 8);
      for (let i = 0; i < batch; i++) set64(scratch.view, extents + 8 * i, first + (done + i) * 2 ** order);
      set64(scratch.view, arg + at.extent_start, extents);
      set64(scratch.view, arg + at.nr_extents, batch);
      scratch.view.setUint32(arg + at.extent_order, order, true);
      scratch.view.setUint16(arg + at.domid, domid, true);
      const populated = this.vcpu.hypercall(__HYPERVISOR_memory_op, XENMEM_populate_physmap, arg);
      if (populated > 0) done += populated;
      if (populated < batch) return done;
    }
    return count;
  }
  /** `count` frames of the domain from `gfn` become pool frames, which `peer` may be granted. */
  populatePool(domid: Domid, peer: Domid, gfn: number, count: number): void {
    const { at, size } = xenolith_pool_populate;
    const { view } = this.vcpu.scratch;
    const arg = this.vcpu.scratch.reset().alloc(size);
    view.setUint16(arg + at.domid, domid, true);
    view.setUint16(arg + at.peer, peer, true);
    view.setUint32(arg + at.gfn, gfn, true);
    view.setUint32(arg + at.nr_frames, count, true);
    const rc = this.vcpu.hypercall(__HYPERVISOR_xenolith_op, XENOLITHOP_pool_populate, arg);
    this.calls.check(rc, `share ${count} pages of dom${domid} with dom${peer}`);
  }
  /** Look at, or write to, at most `frames` frames of the domain, beneath what its pools lay over them. */
  withForeign<T>(domid: Domid, frames: number, body: (foreign: ForeignFrames) => T): T {
    return this.#window.look(this.foreignMemory(domid), frames, body);
  }
  /** All of the domain's memory, beneath what its pools lay over it. The caller closes it. */
  foreignMemory(domid: Domid): ForeignMemory {
    const arg = this.vcpu.scratch.reset().alloc(xenolith_map_foreign.size);
    this.vcpu.scratch.view.setUint16(arg + xenolith_map_foreign.at.domid, domid, true);
    this.calls.check(this.vcpu.hypercall(__HYPERVISOR_xenolith_op, XENOLITHOP_map_foreign, arg), `map dom${domid}`);
    return this.vcpu.takeForeign(domid);
  }
  /** A port of `domid` that `remote` may bind. */
  allocUnbound(domid: Domid, remote: Domid): EvtchnPort {
    const { at, size } = evtchn_alloc_unbound;
    const { view } = this.vcpu.scratch;
    const arg = this.vcpu.scratch.reset().alloc(size);
    view.setUint16(arg + at.dom, domid, true);
    view.setUint16(arg + at.remote_dom, remote, true);
    const rc = this.vcpu.hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_alloc_unbound, arg);
    this.calls.check(rc, `allocate a port of dom${domid} for dom${remote}`);
    return asPort(view.getUint32(arg + at.port, true));
  }

  // ---- sched_op ----

  /** Shut a domain down from outside, with a SHUTDOWN_* reason. */
  remoteShutdown(domid: Domid, reason: number): void {
    const { at, size } = sched_remote_shutdown;
    const arg = this.vcpu.scratch.reset().alloc(size);
    this.vcpu.scratch.view.setUint16(arg + at.domain_id, domid, true);
    this.vcpu.scratch.view.setUint32(arg + at.reason, reason, true);
    this.calls.check(this.vcpu.hypercall(__HYPERVISOR_sched_op, SCHEDOP_remote_shutdown, arg), `shut down dom${domid}`);
  }
  /** Shut the caller down; for dom0 that is the host. */
  shutdown(reason: number): void {
    const arg = this.vcpu.scratch.reset().alloc(sched_shutdown.size);
    this.vcpu.scratch.view.setUint32(arg + sched_shutdown.at.reason, reason, true);
    this.calls.check(this.vcpu.hypercall(__HYPERVISOR_sched_op, SCHEDOP_shutdown, arg), 'shut down');
  }
}

function readDomainInfo(view: DataView, base: number): XcDomainInfo {
  const { at } = xen_domctl_getdomaininfo;
  const flags = view.getUint32(base + at.flags, true);
  return {
    domid: asDomid(view.getUint16(base + at.domain, true)),
    uuid: readHandle(view, base + at.handle),
    dying: (flags & XEN_DOMINF_dying) !== 0,
    shutdown: (flags & XEN_DOMINF_shutdown) !== 0,
    paused: (flags & XEN_DOMINF_paused) !== 0,
    blocked: (flags & XEN_DOMINF_blocked) !== 0,
    running: (flags & XEN_DOMINF_running) !== 0,
    shutdownReason: (flags >>> XEN_DOMINF_shutdownshift) & XEN_DOMINF_shutdownmask,
    totPages: get64(view, base + at.tot_pages),
    maxPages: get64(view, base + at.max_pages),
    outstandingPages: get64(view, base + at.outstanding_pages),
    cpuTime: get64(view, base + at.cpu_time),
    onlineVcpus: view.getUint32(base + at.nr_online_vcpus, true),
    maxVcpuId: view.getInt32(base + at.max_vcpu_id, true), // XEN_INVALID_MAX_VCPU_ID is -1
    cpupool: view.getUint32(base + at.cpupool, true),
  };
}

function cString(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return Buffer.from(end < 0 ? bytes : bytes.subarray(0, end)).toString('utf8');
}

/** A uuid's text as the 16 bytes of xen_domain_handle_t. */
function writeHandle(view: DataView, at: number, uuid: string): void {
  const hex = uuid.replaceAll('-', '');
  if (!/^[0-9a-f]{32}$/.test(hex)) throw new XenError('EINVAL', `'${uuid}' is not a uuid`);
  for (let i = 0; i < 16; i++) view.setUint8(at + i, Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16));
}
function readHandle(view: DataView, at: number): string {
  let hex = '';
  for (let i = 0; i < 16; i++)
    hex += view
      .getUint8(at + i)
      .toString(16)
      .padStart(2, '0');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

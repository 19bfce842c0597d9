// What the hypervisor tells the trace of: one function for each kind of thing that happens. Off they cost a load. What
// happens in domains without a trap they tell themselves (pvbus/vcpu-trace.ts), as the same word allows.
import {
  __HYPERVISOR_console_io,
  __HYPERVISOR_event_channel_op,
  __HYPERVISOR_grant_table_op,
  __HYPERVISOR_memory_op,
  __HYPERVISOR_multicall,
  __HYPERVISOR_sched_op,
  __HYPERVISOR_vcpu_op,
  __HYPERVISOR_xen_version,
  __HYPERVISOR_xenolith_op,
  type Clock,
  DOMID_IDLE,
  type Log,
  runstateChange,
  TRC_DOM0_DOM_ADD,
  TRC_DOM0_DOM_REM,
  TRC_MEM_PAGE_GRANT_MAP,
  TRC_MEM_PAGE_GRANT_UNMAP,
  TRC_PV_HYPERCALL_V2,
  TRC_SCHED_CONTINUE_RUNNING,
  TRC_SCHED_DOM_ADD,
  TRC_SCHED_DOM_REM,
  TRC_SCHED_SWITCH,
  TRC_XENOLITH_EVTCHN_RAISED,
  TRC_XENOLITH_GRANT_COPY,
  TRC_XENOLITH_HYPERCALL_RETURN,
} from '#pvbus';
import type { CpuMap } from './affinity.ts';
import type { Domain, Vcpu } from './domain.ts';
import type { DomainTable } from './domain-table.ts';
import { TraceBuffers } from './trace-buffers.ts';

/** Hypercalls whose first argument is a command worth telling, and those whose argument is a count. */
const COMMANDS = new Set([
  __HYPERVISOR_memory_op,
  __HYPERVISOR_xen_version,
  __HYPERVISOR_console_io,
  __HYPERVISOR_grant_table_op,
  __HYPERVISOR_vcpu_op,
  __HYPERVISOR_sched_op,
  __HYPERVISOR_event_channel_op,
  __HYPERVISOR_xenolith_op,
]);
/** Xen: TRC_PV_HYPERCALL_V2_ARG_32(i). */
const ARG_32 = (i: number): number => 1 << (20 + 2 * i);
/** Where no hypercall of ours has an argument stands who called, as `name` of the others. */
const CALLER = ARG_32(5);

export interface TraceParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly domains: DomainTable;
  readonly nrCpus: number;
  /** The pCPU a vCPU is on, or was last. */
  readonly pcpuOf: (vcpu: Vcpu) => number;
  /** Xen: VIRQ_TBUF. */
  readonly halfFull: () => void;
}

export class Trace {
  private readonly parts: TraceParts;
  readonly buffers: TraceBuffers;
  /** Ask this before anything else. */
  on = false;

  constructor(parts: TraceParts) {
    this.parts = parts;
    this.buffers = new TraceBuffers(parts.nrCpus, parts.clock, parts.halfFull, cpu => {
      parts.log.warn(`trace: the reader's index of pCPU ${cpu}'s buffer cannot be; tracing is off`);
      this.changed();
    });
  }

  // ---- control ----

  enable(): number {
    const rc = this.buffers.enable();
    if (rc < 0) return rc;
    this.changed();
    // Who reads may not have seen the switch that put a vCPU where it is.
    for (const domain of this.parts.domains.list())
      for (const vcpu of domain.vcpus) if (vcpu.up) this.at(vcpu, TRC_SCHED_CONTINUE_RUNNING, 1, name(vcpu));
    return 0;
  }
  disable(): void {
    this.buffers.disable();
    this.changed();
  }
  setEventMask(mask: number): void {
    this.buffers.eventMask = mask;
    this.changed();
  }
  setCpuMask(cpus: CpuMap): void {
    this.buffers.setCpuMask(cpus);
  }
  private changed(): void {
    this.on = this.buffers.enabled;
    for (const domain of this.parts.domains.list()) this.tell(domain);
  }
  /** Say to the domain's vCPUs what they are to record. Also of a domain that has just got its memory. */
  tell(domain: Domain): void {
    if (!domain.hasMemory) return;
    Atomics.store(domain.memory.words, domain.controlWord('trace'), this.on ? this.buffers.eventMask | 0 : 0);
  }

  // ---- what happens ----

  hypercall(caller: Vcpu, nr: number, a0: number, a1: number, a2: number): void {
    if (!this.on) return;
    const op = (nr & 0xfffff) | CALLER;
    const who = name(caller);
    if (nr === __HYPERVISOR_multicall) this.at(caller, TRC_PV_HYPERCALL_V2, 3, op | ARG_32(1), a1, who);
    else if (nr === __HYPERVISOR_grant_table_op)
      this.at(caller, TRC_PV_HYPERCALL_V2, 4, op | ARG_32(0) | ARG_32(2), a0, a2, who);
    else if (COMMANDS.has(nr)) this.at(caller, TRC_PV_HYPERCALL_V2, 3, op | ARG_32(0), a0, who);
    else this.at(caller, TRC_PV_HYPERCALL_V2, 2, op, who);
  }
  /** The last hypercall of this vCPU has its answer. */
  hypercallReturn(caller: Vcpu, result: number): void {
    if (this.on) this.at(caller, TRC_XENOLITH_HYPERCALL_RETURN, 2, name(caller), result);
  }
  runstate(vcpu: Vcpu, from: number, to: number): void {
    if (this.on && from !== to) this.at(vcpu, runstateChange(from, to), 1, name(vcpu));
  }
  /** Another vCPU runs on `cpu`; undefined: none. */
  switched(cpu: number, from: Vcpu | undefined, to: Vcpu | undefined): void {
    if (!this.on) return;
    const [fromDomid, fromId] = from === undefined ? [DOMID_IDLE, cpu] : [from.domain.domid, from.id];
    const [toDomid, toId] = to === undefined ? [DOMID_IDLE, cpu] : [to.domain.domid, to.id];
    this.buffers.write(cpu, TRC_SCHED_SWITCH, 4, fromDomid, fromId, toDomid, toId);
  }
  domainAdded(domid: number): void {
    if (!this.on) return;
    this.buffers.write(0, TRC_SCHED_DOM_ADD, 1, domid);
    this.buffers.write(0, TRC_DOM0_DOM_ADD, 1, domid);
  }
  domainRemoved(domid: number): void {
    if (!this.on) return;
    this.buffers.write(0, TRC_SCHED_DOM_REM, 1, domid);
    this.buffers.write(0, TRC_DOM0_DOM_REM, 1, domid);
  }
  grantMapped(mapper: Vcpu, granter: number): void {
    if (this.on) this.at(mapper, TRC_MEM_PAGE_GRANT_MAP, 1, granter);
  }
  grantUnmapped(mapper: Vcpu, granter: number): void {
    if (this.on) this.at(mapper, TRC_MEM_PAGE_GRANT_UNMAP, 1, granter);
  }
  grantCopied(caller: Vcpu, from: number, to: number, bytes: number): void {
    if (this.on) this.at(caller, TRC_XENOLITH_GRANT_COPY, 3, name(caller), (from & 0xffff) | (to << 16), bytes);
  }
  /** The hypervisor has made a port pending, which this vCPU hears. */
  raised(hearer: Vcpu, port: number): void {
    if (this.on) this.at(hearer, TRC_XENOLITH_EVTCHN_RAISED, 2, name(hearer), port);
  }

  private at(vcpu: Vcpu, event: number, extra: number, a: number, b = 0, c = 0, d = 0): void {
    this.buffers.write(this.parts.pcpuOf(vcpu), event, extra, a, b, c, d);
  }
}

/** Xen's way to put a vCPU into one word. */
const name = (vcpu: Vcpu): number => (vcpu.domain.domid << 16) | vcpu.id;

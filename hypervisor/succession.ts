// A privileged domain outlives its processes: what a vCPU of it has stays when the thread is gone that was this
// vCPU, and goes to the next one.
import { EVTCHNSTAT_interdomain, EVTCHNSTAT_virq, setU64, xenolith_mapping, xenolith_port } from '#pvbus';
import type { Continuations } from './continuations.ts';
import type { DomainProcesses, Vcpu } from './domain.ts';
import type { DomainLife } from './domain-life.ts';
import type { EventChannels } from './event-channels.ts';
import { placeOf } from './grant-tables.ts';
import type { Pools } from './pools.ts';
import type { Replacement } from './replacements.ts';
import type { Timers } from './timers.ts';

export interface SuccessionParts {
  readonly processes: DomainProcesses;
  readonly life: DomainLife;
  readonly events: EventChannels;
  readonly pools: Pools;
  readonly continuations: Continuations;
  readonly timers: Timers;
}

/** A part of a list, and where the next part begins: 0 when there is none. */
export interface Listed {
  readonly count: number;
  readonly next: number;
}

export class Succession {
  private readonly parts: SuccessionParts;

  constructor(parts: SuccessionParts) {
    this.parts = parts;
  }

  /** The thread is gone, at whatever instruction: in a hypercall, asleep, between taking an event and acting on it. */
  vacate(vcpu: Vcpu): void {
    const { continuations, timers } = this.parts;
    continuations.drop(vcpu);
    if (vcpu.pollTimer) timers.stop(vcpu.pollTimer);
    vcpu.vacate();
    for (const pair of vcpu.domain.doorbells.values()) pair.clearSleeping(vcpu);
  }

  /** Another thread has the link. */
  taken(vcpu: Vcpu): void {
    const { life, events } = this.parts;
    life.linked(vcpu);
    const { domain } = vcpu;
    for (let port = 1; port < domain.ports.used; port++) {
      const here = domain.ports.opened(port);
      if (here?.owner !== vcpu.id) continue;
      // The one before may have taken an event and not acted on it: one too many does no harm.
      if (here.state === EVTCHNSTAT_interdomain || here.state === EVTCHNSTAT_virq) events.raiseAgain(domain, port);
      // ... or have made one pending at the other end, and died before it told of it.
      if (here.local) events.raiseAgain(domain, here.remotePort);
    }
  }

  /** XENOLITHOP_inherited: write up to `room` entries of the ports of vCPU `of` from `from` on to `list`. */
  ports(caller: Vcpu, of: number, from: number, list: number, room: number): Listed {
    const { ports, memory } = caller.domain;
    const { at, size } = xenolith_port;
    let count = 0;
    for (let port = Math.max(1, from); port < ports.used; port++) {
      const here = ports.opened(port);
      if (here?.owner !== of) continue;
      if (count === room) return { count, next: port };
      const entry = list + size * count++;
      memory.view.setUint32(entry + at.port, port, true);
      memory.view.setUint16(entry + at.status, here.state, true);
      memory.view.setUint16(entry + at.remote_domid, here.remoteDomid, true);
      memory.view.setUint32(entry + at.remote_port, here.state === EVTCHNSTAT_interdomain ? here.remotePort : 0, true);
      memory.view.setUint32(entry + at.virq, here.state === EVTCHNSTAT_virq ? here.virq : 0, true);
    }
    return { count, next: 0 };
  }

  /** The same of its mappings. The pools they lie in are sent to the caller. */
  mappings(caller: Vcpu, of: number, from: number, list: number, room: number): Listed {
    const { grants, memory } = caller.domain;
    const { at, size } = xenolith_mapping;
    let count = 0;
    for (let handle = from; handle < grants.handleEnd; handle++) {
      const granter = grants.granterOf(handle);
      if (granter === undefined || grants.vcpuOf(handle) !== of) continue;
      if (count === room) return { count, next: handle };
      const ref = grants.refOf(handle);
      this.parts.pools.send(granter.grants.poolOf(ref)!, caller);
      const entry = list + size * count++;
      memory.view.setUint32(entry + at.handle, handle, true);
      memory.view.setUint32(entry + at.ref, ref, true);
      memory.view.setUint16(entry + at.domid, granter.domid, true);
      memory.view.setUint16(entry + at.flags, grants.kindOf(handle), true);
      memory.view.setUint32(entry + at.pad, 0, true);
      setU64(memory.view, entry + at.place, placeOf(granter, ref));
    }
    return { count, next: 0 };
  }

  /** XENOLITHOP_successor: 0 or -errno. */
  prepare(caller: Vcpu): number {
    return this.parts.processes.prepareSuccessor(caller);
  }
  /** XENOLITHOP_successor_waits */
  waits(caller: Vcpu): number {
    return this.parts.processes.successorWaits(caller) ? 1 : 0;
  }
  /** XENOLITHOP_strike: 0 or -errno. */
  strike(vcpu: Vcpu, stopMs: number): number {
    return this.parts.processes.strike(vcpu, stopMs);
  }
  /** XENOLITHOP_exhaust: 0 or -errno. */
  exhaust(vcpu: Vcpu | undefined, what: number, left: number): number {
    return this.parts.processes.exhaust(vcpu, what, left);
  }
  /** XENOLITHOP_replacement */
  replacement(number: number): Replacement | undefined {
    return this.parts.processes.replacement(number);
  }
  /** XENOLITHOP_handover: 0, and nobody is there to hear it, or -errno. */
  handOver(caller: Vcpu): number {
    return this.parts.processes.handOver(caller);
  }
}

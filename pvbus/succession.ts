// How a vCPU of a domain that outlives its processes goes from one to another: what the next one finds, and how the present
// one has a next one started and gives way to it.
import { EVTCHNSTAT_interdomain, EVTCHNSTAT_ipi, EVTCHNSTAT_unbound, EVTCHNSTAT_virq } from './abi/event_channel.ts';
import {
  __HYPERVISOR_xenolith_op,
  XENOLITH_INHERITED_MAX,
  XENOLITH_INHERITED_mappings,
  XENOLITH_INHERITED_ports,
  XENOLITHOP_handover,
  XENOLITHOP_inherited,
  XENOLITHOP_successor,
  XENOLITHOP_successor_waits,
  xenolith_inherited,
  xenolith_mapping,
  xenolith_port,
} from './abi/xenolith.ts';
import { type Domid, domid, type EvtchnPort, type Gref, gref, port } from './brands.ts';
import { errnoName, XenError } from './errors.ts';
import { getU64, type Struct, setU64 } from './struct.ts';
import type { Vcpu } from './vcpu.ts';

/** An open port. `EventChannels.on` hears it, `close` closes it, as if this process had made it. */
export type InheritedPort = { readonly port: EvtchnPort } & (
  | { readonly kind: 'unbound'; readonly remote: Domid }
  | { readonly kind: 'interdomain'; readonly remote: Domid; readonly remotePort: EvtchnPort }
  | { readonly kind: 'virq'; readonly virq: number }
  | { readonly kind: 'ipi' }
);
/** A grant that is mapped: `GrantTable.adopt` gives the mapping. */
export interface InheritedMapping {
  readonly granter: Domid;
  readonly ref: Gref;
  readonly handle: number;
  /** Pool id * POOL_SPAN + byte offset. */
  readonly place: number;
}
export interface Inheritance {
  readonly ports: readonly InheritedPort[];
  readonly mappings: readonly InheritedMapping[];
}

/**
 * What this vCPU, or vCPU `of` of its domain, has, whoever made it: in a new process, what those before it have left. Only
 * in domains that outlive their processes.
 */
export function inherited(vcpu: Vcpu, of = vcpu.id): Inheritance {
  return {
    ports: listed(vcpu, of, XENOLITH_INHERITED_ports, xenolith_port, portAt),
    mappings: listed(vcpu, of, XENOLITH_INHERITED_mappings, xenolith_mapping, mappingAt),
  };
}

/**
 * Let go of what those before this process have left to this vCPU, but for the ports `keep`: its peers find the other
 * ends of their channels and grants as if these had been closed and unmapped by whoever had them.
 */
export function dropInherited(vcpu: Vcpu, keep: readonly EvtchnPort[] = []): void {
  letGo(vcpu, inherited(vcpu), keep);
}
/** The same for other vCPUs of the domain, whose threads this process starts when they are needed, if ever. */
export function dropInheritedOf(vcpu: Vcpu, others: readonly number[]): void {
  for (const other of others) letGo(vcpu, inherited(vcpu, other), []);
}
function letGo(vcpu: Vcpu, { ports, mappings }: Inheritance, keep: readonly EvtchnPort[]): void {
  // order: no event after the unmap, as with any device.
  for (const { port: left } of ports) if (!keep.includes(left)) vcpu.events.close(left);
  vcpu.grants.unmap(mappings.map(mapping => vcpu.grants.adopt(mapping)));
}

function listed<T>(vcpu: Vcpu, of: number, what: number, entry: Struct, read: (view: DataView, at: number) => T): T[] {
  const { scratch } = vcpu;
  const { view } = scratch;
  const { at: field, size } = xenolith_inherited;
  const found: T[] = [];
  let from = 0;
  do {
    const at = scratch.reset().alloc(size);
    const list = scratch.alloc(entry.size * XENOLITH_INHERITED_MAX);
    view.setUint32(at + field.what, what, true);
    view.setUint32(at + field.from, from, true);
    view.setUint32(at + field.nr, XENOLITH_INHERITED_MAX, true);
    view.setUint32(at + field.vcpu, of, true);
    setU64(view, at + field.list, list);
    operate(vcpu, XENOLITHOP_inherited, 'what it has', at);
    const count = view.getUint32(at + field.nr, true);
    for (let i = 0; i < count; i++) found.push(read(view, list + i * entry.size));
    from = view.getUint32(at + field.from, true);
  } while (from !== 0);
  return found;
}

function portAt(view: DataView, at: number): InheritedPort {
  const field = xenolith_port.at;
  const number = port(view.getUint32(at + field.port, true));
  const remote = domid(view.getUint16(at + field.remote_domid, true));
  const status = view.getUint16(at + field.status, true);
  switch (status) {
    case EVTCHNSTAT_unbound:
      return { port: number, kind: 'unbound', remote };
    case EVTCHNSTAT_interdomain:
      return {
        port: number,
        kind: 'interdomain',
        remote,
        remotePort: port(view.getUint32(at + field.remote_port, true)),
      };
    case EVTCHNSTAT_virq:
      return { port: number, kind: 'virq', virq: view.getUint32(at + field.virq, true) };
    case EVTCHNSTAT_ipi:
      return { port: number, kind: 'ipi' };
    default:
      throw new Error(`port ${number} is in a state that is not known here: ${status}`);
  }
}
function mappingAt(view: DataView, at: number): InheritedMapping {
  const field = xenolith_mapping.at;
  return {
    granter: domid(view.getUint16(at + field.domid, true)),
    ref: gref(view.getUint32(at + field.ref, true)),
    handle: view.getUint32(at + field.handle, true),
    place: getU64(view, at + field.place),
  };
}

/**
 * Have a process of this one's program started that may take over: with `--take-over`, and its vCPUs' sockets,
 * on which it waits. Throws EOPNOTSUPP when this process cannot be replaced, EBUSY when one waits already.
 */
export function requestSuccessor(vcpu: Vcpu): void {
  operate(vcpu, XENOLITHOP_successor, 'a successor');
}
/** Is it still there? When it ends, a sleep of this vCPU does. */
export const successorWaits = (vcpu: Vcpu): boolean =>
  operate(vcpu, XENOLITHOP_successor_waits, 'whether a successor waits') > 0;
/** The last act of this process: the one that waits goes on as its vCPUs. Throws ENOENT when none waits any more. */
export function handOver(vcpu: Vcpu): never {
  operate(vcpu, XENOLITHOP_handover, 'handover');
  throw new Error('the hypervisor has ended this process');
}

function operate(vcpu: Vcpu, cmd: number, what: string, arg = 0): number {
  const rc = vcpu.hypercall(__HYPERVISOR_xenolith_op, cmd, arg);
  if (rc < 0) throw new XenError(errnoName(-rc), `dom${vcpu.domid} vcpu${vcpu.id}: ${what}`);
  return rc;
}

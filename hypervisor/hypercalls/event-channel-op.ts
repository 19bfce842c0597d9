// event_channel_op(cmd, argument). Xen: public/event_channel.h.
import {
  DOMID_SELF,
  EVTCHN_FIFO_LINK_BITS,
  EVTCHNOP_alloc_unbound,
  EVTCHNOP_bind_interdomain,
  EVTCHNOP_bind_ipi,
  EVTCHNOP_bind_pirq,
  EVTCHNOP_bind_vcpu,
  EVTCHNOP_bind_virq,
  EVTCHNOP_close,
  EVTCHNOP_expand_array,
  EVTCHNOP_init_control,
  EVTCHNOP_reset,
  EVTCHNOP_send,
  EVTCHNOP_set_priority,
  EVTCHNOP_status,
  EVTCHNOP_unmask,
  EVTCHNSTAT_closed,
  EVTCHNSTAT_interdomain,
  EVTCHNSTAT_unbound,
  EVTCHNSTAT_virq,
  evtchn_alloc_unbound,
  evtchn_bind_interdomain,
  evtchn_bind_ipi,
  evtchn_bind_pirq,
  evtchn_bind_vcpu,
  evtchn_bind_virq,
  evtchn_close,
  evtchn_expand_array,
  evtchn_init_control,
  evtchn_reset,
  evtchn_send,
  evtchn_set_priority,
  evtchn_status,
  evtchn_status_interdomain,
  evtchn_status_u,
  evtchn_unmask,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOSYS,
  XEN_EOPNOTSUPP,
  XEN_EPERM,
  XEN_ESRCH,
} from '#pvbus';
import type { Continuations } from '../continuations.ts';
import type { Result } from '../deferred.ts';
import type { Domain, Vcpu } from '../domain.ts';
import type { DomainTable } from '../domain-table.ts';
import type { EventChannels } from '../event-channels.ts';
import { readU64 } from '../guest-memory.ts';
import { mayCall } from '../privilege.ts';
import { isPerVcpuVirq, type Virqs } from '../virq.ts';

/** Bytes of each operation's argument, by its number. */
const ARGUMENT_SIZE: readonly number[] = (() => {
  const sizes: number[] = [];
  sizes[EVTCHNOP_bind_interdomain] = evtchn_bind_interdomain.size;
  sizes[EVTCHNOP_bind_virq] = evtchn_bind_virq.size;
  sizes[EVTCHNOP_bind_pirq] = evtchn_bind_pirq.size;
  sizes[EVTCHNOP_close] = evtchn_close.size;
  sizes[EVTCHNOP_send] = evtchn_send.size;
  sizes[EVTCHNOP_status] = evtchn_status.size;
  sizes[EVTCHNOP_alloc_unbound] = evtchn_alloc_unbound.size;
  sizes[EVTCHNOP_bind_ipi] = evtchn_bind_ipi.size;
  sizes[EVTCHNOP_bind_vcpu] = evtchn_bind_vcpu.size;
  sizes[EVTCHNOP_unmask] = evtchn_unmask.size;
  sizes[EVTCHNOP_reset] = evtchn_reset.size;
  sizes[EVTCHNOP_init_control] = evtchn_init_control.size;
  sizes[EVTCHNOP_expand_array] = evtchn_expand_array.size;
  sizes[EVTCHNOP_set_priority] = evtchn_set_priority.size;
  return sizes;
})();

export class EventChannelOp {
  private readonly domains: DomainTable;
  private readonly events: EventChannels;
  private readonly virqs: Virqs;
  private readonly continuations: Continuations;

  constructor(domains: DomainTable, events: EventChannels, virqs: Virqs, continuations: Continuations) {
    this.domains = domains;
    this.events = events;
    this.virqs = virqs;
    this.continuations = continuations;
  }

  call(caller: Vcpu, cmd: number, arg: number): Result {
    const { domain } = caller;
    const size = ARGUMENT_SIZE[cmd];
    if (size === undefined) return -XEN_ENOSYS;
    if (!domain.physmap.reachable(arg, size)) return -XEN_EFAULT;
    const { view } = domain.memory;
    switch (cmd) {
      case EVTCHNOP_send:
        return this.events.send(caller, view.getUint32(arg + evtchn_send.at.port, true));
      case EVTCHNOP_alloc_unbound:
        return this.allocUnbound(caller, view, arg);
      case EVTCHNOP_bind_interdomain:
        return this.bindInterdomain(caller, view, arg);
      case EVTCHNOP_bind_virq: {
        const virq = view.getUint32(arg + evtchn_bind_virq.at.virq, true);
        const vcpu = view.getUint32(arg + evtchn_bind_virq.at.vcpu, true);
        return giveBack(caller, arg + evtchn_bind_virq.at.port, this.virqs.bind(domain, virq, vcpu));
      }
      case EVTCHNOP_bind_ipi: {
        const vcpu = view.getUint32(arg + evtchn_bind_ipi.at.vcpu, true);
        return giveBack(caller, arg + evtchn_bind_ipi.at.port, this.events.bindIpi(domain, vcpu));
      }
      case EVTCHNOP_bind_pirq:
        return -XEN_EOPNOTSUPP; // there is no physical interrupt a domain could have
      case EVTCHNOP_close:
        return this.events.close(domain, view.getUint32(arg + evtchn_close.at.port, true));
      case EVTCHNOP_status:
        return this.status(domain, view, arg);
      case EVTCHNOP_bind_vcpu: {
        const port = view.getUint32(arg + evtchn_bind_vcpu.at.port, true);
        const vcpu = view.getUint32(arg + evtchn_bind_vcpu.at.vcpu, true);
        return this.events.bindVcpu(domain, port, vcpu, isPerVcpuVirq);
      }
      case EVTCHNOP_unmask:
        return this.events.unmask(domain, view.getUint32(arg + evtchn_unmask.at.port, true));
      case EVTCHNOP_reset:
        return this.reset(caller, view, arg);
      case EVTCHNOP_init_control:
        return this.initControl(domain, view, arg);
      case EVTCHNOP_expand_array:
        return this.events.expandArray(domain, readU64(view, arg + evtchn_expand_array.at.array_gfn));
      case EVTCHNOP_set_priority: {
        const port = view.getUint32(arg + evtchn_set_priority.at.port, true);
        const priority = view.getUint32(arg + evtchn_set_priority.at.priority, true);
        return this.events.setPriority(domain, port, priority);
      }
      default:
        return -XEN_ENOSYS;
    }
  }

  private allocUnbound(vcpu: Vcpu, view: DataView, arg: number): number {
    const { at } = evtchn_alloc_unbound;
    const caller = vcpu.domain;
    const remoteDomid = view.getUint16(arg + at.remote_dom, true);
    const domain = this.domains.any(caller, view.getUint16(arg + at.dom, true));
    if (domain === undefined) return -XEN_ESRCH;
    if (!mayCall('evtchn_unbound', caller, domain)) return -XEN_EPERM;
    const port = this.events.allocUnbound(domain, remoteDomid === DOMID_SELF ? caller.domid : remoteDomid);
    if (domain === caller) return giveBack(vcpu, arg + at.port, port);
    if (port < 0) return port;
    view.setUint32(arg + at.port, port, true);
    return 0;
  }

  private bindInterdomain(caller: Vcpu, view: DataView, arg: number): number {
    const { at } = evtchn_bind_interdomain;
    const remotePort = view.getUint32(arg + at.remote_port, true);
    const remote = this.domains.any(caller.domain, view.getUint16(arg + at.remote_dom, true));
    if (remote === undefined) return -XEN_ESRCH;
    return giveBack(caller, arg + at.local_port, this.events.bindInterdomain(caller, remote, remotePort));
  }

  private status(caller: Domain, view: DataView, arg: number): number {
    const { at } = evtchn_status;
    const port = view.getUint32(arg + at.port, true);
    const domain = this.domains.any(caller, view.getUint16(arg + at.dom, true));
    if (domain === undefined) return -XEN_ESRCH;
    if (!mayCall('evtchn_status', caller, domain)) return -XEN_EPERM;
    if (!domain.ports.valid(port)) return -XEN_EINVAL;
    const entry = domain.ports.opened(port);
    const state = entry?.state ?? EVTCHNSTAT_closed;
    const u = arg + at.u;
    if (entry !== undefined && state === EVTCHNSTAT_unbound) {
      view.setUint16(u + evtchn_status_u.at.unbound, entry.remoteDomid, true);
    } else if (entry !== undefined && state === EVTCHNSTAT_interdomain) {
      view.setUint16(u + evtchn_status_interdomain.at.dom, entry.remoteDomid, true);
      view.setUint32(u + evtchn_status_interdomain.at.port, entry.remotePort, true);
    } else if (entry !== undefined && state === EVTCHNSTAT_virq) {
      view.setUint32(u + evtchn_status_u.at.virq, entry.virq, true);
    }
    view.setUint32(arg + at.vcpu, entry?.notify_vcpu ?? 0, true);
    view.setUint32(arg + at.status, state, true);
    return 0;
  }

  private initControl(domain: Domain, view: DataView, arg: number): number {
    const { at } = evtchn_init_control;
    const vcpu = view.getUint32(arg + at.vcpu, true);
    const offset = view.getUint32(arg + at.offset, true);
    const rc = this.events.initControl(domain, vcpu, readU64(view, arg + at.control_gfn), offset);
    if (rc === 0) view.setUint8(arg + at.link_bits, EVTCHN_FIFO_LINK_BITS);
    return rc;
  }

  private reset(vcpu: Vcpu, view: DataView, arg: number): Result {
    const caller = vcpu.domain;
    const domain = this.domains.any(caller, view.getUint16(arg + evtchn_reset.at.dom, true));
    if (domain === undefined) return -XEN_ESRCH;
    if (!mayCall('evtchn_reset', caller, domain)) return -XEN_EPERM;
    // Xen: another domain must stand still, or its ports would change under the reset.
    if (domain !== caller && !domain.isPaused) return -XEN_EINVAL;
    const rc = this.events.beginReset(domain, vcpu);
    return rc < 0 ? rc : this.goOnResetting(vcpu, domain);
  }
  private goOnResetting(vcpu: Vcpu, domain: Domain): Result {
    const rc = this.events.continueReset(domain);
    return rc ?? this.continuations.later(vcpu, () => this.goOnResetting(vcpu, domain));
  }
}

/** A new port of the caller goes into the argument; the call itself returns 0 or -errno. */
function giveBack({ domain, id }: Vcpu, at: number, port: number): number {
  if (port < 0) return port;
  domain.ports.at(port).owner = id;
  domain.memory.view.setUint32(at, port, true);
  return 0;
}

// Virtual interrupts: which kind each is, who handles the global ones, and raising them.
import {
  NR_VIRQS,
  VIRQ_ARGO,
  VIRQ_DEBUG,
  VIRQ_TIMER,
  VIRQ_XENOPROF,
  VIRQ_XENPMU,
  XEN_EBUSY,
  XEN_EINVAL,
  XEN_ENOENT,
} from '#pvbus';
import type { Domain, Vcpu } from './domain.ts';
import type { EventChannels } from './event-channels.ts';

type Scope = 'vcpu' | 'domain' | 'global';

function scopeOf(virq: number): Scope {
  switch (virq) {
    case VIRQ_TIMER:
    case VIRQ_DEBUG:
    case VIRQ_XENOPROF:
    case VIRQ_XENPMU:
      return 'vcpu';
    case VIRQ_ARGO:
      return 'domain';
    default:
      return 'global';
  }
}
export const isPerVcpuVirq = (virq: number): boolean => scopeOf(virq) === 'vcpu';

export class Virqs {
  private readonly events: EventChannels;
  private readonly handlers: (Domain | undefined)[] = new Array<Domain | undefined>(NR_VIRQS).fill(undefined);
  /** The hardware domain handles what nobody else was named for. */
  hardwareDomain: Domain | undefined;

  constructor(events: EventChannels) {
    this.events = events;
  }

  private handler(virq: number): Domain | undefined {
    return this.handlers[virq] ?? this.hardwareDomain;
  }

  /** EVTCHNOP_bind_virq: the port, or -errno. */
  bind(domain: Domain, virq: number, vcpuId: number): number {
    if (virq >= NR_VIRQS) return -XEN_EINVAL;
    const scope = scopeOf(virq);
    if (scope !== 'vcpu' && vcpuId !== 0) return -XEN_EINVAL;
    const vcpu = domain.vcpu(vcpuId);
    if (vcpu === undefined) return -XEN_ENOENT;
    // Only its handler may take a global one: a binding elsewhere would never hear anything.
    if (scope === 'global' && this.handler(virq) !== domain) return -XEN_EBUSY;
    return this.events.bindVirq(domain, virq, vcpu);
  }

  /** XEN_DOMCTL_set_virq_handler */
  setHandler(domain: Domain, virq: number): number {
    if (virq >= NR_VIRQS || scopeOf(virq) !== 'global' || domain.dying) return -XEN_EINVAL;
    const now = this.handler(virq);
    if (now === domain) return 0;
    if (now !== undefined && now.vcpus[0]!.virqToPort[virq] !== 0) return -XEN_EBUSY;
    this.handlers[virq] = domain;
    return 0;
  }
  /** The domain is dying: its virqs go back to the hardware domain. */
  clearHandler(domain: Domain): void {
    this.handlers.forEach((handler, virq) => {
      if (handler === domain) this.handlers[virq] = undefined;
    });
  }

  raiseVcpu(vcpu: Vcpu, virq: number): void {
    const port = vcpu.virqToPort[virq]!;
    if (port !== 0) this.events.raise(vcpu.domain, port);
  }
  raiseGlobal(virq: number): void {
    const domain = this.handler(virq);
    if (domain !== undefined) this.raiseVcpu(domain.vcpus[0]!, virq);
  }
}

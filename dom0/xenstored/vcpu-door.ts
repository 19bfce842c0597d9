// The hypervisor through a vCPU of dom0.
import {
  __HYPERVISOR_domctl,
  type Domid,
  type EvtchnPort,
  errnoName,
  type Gfn,
  GNTTAB_RESERVED_XENSTORE,
  type GrantMapping,
  gntstName,
  type InheritedMapping,
  type InheritedPort,
  inherited,
  type Page,
  type Vcpu,
  VIRQ_DOM_EXC,
  XEN_DOMCTL_getdomaininfo,
  XEN_DOMCTL_INTERFACE_VERSION,
  XEN_DOMINF_dying,
  XEN_DOMINF_shutdown,
  XEN_DOMINF_shutdownmask,
  XEN_DOMINF_shutdownshift,
  XenDomctl,
  XenDomctlGetdomaininfo,
  XenError,
  xen_domctl,
} from '#pvbus';
import type { DomainDoor, DomainInfo } from './domains.ts';

export class VcpuDoor implements DomainDoor {
  readonly #vcpu: Vcpu;
  readonly #pages = new Map<Domid, GrantMapping>();
  /** What the daemon before this one had, and this one has not taken up. */
  #leftPorts: readonly InheritedPort[];
  #leftPages: readonly InheritedMapping[];

  constructor(vcpu: Vcpu) {
    this.#vcpu = vcpu;
    const { ports, mappings } = inherited(vcpu);
    this.#leftPorts = ports;
    this.#leftPages = mappings;
  }

  mapStorePage(domid: Domid, gfn: Gfn): Page {
    if (domid === this.#vcpu.domid) return this.#ownPage(gfn);
    const mapping = this.#takeUpPage(domid) ?? this.#vcpu.grants.tryMap(domid, GNTTAB_RESERVED_XENSTORE);
    if (typeof mapping === 'number') {
      throw new XenError('EINVAL', `dom${domid} grants no xenstore page: ${gntstName(mapping)}`);
    }
    this.#pages.set(domid, mapping);
    return mapping.page;
  }

  /** This domain's memory is here already. */
  #ownPage(gfn: Gfn): Page {
    if (gfn >= this.#vcpu.layout.maxPages) throw new XenError('EINVAL', `frame ${gfn} is none of dom0's memory`);
    return this.#vcpu.memory.page(gfn);
  }

  unmapStorePage(domid: Domid): void {
    const mapping = this.#pages.get(domid);
    if (!mapping) return;
    this.#pages.delete(domid);
    this.#vcpu.grants.unmap([mapping]);
  }

  bind(domid: Domid, remotePort: EvtchnPort): EvtchnPort {
    // A daemon that dies between this and its record of it leaves the port bound.
    const joined = (left: InheritedPort): boolean =>
      left.kind === 'interdomain' && left.remote === domid && left.remotePort === remotePort;
    return this.#takeUpPort(joined) ?? this.#vcpu.events.bindInterdomain(domid, remotePort);
  }

  unbind(port: EvtchnPort): void {
    this.#vcpu.events.close(port);
  }

  notify(port: EvtchnPort): void {
    this.#vcpu.events.notify(port);
  }

  onEvent(port: EvtchnPort, cb: () => void): void {
    this.#vcpu.events.on(port, cb);
  }

  domainInfo(domid: Domid): DomainInfo | undefined {
    const { scratch } = this.#vcpu;
    const at = scratch.reset().alloc(xen_domctl.size);
    const call = new XenDomctl(scratch.view, at);
    call.cmd = XEN_DOMCTL_getdomaininfo;
    call.interface_version = XEN_DOMCTL_INTERFACE_VERSION;
    call.domain = domid;
    const rc = this.#vcpu.hypercall(__HYPERVISOR_domctl, at);
    if (rc < 0) {
      if (errnoName(rc) === 'ESRCH') return undefined;
      throw new XenError(errnoName(rc), `getdomaininfo of dom${domid}`);
    }
    const { flags, domain } = new XenDomctlGetdomaininfo(scratch.view, at + xen_domctl.at.u);
    if (domain !== domid) return undefined; // Xen: of a domid that is free, the next one may be described
    return {
      dying: (flags & XEN_DOMINF_dying) !== 0,
      shutdown: (flags & XEN_DOMINF_shutdown) !== 0,
      shutdownReason: (flags >>> XEN_DOMINF_shutdownshift) & XEN_DOMINF_shutdownmask,
    };
  }

  adopt(domid: Domid, gfn: Gfn, local: EvtchnPort): Page | undefined {
    // Unbound: the domain has closed its end, or has died.
    const joined = ({ port, ...left }: InheritedPort): boolean =>
      port === local && (left.kind === 'interdomain' || left.kind === 'unbound') && left.remote === domid;
    if (!this.#leftPorts.some(joined)) return undefined;
    const page = domid === this.#vcpu.domid ? this.#ownPage(gfn) : this.#takeUpPage(domid)?.page;
    if (page) this.#takeUpPort(joined);
    return page;
  }

  dropUnadopted(): void {
    const { events, grants } = this.#vcpu;
    for (const { port } of this.#leftPorts) events.close(port);
    grants.unmap(this.#leftPages.map(left => grants.adopt(left)));
    this.#leftPorts = [];
    this.#leftPages = [];
  }

  #takeUpPort(which: (left: InheritedPort) => boolean): EvtchnPort | undefined {
    const found = this.#leftPorts.find(which);
    this.#leftPorts = this.#leftPorts.filter(left => left !== found);
    return found?.port;
  }
  #takeUpPage(domid: Domid): GrantMapping | undefined {
    const found = this.#leftPages.find(({ granter, ref }) => granter === domid && ref === GNTTAB_RESERVED_XENSTORE);
    if (!found) return undefined;
    this.#leftPages = this.#leftPages.filter(left => left !== found);
    const mapping = this.#vcpu.grants.adopt(found);
    this.#pages.set(domid, mapping);
    return mapping;
  }

  onDomExc(cb: () => void): void {
    const { events } = this.#vcpu;
    const bound = this.#takeUpPort(left => left.kind === 'virq' && left.virq === VIRQ_DOM_EXC);
    // Xen: a global VIRQ is bound on vCPU 0; `on` then steers it to this one.
    events.on(bound ?? events.bindVirq(VIRQ_DOM_EXC, 0), cb);
  }
}

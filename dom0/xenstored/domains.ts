// What the daemon needs of the hypervisor, and what it keeps of a domain it was introduced to.
import type { Domid, EvtchnPort, Gfn, Page } from '#pvbus';
import type { Connection } from './connection.ts';
import type { DomainRing } from './domain-ring.ts';

export interface DomainInfo {
  readonly dying: boolean;
  readonly shutdown: boolean;
  /** SHUTDOWN_*, when `shutdown`. */
  readonly shutdownReason: number;
}

/** The hypervisor as xenstored sees it. Calls that can be refused throw a XenError. */
export interface DomainDoor {
  /** The domain's xenstore page: of a guest the one granted with its reserved entry, of dom0 its own `gfn`. */
  mapStorePage(domid: Domid, gfn: Gfn): Page;
  unmapStorePage(domid: Domid): void;
  /** A local port joined to the one the domain's builder allocated for xenstored. */
  bind(domid: Domid, remotePort: EvtchnPort): EvtchnPort;
  unbind(port: EvtchnPort): void;
  notify(port: EvtchnPort): void;
  onEvent(port: EvtchnPort, cb: () => void): void;
  /** Undefined: there is no such domain. */
  domainInfo(domid: Domid): DomainInfo | undefined;
  /** The page of a domain that the daemon before this one had joined to its port `local`; undefined: it is lost. */
  adopt(domid: Domid, gfn: Gfn, local: EvtchnPort): Page | undefined;
  /** Let go of all that the daemon before this one had and this one has not adopted. */
  dropUnadopted(): void;
  /** VIRQ_DOM_EXC: some domain has shut down or died. */
  onDomExc(cb: () => void): void;
}

/** A domain that was introduced and not yet released. */
export interface Domain {
  readonly domid: Domid;
  /** As the toolstack named it; the page itself is mapped by its grant. */
  readonly gfn: Gfn;
  readonly port: EvtchnPort;
  readonly connection: Connection;
  readonly ring: DomainRing;
  /** Its ring is to have a turn. */
  readonly wake: () => void;
  /** Its shutdown was announced already. */
  shutdown: boolean;
}

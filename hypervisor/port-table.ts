// The ports of one domain: the state of each, and which are free.
import { EVTCHN_2L_NR_CHANNELS, EVTCHN_FIFO_PRIORITY_DEFAULT, EVTCHNSTAT_closed } from '#pvbus';
import type { Domain, Vcpu } from './domain.ts';
import type { DoorbellPair } from './doorbell-pages.ts';

/** One port of one domain. Which fields mean something depends on `state` (EVTCHNSTAT_*). */
export class Port {
  state = EVTCHNSTAT_closed;
  /** The vCPU that hears it. */
  notify_vcpu = 0;
  /** The vCPU whose thread has it: that made it, or that it was bound to last. */
  owner = 0;
  /** unbound: who may bind to it. interdomain: the other end's domain. */
  remoteDomid = 0;
  /** interdomain */
  remote: Domain | undefined;
  remotePort = 0;
  virq = 0;
  /** interdomain, notified without the hypervisor: the page, and the slot in it. */
  pair: DoorbellPair | undefined;
  slot = 0;
  /** interdomain, both ends in one domain, whose own code notifies. */
  local = false;
  /** Counts bindings, so that the domain's own code sees that this is another one. */
  generation = 0;
  /** What the peer's slot counted when this generation began. */
  base = 0;
  /** FIFO: EVTCHN_FIFO_PRIORITY_*, the queue it was put into last, and "pending" while it has no event word. */
  priority = EVTCHN_FIFO_PRIORITY_DEFAULT;
  queue = 0;
  pendingSaved = false;
}

/** Ports that linger are looked at so many at a time. */
const LOOK_AGAIN = 64;

/** All ports of one domain. Port 0 is reserved for ever. */
export class PortTable {
  private readonly ports: Port[] = [new Port()];
  private readonly highestPort: number;
  /** Numbers to give out, as bits; none below `firstWord`. */
  private free = new Uint32Array(0);
  private firstWord = 0;
  /** Closed ports that were in a queue of the guest's when they were to be given out. */
  private lingering: number[] = [];
  private nr = 0;
  /** Ports that are not closed. */
  open = 0;
  /** An EVTCHNOP_reset that is not finished: whose, and the port it goes on at. */
  resetting: { readonly by: Vcpu; readonly incarnation: number; next: number } | undefined;

  constructor(highestPort: number) {
    this.highestPort = highestPort;
    this.resize(EVTCHN_2L_NR_CHANNELS);
  }
  /** Ports have numbers below `nr` from here on; none above is open. */
  resize(nr: number): void {
    this.nr = nr;
    this.free = new Uint32Array(nr / 32);
    this.firstWord = 0;
    this.lingering = [];
    const end = Math.min(nr, this.highestPort + 1);
    for (let port = 1; port < end; port++) if (this.opened(port) === undefined) this.setFree(port);
  }
  private setFree(port: number): void {
    this.free[port >>> 5]! |= 1 << (port & 31);
    this.firstWord = Math.min(this.firstWord, port >>> 5);
  }
  private clearFree(port: number): void {
    this.free[port >>> 5]! &= ~(1 << (port & 31));
  }

  /** One past the highest port ever used. */
  get used(): number {
    return this.ports.length;
  }
  /** A port in any state but closed and reserved. */
  opened(port: number): Port | undefined {
    const entry = this.ports[port];
    return entry !== undefined && entry.state !== EVTCHNSTAT_closed ? entry : undefined;
  }
  /** Could this number be a port of the ABI in force? */
  valid(port: number): boolean {
    return port >= 0 && port < this.nr;
  }
  /** The lowest free port, still closed; 0 when there is none. Those that linger are not free. */
  lowestFree(lingers: (port: number) => boolean = () => false): number {
    // A guest that leaves ports in its queues is not to make each search longer: they are looked at in turn.
    for (let i = Math.min(LOOK_AGAIN, this.lingering.length); i > 0; i--) {
      const port = this.lingering.shift()!;
      if (lingers(port)) this.lingering.push(port);
      else this.setFree(port);
    }
    for (; this.firstWord < this.free.length; this.firstWord++) {
      for (let bits = this.free[this.firstWord]!; bits !== 0; bits &= bits - 1) {
        const port = this.firstWord * 32 + 31 - Math.clz32(bits & -bits);
        if (!lingers(port)) return this.made(port);
        this.clearFree(port);
        this.lingering.push(port);
      }
    }
    return 0;
  }
  private made(port: number): number {
    while (port >= this.ports.length) this.ports.push(new Port());
    return port;
  }
  at(port: number): Port {
    return this.ports[port]!;
  }
  openedOne(port: number): void {
    this.open++;
    this.clearFree(port);
  }
  closedOne(port: number): void {
    this.open--;
    if (port <= this.highestPort && port < this.nr) this.setFree(port);
  }
}

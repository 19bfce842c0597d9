// A connection to a name (RFC 8305): to whichever of its addresses answers first, of both families in turn, without
// waiting for one that is silent.
import { type Clock, XenError } from '#pvbus';
import type { NameLookup } from '../net/dns/resolver.ts';
import { IpAddress } from '../net/ip-address.ts';
import type { Network } from '../net/network.ts';
import type { TcpConnection } from '../net/tcp/connection.ts';
import type { Timers } from '../timers.ts';
import type { WaitQueue } from '../wait-queue.ts';

/** After this, the next address is tried as well. */
const ATTEMPT_NS = 250e6;
/** How long addresses of the family that goes first are waited for, when the others are known. */
const RESOLUTION_NS = 50e6;

interface Family {
  readonly lookup: NameLookup;
  /** Those that have not been tried; undefined while they are looked up. */
  addresses: IpAddress[] | undefined;
}

export interface NamedConnectionParts {
  readonly net: Network;
  readonly clock: Clock;
  readonly timers: Timers;
}

export class NamedConnection {
  private readonly net: Network;
  private readonly clock: Clock;
  private readonly timers: Timers;
  private readonly port: number;
  /** The one that is tried next, first. */
  private families: Family[];
  private readonly attempts = new Set<TcpConnection>();
  /** When the next address may be tried beside those that have not answered. */
  private nextNs = 0;
  private failure: unknown;

  constructor({ net, clock, timers }: NamedConnectionParts, name: string, port: number) {
    this.net = net;
    this.clock = clock;
    this.timers = timers;
    this.port = port;
    const literal = IpAddress.parse(name);
    const wanted = literal === undefined ? net.families : ([literal.isV4 ? 4 : 6] as const);
    this.families = wanted.map(family => ({ lookup: net.dns.lookup(name, family), addresses: undefined }));
  }

  /** Rejects with what the last attempt ended of, when none is left. */
  async open(): Promise<TcpConnection> {
    for (;;) {
      const now = this.clock.now();
      this.hear(now);
      const open = [...this.attempts].find(attempt => !attempt.isOpening && attempt.error === undefined);
      if (open !== undefined) {
        for (const other of this.attempts) if (other !== open) drop(other);
        return open;
      }
      if (this.tryNext(now)) continue;
      if (this.attempts.size === 0 && this.families.length === 0) throw this.failure;
      await this.changed();
    }
  }

  /** What lookups and attempts have come to. */
  private hear(now: number): void {
    for (const family of this.families) {
      if (family.addresses !== undefined) continue;
      try {
        const found = family.lookup.addresses();
        if (found === undefined) continue;
        family.addresses = [...found];
        // Only what is waited for now is waited for longer.
        if (this.attempts.size === 0) this.nextNs = Math.max(this.nextNs, now + RESOLUTION_NS);
      } catch (error) {
        family.addresses = [];
        this.failure ??= error;
      }
    }
    for (const attempt of this.attempts) {
      if (attempt.error === undefined) continue;
      this.failure = attempt.error;
      this.attempts.delete(attempt);
      attempt.close();
      this.nextNs = now;
    }
    this.families = this.families.filter(({ addresses }) => addresses === undefined || addresses.length > 0);
  }
  private tryNext(now: number): boolean {
    const [first] = this.families;
    const waits = this.attempts.size > 0 || first?.addresses === undefined;
    if (waits && now < this.nextNs) return false;
    const family = this.families.find(({ addresses }) => addresses !== undefined);
    const address = family?.addresses?.shift();
    if (family === undefined || address === undefined) return false;
    this.families = [...this.families.filter(each => each !== family), family];
    try {
      this.attempts.add(this.net.tcp.connect(address, this.port));
      this.nextNs = now + ATTEMPT_NS;
    } catch (error) {
      if (!(error instanceof XenError)) throw error;
      this.failure = error;
    }
    return true;
  }
  private async changed(): Promise<void> {
    const queues: WaitQueue[] = [...this.attempts].map(attempt => attempt.changed);
    for (const { lookup, addresses } of this.families) if (addresses === undefined) queues.push(lookup.queue);
    const more = this.families.some(({ addresses }) => addresses !== undefined);
    const leave: (() => void)[] = [];
    await new Promise<void>(wake => {
      if (more) {
        const timer = this.timers.set(this.nextNs, wake);
        leave.push(() => this.timers.cancel(timer));
      }
      for (const queue of queues) leave.push(queue.add(wake));
    });
    for (const each of leave) each();
  }
}

function drop(connection: TcpConnection): void {
  connection.abort();
  connection.close();
}

// Hears of every domain's end: VIRQ_DOM_EXC reaches xenstored, whose @releaseDomain brings us here to
// look at what became of the domains the toolstack made.
import { type Domid, type Log, Reconciler, type XenstoreClient } from '#pvbus';
import type { Xc, XcDomainInfo } from './toolstack/xc.ts';

export interface DomainWatchEvents {
  /** The domain has shut down; it still exists. Told once per domain. */
  shutdown(info: XcDomainInfo): void;
  /** The domain is gone. Told once. */
  gone(domid: Domid): void;
}

const TOKEN = 'domain-watch';

export class DomainWatch {
  readonly #xc: Xc;
  readonly #xs: XenstoreClient;
  readonly #events: DomainWatchEvents;
  readonly #looking: Reconciler;
  /** Watched domains: has its shutdown been told? */
  readonly #known = new Map<Domid, boolean>();

  constructor(xc: Xc, xs: XenstoreClient, log: Log, events: DomainWatchEvents) {
    this.#xc = xc;
    this.#xs = xs;
    this.#events = events;
    this.#looking = new Reconciler(
      async () => this.#look(),
      error => log.error(`looking for domains that ended: ${error instanceof Error ? error.message : error}`),
    );
  }

  async start(): Promise<void> {
    await this.#xs.watch('@releaseDomain', TOKEN, () => this.#looking.poke());
  }
  async stop(): Promise<void> {
    this.#known.clear();
    await this.#xs.unwatch('@releaseDomain', TOKEN);
  }
  /** From now on; what happened to it before is told too. */
  add(domid: Domid): void {
    this.#known.set(domid, false);
    // Not now: whoever adds a domain is about to start it.
    setImmediate(() => this.#looking.poke());
  }
  /** Nothing is told of it any more. */
  remove(domid: Domid): void {
    this.#known.delete(domid);
  }
  /** Look again without having been told, e.g. after a hypercall that ends a domain. */
  poke(): void {
    this.#looking.poke();
  }

  #look(): void {
    const there = new Map(this.#xc.domainInfoList().map(info => [info.domid, info]));
    for (const [domid, told] of [...this.#known]) {
      const info = there.get(domid);
      if (info === undefined) {
        this.#known.delete(domid);
        this.#events.gone(domid);
      } else if (info.shutdown && !told) {
        this.#known.set(domid, true);
        this.#events.shutdown(info);
      }
    }
  }
}

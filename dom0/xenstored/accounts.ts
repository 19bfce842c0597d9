// What each domain makes the daemon hold, for people and for warnings. Requests are refused elsewhere, by what
// does not depend on when a client reads (see Connection.held).
import type { Log } from '#pvbus';
import type { Connection } from './connection.ts';
import { type Tree, usageOf } from './store.ts';
import type { Watches } from './watches.ts';

export interface Holding {
  readonly nodes: number;
  readonly watches: number;
  readonly transactions: number;
  /** Replies that wait to be read. */
  readonly outstanding: number;
  /** Bytes of all of it, and of events that wait to be read. */
  readonly memory: number;
}

const NONE: Holding = { nodes: 0, watches: 0, transactions: 0, outstanding: 0, memory: 0 };

/** The larger one of each. */
function larger(a: Holding, b: Holding): Holding {
  return {
    nodes: Math.max(a.nodes, b.nodes),
    watches: Math.max(a.watches, b.watches),
    transactions: Math.max(a.transactions, b.transactions),
    outstanding: Math.max(a.outstanding, b.outstanding),
    memory: Math.max(a.memory, b.memory),
  };
}

export interface AccountsParts {
  readonly tree: () => Tree;
  readonly watches: Watches;
  readonly log: Log;
}

export class Accounts {
  readonly #parts: AccountsParts;
  #most = NONE;
  /** Domains over their soft quota, who were told so. */
  readonly #warned = new Set<number>();

  constructor(parts: AccountsParts) {
    this.#parts = parts;
  }

  /** `clients`: all connections of the domain. */
  of(domid: number, clients: Iterable<Connection>): Holding {
    const { tree, watches: all } = this.#parts;
    const { nodes, bytes } = usageOf(tree(), domid);
    let [watches, transactions, outstanding, memory] = [0, 0, 0, bytes];
    for (const client of clients) {
      watches += all.count(client);
      transactions += client.transactions.size;
      outstanding += client.output.replies;
      memory += client.held() + client.output.bytes;
    }
    return { nodes, watches, transactions, outstanding, memory };
  }

  /** The most that any domain but dom0 has had of each. */
  get most(): Holding {
    return this.#most;
  }
  resetMost(): void {
    this.#most = NONE;
  }

  /** After a request of a domain: Xen: over its soft quota a domain is named in the log, once. */
  look(client: Connection): void {
    const { domid } = client.actor;
    const is = this.of(domid, [client]);
    this.#most = larger(this.#most, is);
    const soft = client.limits()['memory-soft'];
    if (is.memory <= soft) this.#warned.delete(domid);
    else if (!this.#warned.has(domid)) {
      this.#warned.add(domid);
      this.#parts.log.warn(`dom${domid} holds ${is.memory} bytes, more than its soft memory quota of ${soft}`);
    }
  }

  /** It is gone. */
  forget(domid: number): void {
    this.#warned.delete(domid);
  }
}

// What the toolstack knows of the domains it made, beyond what the hypervisor and xenstore know.
import { type DomainConfig, type Domid, XenError } from '#pvbus';

export interface DomainRecord {
  readonly domid: Domid;
  /** As it was created; the name may have been changed since. */
  config: DomainConfig;
  /** Act on its shutdown as the config says. */
  readonly monitor: boolean;
  /** Monotonic ns. */
  readonly startedAt: number;
  /** Its shutdown has been seen and logged. */
  ended: boolean;
}

/** Running and dying domains by domid, and the names that are taken, also by domains still being built. */
export class DomainRecords {
  readonly #records = new Map<number, DomainRecord>();
  readonly #building = new Set<string>();

  get(domid: Domid): DomainRecord | undefined {
    return this.#records.get(domid);
  }
  byName(name: string): DomainRecord | undefined {
    return [...this.#records.values()].find(record => record.config.name === name);
  }
  byUuid(uuid: string): DomainRecord | undefined {
    return [...this.#records.values()].find(record => record.config.uuid === uuid);
  }
  all(): DomainRecord[] {
    return [...this.#records.values()];
  }
  add(record: DomainRecord): void {
    this.#records.set(record.domid, record);
  }
  remove(domid: Domid): void {
    this.#records.delete(domid);
  }
  /** Nobody else gets this name until the returned function is called. Throws EEXIST. */
  reserve(name: string): () => void {
    const holder = this.byName(name);
    if (holder !== undefined) {
      throw new XenError('EEXIST', `name: a domain '${name}' exists already (domid ${holder.domid})`);
    }
    if (name === DOM0_NAME) throw new XenError('EEXIST', `name: '${name}' is domain 0`);
    if (this.#building.has(name)) throw new XenError('EEXIST', `name: a domain '${name}' is being created already`);
    this.#building.add(name);
    return () => this.#building.delete(name);
  }
}

export const DOM0_NAME = 'Domain-0';

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

/** Running and dying domains by domid, and what is taken: names, disks, ports; also by domains still being built. */
export class DomainRecords {
  readonly #records = new Map<number, DomainRecord>();
  /** In the order in which their creation began. */
  readonly #building: DomainConfig[] = [];

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
  reserve(config: DomainConfig): () => void {
    const { name } = config;
    const holder = this.byName(name);
    if (holder !== undefined) {
      throw new XenError('EEXIST', `name: a domain '${name}' exists already (domid ${holder.domid})`);
    }
    if (name === DOM0_NAME) throw new XenError('EEXIST', `name: '${name}' is domain 0`);
    if (this.#building.some(other => other.name === name)) {
      throw new XenError('EEXIST', `name: a domain '${name}' is being created already`);
    }
    return this.claim(config);
  }
  /** Nobody else gets the disks and ports of `config` until the returned function is called. */
  claim(config: DomainConfig): () => void {
    this.#building.push(config);
    return () => void this.#building.splice(this.#building.indexOf(config), 1);
  }
  /** Whose disks and ports are not `config`'s: domains that are there, and those whose claim came before. */
  rivals(config: DomainConfig): DomainConfig[] {
    const mine = this.#building.indexOf(config);
    return [...this.all().map(record => record.config), ...this.#building.slice(0, Math.max(mine, 0))];
  }
}

export const DOM0_NAME = 'Domain-0';

// What the toolstack knows of the domains it made, beyond what the hypervisor and xenstore know.
import { type DomainConfig, type Domid, XenError } from '#pvbus';
import type { Ledger, Table } from './ledger.ts';

/** Changed by `DomainRecords.change` alone. */
export interface DomainRecord {
  readonly domid: Domid;
  /** As it was created; the name may have been changed since. */
  readonly config: DomainConfig;
  /** Act on its shutdown as the config says. */
  readonly monitor: boolean;
  /** Monotonic ns. */
  readonly startedAt: number;
  /** 'built': only its last step is to come, which is to run unless it was asked to be paused. 'going': its end has begun. */
  readonly phase: 'built' | 'there' | 'going';
  readonly paused: boolean;
  /** It ends with the connection that asked for it, and with dom0's process. */
  readonly run: boolean;
  /** Its shutdown has been seen and logged, */
  readonly ended: boolean;
  /** and acted upon. */
  readonly acted: boolean;
}

/** A domain that is to be made, without anybody asking for it again. */
export interface Coming {
  readonly config: DomainConfig;
  /** Whose place it takes. */
  readonly ended: Domid;
  /** Monotonic ns. */
  readonly at: number;
}

/** Running and dying domains by domid, and what is taken: names, disks, ports; also by domains still being built. */
export class DomainRecords {
  readonly #ledger: Ledger;
  readonly #table: Table<DomainRecord>;
  readonly #records = new Map<number, DomainRecord>();
  /** In the order in which their creation began. */
  readonly #building: DomainConfig[] = [];
  /** What is being created, by name: its undoing, when nobody is left who could. */
  readonly creations: Table<DomainConfig>;
  /** What takes the place of domains that have ended, by name. */
  readonly comings: Table<Coming>;

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
    this.#table = ledger.table('domains');
    this.creations = ledger.table('creations');
    this.comings = ledger.table('comings');
    for (const record of this.#table.values()) this.#records.set(record.domid, { ...record });
  }

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
  /** The domain is there: its creation, or its coming again, is over. Throws when that cannot be kept. */
  add(record: DomainRecord): void {
    const { name } = record.config;
    this.#ledger.together(() => {
      this.#table.set(record.domid, record);
      this.creations.delete(name);
      this.comings.delete(name);
    });
    this.#records.set(record.domid, { ...record });
  }
  remove(domid: Domid): void {
    this.#table.delete(domid);
    this.#records.delete(domid);
  }
  /** Throws when it cannot be kept; then nothing has changed. */
  change(domid: Domid, part: Partial<DomainRecord>): void {
    this.#change(domid, part, changed => this.#table.set(domid, changed));
  }
  /** The same of what is so, kept or not. */
  note(domid: Domid, part: Partial<DomainRecord>): void {
    this.#change(domid, part, changed => this.#table.note(domid, changed));
  }
  /** Nothing of one that is gone. Whoever has the record sees the change. */
  #change(domid: Domid, part: Partial<DomainRecord>, keep: (changed: DomainRecord) => void): void {
    const record = this.#records.get(domid);
    if (record === undefined) return;
    keep({ ...record, ...part });
    Object.assign(record, part);
  }
  /** See Ledger. */
  together(body: () => void): void {
    this.#ledger.together(body);
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

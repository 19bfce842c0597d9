// How much each domain may hold. dom0 is held by none of it.
import { XenError } from '#pvbus';

/** Names and defaults as GET_QUOTA knows them. 0 switches a check off. */
const DEFAULTS = {
  nodes: 1000, // owned at one time
  watches: 128,
  transactions: 10, // open at one time
  outstanding: 20, // replies not yet taken by the client
  'transaction-nodes': 1024, // looked at or changed by one transaction
  memory: 2_621_440, // bytes of all that is kept for the domain
  'memory-soft': 2_097_152, // bytes after which a warning is logged
  'node-size': 2048, // value, names of the children and permissions together
  'path-max': 2048, // below the home of a domain
  permissions: 5, // entries of one node
};
export type QuotaName = keyof typeof DEFAULTS;
export type Limits = Readonly<Record<QuotaName, number>>;

export const quotaNames = Object.keys(DEFAULTS) as QuotaName[];
export const UNLIMITED = Object.fromEntries(quotaNames.map(name => [name, Number.POSITIVE_INFINITY])) as Limits;

/** All quotas as plain data. */
export interface QuotaState {
  readonly global: Limits;
  readonly own: readonly (readonly [number, Limits])[];
}

export class Quotas {
  #global: Limits = DEFAULTS;
  readonly #own = new Map<number, Limits>();

  /** What holds for requests of a domain; `privileged` ones are not limited. */
  limits(domid: number, privileged: boolean): Limits {
    return privileged ? UNLIMITED : enforced(this.#own.get(domid) ?? this.#global);
  }

  /** As GET_QUOTA reports it: of one domain, or what new domains begin with. */
  get(name: string, domid?: number): number {
    return (domid === undefined ? this.#global : (this.#own.get(domid) ?? this.#global))[known(name)];
  }

  /** Xen: a change of the global values is for domains that are introduced later. */
  set(name: string, value: number, domid?: number): void {
    const key = known(name);
    if (domid === undefined) this.#global = { ...this.#global, [key]: value };
    else this.#own.set(domid, { ...(this.#own.get(domid) ?? this.#global), [key]: value });
  }

  /** A domain begins with the global values of now, unless it was given its own before. */
  admit(domid: number): void {
    if (!this.#own.has(domid)) this.#own.set(domid, this.#global);
  }

  forget(domid: number): void {
    this.#own.delete(domid);
  }

  state(): QuotaState {
    return { global: this.#global, own: [...this.#own] };
  }

  /** As it was when `state` gave this. */
  restore({ global, own }: QuotaState): void {
    this.#global = global;
    this.#own.clear();
    for (const [domid, limits] of own) this.#own.set(domid, limits);
  }
}

function known(name: string): QuotaName {
  if (!Object.hasOwn(DEFAULTS, name)) throw new XenError('EINVAL', `no quota ${JSON.stringify(name.slice(0, 50))}`);
  return name as QuotaName; // just looked up
}

const enforcedOf = new WeakMap<Limits, Limits>();
/** The same with 0 read as no limit. */
function enforced(limits: Limits): Limits {
  let known = enforcedOf.get(limits);
  if (!known) {
    known = Object.fromEntries(quotaNames.map(n => [n, limits[n] || Number.POSITIVE_INFINITY])) as Limits;
    enforcedOf.set(limits, known);
  }
  return known;
}

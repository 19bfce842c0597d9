// How much each domain may hold. dom0 is held by none of it.
import { Refusal } from './refusal.ts';

/** Names and defaults as GET_QUOTA knows them, and what they are of. 0 switches a check off. */
const QUOTAS = {
  nodes: [1000, 'nodes that a domain owns'],
  watches: [128, 'watches of a domain'],
  transactions: [10, 'transactions that a domain has open'],
  outstanding: [20, 'replies that a domain has not read'],
  'transaction-nodes': [1024, 'nodes that a transaction looks at or changes'],
  memory: [2_621_440, 'bytes that are kept for a domain, at most'],
  'memory-soft': [2_097_152, 'bytes that are kept for a domain before it is named in the log'],
  'node-size': [2048, "bytes of a node's value, permissions and children's names"],
  'path-max': [2048, 'bytes of a path below the home of a domain'],
  permissions: [5, 'permissions of a node'],
} as const;
export type QuotaName = keyof typeof QUOTAS;
export type Limits = Readonly<Record<QuotaName, number>>;

export const quotaNames = Object.keys(QUOTAS) as QuotaName[];
/** What a quota is of, in words. */
export const quotaDescription = (name: QuotaName): string => QUOTAS[name][1];
const DEFAULTS = Object.fromEntries(quotaNames.map(name => [name, QUOTAS[name][0]])) as Limits;
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

  /** Who has quotas of its own. */
  domids(): Iterable<number> {
    return this.#own.keys();
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
  if (!Object.hasOwn(QUOTAS, name)) throw new Refusal('EINVAL', `no quota ${JSON.stringify(name.slice(0, 50))}`);
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

// What guests were refused, counted: one that meets a quota is named at once, one that goes on asking for what it may not
// have, or for what cannot be, after a while; both again with every doubling of the number.
import type { Log, XenError } from '#pvbus';
import type { Limits } from './quota.ts';
import { OverQuota } from './refusal.ts';

/** A guest that works hears a refusal now and then; that a node is missing, or a transaction lost, is none. */
const UNREMARKABLE = 63;
const MISUSE = new Set(['EACCES', 'EPERM', 'EINVAL', 'ENOSYS', 'E2BIG']);

export class Misuse {
  readonly #log: Pick<Log, 'warn'>;
  /** By domain: of each error, and of each quota. */
  readonly #counts = new Map<number, Map<string, number>>();

  constructor(log: Pick<Log, 'warn'>) {
    this.#log = log;
  }

  /** A domain asked for `what`, and was told `code`. */
  note(domid: number, what: string, code: string, why: XenError, limits: Limits): void {
    const quota = why instanceof OverQuota ? why.quota : undefined;
    if (quota === undefined && !MISUSE.has(code)) return;
    const counts = this.#counts.get(domid) ?? new Map<string, number>();
    this.#counts.set(domid, counts);
    const n = (counts.get(quota ?? code) ?? 0) + 1;
    counts.set(quota ?? code, n);
    if ((n & (n - 1)) !== 0 || (quota === undefined && n <= UNREMARKABLE)) return;
    const because = quota === undefined ? code : `${code}: its quota of ${quota} is ${limits[quota]}`;
    this.#log.warn(`dom${domid}: ${what} refused: ${because}; ${n} such ${n === 1 ? 'refusal' : 'refusals'} so far`);
  }

  /** It is gone. */
  forget(domid: number): void {
    this.#counts.delete(domid);
  }
}

// Processes of the host that run out of descriptors or memory because a fault plan asks for it: from outside, by their soft
// limits, so that what they meet is Linux's own refusal.
import { readdirSync, readFileSync } from 'node:fs';
import {
  PAGE_SIZE,
  SystemCallError,
  setSoftLimit,
  softLimit,
  XEN_EINVAL,
  XENOLITH_EXHAUST_descriptors,
  XENOLITH_EXHAUST_memory,
} from '#pvbus';

interface Lowered {
  readonly pid: number;
  readonly what: number;
  readonly before: bigint;
  readonly to: bigint;
}

const LIMIT_OF = { [XENOLITH_EXHAUST_descriptors]: 'nofile', [XENOLITH_EXHAUST_memory]: 'as' } as const;

export class Exhaustion {
  private lowered: Lowered[] = [];

  /** The process has no more than `left` of it, descriptors or KiB of address space, until `relieve`. 0 or -errno. */
  exhaust(pid: number, what: number, left: number): number {
    if (!(what in LIMIT_OF)) return -XEN_EINVAL;
    const limit = LIMIT_OF[what as keyof typeof LIMIT_OF];
    try {
      const to = what === XENOLITH_EXHAUST_memory ? addressSpace(pid) + BigInt(left) * 1024n : descriptors(pid, left);
      const before = this.known(pid, what)?.before ?? softLimit(pid, limit);
      if (to >= before) return 0; // it has no more anyhow
      setSoftLimit(pid, limit, to);
      this.lowered = [...this.others(pid, what), { pid, what, before, to }];
      return 0;
    } catch (error) {
      return -errnoOf(error);
    }
  }
  /** It may have what it could have before; so may `heirs`, processes that it has started meanwhile. 0 or -errno. */
  relieve(pid: number, what: number, heirs: readonly number[] = []): number {
    const known = this.known(pid, what);
    if (known === undefined) return 0;
    this.lowered = this.others(pid, what);
    const limit = LIMIT_OF[what as keyof typeof LIMIT_OF];
    try {
      setSoftLimit(pid, limit, known.before);
    } catch (error) {
      return -errnoOf(error);
    }
    for (const heir of heirs) relieveHeir(heir, limit, known);
    return 0;
  }
  /** Its number may be another process's. */
  ended(pid: number): void {
    this.lowered = this.lowered.filter(one => one.pid !== pid);
  }

  private known(pid: number, what: number): Lowered | undefined {
    return this.lowered.find(one => one.pid === pid && one.what === what);
  }
  private others(pid: number, what: number): Lowered[] {
    return this.lowered.filter(one => one.pid !== pid || one.what !== what);
  }
}

function relieveHeir(pid: number, limit: 'nofile' | 'as', { before, to }: Lowered): void {
  try {
    if (softLimit(pid, limit) === to) setSoftLimit(pid, limit, before);
  } catch (error) {
    // It has ended, which is to be heard; the others are not to be left as they are.
    if (!(error instanceof SystemCallError)) throw error;
  }
}

/** Linux bounds their numbers: the first that is too large, where `left` below it are free. */
function descriptors(pid: number, left: number): bigint {
  const used = new Set(readdirSync(`/proc/${pid}/fd`).map(Number));
  let end = 0;
  for (let free = 0; used.has(end) || free++ < left; ) end++;
  return BigInt(end);
}
const addressSpace = (pid: number): bigint =>
  BigInt(readFileSync(`/proc/${pid}/statm`, 'latin1').split(' ', 1)[0]!) * BigInt(PAGE_SIZE);

/** Of Linux's refusal, whoever has made the call. */
function errnoOf(error: unknown): number {
  if (error instanceof SystemCallError) return error.errno;
  const { errno } = error as NodeJS.ErrnoException;
  if (errno === undefined) throw error;
  return -errno;
}

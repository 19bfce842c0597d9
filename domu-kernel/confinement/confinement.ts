// What a domain's process gives up, in two steps: as a shell that waits, and when every thread of its domain is there.
// Nothing of a domain runs before both. The layers are those that its host has: one that cannot be had ends the process.
import { closeSync, openSync } from 'node:fs';
import {
  bytesBeyondMemory,
  hasNoNewPrivileges,
  isFiltered,
  type Limit,
  PAGE_SIZE,
  prepareFilter,
  setLimit,
  XENOLITH_LAYER_landlock,
  XENOLITH_LAYER_limits,
  XENOLITH_LAYER_namespaces,
  XENOLITH_LAYER_no_new_privs,
  XENOLITH_LAYER_seccomp,
} from '#pvbus';
import { runningPolicy, waitingPolicy } from './policy.ts';

/** Of a process that never has a domain as well. A core would hold the domain's secrets; 1: not even through a pipe. */
const LIMITS: Partial<Record<Limit, number>> = { core: 1, fsize: 0, memlock: 0, msgqueue: 0, nofile: 4096 };

export interface DomainSize {
  /** Frames of its memory. */
  readonly maxPages: number;
  readonly maxVcpus: number;
}

export class Confinement {
  readonly #layers: number;
  readonly #engineBytes: number;
  readonly #last: (() => void) | undefined;

  /** `layers`: XENOLITH_LAYER_*, as the host has them; `engineBytes`: what V8 begins with, as Linux counts data. Throws where one is missing that others were to have set. */
  constructor(layers: number, engineBytes: number) {
    this.#layers = layers;
    this.#engineBytes = engineBytes;
    if (this.#has(XENOLITH_LAYER_no_new_privs) && !hasNoNewPrivileges()) throw missing('no_new_privs');
    // The first process of its namespace.
    if (this.#has(XENOLITH_LAYER_namespaces) && process.pid !== 1) throw missing('namespaces');
    if (this.#has(XENOLITH_LAYER_landlock) && opens('/')) throw missing('landlock');
    this.#last = this.#has(XENOLITH_LAYER_seccomp) ? prepareFilter(runningPolicy) : undefined;
  }
  #has(layer: number): boolean {
    return (this.#layers & layer) !== 0;
  }
  /** Has all that can be had while other threads may still be started. */
  whileWaiting(): void {
    if (this.#has(XENOLITH_LAYER_limits))
      for (const [limit, most] of Object.entries(LIMITS) as [Limit, number][]) setLimit(limit, most);
    if (!this.#has(XENOLITH_LAYER_seccomp)) return;
    prepareFilter(waitingPolicy(process.pid))();
    if (!isFiltered()) throw missing('seccomp');
  }
  /** The rest, for a domain of this size. */
  beforeItRuns({ maxPages, maxVcpus }: DomainSize): void {
    if (this.#has(XENOLITH_LAYER_limits)) {
      // The memories of WASI programs are private to the process: frames of the domain stand for them.
      setLimit('data', bytesBeyondMemory(this.#engineBytes, maxVcpus) + maxPages * PAGE_SIZE);
      setLimit('nproc', 0);
    }
    this.#last?.();
  }
}

const missing = (layer: string): Error => new Error(`this process was to be confined by ${layer}, and is not`);

function opens(path: string): boolean {
  try {
    closeSync(openSync(path, 'r'));
    return true;
  } catch {
    return false;
  }
}

// Memory for a domain that is about to be made. Where the host has too little, guests are asked for some of theirs:
// xl's automatic ballooning, which has domain 0 to ask. Ours is a few processes; the host's memory is its guests'.
import { type Domid, type Log, XenError, type XenstoreClient } from '#pvbus';
import { memoryKib, setMemoryTarget } from './domain-memory.ts';
import type { DomainRecords } from './domain-records.ts';
import { Locks } from './locks.ts';
import type { Xc } from './xc.ts';

const KIB_PER_PAGE = 4;
const KIB_PER_MIB = 1024;
const PAGES_PER_MIB = KIB_PER_MIB / KIB_PER_PAGE;
/** No guest is asked for more than this part of the memory it was configured with. */
const ASKABLE = 1 / 2;
/** How often guests are asked; Xen: what xl does. */
const ATTEMPTS = 3;
/** How often it is looked whether they have given, and how often in vain before they are not waited for any more. */
const LOOK_MS = 20;
const LOOKS = 75;

export interface FreeMemoryParts {
  readonly xc: Xc;
  readonly xs: XenstoreClient;
  readonly records: DomainRecords;
  readonly log: Log;
}

/** A guest that can be asked, in KiB. */
interface Giver {
  readonly domid: Domid;
  readonly target: number;
  /** What it has, or less if it is on the way to that. */
  readonly has: number;
  readonly spare: number;
}

export class FreeMemory {
  readonly #parts: FreeMemoryParts;
  readonly #locks = new Locks();
  /** Pages that creations were promised and have not claimed yet. */
  #kept = 0;
  #asking = 0;

  constructor(parts: FreeMemoryParts) {
    this.#parts = parts;
  }

  /**
   * Resolves when `mib` MiB are free, which no other creation gets before the returned function is called. Throws
   * ENOMEM; what guests were asked for is then theirs again.
   */
  async keep(mib: number): Promise<() => void> {
    const need = mib * PAGES_PER_MIB;
    // order: who comes while guests are being asked must not take what they give.
    if (this.#asking > 0 || this.#free() < need) {
      this.#asking++;
      try {
        await this.#locks.run(0, async () => {
          await this.#makeRoom(need);
          this.#kept += need;
        });
      } finally {
        this.#asking--;
      }
    } else this.#kept += need;
    let kept = true;
    return () => {
      if (kept) this.#kept -= need;
      kept = false;
    };
  }

  /** Pages that nobody has and nobody was promised. */
  #free(): number {
    const { free_pages, outstanding_pages } = this.#parts.xc.physinfo();
    return free_pages - outstanding_pages - this.#kept;
  }

  async #makeRoom(need: number): Promise<void> {
    const before = new Map<Domid, number>();
    for (let attempt = 0; this.#free() < need; attempt++) {
      const lacking = (need - this.#free()) * KIB_PER_PAGE;
      const givers = await this.#givers();
      const spare = givers.reduce((sum, giver) => sum + giver.spare, 0);
      if (spare === 0 || spare < lacking || attempt === ATTEMPTS) {
        await this.#restore(before);
        const mib = (kib: number): number => Math.floor(kib / KIB_PER_MIB);
        const free = mib(this.#free() * KIB_PER_PAGE);
        throw new XenError(
          'ENOMEM',
          `memory: ${mib(need * KIB_PER_PAGE)} MiB asked for, ${free} MiB of this host are free` +
            (spare === 0 && before.size === 0 ? '' : `, and its guests did not give ${mib(lacking)} MiB`),
        );
      }
      for (const giver of givers) {
        // As much of what it can spare as everybody else of theirs, in whole MiB.
        const share = Math.ceil((lacking * giver.spare) / spare / KIB_PER_MIB) * KIB_PER_MIB;
        const kib = giver.has - Math.min(share, giver.spare);
        // One that waits for memory itself is not to take what the others give.
        if (kib >= giver.target) continue;
        if (!before.has(giver.domid)) before.set(giver.domid, giver.target);
        await this.#ask(giver.domid, kib);
      }
      await this.#wait(need);
    }
  }

  /** Every guest that acts on its target, and what it can spare. */
  async #givers(): Promise<Giver[]> {
    const { xc, xs, records } = this.#parts;
    const givers: Giver[] = [];
    for (const { domid, dying, shutdown, paused, totPages } of xc.domainInfoList()) {
      const record = records.get(domid);
      if (record === undefined || dying || shutdown || paused) continue;
      const target = await memoryKib(xs, domid, 'target');
      if (target === undefined) continue;
      const has = Math.min(target, totPages * KIB_PER_PAGE);
      const least = Math.ceil(record.config.memory * ASKABLE) * KIB_PER_MIB;
      givers.push({ domid, target, has, spare: Math.max(0, has - least) });
    }
    return givers;
  }

  async #ask(domid: Domid, kib: number): Promise<void> {
    const { log } = this.#parts;
    log.info(`dom${domid} is asked to have ${Math.floor(kib / KIB_PER_MIB)} MiB, so that another domain finds memory`);
    await setMemoryTarget(this.#parts, domid, kib).catch(error => log.warn(`dom${domid}: ${error.message}`));
  }
  async #restore(before: ReadonlyMap<Domid, number>): Promise<void> {
    const { log } = this.#parts;
    for (const [domid, kib] of before)
      await setMemoryTarget(this.#parts, domid, kib).catch(error => log.warn(`dom${domid}: ${error.message}`));
  }

  /** Until there is enough, or nothing more comes. */
  async #wait(need: number): Promise<void> {
    let most = this.#free();
    for (let vain = 0; most < need && vain < LOOKS; vain++) {
      await new Promise(resolve => setTimeout(resolve, LOOK_MS));
      const free = this.#free();
      if (free > most) vain = 0;
      most = Math.max(most, free);
    }
  }
}

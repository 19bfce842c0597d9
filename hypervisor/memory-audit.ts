// Domains that use memory they do not have. A domain maps its whole file, so nothing keeps it from writing to
// frames that it gave back or never had; Linux then gives the file memory that is nobody's. What the file holds
// is compared with what the domain has.
import { fstatSync, readFileSync } from 'node:fs';
import { type Clock, type Log, PAGE_SIZE } from '#pvbus';
import type { Domain } from './domain.ts';
import { Timer, type Timers } from './timers.ts';

/** How often a domain is looked at that could use more than it has, and how many at a time. */
const PERIOD_NS = 1e9;
const SLICE = 64;
/** Found so often, it is no mistake. */
const MAX_STRIKES = 2;
/** st_blocks counts these. */
const BLOCK_SIZE = 512;

/** Linux: what decides whether a shared memory file gets huge pages, of which a domain has touched a part. */
const HUGE = '/sys/kernel/mm/transparent_hugepage/shmem_enabled';
/** Does a file hold what was touched, and no more? */
export function filesAreExact(): boolean {
  try {
    return !/\[(always|within_size|force)\]/.test(readFileSync(HUGE, 'latin1'));
  } catch {
    return true; // a Linux without huge pages
  }
}

/** The part of DomainLife that ends a domain. */
export interface Crashes {
  crash(domain: Domain, message: string): void;
}

export class MemoryAudit {
  private readonly timers: Timers;
  private readonly clock: Clock;
  private readonly life: Crashes;
  private readonly log: Log;
  private readonly exact: boolean;
  /** Domains with empty frames, and how often each was found to use them. */
  private readonly strikes = new Map<Domain, number>();
  private readonly timer: Timer;

  /** `exact`: see filesAreExact. Without it what is too much is taken back, and nobody is to blame. */
  constructor(timers: Timers, clock: Clock, life: Crashes, log: Log, exact: boolean) {
    this.timers = timers;
    this.clock = clock;
    this.life = life;
    this.log = log;
    this.exact = exact;
    this.timer = new Timer(() => this.lookAround());
  }

  /** A memory operation has changed which frames the domain has. */
  changed(domain: Domain): void {
    if (domain.isPrivileged || (domain.physmap.emptyFrames === 0 && !this.strikes.has(domain))) return;
    if (!this.strikes.has(domain)) this.strikes.set(domain, 0);
    this.look(domain);
    if (!this.timer.pending) this.later();
  }
  /** Its memory is about to go. */
  forget(domain: Domain): void {
    if (this.strikes.delete(domain) && this.strikes.size === 0) this.timers.stop(this.timer);
  }

  /** Each domain once in a period. */
  private later(): void {
    this.timers.set(this.timer, this.clock.now() + PERIOD_NS / Math.ceil(this.strikes.size / SLICE));
  }
  /** The next ones; who has all its memory and did nothing wrong needs no looking at any more. */
  private lookAround(): void {
    const next = [...this.strikes.keys()].slice(0, SLICE);
    for (const domain of next) {
      this.look(domain);
      const strikes = this.strikes.get(domain)!;
      this.strikes.delete(domain);
      if (domain.physmap.emptyFrames > 0 || strikes > 0) this.strikes.set(domain, strikes); // behind the others
    }
    if (this.strikes.size > 0) this.later();
  }
  private look(domain: Domain): void {
    if (domain.dying || domain.isShutDown) return;
    const { physmap } = domain;
    const held = (fstatSync(physmap.arena.fd).blocks * BLOCK_SIZE) / PAGE_SIZE;
    const excess = held - physmap.backedFrames;
    if (excess <= 0) return;
    physmap.discardUnbacked();
    const strikes = (this.strikes.get(domain) ?? 0) + 1;
    this.strikes.set(domain, strikes);
    if (!this.exact) return;
    const what = `dom${domain.domid} uses ${excess} pages beyond the ${domain.totPages} it has`;
    this.log.warn(`${what}; they were taken from it${strikes < MAX_STRIKES ? '' : ' again'}`);
    if (strikes >= MAX_STRIKES) this.life.crash(domain, `${what}, which it was warned of before`);
  }
}

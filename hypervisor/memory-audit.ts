// Domains that use memory they do not have. A domain maps its whole file, so nothing keeps it from writing to
// frames that it gave back or never had; Linux then gives the file memory that is nobody's. What the file holds
// is compared with what the domain has.
import { fstatSync } from 'node:fs';
import { type Clock, type Log, PAGE_SIZE } from '#pvbus';
import type { Domain } from './domain.ts';
import { Timer, type Timers } from './timers.ts';

/** How often domains are looked at that could use more than they have. */
const PERIOD_NS = 1e9;
/** Found so often, it is no mistake. */
const MAX_STRIKES = 2;
/** st_blocks counts these. */
const BLOCK_SIZE = 512;

/** The part of DomainLife that ends a domain. */
export interface Crashes {
  crash(domain: Domain, message: string): void;
}

export class MemoryAudit {
  private readonly timers: Timers;
  private readonly clock: Clock;
  private readonly life: Crashes;
  private readonly log: Log;
  /** Domains with empty frames, and how often each was found to use them. */
  private readonly strikes = new Map<Domain, number>();
  private readonly timer: Timer;

  constructor(timers: Timers, clock: Clock, life: Crashes, log: Log) {
    this.timers = timers;
    this.clock = clock;
    this.life = life;
    this.log = log;
    this.timer = new Timer(() => this.lookAtAll());
  }

  /** A memory operation has changed which frames the domain has. */
  changed(domain: Domain): void {
    if (domain.isPrivileged || (domain.physmap.emptyFrames === 0 && !this.strikes.has(domain))) return;
    if (!this.strikes.has(domain)) this.strikes.set(domain, 0);
    this.look(domain);
    if (!this.timer.pending) this.timers.set(this.timer, this.clock.now() + PERIOD_NS);
  }
  /** Its memory is about to go. */
  forget(domain: Domain): void {
    if (this.strikes.delete(domain) && this.strikes.size === 0) this.timers.stop(this.timer);
  }

  private lookAtAll(): void {
    let ballooned = false;
    for (const domain of this.strikes.keys()) {
      this.look(domain);
      if (domain.physmap.emptyFrames > 0) ballooned = true;
    }
    if (ballooned) this.timers.set(this.timer, this.clock.now() + PERIOD_NS);
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
    const what = `dom${domain.domid} uses ${excess} pages beyond the ${domain.totPages} it has`;
    this.log.warn(`${what}; they were taken from it${strikes < MAX_STRIKES ? '' : ' again'}`);
    if (strikes >= MAX_STRIKES) this.life.crash(domain, `${what}, which it was warned of before`);
  }
}

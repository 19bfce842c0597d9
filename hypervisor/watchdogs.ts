// SCHEDOP_watchdog: a domain that does not poke its watchdog in time is shut down. Time is system time, as in Xen: it
// passes while all processes of the host are stopped, and does not while the machine sleeps.
import { type Clock, type Log, SHUTDOWN_watchdog, XEN_EINVAL, XEN_ENOSPC } from '#pvbus';
import type { Domain } from './domain.ts';
import type { DomainLife } from './domain-life.ts';
import { Timer, type Timers } from './timers.ts';

export class Watchdogs {
  private readonly timers: Timers;
  private readonly clock: Clock;
  private readonly life: DomainLife;
  private readonly log: Log;

  constructor(timers: Timers, clock: Clock, life: DomainLife, log: Log) {
    this.timers = timers;
    this.clock = clock;
    this.life = life;
    this.log = log;
  }

  /** The id of a new one (for id 0), 0, or -errno. */
  set(domain: Domain, id: number, timeoutSeconds: number): number {
    const deadline = this.clock.now() + timeoutSeconds * 1e9;
    const { watchdogs } = domain;
    if (id > watchdogs.length) return -XEN_EINVAL;
    if (id === 0) {
      const slot = watchdogs.indexOf(undefined);
      if (slot < 0) return -XEN_ENOSPC;
      this.start(domain, slot, deadline);
      return slot + 1;
    }
    const timer = watchdogs[id - 1];
    if (timer === undefined) return -XEN_EINVAL;
    if (timeoutSeconds === 0) {
      this.timers.stop(timer);
      watchdogs[id - 1] = undefined;
    } else this.timers.set(timer, deadline);
    return 0;
  }
  /** What each has to go, in ns of system time; null: it is not in use. */
  save(domain: Domain): (number | null)[] {
    const now = this.clock.now();
    return domain.watchdogs.map(timer => (timer?.pending ? timer.deadline - now : null));
  }
  restore(domain: Domain, left: readonly (number | null)[]): void {
    const now = this.clock.now();
    left.forEach((ns, slot) => {
      if (ns !== null) this.start(domain, slot, now + ns);
    });
  }
  private start(domain: Domain, slot: number, deadline: number): void {
    const timer = new Timer(() => this.expired(domain));
    domain.watchdogs[slot] = timer;
    this.timers.set(timer, deadline);
  }
  private expired(domain: Domain): void {
    if (domain.isShutDown || domain.dying) return;
    this.log.warn(`dom${domain.domid}: watchdog expired`);
    this.life.shutdown(domain, SHUTDOWN_watchdog);
  }
}

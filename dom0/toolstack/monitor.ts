// What becomes of a domain that has shut down: on_poweroff, on_reboot, on_crash, on_watchdog of its config.
import { randomUUID } from 'node:crypto';
import {
  type Clock,
  type DomainConfig,
  type Domid,
  ERROR_FAIL,
  type Log,
  type runPaths,
  SHUTDOWN_crash,
  SHUTDOWN_soft_reset,
  SHUTDOWN_suspend,
  type ShutdownAction,
} from '#pvbus';
import type { Coming, DomainRecord } from './domain-records.ts';
import { MonitorLog } from './monitor-log.ts';
import { actionFor, reasonText } from './shutdown-reasons.ts';

/** What the monitor does to domains. */
export interface MonitorActions {
  /** The first line of what it said when it crashed, if it said anything. */
  crashMessage(record: DomainRecord): string | undefined;
  destroy(record: DomainRecord): Promise<void>;
  /** In the place of `ended`. */
  create(config: DomainConfig, ended: Domid): Promise<unknown>;
  /** Keep what is left of the domain under another name and uuid, without its devices; `coming` is to take its place. */
  preserveAs(record: DomainRecord, name: string, uuid: string, coming: Coming): Promise<void>;
  /** Its memory as it is now, into the run directory's dump folder. */
  dumpCore(record: DomainRecord): Promise<void>;
}

/** What the monitor must not forget: what it has begun, another one brings to its end. */
export interface MonitorNotes {
  /** The domain's shutdown is acted upon; nothing is left to do. */
  acted(record: DomainRecord): void;
  /** When it is gone, `coming` is to take its place. */
  comes(record: DomainRecord, coming: Coming): void;
  /** Nothing takes the place of the domain of this name. */
  gaveUp(name: string): void;
  /** How often in a row a name's domain was restarted soon after its start. */
  readonly shortLives: {
    get(name: string): number | undefined;
    note(name: string, count: number): void;
    delete(name: string): void;
  };
}

interface MonitorParts {
  readonly notes: MonitorNotes;
  readonly log: Log;
  readonly clock: Clock;
  readonly paths: Pick<ReturnType<typeof runPaths>, 'monitorLog' | 'coreDump'>;
}

/** A domain that lived shorter than this is restarted later and later. */
const SHORT_LIFE_MS = 5000;
const FIRST_DELAY_MS = 250;
const LONGEST_DELAY_MS = 30_000;

export class Monitor {
  readonly #actions: MonitorActions;
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #paths: MonitorParts['paths'];
  /** Of each domain that is watched over. */
  readonly #logs = new Map<Domid, MonitorLog>();
  /** Of domains that come again, by name: who watched over the one before goes on. */
  readonly #goingOn = new Map<string, MonitorLog>();
  readonly #notes: MonitorNotes;
  readonly #waiting = new Set<NodeJS.Timeout>();
  #stopped = false;

  constructor(actions: MonitorActions, { log, clock, paths, notes }: MonitorParts) {
    this.#notes = notes;
    this.#actions = actions;
    this.#log = log;
    this.#clock = clock;
    this.#paths = paths;
  }

  /** The domain is there. `monitor` false: nobody is to act on its end. */
  watch(domid: Domid, { name }: DomainConfig, monitor: boolean): void {
    const before = this.#goingOn.get(name);
    this.#goingOn.delete(name);
    if (!monitor) return;
    const log = before ?? MonitorLog.begin(this.#paths.monitorLog(name), this.#log);
    this.#wait(domid, name, log);
  }
  #wait(domid: Domid, name: string, log: MonitorLog): void {
    this.#logs.set(domid, log);
    log.line(`Waiting for domain ${name} (domid ${domid}) to die [pid ${process.pid}]`);
  }
  /** The domain was watched over by one that has ended. */
  goOn({ domid, config, monitor }: DomainRecord): void {
    if (monitor) this.#wait(domid, config.name, MonitorLog.goOn(this.#paths.monitorLog(config.name), this.#log));
  }
  /** One that has ended was about to make this domain. */
  expect(coming: Coming): void {
    const { config } = coming;
    const log = MonitorLog.goOn(this.#paths.monitorLog(config.name), this.#log);
    void this.#comeAgain(coming, log).catch(error => this.#log.error(`restarting '${config.name}': ${error.message}`));
  }
  /** Somebody else ended it. */
  destroyed(domid: Domid): void {
    this.#logs.get(domid)?.line(`Domain ${domid} has been destroyed.`);
    this.#logs.delete(domid);
  }

  /** The domain's shutdown was seen. Resolves when what is due now is done; a delayed restart comes later. */
  async shutdown(record: DomainRecord, reason: number): Promise<void> {
    const { config, domid } = record;
    const { key, action } = actionFor(config, reason);
    const message = reason === SHUTDOWN_crash ? this.#messageOf(record) : undefined;
    const what = `domain '${config.name}' (dom${domid}) has ${reasonText(reason)}${message ? `: ${message}` : ''}`;
    if (!record.monitor) {
      this.#log.info(`${what}; nobody acts on it`);
      this.#notes.acted(record);
      return;
    }
    this.#log.info(`${what}; ${key}=${action}`);
    if (this.#stopped) return;
    const log = this.#logs.get(domid);
    // From here on its end is ours.
    this.#logs.delete(domid);
    log?.line(`Domain ${domid} has shut down, reason code ${reason} 0x${reason.toString(16)}`);
    if (reason === SHUTDOWN_suspend) log?.line('Domain has suspended.');
    else {
      if (reason > SHUTDOWN_soft_reset) log?.line(`Unknown shutdown reason code ${reason}. Destroying domain.`);
      log?.line(`Action for shutdown reason code ${reason} is ${action}`);
    }
    try {
      await this.#act(record, action, log);
      this.#notes.acted(record);
    } catch (error) {
      const message = error instanceof Error ? error.message : error;
      this.#log.error(`domain '${config.name}' (dom${domid}): ${action}: ${message}`);
      log?.line(`libxl: error: ${message}`);
    }
  }

  /** Restart nothing any more: the host goes down. */
  stop(): void {
    this.#stopped = true;
    for (const timer of this.#waiting) clearTimeout(timer);
    this.#waiting.clear();
  }

  async #act(record: DomainRecord, action: ShutdownAction, log: MonitorLog | undefined): Promise<void> {
    switch (action) {
      case 'preserve':
        log?.line('Done. Exiting now');
        return;
      case 'coredump-destroy':
        await this.#dump(record, log);
        return this.#destroy(record, log);
      case 'destroy':
        return this.#destroy(record, log);
      case 'coredump-restart':
        await this.#dump(record, log);
        return this.#restart(record, log);
      case 'restart':
      case 'soft-reset': // Xen: resets the domain in place, which a domain without firmware sees as a restart
        return this.#restart(record, log);
      case 'rename-restart': {
        const stamp = new Date(this.#clock.wallMs()).toISOString().replaceAll(/[-:]/g, '').slice(0, 13);
        // Xen: xl's suffix, -%Y%m%dT%H%MZ.
        const suffix = `-${stamp}Z`;
        const { config, domid } = record;
        log?.line(`Preserving domain ${domid} ${config.name} with suffix${suffix}`);
        const coming = this.#coming(record);
        await this.#actions.preserveAs(record, `${config.name}${suffix}`, randomUUID(), coming);
        return this.#comeAgain(coming, log);
      }
    }
  }

  async #destroy(record: DomainRecord, log: MonitorLog | undefined): Promise<void> {
    log?.line(`Domain ${record.domid} needs to be cleaned up: destroying the domain`);
    await this.#actions.destroy(record);
    log?.line('Done. Exiting now');
  }
  async #restart(record: DomainRecord, log: MonitorLog | undefined): Promise<void> {
    const coming = this.#coming(record);
    // order: noted before its predecessor goes; what has gone by then is known by that.
    this.#notes.comes(record, coming);
    log?.line(`Domain ${record.domid} needs to be cleaned up: destroying the domain`);
    try {
      await this.#actions.destroy(record);
    } catch (error) {
      this.#notes.gaveUp(record.config.name);
      throw error;
    }
    await this.#comeAgain(coming, log);
  }
  #coming(record: DomainRecord): Coming {
    const { config, domid } = record;
    const delayMs = this.#delay(record);
    if (delayMs > 0)
      this.#log.warn(`domain '${config.name}' keeps ending soon after its start, next one in ${delayMs / 1000} s`);
    return { config, ended: domid, at: this.#clock.now() + delayMs * 1e6 };
  }
  async #comeAgain({ config, ended, at }: Coming, log: MonitorLog | undefined): Promise<void> {
    if (this.#stopped) return;
    log?.line('Done. Rebooting now');
    const create = async (): Promise<void> => {
      if (log !== undefined) this.#goingOn.set(config.name, log);
      try {
        await this.#actions.create(config, ended);
      } catch (error) {
        this.#notes.gaveUp(config.name);
        throw error;
      } finally {
        this.#goingOn.delete(config.name);
      }
    };
    const delayMs = (at - this.#clock.now()) / 1e6;
    if (delayMs <= 0) return create();
    const timer = setTimeout(() => {
      this.#waiting.delete(timer);
      create().catch(error => {
        this.#log.error(`restarting '${config.name}': ${error.message}`);
        log?.line(`libxl: error: ${error.message}`);
      });
    }, delayMs);
    this.#waiting.add(timer);
  }
  /** Xen: a core that cannot be written keeps nobody from what comes next. */
  async #dump(record: DomainRecord, log: MonitorLog | undefined): Promise<void> {
    log?.line(`dumping core to ${this.#paths.coreDump(record.config.name)}`);
    try {
      await this.#actions.dumpCore(record);
    } catch (error) {
      log?.line(`core dump failed (rc=${ERROR_FAIL}).`);
      const { name } = record.config;
      this.#log.error(`domain '${name}' (dom${record.domid}): ${error instanceof Error ? error.message : error}`);
    }
  }
  /** 0 for a domain that lived, and for the first that did not. */
  #delay(record: DomainRecord): number {
    const { name } = record.config;
    if ((this.#clock.now() - record.startedAt) / 1e6 >= SHORT_LIFE_MS) {
      this.#notes.shortLives.delete(name);
      return 0;
    }
    const before = this.#notes.shortLives.get(name) ?? 0;
    this.#notes.shortLives.note(name, before + 1);
    return before === 0 ? 0 : Math.min(FIRST_DELAY_MS * 2 ** (before - 1), LONGEST_DELAY_MS);
  }

  #messageOf(record: DomainRecord): string | undefined {
    try {
      return this.#actions.crashMessage(record);
    } catch (error) {
      return `(its crash record cannot be read: ${error instanceof Error ? error.message : error})`;
    }
  }
}

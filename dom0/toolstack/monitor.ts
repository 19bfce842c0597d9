// What becomes of a domain that has shut down: on_poweroff, on_reboot, on_crash, on_watchdog of its config.
import { randomUUID } from 'node:crypto';
import type { Clock, DomainConfig, Log } from '#pvbus';
import { SHUTDOWN_crash } from '#pvbus';
import type { DomainRecord } from './domain-records.ts';
import { actionFor, reasonText } from './shutdown-reasons.ts';

/** What the monitor does to domains. */
export interface MonitorActions {
  /** The first line of what it said when it crashed, if it said anything. */
  crashMessage(record: DomainRecord): string | undefined;
  destroy(record: DomainRecord): Promise<void>;
  create(config: DomainConfig): Promise<unknown>;
  /** Keep what is left of the domain under another name and uuid, without its devices. */
  preserveAs(record: DomainRecord, name: string, uuid: string): Promise<void>;
}

/** A domain that lived shorter than this is restarted later and later. */
const SHORT_LIFE_MS = 5000;
const FIRST_DELAY_MS = 250;
const LONGEST_DELAY_MS = 30_000;

export class Monitor {
  readonly #actions: MonitorActions;
  readonly #log: Log;
  readonly #clock: Clock;
  /** How often in a row a name's domain was restarted soon after its start. */
  readonly #shortLives = new Map<string, number>();
  readonly #waiting = new Set<NodeJS.Timeout>();
  #stopped = false;

  constructor(actions: MonitorActions, log: Log, clock: Clock) {
    this.#actions = actions;
    this.#log = log;
    this.#clock = clock;
  }

  /** The domain's shutdown was seen. Resolves when what is due now is done; a delayed restart comes later. */
  async shutdown(record: DomainRecord, reason: number): Promise<void> {
    const { config, domid } = record;
    const { key, action } = actionFor(config, reason);
    const message = reason === SHUTDOWN_crash ? this.#messageOf(record) : undefined;
    const what = `domain '${config.name}' (dom${domid}) has ${reasonText(reason)}${message ? `: ${message}` : ''}`;
    if (!record.monitor) {
      this.#log.info(`${what}; nobody acts on it`);
      return;
    }
    this.#log.info(`${what}; ${key}=${action}`);
    if (this.#stopped) return;
    try {
      await this.#act(record, action);
    } catch (error) {
      this.#log.error(
        `domain '${config.name}' (dom${domid}): ${action}: ${error instanceof Error ? error.message : error}`,
      );
    }
  }

  /** Restart nothing any more: the host goes down. */
  stop(): void {
    this.#stopped = true;
    for (const timer of this.#waiting) clearTimeout(timer);
    this.#waiting.clear();
  }

  async #act(record: DomainRecord, action: DomainConfig['on_crash']): Promise<void> {
    switch (action) {
      case 'preserve':
        return;
      case 'destroy':
        return this.#actions.destroy(record);
      case 'coredump-destroy':
        this.#noCore(record);
        return this.#actions.destroy(record);
      case 'coredump-restart':
        this.#noCore(record);
        return this.#restart(record);
      case 'restart':
      case 'soft-reset': // Xen: resets the domain in place, which a domain without firmware sees as a restart
        return this.#restart(record);
      case 'rename-restart': {
        const stamp = new Date(this.#clock.wallMs()).toISOString().replaceAll(/[-:]/g, '').slice(0, 13);
        // Xen: xl's suffix, -%Y%m%dT%H%MZ.
        const name = `${record.config.name}-${stamp}Z`;
        const { config } = record;
        await this.#actions.preserveAs(record, name, randomUUID());
        return this.#start(config, this.#delay(record));
      }
    }
  }

  async #restart(record: DomainRecord): Promise<void> {
    const delay = this.#delay(record);
    await this.#actions.destroy(record);
    await this.#start(record.config, delay);
  }
  async #start(config: DomainConfig, delayMs: number): Promise<void> {
    if (this.#stopped) return;
    if (delayMs === 0) {
      await this.#actions.create(config);
      return;
    }
    this.#log.warn(`domain '${config.name}' keeps ending soon after its start, next one in ${delayMs / 1000} s`);
    const timer = setTimeout(() => {
      this.#waiting.delete(timer);
      this.#actions.create(config).catch(error => this.#log.error(`restarting '${config.name}': ${error.message}`));
    }, delayMs);
    this.#waiting.add(timer);
  }
  /** 0 for a domain that lived, and for the first that did not. */
  #delay(record: DomainRecord): number {
    const { name } = record.config;
    if ((this.#clock.now() - record.startedAt) / 1e6 >= SHORT_LIFE_MS) {
      this.#shortLives.delete(name);
      return 0;
    }
    const before = this.#shortLives.get(name) ?? 0;
    this.#shortLives.set(name, before + 1);
    return before === 0 ? 0 : Math.min(FIRST_DELAY_MS * 2 ** (before - 1), LONGEST_DELAY_MS);
  }

  #messageOf(record: DomainRecord): string | undefined {
    try {
      return this.#actions.crashMessage(record);
    } catch (error) {
      return `(its crash record cannot be read: ${error instanceof Error ? error.message : error})`;
    }
  }
  #noCore(record: DomainRecord): void {
    this.#log.warn(`domain '${record.config.name}' (dom${record.domid}): core dumps are not written by this host`);
  }
}

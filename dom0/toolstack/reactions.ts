// How the host's parts have answered to what happened to them: another process serves in the place of one that has ended, a
// device is connected anew or was given up by either end, a domain was restarted, and each warning and error of the log.
import {
  type Clock,
  childrenOf,
  type Domid,
  type Log,
  parseDecimal,
  readKey,
  XenbusState,
  type XenstoreClient,
} from '#pvbus';
import { type DevicePaths, listDevices, waitForState } from './add-device.ts';
import type { DomainRecord, DomainRecords } from './domain-records.ts';
import { backendDomidOf, isOwnDriverDomain } from './driver-domains.ts';
import type { FaultLog } from './faults/fault-log.ts';
import type { FaultPlans } from './faults/fault-plans.ts';
import type { RunningFault } from './faults/running-fault.ts';
import { deviceIn, domidIn, HostLog, type NamedDevice, type Said } from './host-log.ts';
import type { Ledger, Table } from './ledger.ts';
import type { Replacement, XcReplacements } from './xc-replacements.ts';
import { domainPath } from './xenstore-paths.ts';

export interface ReactionsParts {
  readonly xs: XenstoreClient;
  readonly clock: Clock;
  readonly log: Log;
  readonly records: DomainRecords;
  readonly ledger: Ledger;
  readonly replacements: Pick<XcReplacements, 'from' | 'listen'>;
  readonly told: Pick<FaultLog, 'reaction'>;
  /** Which fault that is on something answers to. */
  readonly faults: Pick<FaultPlans, 'causeAt' | 'causeOfEnd'>;
  /** Of the host's log. */
  readonly logPath: string;
  /** Resolves when these have acted on every change of xenstore up to now. */
  readonly settled: (devices: readonly Pick<DevicePaths, 'backend'>[]) => Promise<void>;
}

/** Whose process has this vCPU of domain 0 as its first. */
const DOM0_PROGRAMS: Readonly<Record<number, string>> = { 0: 'dom0', 1: 'xenstored' };
/** Nothing is told of a device that is not connected by then. */
const CONNECTED_MS = 60_000;
/** A domain may say so much, wherever it says it; one that goes mad is not to push out what else has happened. */
const MAX_SAID = 100;
const NEXT = 'next';
/** How far the host's log is told. */
const LOG = 'log';
const TOKEN = 'reactions';
const MS = 1e6;
/** As `reportFatal` logs it. */
const GIVEN_UP = /^\/local\/domain\/\d+\/backend\//;

/** Who serves devices or uses them, and how often it was heard of. */
interface Watched {
  readonly domid: number;
  readonly isDriverDomain: boolean;
  said: number;
  /** Where it has said something, until what it said before is looked at. */
  heard: Set<string> | undefined;
}

const ms = (ns: number): string => `${Math.round(ns / MS)} ms`;

export class Reactions {
  readonly #parts: ReactionsParts;
  /** The number of the replacement that is to be told next: who comes after this process goes on there. */
  readonly #numbers: Table<number>;
  /** By domid: the last replacement of who serves its devices. */
  readonly #latest = new Map<Domid, number>();
  readonly #hostLog: HostLog;
  /** Lines of it, one after the other. */
  #telling: Promise<void> = Promise.resolve();
  /** Whose devices' errors are heard of. */
  readonly #watched = new Map<number, Watched>();

  constructor(parts: ReactionsParts) {
    this.#parts = parts;
    this.#numbers = parts.ledger.table('reactions');
    this.#hostLog = new HostLog(parts.logPath, this.#numbers.get(LOG), said => this.#said(said), {
      // order: behind the lines that are still to be told, with where they were.
      beginsAnew: () => {
        this.#telling = this.#telling.then(() => this.#numbers.note(LOG, 0));
      },
    });
  }

  async start(): Promise<void> {
    const { replacements, records } = this.#parts;
    replacements.listen(() => this.#look());
    this.#look();
    this.#hostLog.follow(this.#parts.log);
    this.#hostLog.look();
    await this.#watchErrors(0, true);
    await Promise.all(records.all().map(({ domid, config }) => this.#watchErrors(domid, isOwnDriverDomain(config))));
  }
  /** Resolves when all that the log has said up to now is told. */
  heard(): Promise<void> {
    this.#hostLog.look();
    return this.#telling;
  }
  stop(): void {
    this.#hostLog.close();
  }
  /** A domain is there. */
  created({ domid, config }: Pick<DomainRecord, 'domid' | 'config'>): void {
    if (this.#watched.has(domid)) return;
    this.#tried(`what dom${domid} gives up`, () => this.#watchNewcomer(domid, isOwnDriverDomain(config)));
  }
  destroyed(domid: Domid): void {
    this.#latest.delete(domid);
    if (!this.#watched.delete(domid)) return;
    this.#parts.xs.unwatch(errors(domid), TOKEN).catch(() => {}); // it may not have been there yet
  }
  /** The domain has taken the place of `ended`, which had its name, `times` of them in a row. */
  restarted(ended: number, domid: number, name: string, times: number): void {
    const text = `domain '${name}' was restarted as dom${domid}${times > 1 ? `, ${times} times in a row` : ''}`;
    this.#parts.told.reaction(domid, text, this.#parts.faults.causeOfEnd({ domid: ended, vcpu: 0 }));
  }

  #look(): void {
    const { replacements, ledger, told } = this.#parts;
    for (;;) {
      const found = replacements.from(this.#numbers.get(NEXT) ?? 1);
      if (found === undefined) return;
      let cause: RunningFault | undefined;
      ledger.together(() => {
        cause = this.#parts.faults.causeOfEnd(found);
        this.#numbers.note(NEXT, found.number + 1);
        told.reaction(found.domid, this.#describe(found), cause);
      });
      if (found.vcpu === 0) this.#tried('who connects anew', () => this.#connects(found, cause));
    }
  }
  #describe({ domid, vcpu, pid, ends, tookNs }: Replacement): string {
    const name = this.#parts.records.get(domid)?.config.name;
    const who = domid === 0 ? (DOM0_PROGRAMS[vcpu] ?? `vCPU ${vcpu} of dom0`) : `driver domain '${name}' (dom${domid})`;
    const others = ends > 1 ? `, ${ends - 1} others had ended meanwhile` : '';
    return `process ${pid} serves as ${who}, ${ms(tookNs)} after the end of the one before${others}`;
  }

  // ---- devices ----

  async #connects(found: Replacement, cause: RunningFault | undefined): Promise<void> {
    const { xs, records, settled } = this.#parts;
    const { domid: backendDomid, number } = found;
    this.#latest.set(backendDomid, number);
    const devices: (DevicePaths & { readonly domid: Domid })[] = [];
    for (const { domid } of records.all())
      for (const device of await listDevices(xs, domid))
        if (backendDomidOf(device) === backendDomid) devices.push({ ...device, domid });
    if (devices.length === 0) return;
    // order: a state that was there before is not taken for one that has come.
    await settled(devices);
    await Promise.all(devices.map(device => this.#connected(device, found, cause)));
  }
  async #connected(
    device: DevicePaths & { readonly domid: Domid },
    found: Replacement,
    cause: RunningFault | undefined,
  ): Promise<void> {
    const { xs, clock, told } = this.#parts;
    const { type, devid, domid, backend, frontend } = device;
    const over = (state: XenbusState): boolean => state === XenbusState.Connected || state === XenbusState.Unknown;
    for (const end of [backend, frontend])
      if ((await waitForState(xs, end, over, CONNECTED_MS)) !== XenbusState.Connected) return;
    if (this.#latest.get(found.domid) !== found.number) return;
    const sinceNs = clock.now() - found.servedNs + found.tookNs;
    const text = `${type} ${devid} of dom${domid}: connected anew, ${ms(sinceNs)} after the end of its backend`;
    told.reaction(domid, text, cause);
  }
  /** What either end says of a device when it gives it up. */
  async #watchErrors(domid: number, isDriverDomain: boolean, heard?: Set<string>): Promise<Watched> {
    const watched: Watched = { domid, isDriverDomain, said: 0, heard };
    this.#watched.set(domid, watched);
    await this.#parts.xs.watch(errors(domid), TOKEN, path => this.#tried(path, () => this.#hearError(watched, path)));
    return watched;
  }
  /** It may have given up something before it was watched. */
  async #watchNewcomer(domid: number, isDriverDomain: boolean): Promise<void> {
    const { xs } = this.#parts;
    const heard = new Set<string>();
    const watched = await this.#watchErrors(domid, isDriverDomain, heard);
    const devices = `${errors(domid)}/device`;
    for (const type of await childrenOf(xs, devices))
      for (const devid of await childrenOf(xs, `${devices}/${type}`)) {
        const path = `${devices}/${type}/${devid}/error`;
        if (!heard.has(path)) await this.#hearError(watched, path);
      }
    watched.heard = undefined;
  }
  async #hearError(watched: Watched, path: string): Promise<void> {
    const { xs, told, faults } = this.#parts;
    const device = givenUp(watched.domid, path);
    // A guest that serves nothing has no word in others' devices.
    if (device === undefined || (device.end === 'backend' && !watched.isDriverDomain)) return;
    // order: before it is read, or who looks at what was said before tells it too.
    watched.heard?.add(path);
    // untrusted: a domain's own words.
    const why = await readKey(xs, path);
    if (why === undefined) return;
    // Those that are under way when it becomes too much each get here.
    if (this.#isTooMuch(watched)) return await xs.unwatch(errors(watched.domid), TOKEN).catch(() => {});
    const { type, domid, devid, end } = device;
    told.reaction(domid, `${type} ${devid} of dom${domid}: its ${end} says ${why}`, await faults.causeAt(device));
  }
  /** Of a domain, in xenstore and the log together. */
  #isTooMuch(watched: Watched): boolean {
    return watched.domid !== 0 && ++watched.said > MAX_SAID;
  }
  /** A warning or an error of the log. What a backend says as it gives a device up is heard of in xenstore. */
  #said({ who, what }: Said): void {
    const { ledger, told, faults, log } = this.#parts;
    const { at } = this.#hostLog;
    if (GIVEN_UP.test(what)) return;
    // The hypervisor quotes one that has ended.
    const watched = this.#watched.get(Number(/^dom(\d+)/.exec(who === 'xen' ? what : who)?.[1] ?? 0));
    if (watched?.isDriverDomain && this.#isTooMuch(watched)) return;
    const device = deviceIn(what);
    // Now, not in its turn: lines wait side by side for what their faults have done.
    const found = device && faults.causeAt(device);
    const tell = async (): Promise<void> => {
      const cause = await found;
      ledger.together(() => {
        this.#numbers.note(LOG, at);
        told.reaction(domidIn(what), `${who}: ${what}`, cause);
      });
    };
    // Not to the log: that would be heard again.
    this.#telling = this.#telling.then(tell).catch(error => log.info(`a line of the log: ${error}`));
  }
  #tried(what: string, body: () => Promise<void>): void {
    body().catch(error => this.#parts.log.warn(`${what}: ${error instanceof Error ? error.message : error}`));
  }
}

const errors = (domid: number): string => `${domainPath(domid)}/error`;

/** Of what is at this path below a domain's errors: the device, and which of its ends says so. */
function givenUp(own: number, path: string): (NamedDevice & { readonly end: string }) | undefined {
  const pattern = /\/error\/(?:backend\/([a-z0-9]+)\/(\d+)|device\/([a-z0-9]+))\/(\d+)\/error$/;
  const [, served, peer, used, number] = pattern.exec(path) ?? [];
  const type = served ?? used;
  const domid = used === undefined ? parseDecimal(peer, 0x7fef) : own;
  const devid = parseDecimal(number);
  if (type === undefined || domid === undefined || devid === undefined) return undefined;
  return { type, domid, devid, end: used === undefined ? 'backend' : 'frontend' };
}

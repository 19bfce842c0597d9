// Faults of hypercalls: given to the hypervisor for each domain that they are for, and asked what has come of them. It
// outlives the process that this is part of, and counts on meanwhile.
import {
  domid as asDomid,
  type Fault,
  isOfHypervisor,
  type Log,
  parseDecimal,
  readKey,
  XenError,
  type XenstoreClient,
} from '#pvbus';
import type { XcFaults } from '../xc-faults.ts';
import { namePath } from '../xenstore-paths.ts';
import type { FaultLog } from './fault-log.ts';
import type { RunningFault } from './running-fault.ts';

export interface HypercallFaultsParts {
  readonly xs: XenstoreClient;
  readonly told: FaultLog;
  readonly log: Pick<Log, 'error'>;
  readonly xc: Pick<XcFaults, 'plant' | 'remove' | 'injected'>;
  readonly running: () => readonly RunningFault[];
  /** Every domain but dom0. */
  readonly domids: () => readonly number[];
  /** Where a fault is kept: below that, how often it was told of a domain. */
  readonly pathOf: (fault: RunningFault) => string;
}

/** How often the hypervisor is asked while there are some. */
const LOOK_MS = 250;
const DOM0 = 0;

export class HypercallFaults {
  readonly #parts: HypercallFaultsParts;
  #timer: NodeJS.Timeout | undefined;
  /** By domain: the fault that has befallen a hypercall of it last. */
  readonly #last = new Map<number, RunningFault>();
  /** One after the other: what is told is told once. */
  #looking: Promise<void> = Promise.resolve();

  constructor(parts: HypercallFaultsParts) {
    this.#parts = parts;
  }
  stop(): void {
    clearInterval(this.#timer);
  }

  /** At all domains that there are. */
  async plant(fault: RunningFault): Promise<void> {
    for (const domid of [DOM0, ...this.#parts.domids()]) await this.#plantAt(fault, domid);
  }
  /** It has its name, and has asked for nothing yet. */
  async domainMade(domid: number): Promise<void> {
    for (const fault of this.#parts.running())
      if (fault.met && isOfHypervisor(fault.fault)) await this.#plantAt(fault, domid);
  }
  /** It is gone, and is not asked about again. */
  async domainGone(domid: number): Promise<void> {
    await this.look();
    this.#last.delete(domid);
    for (const fault of this.#parts.running()) {
      // Also where only a toolstack before this one has planted it.
      if (!isOfHypervisor(fault.fault)) continue;
      this.#parts.xc.remove(domid, fault.name);
      fault.devices.delete(keyOf(domid));
      await this.#forget(fault, domid);
    }
  }
  /** From wherever it is planted. What it has done is told first. */
  async uproot(fault: RunningFault): Promise<void> {
    await this.look();
    for (const key of fault.devices.keys()) {
      this.#parts.xc.remove(domidOf(key), fault.name);
      await this.#forget(fault, domidOf(key));
    }
    fault.devices.clear();
    for (const [domid, last] of this.#last) if (last === fault) this.#last.delete(domid);
    if (this.#parts.running().some(({ fault: other, devices }) => isOfHypervisor(other) && devices.size > 0)) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  async #plantAt(fault: RunningFault, domid: number): Promise<void> {
    if (!(await this.#isFor(fault.fault, domid))) return;
    // By a toolstack before this one.
    const told = parseDecimal(await readKey(this.#parts.xs, this.#toldPath(fault, domid))) ?? 0;
    // order: from here on nothing is waited for; what has ended meanwhile is planted nowhere.
    if (!fault.met) return;
    if (!this.#parts.xc.plant(domid, JSON.stringify(fault.node))) return;
    if (!fault.devices.has(keyOf(domid))) {
      fault.devices.set(keyOf(domid), told);
      fault.injected += told;
    }
    this.#timer ??= setInterval(() => void this.look(), LOOK_MS);
  }
  /** dom0 carries out the plan itself: it has to be named. */
  async #isFor({ domain }: Fault, domid: number): Promise<boolean> {
    if (domain === undefined) return domid !== DOM0;
    return domain === domid || domain === (await readKey(this.#parts.xs, namePath(asDomid(domid))));
  }

  /** What has befallen a hypercall of that domain last, of what is on. */
  async causeAt(domid: number): Promise<RunningFault | undefined> {
    if (this.#timer !== undefined) await this.look();
    return this.#last.get(domid);
  }
  /** Tell what has happened since the last time. */
  look(): Promise<void> {
    this.#looking = this.#looking
      .then(() => this.#look())
      .catch(error => this.#parts.log.error(`faults of hypercalls: ${error.message}`));
    return this.#looking;
  }
  async #look(): Promise<void> {
    for (const fault of this.#parts.running())
      if (isOfHypervisor(fault.fault)) for (const [key, known] of fault.devices) await this.#lookAt(fault, key, known);
  }
  async #lookAt(fault: RunningFault, key: string, known: number): Promise<void> {
    const { xc, told, xs } = this.#parts;
    const domid = domidOf(key);
    const now = xc.injected(domid, fault.name);
    if (now === undefined) return;
    fault.seen = Math.max(fault.seen, now.seen);
    const count = now.injected - known;
    if (count <= 0) return;
    fault.devices.set(key, now.injected);
    fault.injected += count;
    this.#last.set(domid, fault);
    told.of(fault, 'injected', now.where, { occurrences: now.last.slice(-count), count, total: now.injected, domid });
    await xs.write(this.#toldPath(fault, domid), String(now.injected));
  }

  #toldPath(fault: RunningFault, domid: number): string {
    return `${this.#parts.pathOf(fault)}/${domid}`;
  }
  async #forget(fault: RunningFault, domid: number): Promise<void> {
    await this.#parts.xs.rm(this.#toldPath(fault, domid)).catch(error => {
      if (!(error instanceof XenError && error.code === 'ENOENT')) throw error;
    });
  }
}

const keyOf = (domid: number): string => `dom${domid}`;
const domidOf = (key: string): number => Number(key.slice('dom'.length));

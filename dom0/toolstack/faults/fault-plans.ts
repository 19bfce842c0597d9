// The plans of faults that are on. They are kept in xenstore, which outlives the process that this is part of: who comes
// after it goes on with them, at the occurrences where it was.
import {
  domid as asDomid,
  type Clock,
  childrenOf,
  describeFault,
  type Fault,
  type FaultPlan,
  type FaultStatus,
  isOfDevice,
  isOfHypervisor,
  isOfXenstored,
  isTimed,
  type Log,
  readKey,
  readPlanted,
  TOOLSTACK_STEPS,
  type ToolstackOpName,
  type ToolstackStep,
  XenError,
  type XenstoreClient,
} from '#pvbus';
import { pathsOf } from '../add-device.ts';
import type { DeviceSpec } from '../devices.ts';
import { writeNodes } from '../domain-nodes.ts';
import type { NamedDevice } from '../host-log.ts';
import type { Table } from '../ledger.ts';
import { Locks } from '../locks.ts';
import { PRIVATE } from '../xenstore-paths.ts';
import { FaultLog, type TellFault } from './fault-log.ts';
import { HypercallFaults, type HypercallFaultsParts } from './hypercall-faults.ts';
import { Planting, type PlantingParts, type WriteNodes } from './planting.ts';
import { type Ended, type FaultNode, processOf, RunningFault } from './running-fault.ts';
import type { Steps } from './steps.ts';
import { XenstoreFaults } from './xenstore-faults.ts';

/** How a fault gets at processes and the wall clock. */
export interface Strikes {
  /** Domid 0 is the process of dom0 itself. */
  domain(domid: number, how: Strike): void;
  xenstored(how: Strike): void;
  /** The process has so much left of it, and with null what it could have before. */
  exhaust(target: number | 'xenstored' | 'hypervisor', what: Exhausted, left: number | null): void;
  /** Move the wall clock. */
  shiftClock(ms: number): void;
  /** This very process, at once. */
  self(): void;
}
export type Exhausted = NonNullable<Fault['exhaust']>;
export type Strike = { readonly kill: true } | { readonly stop: number };

export interface FaultPlansOptions {
  readonly xs: XenstoreClient;
  readonly clock: Clock;
  readonly log: Log;
  readonly strikes: Strikes;
  /** Where the hypervisor takes those that it carries out. */
  readonly hypercalls: HypercallFaultsParts['xc'];
  /** Every domain but dom0. */
  readonly domids: () => readonly number[];
  readonly domidOf: (name: string) => Promise<number>;
  readonly tell: TellFault;
  /** By fault and where it was: how many of its kills are known to have ended a process, this one's before among them. */
  readonly answered: Pick<Table<number>, 'entries' | 'get' | 'note' | 'delete'>;
  /** Resolves when these have acted on every change of xenstore up to now. */
  readonly settled: PlantingParts['settled'];
}

const OURS = '/tool/xenolith';
const ROOT = `${OURS}/faults`;
/** Of one fault: domains that it has killed before those nobody asks any more. */
const MAX_KILLED = 64;
/** The longest that a timer of Node's may be. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** What a plan is beside its faults: a node above theirs. */
interface PlanNode {
  readonly seed: number;
  readonly startedNs: number;
  readonly duration: number | null;
}

export class FaultPlans implements Steps {
  readonly #options: FaultPlansOptions;
  readonly #log: FaultLog;
  readonly #planting: Planting;
  readonly #xenstore: XenstoreFaults;
  readonly #hypercalls: HypercallFaults;
  #running: RunningFault[] = [];
  /** One change after the other, under one key. */
  readonly #changes = new Locks();
  readonly #ends = new Map<string, NodeJS.Timeout>();
  #stopped = false;
  /** What a process before this one has left is known. */
  readonly #known: Promise<void>;
  #isKnown = (): void => {};

  constructor(options: FaultPlansOptions) {
    this.#known = new Promise(resolve => {
      this.#isKnown = resolve;
    });
    this.#options = options;
    const { xs, clock, strikes, domids } = options;
    this.#log = new FaultLog(clock, options.tell);
    this.#planting = new Planting({
      ...{ xs, log: this.#log, domids, settled: options.settled },
      running: () => this.#running,
      strike: async (domid, process) => strikes.domain(domid, process),
    });
    this.#xenstore = new XenstoreFaults({ xs, log: this.#log, running: () => this.#running });
    this.#hypercalls = new HypercallFaults({
      ...{ xs, told: this.#log, log: options.log, xc: options.hypercalls, domids },
      running: () => this.#running,
      pathOf: ({ node }) => `${ROOT}/${node.plan}/${node.fault.name}`,
    });
  }

  #change<T>(body: () => Promise<T>): Promise<T> {
    return this.#changes.run(0, body);
  }

  /** Go on with what another process of this kind has left. */
  async start(): Promise<void> {
    await this.#change(() => this.#goOn());
    this.#isKnown();
  }
  async #goOn(): Promise<void> {
    const { xs } = this.#options;
    const found: RunningFault[] = [];
    for (const plan of await childrenOf(xs, ROOT)) {
      const { duration, startedNs } = JSON.parse((await readKey(xs, `${ROOT}/${plan}`)) ?? '{}') as PlanNode;
      for (const name of await childrenOf(xs, `${ROOT}/${plan}`)) {
        const text = (await readKey(xs, `${ROOT}/${plan}/${name}`)) ?? '';
        const { order, killed = [] } = JSON.parse(text) as FaultNode;
        found.push(new RunningFault({ ...readPlanted(text), order, killed }));
      }
      if (duration !== null && duration !== undefined) this.#endAt(plan, startedNs + duration * 1e6);
    }
    // order: as they were added, which decides between two that would befall the same.
    for (const fault of found.sort((a, b) => a.node.order - b.node.order)) {
      this.#running.push(fault);
      this.#log.of(fault, 'began', `again, after a restart of dom0: ${describeFault(fault.fault)}`);
      await this.#begin(fault);
    }
  }
  /** Nothing happens any more. */
  stop(): void {
    this.#stopped = true;
    for (const { timer } of this.#running) clearTimeout(timer);
    for (const timer of this.#ends.values()) clearTimeout(timer);
    this.#xenstore.stop();
    this.#hypercalls.stop();
  }

  add(plan: FaultPlan): Promise<void> {
    return this.#change(() => this.#add(plan));
  }
  async #add(plan: FaultPlan): Promise<void> {
    const { clock } = this.#options;
    const { name, seed, duration } = plan;
    const taken = plan.faults.find(fault =>
      this.#running.some(({ node }) => node.plan === name && node.fault.name === fault.name),
    );
    if (taken) throw new XenError('EEXIST', `fault ${name}:${taken.name} is there already`);
    const startedNs = clock.now();
    const first = Math.max(-1, ...this.#running.map(({ node }) => node.order)) + 1;
    const added = plan.faults.map(
      (fault, i) => new RunningFault({ plan: name, seed, startedNs, fault, order: first + i }),
    );
    const planNode: PlanNode = { seed, startedNs, duration: duration ?? null };
    await writeNodes(this.#options.xs, [
      { path: `${ROOT}/${name}`, value: JSON.stringify(planNode), perms: PRIVATE },
      ...added.map(({ node }) => ({ path: `${ROOT}/${name}/${node.fault.name}`, value: JSON.stringify(node) })),
    ]);
    for (const fault of added) {
      this.#running.push(fault);
      this.#log.of(fault, 'began', describeFault(fault.fault));
      await this.#begin(fault);
    }
    if (duration !== undefined) this.#endAt(name, startedNs + duration * 1e6);
  }

  /** null: all. Throws ENOENT when there is none such. Returns what each had done at its end. */
  remove(plan: string | null, fault: string | null): Promise<FaultStatus[]> {
    return this.#change(() => this.#remove(plan, fault));
  }
  async #remove(plan: string | null, fault: string | null): Promise<FaultStatus[]> {
    const chosen = this.#running.filter(
      ({ node }) => (plan === null || node.plan === plan) && (fault === null || node.fault.name === fault),
    );
    const what = [plan, fault].filter(word => word !== null).join(':');
    if (chosen.length === 0 && plan !== null) throw new XenError('ENOENT', `there is no fault ${what}`);
    const ended: FaultStatus[] = [];
    for (const one of chosen) {
      const before = this.#statusOf(one);
      await this.#end(one);
      // Its devices are none any more; they have told the last that they had counted.
      const { seen, injected } = this.#statusOf(one);
      ended.push({ ...before, seen, injected });
    }
    return ended;
  }

  async list(): Promise<FaultStatus[]> {
    await this.#planting.heard();
    await this.#xenstore.look();
    await this.#hypercalls.look();
    return this.#running.map(running => this.#statusOf(running));
  }
  #statusOf(running: RunningFault): FaultStatus {
    const { node, fault, devices, met, trigger } = running;
    const isCountedApart = isOfDevice(fault) || isOfHypervisor(fault);
    const own = !isCountedApart && !isOfXenstored(fault);
    const { seen, injected } = own ? trigger.counts : running;
    // Each device counts for itself, and each domain.
    const counts = isCountedApart ? [...devices.values()] : [injected];
    const over = counts.length > 0 && counts.every(count => count >= (fault.times ?? Number.POSITIVE_INFINITY));
    return {
      ...{ plan: node.plan, seed: node.seed, fault: fault.name, part: fault.part, text: describeFault(fault) },
      devices: isCountedApart ? devices.size : null,
      ...{ seen, injected },
      state: over ? 'over' : met ? 'on' : 'waits',
    };
  }

  /** `write` makes these devices, and writes with their nodes those of the faults that are for them. */
  making(domid: number, devices: readonly DeviceSpec[], write: WriteNodes): Promise<void> {
    // What had these paths before has its own count.
    const backends = devices.map(device => pathsOf(asDomid(domid), device).backend);
    this.#forgetKills(key => backends.some(backend => key.endsWith(` ${backend}`)));
    return this.#planting.making(domid, devices, write);
  }

  /** A domain has its name, and has not run yet. */
  domainMade(domid: number): Promise<void> {
    return this.#hypercalls.domainMade(domid);
  }
  /** Nothing is left of it. */
  async domainGone(domid: number): Promise<void> {
    // An end that goes on where the process before this one has left it may be faster.
    await this.#known;
    await this.#hypercalls.domainGone(domid);
  }

  /** What has befallen that device last, of what is on, or else a hypercall of the domain that uses it. */
  async causeAt(device: NamedDevice): Promise<RunningFault | undefined> {
    return (await this.#planting.causeAt(device)) ?? (await this.#hypercalls.causeAt(device.domid));
  }
  /** Whose kill a process has ended by that was this domain's, each time once. */
  causeOfEnd(end: Ended): RunningFault | undefined {
    const { answered } = this.#options;
    for (const running of this.#running) {
      const known = (where: string): number => answered.get(`${running.name} ${where}`) ?? 0;
      const where = running.killedAt(end, known);
      if (where === undefined) continue;
      if (!running.gone.delete(where)) answered.note(`${running.name} ${where}`, known(where) + 1);
      return running;
    }
    return undefined;
  }

  // ---- steps of the toolstack ----

  at<O extends ToolstackOpName>(op: O, domain: string | number, step: ToolstackStep<O>): Promise<void> | undefined {
    if (this.#running.length === 0) return undefined;
    const number = (TOOLSTACK_STEPS[op] as readonly string[]).indexOf(step) + 1;
    const matches = ({ fault, met }: RunningFault): boolean =>
      met &&
      fault.part === 'toolstack' &&
      (fault.op === undefined || fault.op === op) &&
      (fault.domain === undefined || String(fault.domain) === String(domain)) &&
      (fault.step === undefined || fault.step === step || fault.step === number);
    const chosen = this.#running.filter(matches);
    return chosen.length === 0 ? undefined : this.#step(chosen, `${op} of ${domain}, before step ${number}, ${step}`);
  }
  async #step(faults: readonly RunningFault[], where: string): Promise<void> {
    const { clock, strikes } = this.#options;
    for (const running of faults) {
      const happens = await this.#change(async () => {
        if (!running.met || !running.trigger.decide(clock.now())) return false;
        await this.#count(running, where, null);
        return true;
      });
      if (!happens) continue;
      const { error, delay, kill, name } = running.fault;
      if (kill !== undefined) strikes.self();
      if (delay !== undefined) await new Promise(resolve => setTimeout(resolve, delay));
      if (error !== undefined) throw new XenError(error, `injected: ${where} (fault ${name})`);
    }
  }

  // ---- life of a fault ----

  async #begin(running: RunningFault): Promise<void> {
    const { fault } = running;
    if (fault.while !== undefined) await this.#follow(running, fault.while);
    else await this.#arm(running);
  }
  async #arm(running: RunningFault): Promise<void> {
    const { fault } = running;
    if (isOfDevice(fault)) await this.#planting.plant(running);
    else if (isOfXenstored(fault)) await this.#xenstore.plant(running);
    else if (isOfHypervisor(fault)) await this.#hypercalls.plant(running);
    else if (isTimed(fault)) this.#schedule(running);
    if (running.isExhausted) this.#relieveLater(running); // since before a restart of dom0
  }
  async #disarm(running: RunningFault): Promise<void> {
    clearTimeout(running.timer);
    if (running.isExhausted) await this.#relieve(running);
    if (isOfDevice(running.fault)) await this.#planting.uproot(running);
    else if (isOfXenstored(running.fault)) await this.#xenstore.uproot(running);
    else if (isOfHypervisor(running.fault)) await this.#hypercalls.uproot(running);
  }
  async #end(running: RunningFault): Promise<void> {
    const { xs } = this.#options;
    const { plan } = running.node;
    running.met = false; // nothing of it happens any more, and no device that is made from now on has it
    if (running.fault.while) await xs.unwatch(running.fault.while.path, conditionToken(running)).catch(() => {});
    await this.#disarm(running);
    const gone = this.#running.filter(other => other !== running);
    this.#running = gone;
    await this.#rm(`${ROOT}/${plan}/${running.fault.name}`);
    this.#forgetKills(key => key.startsWith(`${running.name} `));
    if (!gone.some(({ node }) => node.plan === plan)) {
      clearTimeout(this.#ends.get(plan));
      this.#ends.delete(plan);
      await this.#rm(gone.length === 0 ? OURS : `${ROOT}/${plan}`);
    }
    this.#log.of(running, 'ended', describeFault(running.fault));
  }
  #forgetKills(which: (key: string) => boolean): void {
    const { answered } = this.#options;
    for (const [key] of answered.entries()) if (which(String(key))) answered.delete(key);
  }
  async #rm(path: string): Promise<void> {
    await this.#options.xs.rm(path).catch(error => {
      if (!(error instanceof XenError && error.code === 'ENOENT')) throw error;
    });
  }

  async #follow(running: RunningFault, { path, is }: NonNullable<Fault['while']>): Promise<void> {
    const { xs } = this.#options;
    const look = async (): Promise<void> => {
      if (!this.#running.includes(running)) return;
      const value = await readKey(xs, path);
      const met = value !== undefined && (is === undefined || value === is);
      if (met === running.met) return;
      running.met = met;
      await (met ? this.#arm(running) : this.#disarm(running));
    };
    await xs.watch(path, conditionToken(running), () => {
      this.#change(look).catch(error => this.#options.log.error(`fault ${running.name}: ${error.message}`));
    });
    await look();
  }

  #endAt(plan: string, atNs: number): void {
    const ms = Math.min(Math.max(0, (atNs - this.#options.clock.now()) / 1e6), MAX_TIMER_MS);
    const end = (): void => {
      this.remove(plan, null).catch(error => this.#options.log.error(`end of plan ${plan}: ${error.message}`));
    };
    clearTimeout(this.#ends.get(plan));
    this.#ends.set(plan, setTimeout(end, ms));
  }

  // ---- faults that happen by time ----

  #schedule(running: RunningFault): void {
    const { nextNs } = running.trigger;
    if (nextNs === undefined || this.#stopped) return;
    const ms = Math.min(Math.max(0, (nextNs - this.#options.clock.now()) / 1e6), MAX_TIMER_MS);
    const happen = (): void => {
      this.#change(() => this.#happen(running)).catch(error =>
        this.#options.log.error(`fault ${running.name}: ${error.message}`),
      );
    };
    clearTimeout(running.timer);
    running.timer = setTimeout(happen, ms);
  }
  async #happen(running: RunningFault): Promise<void> {
    if (!running.met) return; // no longer
    const { clock } = this.#options;
    // A timer may be early by a part of a millisecond.
    const now = Math.max(clock.now(), running.trigger.nextNs ?? 0);
    if (running.trigger.decide(now)) await this.#strike(running);
    this.#schedule(running);
  }
  async #strike(running: RunningFault): Promise<void> {
    const { strikes } = this.#options;
    const { process, domain, shift, stop, exhaust, left } = running.fault;
    const how: Strike = stop === undefined ? { kill: true } : { stop };
    const domid = await this.#domidOf(running);
    if (domain !== undefined && domid === null) return this.#log.of(running, 'missed', `there is no domain ${domain}`);
    const killed = running.fault.kill === undefined ? undefined : processOf(domid ?? 0, process === 'xenstored');
    // order: kept, then done: it may be this very process that ends.
    if (killed !== undefined) this.#noteKill(running, killed);
    await this.#count(running, shift === undefined ? describeProcess(running) : 'wall clock', domid);
    try {
      if (shift !== undefined) strikes.shiftClock(shift);
      else if (exhaust !== undefined) {
        strikes.exhaust(targetOf(running, domid), exhaust, left ?? 0);
        this.#relieveLater(running);
      } else if (process === 'xenstored') {
        await this.#xenstore.keep();
        strikes.xenstored(how);
      } else {
        if ('kill' in how) await this.#planting.tellAll(domid ?? 0);
        strikes.domain(domid ?? 0, how);
      }
    } catch (error) {
      this.#log.of(running, 'missed', error instanceof Error ? error.message : String(error), { domid });
      if (killed === undefined) return;
      running.killed.set(killed, running.killed.get(killed)! - 1); // noted above
      await this.#keep(running);
    }
  }
  #noteKill({ name, killed }: RunningFault, where: string): void {
    const n = (killed.get(where) ?? 0) + 1;
    killed.delete(where);
    killed.set(where, n);
    for (const first of killed.keys()) {
      if (killed.size <= MAX_KILLED) break;
      killed.delete(first);
      this.#options.answered.delete(`${name} ${first}`);
    }
  }
  /** null: it is of no domain, or there is none of that name. */
  async #domidOf({ fault: { domain } }: RunningFault): Promise<number | null> {
    if (typeof domain !== 'string') return domain ?? null;
    return this.#options.domidOf(domain).catch(() => null);
  }
  /** When its time is over. Without one it lasts until the fault is removed. */
  #relieveLater(running: RunningFault): void {
    const { after = 0, for: length } = running.fault;
    if (length === undefined || this.#stopped) return;
    const ms = (running.node.startedNs - this.#options.clock.now()) / 1e6 + after + length;
    running.timer = setTimeout(() => void this.#relieve(running), Math.min(Math.max(0, ms), MAX_TIMER_MS));
  }
  async #relieve(running: RunningFault): Promise<void> {
    const { exhaust } = running.fault;
    const domid = await this.#domidOf(running);
    if (exhaust === undefined || running.isRelieved || (running.fault.domain !== undefined && domid === null)) return;
    running.isRelieved = true;
    try {
      this.#options.strikes.exhaust(targetOf(running, domid), exhaust, null);
      this.#log.reaction(domid, `${describeProcess(running)} may have ${exhaust} again`);
    } catch {
      // It has ended: who comes after it has what the host gives.
    }
  }
  /** Told, and kept for who comes after this process, which may be the one that it befalls. Part of a change. */
  async #count(running: RunningFault, where: string, domid: number | null): Promise<void> {
    const { counts } = running.trigger;
    this.#log.of(running, 'injected', where, { occurrences: [counts.seen], count: 1, total: counts.injected, domid });
    await this.#keep(running);
  }
  async #keep({ node, trigger: { counts }, fault, killed }: RunningFault): Promise<void> {
    const path = `${ROOT}/${node.plan}/${fault.name}`;
    await this.#options.xs.write(path, JSON.stringify({ ...node, counts, killed: [...killed] }));
  }
}

const describeProcess = ({ fault: { domain, process } }: RunningFault): string => `process of ${domain ?? process}`;
function targetOf({ fault: { process } }: RunningFault, domid: number | null): number | 'xenstored' | 'hypervisor' {
  if (domid !== null) return domid;
  return process === 'xenstored' || process === 'hypervisor' ? process : 0;
}
const conditionToken = ({ name }: RunningFault): string => `condition:${name}`;

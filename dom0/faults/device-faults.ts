// The faults that are planted at one device: asked at each occurrence, and telling what they have done.
import {
  actionOf,
  type Clock,
  type Fault,
  type Injected,
  MAX_OCCURRENCES,
  type PartName,
  type Planted,
  plantedName,
  type Trigger,
  triggerOf,
} from '#pvbus';

interface Entry {
  readonly planted: Planted;
  readonly trigger: Trigger;
  /** Not told yet. */
  occurrences: number[];
  /** How many occurrences have been told of, befallen or not. */
  told: number;
}

/** What befalls nothing is told of so long after it was counted, with what came meanwhile. */
const TELL_SEEN_NS = 500e6;

const always = (): boolean => true;
const isUntold = ({ told, trigger }: Entry): boolean => told !== trigger.counts.seen;

export class DeviceFaults {
  /** How events name it: `vbd 51712 of dom1`. */
  readonly where: string;
  readonly #clock: Clock;
  readonly #tell: (injected: Injected) => void;
  #entries: Entry[] = [];
  #tellSeenAt: number | undefined;
  #dying: Trigger | undefined;

  constructor(where: string, clock: Clock, tell: (injected: Injected) => void) {
    this.where = where;
    this.#clock = clock;
    this.#tell = tell;
  }

  /** These are there from now on. One that was there before goes on with what it has counted. */
  plant(planted: readonly Planted[]): void {
    for (const entry of this.#entries) if (isUntold(entry)) this.#flush(entry);
    const before = new Map(this.#entries.map(entry => [plantedName(entry.planted), entry]));
    this.#entries = planted.map(one => {
      const known = before.get(plantedName(one));
      const same = known?.planted.startedNs === one.startedNs;
      const trigger = same ? known!.trigger : triggerOf(one);
      return { planted: one, trigger, occurrences: [], told: trigger.counts.seen };
    });
  }

  /**
   * What has a kill under way, as long as that is planted. What comes from then on is left to whoever serves next, and
   * is no occurrence here.
   */
  get dying(): Trigger | undefined {
    return this.#dying !== undefined && this.isPlanted(this.#dying) ? this.#dying : undefined;
  }

  isPlanted(trigger: Trigger): boolean {
    return this.#entries.some(entry => entry.trigger === trigger);
  }

  /**
   * One more occurrence: the fault that befalls it. Where several would, it is the first of the plan; the others have
   * counted it. `matches`: a fault for which it is one.
   */
  befalls(part: PartName, op: string, matches: (fault: Fault) => boolean = always): Trigger | undefined {
    if (this.dying !== undefined) return undefined;
    const now = this.#clock.now();
    let chosen: Trigger | undefined;
    for (const entry of this.#entries) {
      const { trigger } = entry;
      const { fault } = trigger;
      if (fault.part !== part || (fault.op !== undefined && fault.op !== op) || !matches(fault)) continue;
      if (chosen !== undefined) trigger.counts.seen++;
      else if (trigger.decide(now)) {
        chosen = trigger;
        if (entry.occurrences.push(trigger.counts.seen) >= MAX_OCCURRENCES) this.#flush(entry);
      }
      this.#tellSeenAt ??= now + TELL_SEEN_NS;
    }
    return chosen;
  }

  /** The process that serves the device is to end, or to be stopped for a while; told at once, with all that was counted. */
  strike(trigger: Trigger): void {
    const entry = this.#entries.find(one => one.trigger === trigger);
    if (entry === undefined) return;
    const { stop } = trigger.fault;
    const kills = actionOf(trigger.fault) === 'kill';
    if (kills) this.#dying = trigger;
    for (const other of this.#entries) if (other !== entry && isUntold(other)) this.#flush(other);
    this.#flush(entry, kills ? { kill: true } : { stop: stop ?? 0 });
  }

  /** Tell what has happened since the last time. */
  flush(): void {
    for (const entry of this.#entries) if (entry.occurrences.length > 0) this.#flush(entry);
    if (this.#tellSeenAt === undefined) return;
    const late = this.#clock.now() >= this.#tellSeenAt;
    if (late) for (const entry of this.#entries) if (isUntold(entry)) this.#flush(entry);
    if (late || !this.#entries.some(isUntold)) this.#tellSeenAt = undefined;
  }
  /** When `flush` has something to tell that is not told at once. */
  get deadline(): number | undefined {
    return this.#tellSeenAt;
  }
  #flush(entry: Entry, process?: Injected['process']): void {
    const { plan, seed, fault } = entry.planted;
    const { occurrences, trigger } = entry;
    entry.occurrences = [];
    entry.told = trigger.counts.seen;
    const counts = { ...trigger.counts };
    const what = { plan, fault: fault.name, seed, counts, occurrences, where: this.where };
    this.#tell(process === undefined ? what : { ...what, process });
  }
}

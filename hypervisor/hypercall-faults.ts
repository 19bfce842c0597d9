// Hypercalls with faults, as a plan asks: some are refused, some are served late. They stand in the place of a handler
// as long as a fault is planted for its hypercall; the others, and all when there is none, know nothing of it.
import {
  type Clock,
  errnoOf,
  hypercallName,
  hypercallsOf,
  type InjectedRequests,
  isHypercall,
  isOfHypervisor,
  MAX_OCCURRENCES,
  type Planted,
  plantedName,
  readPlanted,
  type Trigger,
  triggerOf,
  XEN_EINVAL,
  XEN_ENOENT,
  XenError,
} from '#pvbus';
import type { Continuations } from './continuations.ts';
import { DEFERRED, type Result } from './deferred.ts';
import type { Domain, Vcpu } from './domain.ts';
import type { Handler } from './hypercall-table.ts';
import { Timer, type Timers } from './timers.ts';

export interface HypercallFaultsParts {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly continuations: Continuations;
  /** A hypercall is answered by what is made of its handler; without, by that one. */
  readonly replace: (nr: number, make?: (plain: Handler) => Handler) => void;
}

/** A fault at one domain. It counts for itself there, and what it has done can be asked for when the domain has gone. */
interface Entry {
  readonly planted: Planted;
  readonly trigger: Trigger;
  readonly domain: Domain;
  last: number[];
  where: string;
}

/** A hypercall that waits. */
interface Held {
  readonly trigger: Trigger;
  readonly timer: Timer;
  readonly goOn: () => void;
}

export class HypercallFaults {
  private readonly parts: HypercallFaultsParts;
  /** In the order in which they were planted, which decides between two that would befall the same. */
  private readonly entries = new Map<string, Entry>();
  private readonly held = new Set<Held>();

  constructor(parts: HypercallFaultsParts) {
    this.parts = parts;
  }

  /** One that is there already goes on as it is. 0 or -errno. */
  plant(domain: Domain, text: string): number {
    let planted: Planted;
    try {
      planted = readPlanted(text);
    } catch (error) {
      if (error instanceof XenError) return -XEN_EINVAL;
      throw error;
    }
    if (!isOfHypervisor(planted.fault)) return -XEN_EINVAL;
    const key = keyOf(domain.domid, plantedName(planted));
    const known = this.entries.get(key);
    if (known?.domain === domain && known.planted.startedNs === planted.startedNs) return 0;
    this.entries.set(key, { planted, trigger: triggerOf(planted), domain, last: [], where: '' });
    for (const nr of hypercallsOf(planted.fault.op)) this.parts.replace(nr, plain => this.faulty(nr, plain));
    return 0;
  }
  /** What waits because of it goes on. 0 or -errno. */
  remove(domid: number, name: string): number {
    const key = keyOf(domid, name);
    const entry = this.entries.get(key);
    if (entry === undefined) return -XEN_ENOENT;
    this.entries.delete(key);
    const left = new Set([...this.entries.values()].flatMap(({ planted }) => hypercallsOf(planted.fault.op)));
    for (const nr of hypercallsOf(entry.planted.fault.op)) if (!left.has(nr)) this.parts.replace(nr);
    for (const one of this.held) if (one.trigger === entry.trigger) one.goOn();
    return 0;
  }
  injected(domid: number, name: string): InjectedRequests | undefined {
    const entry = this.entries.get(keyOf(domid, name));
    if (entry === undefined) return undefined;
    const { trigger, last, where } = entry;
    return { ...trigger.counts, last, where, domid };
  }

  private faulty(nr: number, plain: Handler): Handler {
    return (caller, a0, a1, a2, a3, a4) => {
      const hit = this.befalls(caller.domain, nr, a0);
      if (hit === undefined) return plain(caller, a0, a1, a2, a3, a4);
      const { error, delay } = hit.fault;
      if (error !== undefined) return -errnoOf(error);
      return this.later(hit, caller, delay ?? 0, () => plain(caller, a0, a1, a2, a3, a4));
    };
  }
  private befalls(domain: Domain, nr: number, a0: number): Trigger | undefined {
    let hit: Trigger | undefined;
    for (const entry of this.entries.values()) {
      const { trigger } = entry;
      if (entry.domain !== domain || !isHypercall(trigger.fault.op, nr, a0)) continue;
      if (hit !== undefined) trigger.counts.seen++;
      else if (trigger.decide(this.parts.clock.now())) {
        hit = trigger;
        entry.last.push(trigger.counts.seen);
        if (entry.last.length > MAX_OCCURRENCES) entry.last.shift();
        entry.where = `${hypercallName(nr, a0)} by dom${domain.domid}`;
      }
    }
    return hit;
  }
  /** Its vCPU waits for the answer, as for that of any long hypercall. */
  private later(trigger: Trigger, vcpu: Vcpu, ms: number, go: () => Result): typeof DEFERRED {
    const { timers, continuations, clock } = this.parts;
    const { incarnation } = vcpu;
    const timer = new Timer(() => one.goOn());
    const goOn = (): void => {
      timers.stop(timer);
      this.held.delete(one);
      // The thread that asked is gone: what it asked for and was not served is not to be.
      if (vcpu.incarnation === incarnation) continuations.later(vcpu, go);
    };
    const one: Held = { trigger, timer, goOn };
    this.held.add(one);
    timers.set(timer, clock.now() + ms * 1e6);
    return DEFERRED;
  }
}

const keyOf = (domid: number, name: string): string => `${domid} ${name}`;

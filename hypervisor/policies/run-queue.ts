// The units that wait, by affinity and by pCPU, so that the best unit for a pCPU is at the head of a heap.
import type { CpuSet } from './cpu-set.ts';
import { Heap, type HeapNode } from './heap.ts';
import { type SchedDomain, type SchedUnit, UNIT_blocked } from './policy.ts';

/** Where a unit may run and would rather. Units with equal affinities share one. */
export interface Affinity {
  readonly hard: CpuSet;
  readonly soft: CpuSet;
  /** What of `soft` is possible; all of `hard` when that is nothing. */
  readonly preferred: CpuSet;
  readonly name: string;
  readonly index: number;
  users: number;
}

export class QueuedUnit<D extends SchedDomain = SchedDomain> implements SchedUnit, HeapNode {
  readonly id: number;
  readonly domain: D;
  affinity: Affinity;
  state: number = UNIT_blocked;
  cpu = -1;
  /** The smaller (prio, key) goes first. */
  prio = 0;
  key = 0;
  seq = 0;
  pos = -1;
  posOfAffinity = -1;
  /** When it was given the pCPU it runs on, and up to when it has been charged. */
  startedAt = 0;
  chargedAt = 0;
  /** It lets somebody else go first at the next decision. */
  yielded = false;

  constructor(id: number, domain: D, affinity: Affinity) {
    this.id = id;
    this.domain = domain;
    this.affinity = affinity;
  }
  get hard(): CpuSet {
    return this.affinity.hard;
  }
  get soft(): CpuSet {
    return this.affinity.soft;
  }
}

/** A unit is in two heaps: of its affinity, and of its affinity and place. */
class AffinityHeap<U extends QueuedUnit> extends Heap<U> {
  protected override posOf(unit: U): number {
    return unit.posOfAffinity;
  }
  protected override setPos(unit: U, pos: number): void {
    unit.posOfAffinity = pos;
  }
}

class Waiting<U extends QueuedUnit> {
  readonly affinity: Affinity;
  readonly all = new AffinityHeap<U>();
  readonly byPlace: readonly Heap<U>[];
  /** Where it is among the affinities of which somebody waits. */
  slot = -1;

  constructor(affinity: Affinity, nrCpus: number) {
    this.affinity = affinity;
    this.byPlace = Array.from({ length: nrCpus }, () => new Heap<U>());
  }
}

export class RunQueue<U extends QueuedUnit> {
  /** What a unit's key is worse by on a pCPU that is not its place, and on one that it does not prefer. */
  homePenalty: number;
  softPenalty: number;
  private readonly nrCpus: number;
  private readonly affinities = new Map<string, Affinity>();
  /** By index of the affinity; undefined: not in use. */
  private readonly waiting: (Waiting<U> | undefined)[] = [];
  private readonly occupied: Waiting<U>[] = [];
  private arrivals = 0;

  constructor(nrCpus: number, homePenalty: number, softPenalty: number) {
    this.nrCpus = nrCpus;
    this.homePenalty = homePenalty;
    this.softPenalty = softPenalty;
  }

  /** One more unit has this affinity. */
  useAffinity(hard: CpuSet, soft: CpuSet): Affinity {
    const name = `${hard.name}/${soft.name}`;
    let affinity = this.affinities.get(name);
    if (affinity === undefined) {
      const unused = this.waiting.indexOf(undefined);
      const index = unused >= 0 ? unused : this.waiting.length;
      const both = hard.and(soft);
      affinity = {
        hard: hard.copy(),
        soft: soft.copy(),
        preferred: both.isEmpty ? hard.copy() : both,
        name,
        index,
        users: 0,
      };
      this.waiting[index] = new Waiting<U>(affinity, this.nrCpus);
      this.affinities.set(name, affinity);
    }
    affinity.users++;
    return affinity;
  }
  dropAffinity(affinity: Affinity): void {
    if (--affinity.users > 0) return;
    this.affinities.delete(affinity.name);
    this.waiting[affinity.index] = undefined;
  }

  /** `unit.cpu`, its place, is not -1. */
  add(unit: U): void {
    const waiting = this.waiting[unit.affinity.index]!;
    if (waiting.slot < 0) {
      waiting.slot = this.occupied.length;
      this.occupied.push(waiting);
    }
    unit.seq = this.arrivals++;
    waiting.all.push(unit);
    waiting.byPlace[unit.cpu]!.push(unit);
  }
  remove(unit: U): void {
    const waiting = this.waiting[unit.affinity.index]!;
    waiting.byPlace[unit.cpu]!.remove(unit);
    waiting.all.remove(unit);
    if (waiting.all.size > 0) return;
    const last = this.occupied.pop()!;
    if (last !== waiting) {
      this.occupied[waiting.slot] = last;
      last.slot = waiting.slot;
    }
    waiting.slot = -1;
  }
  get isEmpty(): boolean {
    return this.occupied.length === 0;
  }
  /** The unit that should run on `cpu`, of those that wait and may. */
  best(cpu: number): U | null {
    let best: U | null = null;
    for (let i = 0; i < this.occupied.length; i++) {
      const { affinity, all, byPlace } = this.occupied[i]!;
      if (!affinity.hard.has(cpu)) continue;
      // One of these two: among equals of an affinity only the place makes a difference.
      const anywhere = all.first!;
      if (best === null || this.prefers(anywhere, best, cpu)) best = anywhere;
      const here = byPlace[cpu]!.first;
      if (here !== undefined && here !== anywhere && this.prefers(here, best, cpu)) best = here;
    }
    return best;
  }
  /** Does anybody wait who may run on `cpu`? */
  hasFor(cpu: number): boolean {
    for (let i = 0; i < this.occupied.length; i++) if (this.occupied[i]!.affinity.hard.has(cpu)) return true;
    return false;
  }
  /** Is `unit` to have `cpu` rather than `other`? The prio and key of both are up to date. */
  prefers(unit: U, other: U, cpu: number): boolean {
    if (unit.prio !== other.prio) return unit.prio < other.prio;
    return this.keyOn(cpu, unit) < this.keyOn(cpu, other);
  }

  private keyOn(cpu: number, unit: U): number {
    const away = unit.cpu === cpu ? 0 : this.homePenalty;
    return unit.key + away + (unit.affinity.preferred.has(cpu) ? 0 : this.softPenalty);
  }
}

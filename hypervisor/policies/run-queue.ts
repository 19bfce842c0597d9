// The units that wait: a queue per pCPU, each split by affinity, so that the best unit for a pCPU is at the head of one.
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

class Bucket<U extends HeapNode> {
  readonly affinity: Affinity;
  readonly place: number;
  readonly heap = new Heap<U>();
  /** Where it is among the buckets that hold somebody. */
  slot = -1;

  constructor(affinity: Affinity, place: number) {
    this.affinity = affinity;
    this.place = place;
  }
}

export class RunQueue<U extends QueuedUnit> {
  /** What a unit's key is worse by on a pCPU that is not its place, and on one that it does not prefer. */
  homePenalty: number;
  softPenalty: number;
  private readonly nrCpus: number;
  private readonly affinities = new Map<string, Affinity>();
  private readonly buckets: Bucket<U>[][] = [];
  private readonly occupied: Bucket<U>[] = [];

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
      const unused = this.buckets.findIndex(buckets => buckets.length === 0);
      const index = unused >= 0 ? unused : this.buckets.length;
      const both = hard.and(soft);
      const its: Affinity = {
        hard: hard.copy(),
        soft: soft.copy(),
        preferred: both.isEmpty ? hard.copy() : both,
        name,
        index,
        users: 0,
      };
      this.buckets[index] = Array.from({ length: this.nrCpus }, (_, cpu) => new Bucket<U>(its, cpu));
      this.affinities.set(name, its);
      affinity = its;
    }
    affinity.users++;
    return affinity;
  }
  dropAffinity(affinity: Affinity): void {
    if (--affinity.users > 0) return;
    this.affinities.delete(affinity.name);
    this.buckets[affinity.index] = [];
  }

  /** `unit.cpu`, its place, is not -1. */
  add(unit: U): void {
    const bucket = this.buckets[unit.affinity.index]![unit.cpu]!;
    if (bucket.heap.size === 0) {
      bucket.slot = this.occupied.length;
      this.occupied.push(bucket);
    }
    bucket.heap.push(unit);
  }
  remove(unit: U): void {
    const bucket = this.buckets[unit.affinity.index]![unit.cpu]!;
    bucket.heap.remove(unit);
    if (bucket.heap.size > 0) return;
    const last = this.occupied.pop()!;
    if (last !== bucket) {
      this.occupied[bucket.slot] = last;
      last.slot = bucket.slot;
    }
    bucket.slot = -1;
  }
  get isEmpty(): boolean {
    return this.occupied.length === 0;
  }
  /** The unit that should run on `cpu`, of those that wait and may. */
  best(cpu: number): U | null {
    let best: U | null = null;
    let prio = 0;
    let key = 0;
    for (let i = 0; i < this.occupied.length; i++) {
      const { affinity, place, heap } = this.occupied[i]!;
      if (!affinity.hard.has(cpu)) continue;
      const unit = heap.first!;
      if (best !== null && unit.prio > prio) continue;
      let its = unit.key;
      if (place !== cpu) its += this.homePenalty;
      if (!affinity.preferred.has(cpu)) its += this.softPenalty;
      if (best !== null && unit.prio === prio && its >= key) continue;
      best = unit;
      prio = unit.prio;
      key = its;
    }
    return best;
  }
  /** Does anybody wait who may run on `cpu`? */
  hasFor(cpu: number): boolean {
    for (let i = 0; i < this.occupied.length; i++) if (this.occupied[i]!.affinity.hard.has(cpu)) return true;
    return false;
  }
  /** Is `waiting` to have `cpu` rather than `current`, who has it and whose prio and key are up to date? */
  prefers(waiting: U, current: U, cpu: number): boolean {
    if (waiting.prio !== current.prio) return waiting.prio < current.prio;
    return this.keyOn(cpu, waiting) < this.keyOn(cpu, current);
  }

  private keyOn(cpu: number, unit: U): number {
    const away = unit.cpu === cpu ? 0 : this.homePenalty;
    return unit.key + away + (unit.affinity.preferred.has(cpu) ? 0 : this.softPenalty);
  }
}

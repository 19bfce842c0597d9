// Where a run's choices come from: a seed, or a list.
import type { Choice, Verb } from './actions.ts';
import { Draw, mixed } from './draw.ts';
import type { Part } from './part.ts';
import type { SimHost } from './sim-host.ts';

export interface Chooser {
  /** Undefined when there is nothing more to choose. */
  next(host: SimHost): Choice | undefined;
}

const FAULTS: readonly (readonly [Verb, number])[] = [
  ['lose-events', 10],
  ['lose-packets', 10],
  ['kill-dom0', 4],
  ['kill-xenstored', 6],
  ['kill-guest', 3],
  ['destroy-guest', 1],
  ['attack', 2],
  ['fail-disk', 6],
  ['cut-power', 1],
  ['fail-map', 1],
  ['step-clock', 1],
  ['stop-host', 1],
  ['write-short', 3],
  ['wake', 10],
];
const WORK: readonly (readonly [Verb, number])[] = [
  ['write', 6],
  ['read', 5],
  ['flush', 1],
  ['send', 6],
  ['store', 2],
];

/** Draws from a seed. Each seed has its own taste: which parts are slow, how much work there is, how often things break. */
export class SeededChooser implements Chooser {
  readonly #draw: Draw;
  readonly #weights = new Map<string, number>();
  readonly #workOf8: number;
  readonly #faultEvery: number;
  readonly #faults: readonly (readonly [Verb, number])[];
  #left: number;

  constructor(seed: number, steps: number) {
    const draw = new Draw(mixed(seed, 2));
    this.#draw = draw;
    this.#left = steps;
    this.#workOf8 = 1 + draw.below(4);
    this.#faultEvery = [150, 600, 2000, 6000][draw.below(4)]!;
    // Some runs know only some faults: a rare thing is not always drowned by frequent ones.
    const some = FAULTS.filter(() => !draw.oneIn(3));
    this.#faults = some.length > 0 ? some : FAULTS;
  }

  next(host: SimHost): Choice | undefined {
    if (this.#left-- <= 0) return undefined;
    const draw = this.#draw;
    const arg = draw.u32();
    if (draw.oneIn(this.#faultEvery)) return this.#fault(host, arg);
    const ready = this.#ready(host);
    if (ready.length === 0 || draw.below(8) < this.#workOf8) {
      if (ready.length === 0 && draw.oneIn(3)) return { verb: 'time', target: '-', arg };
      return { verb: one(draw, WORK), target: `g${draw.below(host.guests.length)}`, arg };
    }
    return { verb: 'run', target: this.#one(ready).name, arg: 0 };
  }

  #fault(host: SimHost, arg: number): Choice {
    const draw = this.#draw;
    const verb = one(draw, this.#faults);
    const slot = `g${draw.below(host.guests.length)}`;
    if (verb === 'wake') {
      const i = draw.below(3 + host.guests.length);
      return { verb, target: ['blkback', 'netback', 'toolstack'][i] ?? `g${i - 3}`, arg };
    }
    const aboutGuests: readonly Verb[] = ['kill-guest', 'destroy-guest', 'attack', 'fail-disk'];
    return { verb, target: aboutGuests.includes(verb) ? slot : '-', arg };
  }

  #ready(host: SimHost): Part[] {
    const ready = host.fixed.filter(part => part.ready());
    for (const guest of host.guests) if (guest?.ready()) ready.push(guest);
    return ready;
  }
  #one(parts: readonly Part[]): Part {
    let total = 0;
    for (const part of parts) total += this.#weight(part.name);
    let at = this.#draw.below(total);
    for (const part of parts) {
      at -= this.#weight(part.name);
      if (at < 0) return part;
    }
    return parts[0]!;
  }
  #weight(name: string): number {
    let weight = this.#weights.get(name);
    if (weight === undefined) {
      weight = [1, 4, 4, 16][this.#draw.below(4)]!;
      this.#weights.set(name, weight);
    }
    return weight;
  }
}

function one(draw: Draw, list: readonly (readonly [Verb, number])[]): Verb {
  let total = 0;
  for (const [, weight] of list) total += weight;
  let at = draw.below(total);
  for (const [verb, weight] of list) {
    at -= weight;
    if (at < 0) return verb;
  }
  return list[0]![0];
}

/** A list, whoever made it. */
export class ListChooser implements Chooser {
  readonly #choices: readonly Choice[];
  #at = 0;

  constructor(choices: readonly Choice[]) {
    this.#choices = choices;
  }
  next(): Choice | undefined {
    return this.#choices[this.#at++];
  }
}

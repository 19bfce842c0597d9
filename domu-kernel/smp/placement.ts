// Which vCPU runs which program. vCPU 0 has the kernel, and those that ask something of it often; those that compute go
// to the others, as many to each.
import { withSharedMemory } from '#pvbus';
import type { Program, Runtime } from '../process/runtime.ts';
import type { Suspended } from '../process/suspended.ts';
import type { Timer, Timers } from '../timers.ts';
import { Away, type Movable } from './away.ts';
import { Garbage } from './garbage.ts';
import {
  type FromLodgers,
  type LodgedMail,
  type LodgerKey,
  type Lodging,
  type SharedProgram,
  type ToLodgers,
  Told,
} from './lodging.ts';
import type { Mail } from './mail.ts';
import { MovableProgram } from './movable-program.ts';

/** A vCPU other than 0. */
export interface Seat {
  readonly id: number;
  readonly mail: Mail;
  /** It is up, to stay up, and has no task of its own. */
  readonly open: boolean;
  send(message: ToLodgers): void;
}
export interface PlacementParts {
  readonly seats: readonly Seat[];
  readonly timers: Timers;
  /** Of the domain: a program that has a quarter of it is not copied. */
  readonly memoryBytes: number;
  /** A message of another vCPU's is there. */
  readonly urgent: () => boolean;
  readonly collectGarbage: () => void;
}

/** How often it is looked whether one vCPU has several to run and another one none. */
const BALANCE_MS = 20;

export class Placement {
  readonly #parts: PlacementParts;
  readonly #away = new Map<LodgerKey, Away>();
  readonly #spinning = new Set<MovableProgram>();
  readonly #shared = new WeakMap<Program, SharedProgram>();
  readonly #garbage: Garbage;
  #lastKey = 0;
  #lastProgram = 0;
  #balancing: Timer | undefined;

  constructor(parts: PlacementParts) {
    this.#parts = parts;
    this.#garbage = new Garbage(parts.collectGarbage);
  }

  /** What a process runs whose program may move; undefined when it may not. */
  body(movable: Movable, runtime: Runtime): MovableProgram | undefined {
    return movable.program.bytes && new MovableProgram(movable, runtime, this);
  }
  urgent(): boolean {
    return this.#away.size > 0 && this.#parts.urgent();
  }
  step(): void {
    this.#garbage.step();
  }
  /** Those that vCPU 0 runs, and could be elsewhere. */
  note(program: MovableProgram): void {
    if (program.computes) this.#spinning.add(program);
    else this.#spinning.delete(program);
  }

  // ---- going ----

  /** To another vCPU, if there is one that has less to do. */
  send(movable: Movable, runtime: Runtime): Away | undefined {
    const seat = this.#best();
    if (seat === undefined || this.#load(seat) >= this.#here) return undefined;
    if (runtime.memory.buffer.byteLength > this.#parts.memoryBytes / 4) return undefined;
    const program = this.#sharedOf(movable.program);
    const from = program && runtime.suspended();
    if (program === undefined || from === undefined) return undefined;
    const told = new Told();
    told.limit = runtime.limit;
    const away = new Away(++this.#lastKey, seat.id, movable, told, message => seat.send(message));
    this.#away.set(away.key, away);
    this.#garbage.add(2 * from.memory.byteLength);
    const cpuNs = movable.process.cpuNs;
    const lodging: Lodging = { key: away.key, program, from, cpuNs, told: told.words };
    seat.mail.post(lodging, [from.memory]);
    // order: what it speaks of is in the mail.
    seat.send({ op: 'lodge' });
    this.#look();
    return away;
  }
  /** Whoever computes on vCPU 0, as others do there: an empty vCPU is better than none of one's own. */
  get #here(): number {
    return Math.max(this.#spinning.size, 1);
  }
  #load({ id }: Seat): number {
    let load = 0;
    for (const { vcpu, computes, leaving } of this.#away.values()) if (vcpu === id && computes && !leaving) load++;
    return load;
  }
  #best(): Seat | undefined {
    let best: Seat | undefined;
    for (const seat of this.#parts.seats) {
      if (seat.open && (best === undefined || this.#load(seat) < this.#load(best))) best = seat;
    }
    return best;
  }
  #sharedOf(program: Program): SharedProgram | undefined {
    const { bytes, layout } = program;
    let shared = this.#shared.get(program);
    if (shared === undefined && bytes !== undefined) {
      shared = { id: ++this.#lastProgram, bytes: withSharedMemory(bytes), layout };
      this.#shared.set(program, shared);
    }
    return shared;
  }

  // ---- coming back ----

  /** Nothing is to be left at a vCPU. */
  evict(id: number): void {
    for (const away of this.#away.values()) if (away.vcpu === id) away.leave();
  }
  /** It has ended, or is back. */
  forget(away: Away): void {
    this.#away.delete(away.key);
    this.#garbage.add(away.bytes);
  }
  /** Where several have one vCPU, while another one has nothing to do, one comes back: to stay, or to go on from here. */
  #look(): void {
    if (this.#balancing || !this.#parts.seats.some(seat => this.#load(seat) > 1)) return;
    this.#balancing = this.#parts.timers.after(BALANCE_MS, () => {
      this.#balancing = undefined;
      this.#balance();
      this.#look();
    });
  }
  #balance(): void {
    const { seats } = this.#parts;
    const idle = this.#spinning.size === 0 || seats.some(seat => seat.open && this.#load(seat) === 0);
    const full = idle ? seats.find(seat => this.#load(seat) > 1) : undefined;
    if (full === undefined) return;
    for (const away of this.#away.values()) {
      if (away.vcpu !== full.id || !away.computes || away.leaving) continue;
      away.leave();
      return;
    }
  }

  // ---- what the others say ----

  hear(seat: Seat, message: FromLodgers): void {
    // What is in the mail is taken whether or not somebody waits for it.
    const mail = message.op === 'lodged' || message.op === 'left' ? seat.mail.take() : undefined;
    const away = this.#away.get(message.key);
    switch (message.op) {
      case 'lodged':
        away?.lodged((mail as LodgedMail).memory);
        break;
      case 'call':
        away?.called(message);
        break;
      case 'wants':
        seat.send({ op: 'pages', pages: away?.wants(message.pages) ?? 0 });
        break;
      case 'left':
        away?.left(mail as Suspended, message.inCall);
        break;
      case 'ended':
        away?.ended(message);
    }
  }
}

// The faults of one shared folder: asked at each message of its client, before its server is.

import { constants as os } from 'node:os';
import {
  type Clock,
  earlier,
  type Fault,
  type Injected,
  P9,
  P9_HEADER,
  P9Reader,
  P9Writer,
  type Planted,
  type Trigger,
} from '#pvbus';
import { FaultsWithEvents } from '../../faults/faults-with-events.ts';
import type { FaultyNotifier, Notifier } from '../../faults/faulty-notifier.ts';
import type { Answers } from './connection.ts';
import { below, pathsOf } from './message-paths.ts';
import type { P9Server } from './server.ts';

/** As faults name them. */
const OPS: ReadonlyMap<number, string> = new Map(
  Object.entries(P9).map(([name, type]): [number, string] => [type, name.slice(1)]),
);
/** Of read and write: size, type, tag, fid, offset, and then how many bytes. */
const COUNT_AT = P9_HEADER + 4 + 8;
const NO_ANSWER = new Uint8Array(0);

/** A message that waits. */
interface Held {
  readonly trigger: Trigger;
  readonly untilNs: number;
  /** Of one that is done. */
  readonly answer?: Uint8Array;
}

export class FolderFaults {
  readonly #clock: Clock;
  readonly #faults: FaultsWithEvents;
  readonly #held = new Map<Uint8Array, Held>();

  /** `label`: how events name the folder. */
  constructor(label: string, clock: Clock, notifier: Notifier, tell: (injected: Injected) => void) {
    this.#clock = clock;
    this.#faults = new FaultsWithEvents(label, { clock, tell, notifier });
  }
  /** Its event channels. */
  get events(): FaultyNotifier {
    return this.#faults.events;
  }
  plant(planted: readonly Planted[]): void {
    this.#faults.plant(planted);
  }
  /** Let late events happen, and tell what has. True when there was one. */
  step(): boolean {
    return this.#faults.step();
  }
  /** When what is held goes on by itself, or there is something to tell. */
  get deadline(): number | undefined {
    const { deadline } = this.#faults;
    return Number.isFinite(this.#dueNs) ? earlier(deadline, this.#dueNs) : deadline;
  }
  /** Something that was held may go on now. */
  get isDue(): boolean {
    return this.#dueNs <= this.#clock.now();
  }
  get #dueNs(): number {
    return Math.min(...[...this.#held.values()].map(({ untilNs }) => untilNs));
  }

  /** In the place of `server`, for one connection. */
  before(server: P9Server): Answers {
    return { answer: request => this.#answer(server, request) };
  }

  /** Its client has gone: what is held back is not done any more. */
  gone(): void {
    this.#held.clear();
  }

  #answer(server: P9Server, request: Uint8Array): Uint8Array | undefined {
    const held = this.#held.get(request);
    if (held !== undefined) return this.#goOn(held, server, request);
    const { dying } = this.#faults;
    if (dying !== undefined) return this.#hold(request, { trigger: dying, untilNs: Number.POSITIVE_INFINITY });
    const op = OPS.get(request[4]!); // a message has a type
    const hit = op && this.#faults.befalls('9pfs', op, fault => isFor(fault, op, server, request));
    return hit ? this.#befall(hit, server, request) : server.answer(request);
  }
  #goOn(held: Held, server: P9Server, request: Uint8Array): Uint8Array | undefined {
    if (held.untilNs > this.#clock.now() && this.#faults.isPlanted(held.trigger)) return undefined;
    this.#held.delete(request);
    return held.answer ?? server.answer(request);
  }
  #befall(hit: Trigger, server: P9Server, request: Uint8Array): Uint8Array | undefined {
    const { error, drop, short, delay, kill, stop } = hit.fault;
    if (error !== undefined) return refusal(request, error);
    if (drop) return NO_ANSWER;
    if (short !== undefined) return server.answer(shortened(request, short));
    const answer = kill === 'after' ? server.answer(request).slice() : undefined;
    if (kill !== undefined || stop !== undefined) this.#faults.strike(hit);
    const ms = delay ?? stop;
    const untilNs = ms === undefined ? Number.POSITIVE_INFINITY : this.#clock.now() + ms * 1e6;
    return this.#hold(request, { trigger: hit, untilNs, ...(answer && { answer }) });
  }
  #hold(request: Uint8Array, held: Held): undefined {
    this.#held.set(request, held);
  }
}

function isFor({ short, path }: Fault, op: string, server: P9Server, request: Uint8Array): boolean {
  if (short !== undefined && op !== 'read' && op !== 'write') return false;
  return path === undefined || pathsOf(server, request).some(one => below(path, one));
}

function refusal(request: Uint8Array, error: string): Uint8Array {
  const { tag } = new P9Reader().begin(request);
  return new P9Writer(P9_HEADER + 4)
    .begin(P9.Rlerror, tag)
    .u32((os.errno as Record<string, number>)[error]!)
    .end(); // of a list of Linux' own
}

/** A message of its own that asks for no more than so many bytes. */
function shortened(request: Uint8Array, bytes: number): Uint8Array {
  if (request.length < COUNT_AT + 4) return request; // as wrong as it is
  const asked = new DataView(request.buffer, request.byteOffset).getUint32(COUNT_AT, true);
  const count = Math.min(asked, bytes);
  const copy = request[4] === P9.Twrite ? request.slice(0, COUNT_AT + 4 + count) : request.slice();
  const view = new DataView(copy.buffer);
  view.setUint32(0, copy.length, true);
  view.setUint32(COUNT_AT, count, true);
  return copy;
}

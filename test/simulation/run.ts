// One run: choices until there are no more, then everybody runs in turn and nothing breaks, until all is quiet.
// Then what was asked for must have been answered, every guest must see its own, and when they are gone nothing
// of them may be left.
import { act, type Choice } from './actions.ts';
import type { Chooser } from './chooser.ts';
import type { Coverage } from './coverage.ts';
import { COUNTER, type SimGuest } from './sim-guest.ts';
import { DISK_SECTORS, type Mutations, SimHost } from './sim-host.ts';
import { Violation } from './violation.ts';

export interface RunOptions {
  readonly seed: number;
  readonly chooser: Chooser;
  readonly slots?: number;
  readonly mutations?: Mutations;
}
export interface Outcome {
  readonly choices: readonly Choice[];
  readonly failure: Violation | undefined;
  readonly hash: string;
  /** Steps, those after the last choice too. */
  readonly steps: number;
  readonly lines: readonly string[];
  readonly coverage: Coverage;
}

/** Everything is looked at once in so many steps. */
const CHECK_EVERY = 2000;
/** The event loop has a turn this often, and with it every promise. */
const LOOP_EVERY = 256;
/** A step takes this long. */
const STEP_NS = 2000;
/** All is quiet when nothing has happened for this long. */
const QUIET_NS = 3e9;
/** Long enough for a process to come back. */
const REST_NS = 10e6;
/** Steps in which it must become quiet. */
const PATIENCE_STEPS = 200_000;

/** Jobs of promises, each of which may bring the next, between two steps. The rest follows after the next ones. */
const HOPS = 24;
/** Not the event loop's turn, which takes longer than a step. */
async function promises(): Promise<void> {
  for (let i = 0; i < HOPS; i++) await undefined;
}
/** For what the engine does between turns. All that promises have to do is done then. */
const eventLoop = (): Promise<void> => new Promise(resolve => setImmediate(resolve));

export async function simulate({ seed, chooser, slots = 3, mutations = {} }: RunOptions): Promise<Outcome> {
  const host = new SimHost(seed, slots, mutations);
  const run = new Run(host);
  const choices: Choice[] = [];
  try {
    await run.all(chooser, choices);
  } catch (error) {
    host.fail(error instanceof Violation ? error : new Violation('exception', describe(error)));
  }
  host.close();
  await eventLoop();
  const { failure, lines, coverage, step } = host;
  return { choices, failure, hash: (host.hash >>> 0).toString(16).padStart(8, '0'), steps: step, lines, coverage };
}
const describe = (error: unknown): string => (error instanceof Error ? (error.stack ?? error.message) : String(error));

class Run {
  readonly #host: SimHost;

  constructor(host: SimHost) {
    this.#host = host;
  }

  async all(chooser: Chooser, choices: Choice[]): Promise<void> {
    const host = this.#host;
    await this.#toBaseline();
    for (let choice = chooser.next(host); choice !== undefined; choice = chooser.next(host)) {
      choices.push(choice);
      if (choice.verb === 'rest') await this.#quiet(REST_NS);
      const did = act(host, choice);
      host.note(choice.verb, did ? 1 : 0, choice.arg);
      if (this.#after()) await this.#promises();
      if (host.step % CHECK_EVERY === 0) host.check();
      if (host.failure) throw host.failure;
    }
    await this.#end();
  }

  async #toBaseline(): Promise<void> {
    const host = this.#host;
    host.toolstack.closing = true;
    await this.#quiet();
    host.rememberBaseline();
    host.toolstack.open();
  }

  async #end(): Promise<void> {
    const host = this.#host;
    host.calm();
    await this.#quiet();
    const why = this.#unsettled();
    if (why !== undefined) throw new Violation('hang', why);
    await this.#probe();
    host.toolstack.closing = true;
    await this.#quiet();
    if (!host.toolstack.idle) throw new Violation('hang', 'the toolstack cannot destroy all guests');
    host.check();
    host.checkBaseline();
  }

  /** Run everybody in turn until nobody has had anything to do for long. */
  async #quiet(longNs = QUIET_NS): Promise<void> {
    const host = this.#host;
    let quietSince = host.clock.now();
    for (let i = 0; i < PATIENCE_STEPS; i++) {
      const parts = [...host.fixed, ...host.guests];
      let ran = false;
      for (const part of parts) {
        if (!part?.ready()) continue;
        const did = part.step();
        host.note(part.name, did ? 1 : 0, 0);
        if (this.#after()) await this.#promises();
        if (host.failure) throw host.failure;
        // A look at the clock is nothing that happens.
        if (did) quietSince = host.clock.now();
        ran = true;
      }
      if (ran) continue;
      const deadline = Math.min(...parts.map(part => part?.deadline() ?? Number.POSITIVE_INFINITY));
      if (deadline === Number.POSITIVE_INFINITY || deadline - quietSince > longNs) return;
      host.clock.advance(Math.max(0, deadline - host.clock.now()));
    }
    throw new Violation('hang', 'it never becomes quiet');
  }

  /** True when promises are to have their turn. */
  #after(): boolean {
    const host = this.#host;
    host.step++;
    host.clock.advance(STEP_NS);
    if (host.trapped) {
      host.trapped = false;
      host.checkXen();
    }
    host.checkStep();
    const { promised } = host;
    host.promised = false;
    return promised || host.step % LOOP_EVERY === 0;
  }
  #promises(): Promise<void> {
    return this.#host.step % LOOP_EVERY === 0 ? eventLoop() : promises();
  }

  /** What is still waited for; undefined when nothing is. */
  #unsettled(): string | undefined {
    const host = this.#host;
    if (!host.dom0.started) return 'dom0 does not come back';
    for (const [slot, guest] of host.guests.entries()) {
      if (!guest) return `there is no guest in slot ${slot}: the toolstack waits for ${host.toolstack.waiting}`;
      if (guest.hostile || guest.excused) continue;
      const name = `${guest.name} (dom${guest.domid})`;
      for (const type of ['vbd', 'vif'] as const)
        if (!host.dom0.connected(guest.domid, type)) return `the ${type} of ${name} is not connected`;
      if (!guest.settled) return `${name} waits for ${guest.waiting}`;
    }
    return undefined;
  }

  /** Every guest reads its whole disk, sends to every other, and knows what the counter says. */
  async #probe(): Promise<void> {
    const host = this.#host;
    const sane = host.guests.filter(
      (guest): guest is SimGuest => guest !== undefined && !guest.hostile && !guest.excused,
    );
    for (const guest of sane) {
      const seen = Number(host.valueOf(COUNTER));
      if (guest.counterSeen !== seen)
        throw new Violation('I7', `${guest.name} last saw the counter at ${guest.counterSeen}, it is ${seen}`);
      for (let sector = 0; sector < DISK_SECTORS; sector += 8) {
        if (guest.read(sector, 8)) continue;
        await this.#quiet();
        if (!guest.read(sector, 8)) throw new Violation('hang', `${guest.name} cannot read its disk`);
      }
    }
    await this.#quiet();
    for (const guest of sane)
      if (!guest.settled) throw new Violation('hang', `${guest.name} waits for ${guest.waiting}`);
    const before = host.delivered;
    for (const guest of sane)
      for (const other of sane)
        if (!guest.send(other.slot, 100)) throw new Violation('hang', `${guest.name} cannot send`);
    await this.#quiet();
    // To each other one, and once to everybody.
    const n = sane.length;
    if (host.delivered - before < n * (n - 1) * 2)
      throw new Violation('hang', `of ${n * (n - 1) * 2} packets ${host.delivered - before} have come`);
  }
}

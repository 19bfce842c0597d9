// Many clients that change the same nodes in transactions. Time moves by what requests take.

import { describe, expect, test } from 'vitest';
import { XS_ERROR, XS_READ, XS_SET_PERMS, XS_TRANSACTION_END, XS_TRANSACTION_START, XS_WRITE } from '#pvbus';
import fc from '../../../support/properties.ts';
import { type RigClient, XenstoreRig } from '../../../support/xenstore-rig.ts';

const REQUEST_NS = 20e3;

/** A client that adds one to each of some nodes, in transactions, again until it has done it `goal` times. */
class Adder {
  readonly client: RigClient;
  readonly #rig: XenstoreRig;
  readonly #nodes: readonly string[];
  readonly #goal: number;
  commits = 0;
  retries = 0;
  #tx = 0;
  /** 0: begin; then READ and WRITE of each node in turn; then the end. */
  #stage = 0;
  #asked: number | undefined;
  longestWait = 0;

  constructor(rig: XenstoreRig, nodes: readonly string[], goal: number, client: RigClient = rig.dom0()) {
    this.#rig = rig;
    this.client = client;
    this.#nodes = nodes;
    this.#goal = goal;
    this.#ask(XS_TRANSACTION_START, '\0');
  }
  get done(): boolean {
    return this.commits === this.#goal;
  }

  /** False when there is nothing for it to do yet. */
  step(): boolean {
    const reply = this.client.next();
    if (!reply || this.#asked === undefined) return false;
    this.longestWait = Math.max(this.longestWait, this.#rig.clock.now() - this.#asked);
    this.#asked = undefined;
    this.#rig.clock.advance(REQUEST_NS);
    const text = reply.payload.toString('latin1');
    const last = 1 + 2 * this.#nodes.length;
    if (this.#stage === last) {
      if (reply.type === XS_ERROR) {
        expect(text).toBe('EAGAIN\0');
        this.retries++;
      } else this.commits++;
      this.#stage = 0;
      if (!this.done) this.#ask(XS_TRANSACTION_START, '\0');
      return true;
    }
    if (this.#stage === 0) this.#tx = Number.parseInt(text, 10);
    this.#stage++;
    const node = this.#nodes[(this.#stage - 1) >> 1];
    if (this.#stage === last) this.#ask(XS_TRANSACTION_END, 'T\0');
    else if (this.#stage % 2 === 1) this.#ask(XS_READ, `${node}\0`);
    else this.#ask(XS_WRITE, `${node}\0${Number(text) + 1}`);
    return true;
  }

  #ask(type: number, payload: string): void {
    this.#asked = this.#rig.clock.now();
    this.client.send(type, payload, type === XS_TRANSACTION_START ? 0 : this.#tx);
  }
}

function host(...nodes: string[]): { rig: XenstoreRig; value: (node: string) => number } {
  const rig = new XenstoreRig();
  rig.passesTime = false;
  const dom0 = rig.dom0();
  const ask = (type: number, payload: string): string => {
    dom0.send(type, payload);
    return dom0.next()?.payload.toString() ?? 'nothing';
  };
  for (const node of nodes) {
    ask(XS_WRITE, `${node}\x000`);
    ask(XS_SET_PERMS, `${node}\0b0\0`);
  }
  return { rig, value: node => Number(ask(XS_READ, `${node}\0`)) };
}

/** Lets everybody work, in an order that `pick` decides, until all are done. Idle time passes to the next deadline. */
function work(rig: XenstoreRig, adders: readonly Adder[], pick: (n: number) => number): void {
  for (let idle = 0; !adders.every(adder => adder.done); ) {
    const busy = adders.filter(adder => !adder.done);
    const at = pick(busy.length);
    const moved = [...busy.slice(at), ...busy.slice(0, at)].some(adder => adder.step());
    if (moved) {
      idle = 0;
      rig.server.step();
      continue;
    }
    const { deadline } = rig.server;
    expect(deadline, 'nobody moves, and nothing is going to happen').toBeLessThan(Number.POSITIVE_INFINITY);
    expect(idle++).toBeLessThan(1000);
    rig.clock.advance(Math.max(0, deadline - rig.clock.now()));
    rig.server.step();
  }
}

const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);

/** A generator of our own, so that a run can be had again. */
function random(seed: number): (n: number) => number {
  let state = seed;
  return n => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return (state >>> 8) % n;
  };
}

describe('64 clients, domains among them, that change one node', () => {
  test('commit, every one as often as the others, with less than one retry for ten commits', () => {
    const { rig, value } = host('/n');
    const client = (i: number): RigClient => (i % 2 ? rig.domain(i) : rig.dom0());
    const adders = Array.from({ length: 64 }, (_, i) => new Adder(rig, ['/n'], 50, client(i)));
    work(rig, adders, random(1));
    expect(value('/n')).toBe(64 * 50);
    expect(sum(adders.map(adder => adder.retries))).toBeLessThan(64 * 5);
    // Everybody has a turn before anybody has the next.
    const turn = 6 * REQUEST_NS;
    for (const { longestWait } of adders) expect(longestWait).toBeLessThan(64 * turn);
    expect(rig.server.contention.conflicts).toBe(sum(adders.map(adder => adder.retries)));
  });

  test('do so too when they look at something else first', () => {
    const own = Array.from({ length: 64 }, (_, i) => `/own/${i}`);
    const { rig, value } = host('/n', ...own);
    const adders = own.map(node => new Adder(rig, [node, '/n'], 50));
    work(rig, adders, random(2));
    expect(value('/n')).toBe(64 * 50);
    expect(sum(adders.map(adder => adder.retries))).toBeLessThan(64 * 10);
  });
});

describe('clients that change several nodes', () => {
  test('in opposite order neither wait for each other nor hinder each other for long', () => {
    const { rig, value } = host('/p', '/q');
    const adders = Array.from({ length: 32 }, (_, i) => new Adder(rig, i % 2 ? ['/p', '/q'] : ['/q', '/p'], 50));
    work(rig, adders, random(3));
    expect([value('/p'), value('/q')]).toEqual([32 * 50, 32 * 50]);
    expect(sum(adders.map(adder => adder.retries))).toBeLessThan(32 * 10);
    // No turn has ended because its time was over.
    for (const { longestWait } of adders) expect(longestWait).toBeLessThan(32 * 9 * REQUEST_NS);
  });

  test('whichever they are, all come to an end, and nothing is lost or done twice', () => {
    const names = ['/a', '/b', '/c', '/d'];
    const client = fc.record({
      nodes: fc.uniqueArray(fc.constantFrom(...names), { minLength: 1, maxLength: 3 }),
      goal: fc.integer({ min: 1, max: 6 }),
    });
    fc.assert(
      fc.property(fc.array(client, { minLength: 1, maxLength: 10 }), fc.nat(), (clients, seed) => {
        const { rig, value } = host(...names);
        const adders = clients.map(({ nodes, goal }) => new Adder(rig, nodes, goal));
        work(rig, adders, random(seed));
        for (const name of names) {
          const added = clients.filter(({ nodes }) => nodes.includes(name)).map(({ goal }) => goal);
          expect(value(name)).toBe(sum(added));
        }
        expect(rig.server.deadline).toBe(Number.POSITIVE_INFINITY);
      }),
    );
  });
});

describe('a client that begins a transaction and sits on it', () => {
  /** Two clients that have met at /n, and one that sits on it. */
  function met(): { rig: XenstoreRig; sit: () => void; adder: (goal: number) => Adder } {
    const { rig } = host('/n');
    work(rig, [new Adder(rig, ['/n'], 3), new Adder(rig, ['/n'], 3)], random(4));
    expect(rig.server.contention.quiet).toBe(false);
    const sitter = rig.dom0();
    const sit = (): void => {
      sitter.send(XS_TRANSACTION_START, '\0');
      sitter.send(XS_READ, '/n\0', Number.parseInt(sitter.next()?.payload.toString() ?? '', 10));
      expect(sitter.take()).toHaveLength(1);
    };
    return { rig, sit, adder: goal => new Adder(rig, ['/n'], goal) };
  }

  test('delays others by 5 ms, and not again (act 67)', () => {
    const { rig, sit, adder } = met();
    sit();
    const first = adder(1);
    work(rig, [first], random(5));
    expect(first.longestWait).toBe(5e6);
    sit();
    const second = adder(1);
    work(rig, [second], random(6));
    expect(second.longestWait).toBe(0);
  });

  /** How long others wait each time, when it sits down so often. */
  function waitsOfOthers(times: number, everyNs: number): number[] {
    const { rig, sit, adder } = met();
    return Array.from({ length: times }, (_, i) => {
      rig.clock.advance(everyNs);
      sit();
      const next = adder(1);
      work(rig, [next], random(7 + i));
      return next.longestWait;
    });
  }

  test('is trusted again after a while, and then for longer not', () => {
    const waits = waitsOfOthers(400, 25e6);
    expect(waits.filter(wait => wait === 5e6).length).toBeLessThan(15); // it doubles: 5 ms, 10 ms, ... 10 s
    expect(waits.filter(wait => wait > 5e6)).toEqual([]);
  });

  test('takes a sixteenth of the time of others at most, however patient it is', () => {
    for (const every of [1e6, 5e6, 20e6, 79e6, 81e6, 90e6, 170e6, 1e9]) {
      const times = Math.max(200, 2e9 / every);
      const waits = waitsOfOthers(times, every);
      expect(sum(waits) / (times * every + sum(waits)), `each ${every / 1e6} ms`).toBeLessThan(1 / 16);
      expect(Math.max(...waits)).toBeLessThanOrEqual(5e6);
    }
  });

  test('loses its turn with its connection', () => {
    const { rig } = met();
    const sitter = rig.dom0();
    sitter.send(XS_TRANSACTION_START, '\0');
    sitter.send(XS_READ, '/n\0', Number.parseInt(sitter.next()?.payload.toString() ?? '', 10));
    const client = rig.dom0();
    const waiting = new Adder(rig, ['/n'], 1, client);
    while (waiting.step());
    expect(client.connection.waits).toBe(true);
    sitter.close();
    rig.server.step();
    expect(client.connection.waits).toBe(false);
    work(rig, [waiting], random(8));
    expect(waiting.retries).toBe(0);
  });

  test('does not hold up what is no transaction, nor transactions that are about something else', () => {
    const { rig, sit } = met();
    sit();
    const dom0 = rig.dom0();
    dom0.send(XS_READ, '/n\0');
    dom0.send(XS_WRITE, '/n\x009');
    expect(dom0.take()).toHaveLength(2);
    const other = new Adder(rig, ['/tool'], 1);
    work(rig, [other], random(9));
    expect(other.longestWait).toBe(0);
  });
});

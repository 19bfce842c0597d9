// What a peer's events may cost a vCPU that finds nothing new. Xen: late EOI (XSA-332, XSA-391).
import { describe, expect, it } from 'vitest';
import { type Bell, StormGuard, WakeWords } from '#pvbus';
import { StoppedClock } from '../../support/core-rig.ts';
import { ListLog } from '../../support/xenstore-rig.ts';

class Rig {
  readonly clock = new StoppedClock();
  readonly memory: Int32Array;
  readonly flags: Int32Array;
  readonly words = new WakeWords();
  readonly log = new ListLog();
  readonly guard = new StormGuard(this.words, this.clock, this.log);
  /** The hypervisor's word, and those of so many peers. */
  constructor(peers = 2) {
    this.memory = new Int32Array(1 + peers);
    this.flags = new Int32Array(1 + peers);
    for (let i = 0; i <= peers; i++) {
      const owner = i === 0 ? undefined : ({ doorbell: { peer: 40 + i } } as Bell); // all that is looked at of it
      this.words.add(this.memory, 4096 * i, 4 * i, { array: this.flags, index: i }, owner);
    }
    this.gather();
  }
  gather(): number[] {
    return [...this.memory.keys()].filter(i => this.words.take(i));
  }
  bump(i: number): void {
    this.memory[i]!++;
  }
  /** One wake-up by peer `i` with work or without. */
  wake(i: number, found: boolean): number | undefined {
    this.bump(i);
    this.gather();
    this.guard.turn(true, found);
    return this.guard.rest();
  }
}

describe('act 37: a storm of events', () => {
  it('fault 7: that bring nothing wakes the vCPU 500 times a second and no more', () => {
    const rig = new Rig();
    for (let i = 0; i < 64; i++) expect(rig.wake(1, false)).toBeUndefined();
    const from = rig.clock.now();
    for (let i = 0; i < 2000; i++) {
      const until = rig.wake(1, false)!;
      const delay = until - rig.clock.now();
      expect(delay).toBeGreaterThan(0);
      expect(delay).toBeLessThan(10e6); // what else it says waits no longer
      rig.bump(1);
      expect(rig.words.changed()).toBe(false); // asleep all the same
      rig.words.announce(1);
      expect([...rig.flags]).toEqual([1, 0, 1]); // and the peer need not wake us
      rig.clock.ns = until;
    }
    // 2000 wake-ups took so long: 500 a second.
    expect(rig.clock.now() - from).toBeGreaterThan(3.5e9);
  });

  it('delays nobody else', () => {
    const rig = new Rig();
    for (let i = 0; i < 1000; i++) rig.wake(1, false);
    rig.bump(1);
    expect(rig.words.changed()).toBe(false);
    rig.bump(2);
    expect(rig.words.changed()).toBe(true);
    expect(rig.gather()).toContain(2);
    rig.bump(0);
    expect(rig.words.changed()).toBe(true);
  });

  it('act 41: by several peers at once is borne from each, and who brings work is heard at once beside all of them', () => {
    const [storms, honest, turnNs, everyNs] = [[1, 2, 3], 4, 10e3, 10e6];
    const rig = new Rig(4);
    const woken = storms.map(() => 0);
    let answered = 0;
    let until: number | undefined;
    const from = rig.clock.now();
    for (let next = from + everyNs; rig.clock.now() < from + 1e9; ) {
      for (const i of storms) rig.bump(i);
      const heard = storms.filter(i => rig.words.calls(i)!.deafUntil === 0);
      for (const i of heard) woken[i - 1]!++;
      if (heard.length > 0) rig.clock.ns += turnNs;
      else {
        expect(rig.words.changed()).toBe(false); // asleep, until this or that
        rig.clock.ns = Math.min(until!, next);
      }
      const works = rig.clock.now() >= next;
      if (works) {
        rig.bump(honest);
        expect(rig.words.changed()).toBe(true);
        answered++;
        next += everyNs;
      }
      const taken = rig.gather();
      if (works) expect(taken).toContain(honest);
      rig.guard.turn(true, works);
      until = rig.guard.rest();
    }
    expect(answered).toBeGreaterThan(98);
    // 100,000 turns could be had by each.
    for (const times of woken) expect(times).toBeLessThan(5000);
  });

  it('loses none of them: what came meanwhile is found when the vCPU is awake', () => {
    const rig = new Rig();
    for (let i = 0; i < 100; i++) rig.wake(1, false);
    expect(rig.guard.delayed).toBeGreaterThan(0);
    rig.bump(1);
    rig.bump(2);
    expect(rig.gather()).toEqual([1, 2]);
  });

  it('is forgiven when its events bring something again', () => {
    const rig = new Rig();
    for (let i = 0; i < 200; i++) {
      const until = rig.wake(1, false);
      if (until !== undefined) rig.clock.ns = until;
    }
    for (let i = 0; i < 10; i++) {
      rig.wake(1, true);
      rig.clock.ns += 1e9;
      rig.guard.turn(false, true);
      rig.guard.rest();
    }
    expect(rig.wake(1, false)).toBeUndefined();
    rig.bump(1);
    expect(rig.words.changed()).toBe(true);
  });

  it('is none below 500 events a second', () => {
    const rig = new Rig();
    for (let i = 0; i < 2000; i++) {
      expect(rig.wake(1, false)).toBeUndefined();
      rig.clock.ns += 2e6;
    }
  });

  it('is named at its first delay, and at every doubling', () => {
    const rig = new Rig();
    for (let i = 0; i < 64; i++) rig.wake(1, false);
    expect(rig.log.lines).toEqual([]);
    for (let i = 0; i < 1000; i++) rig.clock.ns = rig.wake(1, false)!;
    expect(rig.log.lines).toHaveLength(10);
    expect(rig.log.lines.at(-1)).toBe(
      'warning: dom41: its events bring nothing, and are heard 500 times a second at most; 512 such wake-ups so far',
    );
  });

  it('does not keep awake who finds nothing, however fast it is', () => {
    const rig = new Rig();
    const turns = (found: boolean): number => {
      let n = 1;
      while (n < 1000 && rig.guard.turn(true, found)) n++;
      return n;
    };
    expect(turns(false)).toBe(64);
    rig.guard.rest();
    expect(turns(true)).toBe(1000);
    expect(turns(false)).toBe(64);
    expect(rig.guard.turn(false, true)).toBe(true);
    expect(rig.guard.turn(false, false)).toBe(false);
  });

  it('does not begin with events that bring work, however many', () => {
    const rig = new Rig();
    for (let i = 0; i < 10_000; i++) expect(rig.wake(1, i % 2 === 0)).toBeUndefined();
    expect(rig.guard.delayed).toBe(0);
  });
});

// An event loop that a helper thread wakes. Xen: late EOI (XSA-332, XSA-391).
import { afterEach, expect, it } from 'vitest';
import { type Bell, EventPump, StormGuard, startPumpThread, systemClock, type Vcpu, WakeWords } from '#pvbus';
import { futexWake, mapPrivate, viewOf } from '../../../pvbus/linux.ts';
import { StoppedClock } from '../../support/core-rig.ts';
import { eventually } from '../../support/processes.ts';
import { ListLog } from '../../support/xenstore-rig.ts';

const FREE = 64;
const SLEEPS = 16;
const AN_HOUR_NS = 3600e9;
const PEERS = [41, 42];

/** What a pump has of a vCPU, with the words of two other domains. */
class Rig {
  readonly words = new WakeWords();
  readonly log = new ListLog();
  readonly clock = new StoppedClock();
  readonly guard = new StormGuard(this.words, this.clock, this.log);
  readonly thread = startPumpThread();
  /** By peer: how often it was heard. */
  readonly heard = new Map<number, number>(PEERS.map(peer => [peer, 0]));
  private readonly address = mapPrivate(4096);
  private readonly memory = new Int32Array(viewOf(this.address, 4096));

  constructor() {
    this.clock.ns = systemClock.now() + AN_HOUR_NS; // no peer’s time to be heard again comes
    for (const [i, peer] of PEERS.entries())
      this.words.add(this.memory, this.address, 4 * i, undefined, { doorbell: { peer } } as Bell); // all that is looked at
    const events = { poll: () => this.gather(), pending: () => false };
    const vcpu = { wakeWords: this.words, events, domid: 0, id: 0, wakeUp: () => {}, fallAsleep: () => {} };
    new EventPump(vcpu as unknown as Vcpu, this.guard, () => {}, this.thread);
  }
  private gather(): boolean {
    let heard = false;
    for (let i = 0; i < this.words.count; i++) {
      if (!this.words.take(i)) continue;
      const peer = this.words.owner(i)?.doorbell.peer;
      if (peer === undefined) continue;
      this.heard.set(peer, this.heard.get(peer)! + 1);
      heard = true;
    }
    return heard;
  }
  /** Its event, and that it was heard; as `bump`. */
  async ring(peer: number): Promise<number> {
    const before = this.heard.get(peer)!;
    const woken = this.bump(peer);
    await eventually(`dom${peer} is heard`, () => this.heard.get(peer)! > before);
    return woken;
  }
  /** Returns how many slept on its word. */
  bump(peer: number): number {
    const word = PEERS.indexOf(peer);
    Atomics.add(this.memory, word, 1);
    return futexWake(this.address + 4 * word);
  }
}

let rig: Rig;
afterEach(async () => {
  const ended = rig.thread.worker.terminate();
  rig.bump(PEERS[1]!); // nothing ends a thread that is asleep in a system call
  await ended;
});

it('act 41: a storm of events that bring nothing wakes it no more than others’ are heard', async () => {
  rig = new Rig();
  const [storm, other] = PEERS as [number, number];
  // Time stands, and nothing is forgotten. The words count as bumped when they are added.
  for (let i = 0; i < FREE; i++) await rig.ring(storm);
  expect(rig.log.lines).toEqual([expect.stringContaining(`dom${storm}: its events bring nothing`)]);
  // Who bumps a word is told whether anybody slept on it. In each round the storm comes first.
  const woken = { storm: 0, other: 0 };
  for (let round = 0; round < 100 * SLEEPS && woken.other < SLEEPS && woken.storm === 0; round++) {
    woken.storm += rig.bump(storm);
    rig.guard.turn(true, true); // the other’s bring work
    woken.other += await rig.ring(other);
  }
  expect(woken).toEqual({ storm: 0, other: SLEEPS });
});

it('act 41: events that bring work are all heard', async () => {
  rig = new Rig();
  const [busy] = PEERS as [number];
  for (let i = 0; i < 2 * FREE; i++) {
    rig.guard.turn(true, true);
    await rig.ring(busy);
  }
  expect(rig.log.lines).toEqual([]);
});

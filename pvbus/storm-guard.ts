// What a peer's events may cost a vCPU that finds nothing new when it hears them. Xen: "late EOI" (XSA-332, XSA-391): a
// guest delays the next event of a channel whose events are spurious, the longer the more there are. Here a peer's
// wake word is not slept on for a while: its events are then taken whenever the vCPU is awake for another reason.
import type { Clock } from './clock.ts';
import type { Log } from './log.ts';
import type { Calls, WakeWords } from './wake-words.ts';

/** Spurious wake-ups that cost a peer nothing: duplicates, races, news that only seem to be none. */
const FREE = 64;
/** One of them is forgotten in this time: 500 a second cost a hundredth or two of a CPU, and a storm goes on like that. */
const FORGOTTEN_NS = 2e6;
/** How much longer each one more makes the wait. What such a peer says in earnest waits some ms in the long run. */
const STEP_NS = 100e3;
/** Turns in a row that hear events and find nothing, before a sleep that a storm would not let come. */
const VAIN_TURNS = 64;

export class StormGuard {
  private readonly words: WakeWords;
  private readonly clock: Clock;
  private readonly log: Pick<Log, 'warn'>;
  /** How often a wait for a peer was made longer. */
  delayed = 0;
  /** Since the last sleep there was work of the kind that events announce. */
  private found = false;
  private vain = 0;
  /** By domain: how often it called for nothing, and how often it had when it was last named. */
  private readonly callers = new Map<number, { vain: number; named: number }>();

  constructor(words: WakeWords, clock: Clock, log: Pick<Log, 'warn'>) {
    this.words = words;
    this.clock = clock;
    this.log = log;
  }

  /**
   * After a turn, which has heard events or not, and has found work of the kind that they announce or not. Whether there is
   * to be another one before a sleep.
   */
  turn(heard: boolean, found: boolean): boolean {
    if (found) {
      this.found = true;
      this.vain = 0;
      return true;
    }
    return heard && ++this.vain < VAIN_TURNS;
  }

  /** Before a sleep. When it has to end, for a peer to be heard again; undefined while everybody is. */
  rest(): number | undefined {
    const { words, found } = this;
    this.found = false;
    this.vain = 0;
    let until: number | undefined;
    for (let i = 0; i < words.count; i++) {
      const owner = words.owner(i);
      if (owner === undefined) continue; // the hypervisor's, or of this domain's own threads
      const peer = words.calls(i)!;
      if (peer.deafUntil > 0) {
        if (this.clock.now() < peer.deafUntil) {
          until = Math.min(until ?? peer.deafUntil, peer.deafUntil);
          continue;
        }
        peer.deafUntil = 0;
      }
      if (peer.called) {
        peer.called = false;
        if (found) peer.spurious /= 2;
        else this.count(peer, owner.doorbell.peer);
        if (peer.deafUntil > 0) until = Math.min(until ?? peer.deafUntil, peer.deafUntil);
      }
    }
    return until;
  }

  /** It has called for nothing. */
  private count(peer: Calls, domid: number): void {
    const now = this.clock.now();
    peer.spurious = Math.max(0, peer.spurious - (now - peer.counted) / FORGOTTEN_NS) + 1;
    peer.counted = now;
    if (peer.spurious <= FREE) return;
    this.delayed++;
    peer.deafUntil = now + (peer.spurious - FREE) * STEP_NS;
    this.name(domid);
  }
  /** When it is first made to wait, and then whenever it has been twice as often. */
  private name(domid: number): void {
    const caller = this.callers.get(domid) ?? { vain: 0, named: 0.5 };
    this.callers.set(domid, caller);
    if (++caller.vain < 2 * caller.named) return;
    caller.named = caller.vain;
    const often = `${caller.vain} such ${caller.vain === 1 ? 'wake-up' : 'wake-ups'} so far`;
    this.log.warn(
      `dom${domid}: its events bring nothing, and are heard ${1e9 / FORGOTTEN_NS} times a second at most; ${often}`,
    );
  }
}

// What a peer's events may cost a vCPU that finds nothing new when it hears them. Xen: "late EOI" (XSA-332, XSA-391): a
// guest delays the next event of a channel whose events are spurious, the longer the more there are. Here a peer's
// wake word is not slept on for a while: its events are then taken whenever the vCPU is awake for another reason.
import type { Clock } from './clock.ts';
import type { Calls, WakeWords } from './wake-words.ts';

/** Spurious wake-ups that cost a peer nothing: duplicates, races, news that only seem to be none. */
const FREE = 64;
/** One of them is forgotten in this time: 500 a second cost a hundredth or two of a CPU, and a storm goes on like that. */
const FORGOTTEN_NS = 2e6;
/** How much longer each one more makes the wait. What such a peer says in earnest waits some ms in the long run. */
const STEP_NS = 100e3;

export class StormGuard {
  private readonly words: WakeWords;
  private readonly clock: Clock;
  /** How often a wait for a peer was made longer. */
  delayed = 0;

  constructor(words: WakeWords, clock: Clock) {
    this.words = words;
    this.clock = clock;
  }

  /**
   * Before a sleep. `found`: since the last sleep there was work of the kind that events announce. Returns when the
   * sleep has to end, for a peer to be heard again; undefined while everybody is.
   */
  rest(found: boolean): number | undefined {
    const { words } = this;
    let until: number | undefined;
    // Word 0 is the hypervisor's.
    for (let i = 1; i < words.count; i++) {
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
        else this.count(peer);
        if (peer.deafUntil > 0) until = Math.min(until ?? peer.deafUntil, peer.deafUntil);
      }
    }
    return until;
  }

  /** It has called for nothing. */
  private count(peer: Calls): void {
    const now = this.clock.now();
    peer.spurious = Math.max(0, peer.spurious - (now - peer.counted) / FORGOTTEN_NS) + 1;
    peer.counted = now;
    if (peer.spurious <= FREE) return;
    this.delayed++;
    peer.deafUntil = now + (peer.spurious - FREE) * STEP_NS;
  }
}

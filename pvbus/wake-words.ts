// The futex words one vCPU sleeps on, and the flags that tell their writers that it sleeps.
import { XENOLITH_SLEEPS_block } from './abi/xenolith.ts';
import type { Bell } from './event-channel.ts';
import { type FutexSet, monotonicNow } from './linux.ts';

interface SleepingFlag {
  readonly array: Int32Array;
  readonly index: number;
}

/** How a word's writer has behaved. */
export interface Calls {
  /** It bumped the word since StormGuard last looked. */
  called: boolean;
  /** How often for nothing, less what has been forgotten, as of `counted`. */
  spurious: number;
  counted: number;
  /** Until then its bumps end no sleep; 0: they do. */
  deafUntil: number;
}

const never = (): boolean => false;

/** A word is "seen" when its bump has been acted upon; a sleep begins only while all are as seen. */
export class WakeWords {
  private readonly arrays: Int32Array[] = [];
  private readonly indices: number[] = [];
  private readonly addresses: number[] = [];
  private readonly seen: number[] = [];
  private readonly flags: (SleepingFlag | undefined)[] = [];
  private readonly owners: (Bell | undefined)[] = [];
  private readonly callers: Calls[] = [];

  /** Called when there is something new to sleep on or to deliver, by whoever sleeps for this vCPU. */
  onChange: () => void = () => {};

  get count(): number {
    return this.arrays.length;
  }
  /**
   * Watch the word at byte `offset` of `array`, which is mapped at `base`. Counts as bumped until
   * taken. Word 0 is the hypervisor's; a doorbell's word names its owner.
   */
  add(array: Int32Array, base: number, offset: number, flag?: SleepingFlag, owner?: Bell): void {
    this.arrays.push(array);
    this.indices.push(offset / 4);
    this.addresses.push(base + offset);
    this.seen.push((Atomics.load(array, offset / 4) - 1) | 0);
    this.flags.push(flag);
    this.owners.push(owner);
    this.callers.push({ called: false, spurious: 0, counted: 0, deafUntil: 0 });
    this.onChange();
  }
  remove(base: number, offset: number): void {
    const i = this.addresses.indexOf(base + offset);
    if (i < 0) return;
    const { arrays, indices, addresses, seen, flags, owners, callers } = this;
    for (const list of [arrays, indices, addresses, seen, flags, owners, callers]) list.splice(i, 1);
  }
  owner(i: number): Bell | undefined {
    return this.owners[i];
  }
  calls(i: number): Calls | undefined {
    return this.callers[i];
  }
  // An atomic load costs a call. One of them, word 0's, makes the engine look at memory again; the plain loads
  // of the other words that follow it are then as fresh.
  private load(i: number): number {
    return i === 0 ? Atomics.load(this.arrays[0]!, this.indices[0]!) : this.arrays[i]![this.indices[i]!]!;
  }
  /** True once after every bump of word `i`. Take word 0 first. */
  take(i: number): boolean {
    const now = this.load(i);
    if (now === this.seen[i]) return false;
    this.seen[i] = now;
    this.callers[i]!.called = true;
    return true;
  }
  /** True when a word that is to end a sleep was bumped since it was taken. */
  changed(): boolean {
    for (let i = 0; i < this.arrays.length; i++) {
      if (this.load(i) !== this.seen[i] && this.callers[i]!.deafUntil === 0) return true;
    }
    return false;
  }
  /** Say to every writer that this vCPU sleeps, or no longer does. */
  announce(sleeping: number): void {
    for (let i = 0; i < this.flags.length; i++) {
      const flag = this.flags[i];
      if (flag) Atomics.store(flag.array, flag.index, this.callers[i]!.deafUntil === 0 ? sleeping : 0);
    }
  }
  /** Put the words and what they must still be into a futex set. */
  arm(futexes: FutexSet): void {
    futexes.clear();
    for (let i = 0; i < this.arrays.length; i++) {
      if (this.callers[i]!.deafUntil !== 0) continue;
      if (!futexes.add(this.addresses[i]!)) break;
      futexes.expect(futexes.size - 1, this.seen[i]!);
    }
  }
  /** Sleep until a word is bumped or the deadline (monotonic ns) has passed. */
  sleep(futexes: FutexSet, deadlineNs?: number, how = XENOLITH_SLEEPS_block, over: () => boolean = never): void {
    // order: flags before the kernel compares the words; a writer bumps its word before it reads the flag. Whoever
    // bumps none for one that does not sleep like this has done before what `over` looks at.
    this.announce(how);
    if (!over()) {
      this.arm(futexes);
      futexes.sleep(deadlineNs);
    }
    this.announce(0);
  }
  /** What ends a sleep, and what it must still be, for a helper thread that sleeps on this vCPU's behalf. */
  snapshot(): { addresses: number[]; seen: number[] } {
    const heard = (_: number, i: number): boolean => this.callers[i]!.deafUntil === 0;
    return { addresses: this.addresses.filter(heard), seen: this.seen.filter(heard) };
  }
}

const SPIN_NS = 40_000;
const SPIN_CHECKS = 64;
const MAX_PENANCE = 1024;

/**
 * Whether to spin before a sleep: only where the last sleeps were so short that spinning would have
 * caught them, and ever more rarely where it did not (the waker may need this very CPU).
 */
export class AdaptiveSpin {
  private paid = false;
  private penance = 1;
  private skip = 0;

  /** Spin for a while; true when `words`, or whatever else it is, has changed. */
  until(words: Pick<WakeWords, 'changed'>, from: number, deadlineNs?: number): boolean {
    if (!this.paid) return false;
    if (this.skip > 0) {
      this.skip--;
      return false;
    }
    const end = deadlineNs === undefined ? from + SPIN_NS : Math.min(from + SPIN_NS, deadlineNs);
    do {
      for (let i = 0; i < SPIN_CHECKS; i++) {
        if (!words.changed()) continue;
        this.penance = 1;
        return true;
      }
    } while (monotonicNow() < end);
    this.skip = this.penance;
    this.penance = Math.min(this.penance * 2, MAX_PENANCE);
    return false;
  }
  /** A sleep lasted this long. */
  slept(ns: number): void {
    this.paid = ns < SPIN_NS;
  }
}

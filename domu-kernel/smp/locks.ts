// Paravirtual locks over memory that vCPUs share: they spin a little while the holder runs, else they give the processor
// back and are kicked. Nothing of one is in a vCPU's own memory but views of it.
import { XenError } from '#pvbus';
import type { Kicks } from './kicks.ts';

/** A few microseconds: what a short section needs, less than a sleep and a wake-up. */
const SPIN_CHECKS = 400;

/** Words of a lock's memory. */
export const LOCK_WORDS = 16;
const STATE = 0;
const WAITERS = 1;
const MAX_VCPUS = 64;
const GENERATION = 3;
const PARTIES = 4;

/** vCPUs that are to be kicked, as bits. */
class Waiters {
  private readonly words: Int32Array;
  private readonly kicks: Kicks;

  constructor(words: Int32Array, kicks: Kicks) {
    this.words = words;
    this.kicks = kicks;
  }
  add(): void {
    const { id } = this.kicks;
    Atomics.or(this.words, WAITERS + (id >>> 5), 1 << (id & 31));
  }
  /** False when somebody has taken it out to kick it. */
  remove(): boolean {
    return this.takeOut(this.kicks.id);
  }
  private takeOut(vcpu: number): boolean {
    const bit = 1 << (vcpu & 31);
    return (Atomics.and(this.words, WAITERS + (vcpu >>> 5), ~bit) & bit) !== 0;
  }
  private has(vcpu: number): boolean {
    return (Atomics.load(this.words, WAITERS + (vcpu >>> 5)) & (1 << (vcpu & 31))) !== 0;
  }
  /** The next one after this vCPU, so that each has its turn. */
  wakeOne(): void {
    if (Atomics.load(this.words, WAITERS) === 0 && Atomics.load(this.words, WAITERS + 1) === 0) return;
    for (let i = 1; i <= MAX_VCPUS; i++) {
      const vcpu = (this.kicks.id + i) % MAX_VCPUS;
      if (!this.has(vcpu) || !this.takeOut(vcpu)) continue;
      this.kicks.kick(vcpu);
      return;
    }
  }
  wakeAll(): void {
    for (let half = 0; half < 2; half++) {
      let bits = Atomics.exchange(this.words, WAITERS + half, 0);
      for (; bits !== 0; bits &= bits - 1) this.kicks.kick(half * 32 + 31 - Math.clz32(bits & -bits));
    }
  }
  /** Sleep until `done`; whoever makes it so must look at the waiters afterwards. */
  until(done: () => boolean): void {
    for (;;) {
      this.kicks.forget();
      // order: in the set, then a look. Who makes it true looks at the set after that: one of the two sees the other.
      this.add();
      if (done()) return;
      this.kicks.wait();
    }
  }
}

/** What vCPUs wait for, in LOCK_WORDS words that they share. */
abstract class Shared {
  readonly words: Int32Array;
  protected readonly kicks: Kicks;
  protected readonly waiters: Waiters;

  constructor(words: Int32Array, kicks: Kicks) {
    this.words = words;
    this.kicks = kicks;
    this.waiters = new Waiters(words, kicks);
  }
}

export class Lock extends Shared {
  tryAcquire(): boolean {
    return Atomics.compareExchange(this.words, STATE, 0, 1 + this.kicks.id) === 0;
  }
  acquire(): void {
    if (this.tryAcquire()) return;
    const holder = Atomics.load(this.words, STATE) - 1;
    if (holder === this.kicks.id) throw new XenError('EDEADLK', `acquire: vcpu ${holder} has the lock already`);
    if (this.spin()) return;
    this.waiters.until(() => this.tryAcquire());
    // Had somebody a kick for us, it is of no use; but who has the lock kicks the next one anyway.
    this.waiters.remove();
  }
  private spin(): boolean {
    for (let i = 0; i < SPIN_CHECKS; i++) {
      const state = Atomics.load(this.words, STATE);
      if (state === 0) {
        if (this.tryAcquire()) return true;
      } else if (i % 16 === 0 && !this.kicks.runs(state - 1)) return false;
    }
    return false;
  }
  release(): void {
    const { words, kicks } = this;
    if (Atomics.load(words, STATE) !== 1 + kicks.id)
      throw new XenError('EPERM', `release: vcpu ${kicks.id} has it not`);
    Atomics.store(words, STATE, 0);
    this.waiters.wakeOne();
  }
  /** `body` with the lock held; its result. */
  hold<T>(body: () => T): T {
    this.acquire();
    try {
      return body();
    } finally {
      this.release();
    }
  }
}

export class Semaphore extends Shared {
  tryAcquire(): boolean {
    for (;;) {
      const permits = Atomics.load(this.words, STATE);
      if (permits <= 0) return false;
      if (Atomics.compareExchange(this.words, STATE, permits, permits - 1) === permits) return true;
    }
  }
  acquire(): void {
    if (this.tryAcquire()) return;
    this.waiters.until(() => this.tryAcquire());
    // A kick that was on its way to us belongs to a permit that is still there: it goes to the next one.
    if (!this.waiters.remove()) this.waiters.wakeOne();
  }
  release(permits = 1): void {
    Atomics.add(this.words, STATE, permits);
    for (let i = 0; i < permits; i++) this.waiters.wakeOne();
  }
}

export class Barrier extends Shared {
  get parties(): number {
    return this.words[PARTIES]!;
  }
  set parties(n: number) {
    this.words[PARTIES] = n;
  }
  /** Wait until as many as there are parties do. */
  wait(): void {
    const { words, waiters } = this;
    const generation = Atomics.load(words, GENERATION);
    if (Atomics.add(words, STATE, 1) + 1 === this.parties) {
      // order: the next round's count, then the end of this one.
      Atomics.store(words, STATE, 0);
      Atomics.add(words, GENERATION, 1);
      waiters.wakeAll();
      return;
    }
    const over = (): boolean => Atomics.load(words, GENERATION) !== generation;
    for (let i = 0; i < SPIN_CHECKS; i++) if (over()) return;
    waiters.until(over);
    waiters.remove();
  }
}

// Locks that are waited for in the hypervisor's sense, one thread playing every vCPU: what another one does at the worst
// of moments is done there and then.
import { expect, it } from 'vitest';
import type { Kicks } from '../../../../domu-kernel/smp/kicks.ts';
import { Barrier, LOCK_WORDS, Lock, Semaphore } from '../../../../domu-kernel/smp/locks.ts';

class Host {
  readonly words = new Int32Array(LOCK_WORDS);
  readonly kicked: number[] = [];
  readonly pending = new Set<number>();
  running = true;
  /** What the others do while `id` sleeps. A sleep that nobody ends is a lost wake-up. */
  asleep: (id: number) => void = () => {};

  kicks(id: number): Kicks {
    return {
      id,
      wait: () => {
        if (this.pending.has(id)) return;
        this.asleep(id);
        if (!this.pending.has(id)) throw new Error(`vCPU ${id} sleeps for ever`);
      },
      forget: () => this.pending.delete(id),
      kick: vcpu => {
        this.kicked.push(vcpu);
        this.pending.add(vcpu);
      },
      runs: () => this.running,
    };
  }
  lock(id: number): Lock {
    return new Lock(this.words, this.kicks(id));
  }
  semaphore(id: number): Semaphore {
    return new Semaphore(this.words, this.kicks(id));
  }
}
/** `meanwhile` happens right before the nth look at whether it can be had. */
function interrupt<T extends Lock | Semaphore>(shared: T, nth: number, meanwhile: () => void): T {
  const { tryAcquire } = shared;
  let looks = 0;
  shared.tryAcquire = () => {
    if (++looks === nth) meanwhile();
    return tryAcquire.call(shared);
  };
  return shared;
}

it('a lock is one vCPU’s, which alone can release it and does not wait for itself', () => {
  const host = new Host();
  const [zero, one] = [host.lock(0), host.lock(1)];
  expect(zero.tryAcquire()).toBe(true);
  expect(one.tryAcquire()).toBe(false);
  expect(() => zero.acquire()).toThrow(expect.objectContaining({ code: 'EDEADLK' }));
  expect(() => one.release()).toThrow(expect.objectContaining({ code: 'EPERM' }));
  zero.release();
  expect(() => zero.release()).toThrow(expect.objectContaining({ code: 'EPERM' }));
  expect(() =>
    one.hold(() => {
      throw new Error('inside');
    }),
  ).toThrow('inside');
  expect(zero.tryAcquire()).toBe(true);
  expect(host.kicked).toEqual([]);
});

it('who waits for a lock is kicked by a release, one at a time, each in its turn', () => {
  const host = new Host();
  host.running = false;
  const [zero, one, two] = [host.lock(0), host.lock(1), host.lock(2)];
  zero.acquire();
  host.asleep = () => {
    host.words[1]! |= (1 << 2) | (1 << 3); // they sleep as well
    host.words[2]! |= 1 << 31; // vCPU 63
    zero.release();
  };
  one.acquire();
  one.release();
  expect(host.kicked).toEqual([1, 2]);
  two.acquire();
  two.release();
  expect(host.kicked).toEqual([1, 2, 3]);
  zero.hold(() => {});
  expect(host.kicked).toEqual([1, 2, 3, 63]);
});

it('a release between the look and the sleep is heard', () => {
  const host = new Host();
  host.running = false;
  const [zero, one] = [host.lock(0), host.lock(1)];
  zero.acquire();
  interrupt(one, 2, () => zero.release());
  one.acquire();
  expect(() => one.acquire()).toThrow(expect.objectContaining({ code: 'EDEADLK' }));
  one.release();
  expect(host.words.slice(0, 3)).toEqual(new Int32Array(3));
});

it('a lock that is taken by another one before the kicked one wakes is waited for again', () => {
  const host = new Host();
  host.running = false;
  const [zero, one, two] = [host.lock(0), host.lock(1), host.lock(2)];
  zero.acquire();
  let sleeps = 0;
  host.asleep = () => {
    if (++sleeps === 1) {
      zero.release();
      two.acquire();
    } else two.release();
  };
  one.acquire();
  expect([sleeps, host.kicked]).toEqual([2, [1, 1]]);
});

it('spins while the holder runs, and not longer than that', () => {
  const host = new Host();
  const [zero, one] = [host.lock(0), host.lock(1)];
  zero.acquire();
  let asked = 0;
  one.acquire.call(
    Object.assign(one, {
      kicks: {
        ...host.kicks(1),
        runs: () => {
          if (++asked === 3) zero.release();
          return true;
        },
      },
    }),
  );
  expect([asked, host.kicked]).toEqual([3, []]);
});

it('a semaphore’s permits are counted, and each release wakes one', () => {
  const host = new Host();
  const [zero, one] = [host.semaphore(0), host.semaphore(1)];
  zero.release(2);
  one.acquire();
  expect([one.tryAcquire(), one.tryAcquire()]).toEqual([true, false]);
  host.asleep = () => zero.release();
  one.acquire();
  expect([host.kicked, one.tryAcquire()]).toEqual([[1], false]);
});

it('a kick that its vCPU did not need goes to the next that waits, with the permit that is there', () => {
  const host = new Host();
  const [zero, one, two] = [host.semaphore(0), host.semaphore(1), host.semaphore(2)];
  let twoHas = false;
  host.asleep = id => {
    if (id !== 2) throw new Error('only vCPU 2 sleeps');
    // 1 gets the first permit by itself, and 0's second release finds it among the waiters still.
    let looks = 0;
    const { tryAcquire } = one;
    one.tryAcquire = () => {
      if (++looks === 1) return false;
      host.words[0] = 1; // the first, released before 1 had put itself among the waiters
      const had = tryAcquire.call(one);
      zero.release();
      expect(host.kicked).toEqual([1]);
      return had;
    };
    one.acquire();
    expect(host.kicked).toEqual([1, 2]);
  };
  two.acquire();
  twoHas = true;
  expect([twoHas, zero.tryAcquire()]).toEqual([true, false]);
});

it('a barrier opens for all at once, and is ready for the next round', () => {
  const host = new Host();
  const at = (id: number): Barrier => new Barrier(host.words, host.kicks(id));
  at(0).parties = 3;
  for (let round = 0; round < 5; round++) {
    host.kicked.length = 0;
    host.asleep = id => at(id + 1).wait();
    at(0).wait();
    expect(host.kicked.toSorted()).toEqual([0, 1]);
  }
});

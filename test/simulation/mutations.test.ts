// The simulation can fail: mistakes that are planted on purpose are found within a bounded number of runs, and what
// is left of a run when it is shrunk still shows them.
import { afterEach, describe, expect, it, vi } from 'vitest';
import { BackRing, FrontRing } from '#pvbus';
import type { DiskImage } from '../../dom0/backends/blkback/disk-image.ts';
import { PersistentGrants } from '../../dom0/backends/blkback/persistent-grants.ts';
import type { Frame } from '../../dom0/backends/netback/frame.ts';
import { Transaction } from '../../dom0/xenstored/transaction.ts';
import { BlkfrontWorker } from '../../domu-kernel/drivers/blkfront/worker.ts';
import { NetfrontWorker } from '../../domu-kernel/drivers/netfront/worker.ts';
import type { Choice } from './actions.ts';
import { type Chooser, ListChooser, SeededChooser } from './chooser.ts';
import { LossyBridge } from './lossy-bridge.ts';
import { type Outcome, simulate } from './run.ts';
import { shrink } from './shrink.ts';
import { TWICE } from './sim-guest.ts';
import type { Mutations } from './sim-host.ts';

afterEach(() => {
  vi.restoreAllMocks();
});

const STEPS = 2500;
const SEEDS = 6;
/** Work for the guests, with some faults at their times. */
class Busy implements Chooser {
  readonly #seeded: SeededChooser;
  readonly #faults: readonly Choice[];
  #at = 0;

  readonly #every: number;

  constructor(seed: number, faults: readonly Choice[], every: number) {
    this.#seeded = new SeededChooser(seed, STEPS);
    this.#faults = faults;
    this.#every = every;
  }
  next(host: Parameters<Chooser['next']>[0]): Choice | undefined {
    this.#at++;
    if (this.#faults.length > 0 && this.#at % this.#every === 0)
      return this.#faults[(this.#at / this.#every) % this.#faults.length];
    return this.#seeded.next(host);
  }
}

async function find(
  mutations: Mutations,
  faults: readonly Choice[] = [],
  { every = 200, slots = 3 } = {},
): Promise<{ seed: number; outcome: Outcome }> {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const outcome = await simulate({ seed, slots, chooser: new Busy(seed, faults, every), mutations });
    if (outcome.failure) return { seed, outcome };
  }
  throw new Error('the mistake was not found');
}
const kill = (verb: 'kill-dom0' | 'kill-xenstored', arg: number): Choice => ({ verb, target: '-', arg });

describe('a mistake is found', () => {
  it('in a backend that answers before it writes', async () => {
    const mutations: Mutations = { image: image => new Lazy(image) };
    const { outcome } = await find(mutations, [kill('kill-dom0', 0)]);
    expect(outcome.failure!.message).toMatch(/^I[12]/);
  });

  it('in a ring that does not ask to be woken before its end sleeps', async () => {
    vi.spyOn(BackRing.prototype, 'finalCheckForRequests').mockImplementation(function (this: BackRing) {
      return this.unconsumedRequests();
    });
    // Frontends that tell again what was not heard would make up for it, a second late.
    for (const frontend of [BlkfrontWorker, NetfrontWorker])
      vi.spyOn(frontend.prototype, 'remind').mockImplementation(() => {});
    expect((await find({})).outcome.failure!.message).toMatch(/^hang/);
  });

  it('in a frontend that does not ask to be woken, although it looks for itself once a second', async () => {
    vi.spyOn(FrontRing.prototype, 'finalCheckForResponses').mockImplementation(function (this: FrontRing) {
      return this.unconsumedResponses();
    });
    expect((await find({})).outcome.failure!.message).toMatch(/^wake-up: .* answers/);
  });

  it('in a backend that answers a request twice', async () => {
    const { putResponse } = BackRing.prototype;
    let n = 0;
    vi.spyOn(BackRing.prototype, 'putResponse').mockImplementation(function (this: BackRing, words) {
      putResponse.call(this, words);
      if (++n % 50 === 0) putResponse.call(this, words);
    });
    expect((await find({})).outcome.failure!.message).toMatch(/^innocent/);
  });

  it('in a transaction of which a write is not done, live and in the journal alike', async () => {
    const { apply } = Transaction.prototype;
    vi.spyOn(Transaction.prototype, 'apply').mockImplementation(function (this: Transaction, op) {
      const lost = op.kind === 'write' && op.path === TWICE && String(op.value).endsWith('4');
      if (!lost) apply.call(this, op);
    });
    expect((await find({})).outcome.failure!.message).toMatch(/^I7: of one transaction/);
  });

  it('in a frontend that asks again for what was answered', async () => {
    const { queue, attach } = BlkfrontWorker.prototype;
    const last = new WeakMap<BlkfrontWorker, [number, number, number, Uint8Array]>();
    vi.spyOn(BlkfrontWorker.prototype, 'queue').mockImplementation(function (this: BlkfrontWorker, ...args) {
      const [slot, operation, sector, length] = args;
      if (operation === 1 && !last.has(this)) last.set(this, [operation, sector, length, this.buffer(slot).slice()]);
      queue.apply(this, args);
    });
    vi.spyOn(BlkfrontWorker.prototype, 'attach').mockImplementation(function (this: BlkfrontWorker, ...args) {
      attach.apply(this, args);
      const old = last.get(this);
      if (!old) return;
      const [operation, sector, length, bytes] = old;
      const slot = this.acquire(length);
      if (slot < 0) return;
      this.buffer(slot).set(bytes.subarray(0, length));
      queue.call(this, slot, operation, sector, length, { settled: which => this.release(which) });
    });
    // Now and then: what was answered has to be written anew before it is asked again.
    const { outcome } = await find({}, [kill('kill-dom0', 0)], { every: 400 });
    expect(outcome.failure!.message).toMatch(/^I1/);
  });

  it('in a backend that keeps the grants of a domain that is gone', async () => {
    vi.spyOn(PersistentGrants.prototype, 'release').mockImplementation(() => {});
    const { outcome } = await find({}, [{ verb: 'kill-guest', target: 'g1', arg: 0 }]);
    expect(outcome.failure!.message).toMatch(/^(I5|hang|toolstack)/);
  });

  it('in a xenstored that answers before its journal has it', async () => {
    const mutations: Mutations = {
      journalCalls(calls, process) {
        // A write is done when the next one comes: a process that dies in between has not done it.
        let late: (() => void) | undefined;
        return {
          ...calls,
          writeSync(...args) {
            late?.();
            const copy = args[1].slice();
            late = () => {
              late = undefined;
              if (process.alive) calls.writeSync(args[0], copy, args[2], args[3], args[4]);
            };
            return args[3];
          },
          readSync(...args) {
            late?.();
            return calls.readSync(...args);
          },
          renameSync(...args) {
            late?.();
            calls.renameSync(...args);
          },
        };
      },
    };
    const { outcome } = await find(mutations, [kill('kill-xenstored', 0)]);
    expect(outcome.failure).toBeDefined();
  });

  it('in a bridge that gives everybody everything, and what is left of the run is short', async () => {
    class Hub extends LossyBridge {
      override forward(frame: Frame, from: number): number {
        const sent = super.forward(frame, from);
        frame.header[5]! ^= 0x55; // nobody's address: all the others get it
        super.forward(frame, from);
        return sent;
      }
    }
    const mutations: Mutations = { bridge: (...args) => new Hub(...args) };
    const { seed, outcome } = await find(mutations);
    expect(outcome.failure!.message).toMatch(/^I4/);
    const short = await shrink({ seed, mutations }, outcome, 20);
    expect(short.choices.length).toBeLessThan(outcome.choices.length / 20);
    const again = await simulate({ seed, mutations, chooser: new ListChooser(short.choices) });
    expect(again.failure!.message).toBe(short.outcome.failure!.message);
    // Without the mistake the same choices do no harm.
    const right = await simulate({ seed, chooser: new ListChooser(short.choices) });
    expect(right.failure?.message).toBeUndefined();
  });

  it('in a disk that says it is flushed', async () => {
    const mutations: Mutations = {
      image: image => ({
        sizeBytes: image.sizeBytes,
        read: image.read,
        write: image.write,
        discard: image.discard,
        flush: () => {},
      }),
    };
    const { outcome } = await find(mutations, [{ verb: 'cut-power', target: '-', arg: 3 }], { every: 1200 });
    expect(outcome.failure!.message).toMatch(/^I1/);
  });
});

/** Writes when the next request comes, but has answered long before. */
class Lazy implements DiskImage {
  readonly sizeBytes: number;
  readonly #image: DiskImage;
  #late: (() => void) | undefined;

  constructor(image: DiskImage) {
    this.#image = image;
    this.sizeBytes = image.sizeBytes;
  }
  #catchUp(): void {
    const late = this.#late;
    this.#late = undefined;
    late?.();
  }
  read(into: Uint8Array, offset: number, length: number, at: number): void {
    this.#catchUp();
    this.#image.read(into, offset, length, at);
  }
  write(from: Uint8Array, offset: number, length: number, at: number): void {
    this.#catchUp();
    const copy = from.slice(offset, offset + length);
    this.#late = () => this.#image.write(copy, 0, length, at);
  }
  flush(): void {
    this.#catchUp();
    this.#image.flush();
  }
  discard(): void {}
}

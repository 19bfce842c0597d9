// D15: guests, the NBD worker and a server that crashes and loses what was not flushed, in one thread and in an order
// drawn from a seed. What every read returned, and what is on the medium after a flush, is compared with a model.
import { describe, expect, it } from 'vitest';
import type { RingShape } from '../../domu-kernel/drivers/blkfront/rings.ts';
import type { BlkGuest } from '../support/blk-rig.ts';
import { NbdRig } from '../support/nbd-rig.ts';
import { PlayNbdServer, type PlayOptions } from '../support/play-nbd-server.ts';

const SIZE = 1 << 20;
const SECTORS = SIZE / 512;
const MAX_SECTORS = 700;

/** mulberry32: a seed names a run. */
function random(seed: number): (below: number) => number {
  let a = seed | 0;
  return below => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

interface Running {
  readonly from: number;
  readonly to: number;
}
interface Game {
  readonly rig: NbdRig;
  readonly server: PlayNbdServer;
  readonly guest: BlkGuest;
  readonly model: Uint8Array;
}

async function begin(
  seed: number,
  options: PlayOptions & { persistent?: boolean; maxSegments?: number; ringShape?: RingShape } = {},
) {
  const pick = random(seed);
  const model = new Uint8Array(SIZE).map(() => (pick(3) === 0 ? pick(256) : 0));
  const server = new PlayNbdServer(model, options);
  const rig = new NbdRig(server, pick);
  const guest = rig.guest();
  const key = `dom${guest.guest.domid}`;
  rig.open(key);
  await rig.settled();
  guest.connect({ sizeBytes: SIZE } as never, options);
  return { pick, model, server, rig, guest };
}

/** `ops` random operations, none of which overlaps another one under way; crashes among them. */
async function play(
  seed: number,
  ops: number,
  crashes: number,
  options: Parameters<typeof begin>[1] = {},
): Promise<Game> {
  const { pick, model, server, rig, guest } = await begin(seed, options);
  const { disk } = guest;
  const { minBlock: block = 512 } = options;
  const running = new Set<Running>();
  const failures: unknown[] = [];
  let started = 0;
  const track = (range: Running, promise: Promise<void>, check: () => void = () => {}): void => {
    running.add(range);
    promise
      .then(check)
      .catch(error => failures.push(error))
      .finally(() => running.delete(range));
  };
  const start = (): void => {
    const count = pick(4) === 0 ? 1 + pick(MAX_SECTORS) : 1 + pick(16);
    const from = pick(SECTORS - count);
    const range = { from, to: from + count };
    if ([...running].some(r => r.from < range.to && range.from < r.to)) return;
    started++;
    const bytes = count * 512;
    switch (pick(12)) {
      case 0:
        // What was acknowledged before is on the medium after it, whatever becomes of the server.
        track({ from: 0, to: 0 }, disk.submitFlush());
        return;
      case 1:
        model.fill(0, Math.ceil((from * 512) / block) * block, Math.floor((from * 512 + bytes) / block) * block);
        track(range, disk.submitDiscard(from, count));
        return;
      case 2:
      case 3:
      case 4:
      case 5:
      case 6: {
        const data = new Uint8Array(bytes).map(() => pick(256));
        model.set(data, from * 512);
        track(range, disk.submitWrite(from, data));
        return;
      }
      default: {
        const expected = model.slice(from * 512, from * 512 + bytes);
        const into = new Uint8Array(bytes);
        track(range, disk.submitRead(from, into), () => {
          if (!Buffer.from(into).equals(Buffer.from(expected))) throw new Error(`read of ${count} at ${from} differs`);
        });
      }
    }
  };
  let quiet = 0;
  while (started < ops || running.size > 0) {
    const act = pick(6);
    if (act === 0 && started < ops) start();
    else if (act < 3) quiet = guest.step() === 'idle' ? quiet + 1 : 0;
    else quiet = rig.step() === 'idle' ? quiet + 1 : 0;
    if (server.crashes < crashes && pick(Math.ceil((ops * 10) / (crashes + 1))) === 0) server.crash();
    if (!server.up && pick(20) === 0) server.up = true;
    rig.core.clock.advance(1e6);
    if (pick(8) === 0 || quiet > 20) await Promise.resolve();
    if (quiet > 3000) throw new Error(`seed ${seed}: ${running.size} requests hang`);
  }
  expect(failures, `seed ${seed}`).toEqual([]);
  expect(rig.core.internalErrors).toEqual([]);
  return { rig, server, guest, model };
}

/** Flush, crash: the medium is the model. */
async function flushed({ rig, server, guest, model }: Game): Promise<void> {
  let done = false;
  void guest.disk.submitFlush().then(() => {
    done = true;
  });
  for (let i = 0; i < 5000 && !done; i++) {
    guest.step();
    rig.step();
    server.up = true;
    rig.core.clock.advance(1e6);
    await Promise.resolve();
  }
  expect(done).toBe(true);
  expect(Buffer.from(server.medium).equals(Buffer.from(model)), 'the medium differs').toBe(true);
}

describe('a disk over NBD', () => {
  it.each([
    ['simple replies', { structured: false }],
    ['structured replies', { structured: true }],
    ['a server that takes 64 KiB at most', { maxBlock: 65536 }],
    ['a server that takes as much as a request can name', { maxBlock: 0xffffffff }],
    ['grants that are mapped for each request', { persistent: false, structured: true }],
    ['a server whose blocks have 4096 bytes', { minBlock: 4096 }],
    ['a server whose blocks have 64 KiB, and which takes one at a time', { minBlock: 65536, maxBlock: 65536 }],
    ['no indirect requests', { maxSegments: 0 }],
    ['three rings', { ringShape: { queues: 3, order: 0 } }],
  ])('is what was written, with %s', async (_, options) => {
    const game = await play(7, 600, 0, options);
    await flushed(game);
    expect(game.rig.log.lines).toEqual([]);
    const stats = game.guest.worker.stats;
    expect(stats.errors).toBe(0);
    expect(stats.responses).toBe(stats.requests);
  });

  it.each([1, 2, 3, 4, 5, 6])(
    'loses nothing to a server that crashes and forgets what was not flushed, seed %i',
    async seed => {
      const game = await play(seed, 400, 25, { structured: seed % 2 === 0, persistent: seed % 3 > 0 });
      expect(game.server.crashes).toBeGreaterThan(5);
      await flushed(game);
    },
  );

  it.each([1, 2, 3, 4])('loses nothing of blocks that are written in parts either, seed %i', async seed => {
    const game = await play(seed, 400, 25, { minBlock: 4096, fua: seed % 2 === 0, ringShape: { queues: 2, order: 0 } });
    expect(game.server.crashes).toBeGreaterThan(5);
    await flushed(game);
  });

  it('has requests wait for a server, and fails them when that takes longer than configured', async () => {
    const { rig, guest, server } = await begin(11);
    const key = guest.key!;
    rig.open(key, 'nbd+unix:///?socket=/play&reconnect=5');
    await rig.settled();
    guest.key = rig.connect(guest.setup(), { sizeBytes: SIZE });
    guest.worker.resume();
    server.crash();
    let settled: unknown;
    guest.disk.submitRead(0, new Uint8Array(512)).then(
      () => {
        settled = 'read';
      },
      error => {
        settled = error.code;
      },
    );
    const run = async (ms: number): Promise<void> => {
      for (let i = 0; i < ms; i++) {
        guest.step();
        rig.step();
        rig.core.clock.advance(1e6);
        await Promise.resolve();
      }
    };
    await run(4900);
    expect(settled).toBeUndefined();
    await run(300);
    expect(settled).toBe('EIO');
    server.up = true;
    await run(2500);
    const data = new Uint8Array(512);
    guest.disk.read(0, data);
    expect(Buffer.from(data).equals(Buffer.from(server.bytes.subarray(0, 512)))).toBe(true);
  });

  it.each(['answered', 'lost with its server'])(
    'goes on with writes that wait for a flush of our own when that is %s',
    async end => {
      const { rig, guest, server } = await begin(14);
      let quiet = 0;
      const settle = async (): Promise<void> => {
        for (quiet = 0; quiet < 100; ) {
          quiet = [guest.step(), rig.step()].includes('progress') ? 0 : quiet + 1;
          rig.core.clock.advance(1e6);
          await Promise.resolve();
        }
      };
      server.holdsFlushes = true;
      let written = 0;
      for (let n = 0; n < 100; n++) void guest.disk.submitWrite(0, new Uint8Array(SIZE)).then(() => written++);
      await settle();
      expect(written).toBeGreaterThan(60);
      expect(written).toBeLessThan(100);
      expect(server.requests).toBe(1);
      if (end !== 'answered') server.crash();
      server.holdsFlushes = false;
      server.up = true;
      await settle();
      expect(written).toBe(100);
    },
  );

  it('is connected to anew when that is due, though nothing happens but at the server', async () => {
    const { rig, server } = await begin(15);
    const { nbd, core } = rig;
    server.crash();
    // As the thread does: a step when it is wanted, or when the time has come that the last one has named.
    let due = nbd.deadline();
    const ms = (n: number): void => {
      for (let i = 0; i < n; i++) {
        while (server.step(rig.pick) === 'progress');
        while (rig.woken || core.clock.now() >= (due ?? Number.POSITIVE_INFINITY)) {
          rig.woken = false;
          nbd.step();
          due = nbd.deadline();
        }
        core.clock.advance(1e6);
      }
    };
    ms(500);
    expect(rig.failures.map(({ op }) => op)).toEqual(['away']);
    server.up = true;
    // The longest wait so far was half of that.
    ms(1000);
    expect(rig.failures).toMatchObject([{ away: true }, { away: false }]);
  });

  it.each([1, 2, 3])(
    'becomes larger with requests under way, none of which is left with a server, seed %i',
    async seed => {
      const { rig, guest, server, pick } = await begin(100 + seed);
      const { disk } = guest;
      const until = async (condition: () => boolean): Promise<void> => {
        for (let n = 0; !condition(); n++) {
          if (n > 20_000) throw new Error('it does not come');
          if (pick(2) === 0) guest.step();
          else rig.step();
          rig.core.clock.advance(1e6);
          await Promise.resolve();
        }
      };
      let done = 0;
      const write = (n: number): void => {
        void disk.submitWrite(n * 8, new Uint8Array(4096).fill(n)).then(() => done++);
      };
      const key = guest.key!;
      for (let n = 1; n <= 30; n++) write(n);
      guest.worker.push();
      await until(() => server.performed > pick(20));
      let held = false;
      void (rig.nbd.handle({ op: 'hold', key }) as Promise<void>).then(() => {
        held = true;
      });
      for (let n = 31; n <= 60; n++) write(n);
      await until(() => held);
      expect(server.requests).toBe(0);
      const before = server.performed;
      for (let n = 0; n < 200; n++) rig.step();
      expect(server.performed).toBe(before);
      server.grow(2 * SIZE);
      rig.nbd.handle({ op: 'renew', key });
      await until(() => done === 60);
      expect(rig.failures).toEqual([{ op: 'grown', key, sizeBytes: 2 * SIZE }]);
      disk.resize((2 * SIZE) / 512);
      for (let n = 0; n < 4; n++) disk.write((2 * SIZE) / 512 - 8, new Uint8Array(4096).fill(74 + n));
      disk.flush();
      for (let n = 1; n <= 60; n++) expect(server.medium[n * 4096]).toBe(n);
      expect(server.medium[2 * SIZE - 1]).toBe(77);
      expect(rig.log.lines).toEqual([]);
      // Nobody has said that it is larger again.
      server.grow(3 * SIZE);
      server.crash();
      server.up = true;
      await until(() => rig.failures.some(({ op }) => op === 'failed'));
    },
  );

  it('is held when its server dies meanwhile, and goes on with the next', async () => {
    const { rig, guest, server } = await begin(16);
    const key = guest.key!;
    let written = false;
    void guest.disk.submitWrite(0, new Uint8Array(512).fill(9)).then(() => {
      written = true;
    });
    guest.step();
    rig.vcpu.events.poll();
    rig.nbd.step();
    let held = false;
    void (rig.nbd.handle({ op: 'hold', key }) as Promise<void>).then(() => {
      held = true;
    });
    server.crash();
    for (let n = 0; n < 100 && !held; n++) {
      rig.step();
      await Promise.resolve();
    }
    expect(held).toBe(true);
    server.up = true;
    rig.nbd.handle({ op: 'renew', key });
    for (let n = 0; n < 5000 && !written; n++) {
      guest.step();
      rig.step();
      rig.core.clock.advance(1e6);
      await Promise.resolve();
    }
    expect([written, server.bytes[0]]).toEqual([true, 9]);
  });

  it('is closed while it is held, and may be no larger for that when it is there again', async () => {
    const { rig, guest, server } = await begin(17);
    const key = guest.key!;
    await (rig.nbd.handle({ op: 'hold', key }) as Promise<void>);
    await (rig.nbd.handle({ op: 'close', key }) as Promise<void>);
    rig.nbd.handle({ op: 'renew', key });
    rig.open(key);
    await rig.settled();
    rig.nbd.handle({ op: 'renew', key });
    server.grow(2 * SIZE);
    server.crash();
    server.up = true;
    for (let n = 0; n < 5000 && !rig.failures.some(({ op }) => op === 'failed'); n++) {
      rig.step();
      rig.core.clock.advance(1e6);
      await Promise.resolve();
    }
    expect(rig.failures.map(({ op }) => op)).toContain('failed');
  });

  it('is not missed while its server is started anew, and is when that takes too long', async () => {
    const { rig, server, guest } = await begin(18);
    const key = guest.key!;
    const ms = async (n: number): Promise<void> => {
      for (let i = 0; i < n; i++) {
        rig.step();
        rig.core.clock.advance(1e6);
        await Promise.resolve();
      }
    };
    for (const down of [5000, 12_000]) {
      await (rig.nbd.handle({ op: 'hold', key }) as Promise<void>);
      server.up = false;
      rig.nbd.handle({ op: 'renew', key });
      await ms(down);
      const told = down < 10_000 ? [] : [{ away: true }];
      expect(rig.failures).toMatchObject(told);
      expect(rig.log.lines.some(line => line.includes('the server is lost'))).toBe(told.length > 0);
      server.up = true;
      await ms(5000);
    }
    expect(rig.failures).toMatchObject([{ away: true }, { away: false }]);
    server.crash();
    await ms(100);
    expect(rig.failures).toMatchObject([{ away: true }, { away: false }, { away: true }]);
  });

  it('is closed with requests under way while its server is let go of: what was flushed is on the medium, the server has the rest', async () => {
    const { rig, guest, server } = await begin(19);
    const key = guest.key!;
    const step = async (times: number): Promise<void> => {
      for (let n = 0; n < times; n++) {
        guest.step();
        rig.step();
        await Promise.resolve();
      }
    };
    const write = (sector: number): Promise<void> => guest.disk.submitWrite(sector, new Uint8Array(512).fill(9));
    let done = 0;
    void write(0)
      .then(() => guest.disk.submitFlush())
      .then(() => write(8))
      .then(() => done++);
    await step(500);
    expect(done).toBe(1);
    server.medium[8 * 512] = 0;
    // It is asked for another, and has not answered that.
    void write(16).catch(() => {});
    guest.step();
    rig.vcpu.events.poll();
    rig.nbd.step();
    let held = false;
    void (rig.nbd.handle({ op: 'hold', key }) as Promise<void>).then(() => {
      held = true;
    });
    await Promise.resolve();
    expect(held).toBe(false);
    await (rig.nbd.handle({ op: 'close', key }) as Promise<void>);
    expect([held, server.medium[0], server.medium[8 * 512], server.bytes[8 * 512]]).toEqual([true, 9, 0, 9]);
  });

  it('is given up when the server comes back with another disk', async () => {
    for (const change of ['size', 'read-only', 'no FUA', 'no trim'] as const) {
      const { rig, guest, server } = await begin(12);
      const run = (): void => {
        for (let i = 0; i < 200; i++) {
          guest.step();
          rig.step();
          rig.core.clock.advance(1e6);
        }
      };
      server.crash();
      run();
      if (change === 'size') server.bytes = new Uint8Array(SIZE + 512);
      else if (change === 'read-only') server.flags |= 2;
      else server.flags &= change === 'no FUA' ? ~8 : ~32;
      server.up = true;
      run();
      expect(rig.failures.filter(({ op }) => op === 'failed')).toMatchObject([
        { op: 'failed', key: guest.key, code: 'ENXIO' },
      ]);
    }
  });

  it('lets go of every page when its frontend goes, with requests under way', async () => {
    const { rig, guest, server } = await begin(13);
    for (let i = 0; i < 20; i++) guest.disk.submitWrite(i * 8, new Uint8Array(4096)).catch(() => {});
    guest.worker.push();
    rig.vcpu.events.poll();
    rig.nbd.step();
    server.crash();
    const gone = rig.disconnect(guest.key!);
    rig.run();
    await gone;
    guest.worker.fail(19);
    guest.worker.detach();
    expect(guest.buffers!.release()).toBe(0);
  });
});

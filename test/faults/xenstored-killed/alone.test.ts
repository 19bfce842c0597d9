// kill -9 of a xenstored with writers at work: what was acknowledged is there, transactions wholly or not at all.
import { truncateSync, writeFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { XenstoreClient } from '#pvbus';
import { eventually } from '../../support/processes.ts';
import { seededRandom } from '../../support/random.ts';
import { XenstoredProcess } from '../../support/xenstored-process.ts';

const KILLS = 10;
const WRITERS = 3;

let daemon: XenstoredProcess;
beforeEach(async () => {
  daemon = new XenstoredProcess();
  await daemon.start();
});
afterEach(() => daemon.remove());

/** What a writer was told has happened. */
interface Told {
  pair: number;
  single: number;
}

/** Counts up, in a transaction and outside one, until the daemon is no more. */
async function write(xs: XenstoreClient, name: string, told: Told): Promise<void> {
  try {
    for (;;) {
      const n = told.pair + 1;
      await xs.transaction(async tx => {
        await xs.write(`/${name}/left`, String(n), tx);
        await xs.write(`/${name}/right`, String(n), tx);
      });
      told.pair = n;
      await xs.write(`/${name}/single`, String(told.single + 1));
      told.single++;
    }
  } catch {
    // The connection is cut: what was under way may have happened or not.
  }
}

describe('a xenstored killed with -9', () => {
  it('fault 16: has lost nothing that was acknowledged, and has no transaction in half', async () => {
    const { seed, random } = seededRandom();
    const told = Array.from({ length: WRITERS }, (): Told => ({ pair: 0, single: 0 }));
    const pairs = (): number => told.reduce((sum, { pair }) => sum + pair, 0);
    for (let kill = 0; kill < KILLS; kill++) {
      const before = pairs();
      const clients = await Promise.all(told.map(() => daemon.connect()));
      const writers = clients.map((xs, i) => write(xs, `w${i}`, told[i]!));
      await eventually('something is acknowledged', () => pairs() > before, 60_000, 1);
      await pause(random() * 80);
      await daemon.kill();
      await Promise.all(writers);
      await daemon.start();
      const xs = await daemon.connect();
      for (const [i, was] of told.entries()) {
        const read = async (key: string): Promise<number> => Number(await xs.read(`/w${i}/${key}`).catch(() => '0'));
        const [left, right, single] = [await read('left'), await read('right'), await read('single')];
        expect(right, `seed ${seed}, kill ${kill}`).toBe(left);
        expect([was.pair, was.pair + 1], `seed ${seed}, kill ${kill}`).toContain(left);
        expect([was.single, was.single + 1], `seed ${seed}, kill ${kill}`).toContain(single);
        was.pair = left;
        was.single = single;
      }
      xs.close();
    }
    expect(pairs()).toBeGreaterThanOrEqual(KILLS);
  });

  it('fault 19: cuts off a torn end of its journal and says so', async () => {
    const xs = await daemon.connect();
    await xs.write('/a', '1');
    await xs.write('/b', '2');
    await daemon.kill();
    writeFileSync(daemon.journal, Buffer.from([200, 0, 0, 0, 1, 2, 3, 4, 5]), { flag: 'a' });
    await daemon.start();
    const again = await daemon.connect();
    expect(await again.read('/b')).toBe('2');
    expect(daemon.log).toMatch(/journal: cut off its last 9 bytes, which are damaged/);
  });

  it('does not start on a file that is no journal, and leaves it alone', async () => {
    await daemon.kill();
    truncateSync(daemon.journal, 0);
    writeFileSync(daemon.journal, 'my thesis');
    await expect(daemon.start()).rejects.toThrow(/journal: this is not a journal of xenstored/);
  });
});

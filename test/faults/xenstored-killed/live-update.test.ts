// One daemon after another takes over while clients are at work: no request is lost, and none is done twice.
import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { XenstoreClient } from '#pvbus';
import { eventually } from '../../support/processes.ts';
import { XenstoredProcess } from '../../support/xenstored-process.ts';

const UPDATES = 4;
const WRITERS = 8;

let daemon: XenstoredProcess;
beforeEach(async () => {
  daemon = new XenstoredProcess();
});
afterEach(() => daemon.remove());

const update = (xs: XenstoreClient): Promise<string> => xs.control('live-update', '-s');
/** A daemon waits a minute for its successor, goes on without it, and says so: on a machine that is busy enough, that comes too late. */
const TOO_LATE = /^live update: the other daemon (is not ready|does not answer)$/;
async function updated(xs: XenstoreClient): Promise<void> {
  let said: string;
  do said = await update(xs);
  while (TOO_LATE.test(said));
  expect(said).toBe('OK');
}

describe('a live update', () => {
  it.each([{ kept: true }, { kept: false }])(
    'fault 18: goes unnoticed by clients at work, journal kept: $kept',
    async ({ kept }) => {
      await daemon.start({ journal: kept });
      const stop = { now: false };
      const counts = new Array<number>(WRITERS).fill(0);
      const writers = Array.from({ length: WRITERS }, async (_, i) => {
        const xs = await daemon.connect();
        const seen: string[] = [];
        await xs.watch(`/w${i}/pair`, 'token', path => seen.push(path));
        let n = 0;
        while (!stop.now) {
          counts[i] = ++n;
          const at = n;
          // Done twice, or not at all, it would not count on.
          await xs.transaction(async tx => {
            const was = await xs.read(`/w${i}/pair/left`, tx).catch(() => '0');
            expect(Number(was)).toBe(at - 1);
            await xs.write(`/w${i}/pair/left`, String(at), tx);
            await pause(at % 3);
            await xs.write(`/w${i}/pair/right`, String(at), tx);
          });
          await Promise.all(Array.from({ length: 20 }, (_, k) => xs.write(`/w${i}/many/${k}`, `${at}`)));
        }
        expect(await xs.read(`/w${i}/many/19`)).toBe(String(n));
        expect(seen.length).toBeGreaterThan(n / 2);
        return n;
      });
      const admin = await daemon.connect();
      for (let i = 0; i < UPDATES; i++) {
        const before = daemon.processes();
        await pause(50);
        await updated(admin);
        const after = await eventually('one daemon is left', () => {
          const left = daemon.processes();
          return left.length === 1 && left;
        });
        expect(after).not.toEqual(before);
      }
      const over = Promise.all(writers);
      await Promise.race([over, eventually('each has got on', () => counts.every(n => n > UPDATES))]);
      stop.now = true;
      await over;
      expect(await admin.control('check')).toBe('OK');
    },
  );

  /** One is under way, and its successor has not even loaded its code: that waits to be let go, however busy the machine is. */
  async function underWay() {
    await daemon.start({ journal: true, holds: true });
    const [admin, other] = [await daemon.connect(), await daemon.connect()];
    const [old] = daemon.processes();
    const asked = update(admin);
    asked.catch(() => {}); // looked at later
    const successor = await eventually('a successor', () => daemon.processes().find(pid => pid !== old));
    return { admin, other, old, asked, successor };
  }

  it('is called off when the successor dies first, and the daemon goes on', async () => {
    const { admin, other, old, asked, successor } = await underWay();
    process.kill(successor, 'SIGKILL');
    await other.write('/a', '1');
    expect(await asked).toBe('live update: the other daemon has ended');
    expect(daemon.processes()).toEqual([old]);
    expect(await other.read('/a')).toBe('1');
    daemon.letGo();
    await updated(admin);
  });

  it('can be called off', async () => {
    const { other, old, asked } = await underWay();
    await other.control('live-update', '-a');
    expect(await asked).toBe('live update: it was called off');
    daemon.letGo();
    // The one that was started finds nobody.
    await eventually('one daemon is left', () => daemon.processes().length === 1);
    expect(daemon.processes()).toEqual([old]);
  });

  it('fault 18: refuses a second one meanwhile', async () => {
    const { other, asked } = await underWay();
    await expect(update(other)).rejects.toMatchObject({ code: 'EBUSY' });
    daemon.letGo();
    expect(await asked).toBe('OK');
  });
});

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

describe('a live update', () => {
  it.each([{ kept: true }, { kept: false }])(
    'fault 18: goes unnoticed by clients at work, journal kept: $kept',
    async ({ kept }) => {
      await daemon.start({ journal: kept });
      const stop = { now: false };
      const writers = Array.from({ length: WRITERS }, async (_, i) => {
        const xs = await daemon.connect();
        const seen: string[] = [];
        await xs.watch(`/w${i}/pair`, 'token', path => seen.push(path));
        let n = 0;
        while (!stop.now) {
          n++;
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
        expect(await update(admin)).toBe('OK');
        const after = await eventually('one daemon is left', () => {
          const left = daemon.processes();
          return left.length === 1 && left;
        });
        expect(after).not.toEqual(before);
      }
      stop.now = true;
      for (const n of await Promise.all(writers)) expect(n).toBeGreaterThan(UPDATES);
      expect(await admin.control('check')).toBe('OK');
    },
  );

  it('is called off when the successor dies first, and the daemon goes on', async () => {
    await daemon.start({ journal: true });
    const admin = await daemon.connect();
    const other = await daemon.connect();
    const asked = update(admin);
    const [old] = daemon.processes();
    const successor = await eventually('a successor', () => daemon.processes().find(pid => pid !== old));
    // It has not even loaded its code.
    process.kill(successor, 'SIGKILL');
    await other.write('/a', '1');
    expect(await asked).toBe('live update: the other daemon has ended');
    expect(daemon.processes()).toEqual([old]);
    expect(await other.read('/a')).toBe('1');
    expect(await update(admin)).toBe('OK');
  });

  it('can be called off', async () => {
    await daemon.start({ journal: true });
    const admin = await daemon.connect();
    const other = await daemon.connect();
    const [old] = daemon.processes();
    const asked = update(admin);
    await other.control('live-update', '-a');
    expect(await asked).toBe('live update: it was called off');
    // The one that was started finds nobody.
    await eventually('one daemon is left', () => daemon.processes().length === 1);
    expect(daemon.processes()).toEqual([old]);
  });

  it('fault 18: refuses a second one meanwhile', async () => {
    await daemon.start({ journal: true });
    const admin = await daemon.connect();
    const other = await daemon.connect();
    const first = update(admin);
    await expect(update(other)).rejects.toMatchObject({ code: 'EBUSY' });
    expect(await first).toBe('OK');
  });
});

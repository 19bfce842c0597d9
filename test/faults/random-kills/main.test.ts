// What breaks: guests, a driver domain, dom0 and xenstored are killed (SIGKILL), one after the other, at moments that a
// seed decides, while guests write, flush and send. What must survive: every acknowledged write, every packet as it was
// sent, and everybody else. `npm run reliability` is the same by the thousand.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { KillRun, VICTIMS } from '../../reliability/kill-run.ts';
import { seededRandom } from '../../support/random.ts';

const KILLS = 8;
const { seed } = seededRandom();
let folder: string;
let run: KillRun;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'xenolith-kills-'));
  run = new KillRun(folder, seed);
  await run.start();
});
afterAll(async () => {
  await run?.stop();
  rmSync(folder, { recursive: true, force: true });
});

it(`fault 27, fault 31, fault 33, fault 38: ${KILLS} kills lose nothing (XENOLITH_SEED=${seed})`, async () => {
  for (let i = 0; i < KILLS; i++) await run.kill(VICTIMS[i % VICTIMS.length]);
  expect(run.failed, run.report()).toBe(false);
});

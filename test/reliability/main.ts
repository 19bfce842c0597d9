// `npm run reliability`: processes are killed at random under checked I/O, and what came of it is counted.
//
//   npm run reliability -- --kills 10000      so many; 200 if nothing is said
//   npm run reliability -- --seed 123         the same victims at the same moments, as far as a machine repeats itself
import { randomInt } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { KillRun } from './kill-run.ts';

const { values } = parseArgs({
  options: { kills: { type: 'string', default: '200' }, seed: { type: 'string' } },
});
const kills = Number(values.kills);
const seed = Number(values.seed ?? randomInt(2 ** 31));
if (!Number.isSafeInteger(kills) || kills < 1 || !Number.isSafeInteger(seed)) {
  console.error('reliability: --kills and --seed are whole numbers');
  process.exit(2);
}

const folder = mkdtempSync(join(tmpdir(), 'xenolith-reliability-'));
const run = new KillRun(folder, seed);
let failed = true;
try {
  console.log(`reliability: ${kills} kills, seed ${seed}`);
  await run.start();
  for (let done = 1; done <= kills; done++) {
    await run.kill();
    if (done % Math.ceil(kills / 20) === 0) console.log(`${done} kills`);
  }
  console.log(run.report());
  failed = run.failed;
} finally {
  await run.stop();
  rmSync(folder, { recursive: true, force: true });
}
process.exitCode = failed ? 1 : 0;

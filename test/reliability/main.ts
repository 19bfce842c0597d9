// `npm run reliability`: processes are killed at random under checked I/O, and what came of it is counted.
//
//   npm run reliability -- --kills 10000      so many; 200 if nothing is said
//   npm run reliability -- --files 1000       guests that write files and sync them are killed instead, so many times
//   npm run reliability -- --power-cuts 1000  power is cut under volumes, in this process alone, so many times
//   npm run reliability -- --fs ext4          with --files or --power-cuts: on that kind of volume alone, 'fat' or 'ext4'
//   npm run reliability -- --seed 123         the same victims at the same moments, as far as a machine repeats itself
import { randomInt } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { installExt4 } from '../../tools/ext4/build.ts';
import { ext4Wasm } from '../support/programs/ext4.ts';
import { cutExt4 } from './ext4-power-cuts.ts';
import { ext4Volumes } from './ext4-volumes.ts';
import { FileKills } from './file-kills.ts';
import { fsckMissing } from './fsck.ts';
import { KillRun } from './kill-run.ts';
import { cutPower, describeCuts } from './power-cuts.ts';
import { fatVolumes, type VolumeKind } from './volumes.ts';

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '200' },
    files: { type: 'string' },
    'power-cuts': { type: 'string' },
    fs: { type: 'string' },
    seed: { type: 'string' },
  },
});
const times = Number(values['power-cuts'] ?? values.files ?? values.kills);
const seed = Number(values.seed ?? randomInt(2 ** 31));
if (!Number.isSafeInteger(times) || times < 1 || !Number.isSafeInteger(seed)) {
  console.error('reliability: how many, and --seed, are whole numbers');
  process.exit(2);
}
const wanted = values.fs?.toUpperCase();
const kinds = [fatVolumes, ...(ext4Volumes ? [ext4Volumes] : [])].filter(
  ({ name }) => wanted === undefined || name.toUpperCase() === wanted,
);
if (kinds.length === 0) {
  console.error(`reliability: no volumes of kind '${values.fs}' here: fat, or ext4 where it can be built`);
  process.exit(2);
}
const FILE_GUESTS = 2;
/** Of one workload. */
const CUTS_EACH = 200;

type Cuts = (seed: number, cuts: number) => { of: string; cuts: number; lost: readonly string[]; said: string };
const cutsOfFat = ([12, 16, 32] as const).map<Cuts>(bits => (seed, cuts) => {
  const report = cutPower(bits, seed, CUTS_EACH, cuts);
  return { ...report, of: `FAT${bits}`, said: describeCuts(report) };
});
const cutsOfExt4 = (['ext4', 'ext4 of 1 KiB blocks'] as const).map<Cuts>(of => (seed, cuts) => {
  const report = cutExt4(of, seed, CUTS_EACH, cuts);
  return { ...report, of, said: [`${report.cuts} cuts; lost: ${report.lost.length}`, ...report.lost].join('\n') };
});

const isExt4 = ({ name }: VolumeKind): boolean => name === 'ext4';

const folder = mkdtempSync(join(tmpdir(), 'xenolith-reliability-'));
try {
  if (values['power-cuts'] !== undefined) cuts();
  else if (values.files !== undefined) await files();
  else await kills();
} finally {
  rmSync(folder, { recursive: true, force: true });
}

function cuts(): void {
  if (fsckMissing) console.log(`reliability: ${fsckMissing}: images are looked at by our own reader only`);
  const cutsOf = kinds.flatMap<Cuts>(({ name }) => (name === 'FAT' ? cutsOfFat : cutsOfExt4));
  for (let done = 0, n = 0; done < times; n++) {
    const report = cutsOf[n % cutsOf.length]?.(seed + n, Math.min(CUTS_EACH, times - done));
    if (!report) return;
    done += report.cuts;
    console.log(`${report.of}, seed ${seed + n}: ${report.said}`);
    if (report.lost.length > 0) process.exitCode = 1;
  }
}
/** Who has no more time sees what there was. */
function untilInterrupted(): () => boolean {
  let interrupted = false;
  process.once('SIGINT', () => {
    interrupted = true;
  });
  return () => interrupted;
}
async function files(): Promise<void> {
  // order: a host says when it starts what its domains' shells may read.
  if (kinds.some(isExt4)) installExt4(await ext4Wasm());
  const run = new FileKills(folder, seed, kinds);
  try {
    console.log(`reliability: ${times} guests with files, seed ${seed}`);
    await run.start();
    let begun = 0;
    const enough = untilInterrupted();
    await run.run(FILE_GUESTS, () => {
      if (begun > 0 && begun % Math.ceil(times / 20) === 0) console.log(`${begun} kills`);
      return !enough() && begun++ < times;
    });
    console.log(run.report());
    process.exitCode = run.lost.length > 0 ? 1 : 0;
  } finally {
    await run.stop();
  }
}
async function kills(): Promise<void> {
  const run = new KillRun(folder, seed);
  process.exitCode = 1;
  try {
    console.log(`reliability: ${times} kills, seed ${seed}`);
    await run.start();
    const enough = untilInterrupted();
    for (let done = 1; done <= times && !enough(); done++) {
      await run.kill();
      if (done % Math.ceil(times / 20) === 0) console.log(`${done} kills`);
    }
    process.exitCode = run.failed ? 1 : 0;
  } finally {
    console.log(run.report());
    await run.stop();
  }
}

// `npm run fuzz`: every family for a part of a night, for as long as is wanted; files of xl.cfg and ext4 volumes where
// Debian's libxen-dev and the driver are. Prints the seed it begins with, and at the end a table of the cases of each family and what they
// cost; a failure of xenstored's is printed as a conversation, and kept in a file.
//
//   npm run fuzz -- --only config     or another family of NIGHT, or linux
//   npm run fuzz -- --cases 1e6       so many of each; else as many as NIGHT has
//   npm run fuzz -- --seed 123        not a seed of its own
//   npm run fuzz -- --replay FILE     what was found of xenstored before
import { randomInt } from 'node:crypto';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { fuzzLinux } from '../linux-peer/explore.ts';
import { Libxlutil } from '../support/xlu-config.ts';
import { BACKENDS } from './backends/explore.ts';
import { exploreConfigs } from './config/explore.ts';
import { FRONTENDS } from './frontends/explore.ts';
import { HYPERCALLS } from './hypercalls/explore.ts';
import { TRAPS_PER_HOST } from './hypercalls/traps.ts';
import { INPUTS } from './inputs/explore.ts';
import { NET } from './net/explore.ts';
import { exploreFamily, type Family } from './parts.ts';
import { TCP } from './tcp/explore.ts';
import { EXT4, whyNoExt4 } from './volumes/ext4.ts';
import { WASI } from './wasi/explore.ts';
import { explore, replay } from './xenstored/explore.ts';
import { parseSteps } from './xenstored/notation.ts';
import { exploreWire, replayWire, WIRE_MARK } from './xenstored/wire.ts';

const { values } = parseArgs({
  options: {
    cases: { type: 'string' },
    only: { type: 'string' },
    seed: { type: 'string' },
    replay: { type: 'string' },
  },
});

/** Cases of a night of one CPU: each family has about 2000 s of it, by what a case was measured to cost. */
const NIGHT: Readonly<Record<string, number>> = {
  config: 5e5,
  frontends: 2e6,
  inputs: 5e6,
  backends: 2e6,
  hypercalls: 3e7,
  net: 8e6,
  tcp: 4e5,
  wasi: 6e7,
  ext4: 8e4,
  xenstored: 1e7,
};

/** By family, of those that ran to their end. */
const counted = new Map<string, { readonly cases: number; readonly cpuSeconds: number }>();
function count(family: string, cases: number, since: NodeJS.CpuUsage): void {
  const { user, system } = process.cpuUsage(since);
  counted.set(family, { cases, cpuSeconds: Math.round((user + system) / 1e6) });
}

/** Sequences that are drawn from one seed. */
const BATCH = 250;

/** Prints how it goes. True when it still goes wrong. */
function replayFile(text: string): boolean {
  const { text: conversation, wrong } = text.startsWith(WIRE_MARK) ? replayWire(text) : replay(parseSteps(text));
  console.log(conversation);
  return wrong;
}

function seconds(since: number): string {
  return `${((performance.now() - since) / 1000).toFixed(0)} s`;
}

/** Returns what went wrong. */
async function fuzzXenstored(first: number, wanted: number): Promise<string | undefined> {
  const began = performance.now();
  const spent = process.cpuUsage();
  let [requests, bytes, reported] = [0, 0, 0];
  for (let seed = first; requests + bytes < wanted; seed = (seed + 1) % 2 ** 31) {
    const model = explore(seed, BATCH);
    const wire = exploreWire(seed, BATCH / 10);
    requests += model.requests;
    bytes += wire.requests;
    const failure = model.failure ?? wire.failure;
    if (failure !== undefined) return failure;
    // What the disks of these runs have not said yet holds each run's whole daemon until it is said.
    await setImmediate();
    if (requests + bytes < reported + wanted / 20) continue;
    reported = requests + bytes;
    console.log(`fuzz: ${reported} requests in ${seconds(began)}, seed ${seed} was the last`);
  }
  count('xenstored', requests + bytes, spent);
  const most = Math.round(process.resourceUsage().maxRSS / 1024);
  console.log(
    `fuzz: nothing found in ${requests} requests compared with the model and ${bytes} on attacked wires, ${seconds(began)}, ${most} MiB at most`,
  );
  return undefined;
}

/** Returns what differs. */
async function fuzzConfigs(first: number, wanted: number): Promise<string | undefined> {
  const lib = Libxlutil.build();
  if (typeof lib === 'string') {
    console.log(`fuzz: no files of xl.cfg: ${lib}`);
    return undefined;
  }
  const began = performance.now();
  const spent = process.cpuUsage();
  try {
    for (let done = 0, seed = first; done < wanted; done += BATCH, seed++) {
      const failure = exploreConfigs(lib, seed, BATCH);
      if (failure !== undefined) return `seed ${seed}: ${failure}`;
      await setImmediate();
    }
  } finally {
    lib.remove();
  }
  count('config', wanted, spent);
  console.log(`fuzz: libxlutil and we read ${wanted} files of xl.cfg alike, ${seconds(began)}`);
  return undefined;
}

/** Each case with what it holds of what is counted. */
const FAMILIES: Readonly<Record<string, { readonly family: Family; readonly holds: number }>> = {
  frontends: { family: FRONTENDS, holds: 1 },
  inputs: { family: INPUTS, holds: 1 },
  backends: { family: BACKENDS, holds: 1 },
  hypercalls: { family: HYPERCALLS, holds: TRAPS_PER_HOST },
  net: { family: NET, holds: 1 },
  tcp: { family: TCP, holds: 1 },
  wasi: { family: WASI, holds: 30 },
  ext4: { family: EXT4, holds: 1 },
};

/** Files and frames, rings, hypercalls. Returns what went wrong. */
async function fuzzFamily(name: string, first: number, wanted: number): Promise<string | undefined> {
  const { family, holds } = FAMILIES[name]!;
  if (family === EXT4 && whyNoExt4 !== undefined) {
    console.log(`fuzz: no ext4 volumes: ${whyNoExt4}`);
    return undefined;
  }
  const spent = new Map<string, { cases: number; ms: number }>();
  const cpu = process.cpuUsage();
  const each = Math.min(5000, Math.ceil(wanted / holds));
  for (let done = 0, seed = first; done * holds < wanted; done += each, seed = (seed + 1) % 2 ** 31) {
    const failure = await exploreFamily(family, seed, each, (part, cases, ms) => {
      const before = spent.get(part) ?? { cases: 0, ms: 0 };
      spent.set(part, { cases: before.cases + cases * holds, ms: before.ms + ms });
    });
    if (failure !== undefined) return `${name}, seed ${seed}: ${failure}`;
    await setImmediate();
  }
  const sum = [...spent.values()].reduce((cases, part) => cases + part.cases, 0);
  count(name, sum, cpu);
  for (const [part, { cases, ms }] of spent)
    console.log(`fuzz: ${name}: ${part}: ${cases} cases, ${Math.round((cases * 1000) / ms)} a second`);
  return undefined;
}

/** Those that are no families of properties. */
const RUNS: Readonly<Record<string, (seed: number, wanted: number) => Promise<string | undefined>>> = {
  config: fuzzConfigs,
  linux: fuzzLinux,
  xenstored: fuzzXenstored,
};

if (values.replay !== undefined) {
  if (replayFile(readFileSync(values.replay, 'utf8'))) process.exitCode = 1;
} else {
  const { only, cases } = values;
  const seed = Number(values.seed ?? randomInt(2 ** 31));
  if (!(Number(cases ?? 1) > 0) || !Number.isInteger(seed)) throw new Error('--cases and --seed are numbers');
  const families = [...Object.entries(NIGHT), ['linux', 0] as const];
  if (only !== undefined && !families.some(([name]) => name === only))
    throw new Error(`--only ${only}: no family, there are ${families.map(([name]) => name).join(', ')}`);
  // What fails may have taken every descriptor there is; what it was is written down all the same.
  const spare = openSync('/dev/null', 'r');
  console.log(`fuzz: seed ${seed}`);
  for (const [name, night] of families) {
    if (only !== undefined && only !== name) continue;
    const run = RUNS[name] ?? ((first, wanted) => fuzzFamily(name, first, wanted));
    const what = await run(seed, Number(cases ?? night));
    if (what === undefined) continue;
    console.error(what);
    process.exitCode = 1;
    if (name !== 'xenstored') continue;
    const file = join(tmpdir(), `xenolith-fuzz-${seed}.txt`);
    closeSync(spare);
    writeFileSync(file, `${what}\n`);
    console.error(`\nfuzz: again with \`npm run fuzz -- --replay ${file}\``);
  }
  console.log('| family | cases | CPU |\n|---|---|---|');
  for (const [family, { cases, cpuSeconds }] of counted) console.log(`| \`${family}\` | ${cases} | ${cpuSeconds} s |`);
}

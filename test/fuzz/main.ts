// `npm run fuzz`: the xenstore daemon against its model, and against bytes of every kind, for as long as is
// wanted; before that files of xl.cfg against libxlutil, where Debian's libxen-dev is. Prints the seed it begins with, and at the end a table of the
// cases of each family; a failure is printed as a conversation, and kept in a file.
//
//   npm run fuzz -- --runs 1e7        so many requests; else XENOLITH_FUZZ_RUNS, else a million
//   npm run fuzz -- --configs 1e5     so many files of xl.cfg; else ten thousand
//   npm run fuzz -- --frontends 1e6   so many cases of backends against the guest's drivers; else a hundred thousand
//   npm run fuzz -- --cases 1e6       so many each of inputs, backends, hypercalls and wasi; else two hundred thousand
//   npm run fuzz -- --only config     or frontends, inputs, backends, hypercalls, wasi, net, tcp, ext4, linux, xenstored
//   npm run fuzz -- --seed 123        not a seed of its own
//   npm run fuzz -- --replay FILE     what was found before
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
import { exploreFrontends } from './frontends/explore.ts';
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
    runs: { type: 'string' },
    configs: { type: 'string' },
    frontends: { type: 'string' },
    cases: { type: 'string' },
    only: { type: 'string' },
    seed: { type: 'string' },
    replay: { type: 'string' },
  },
});

/** Cases by family, of those that ran to their end. */
const counted = new Map<string, number>();

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
async function fuzz(first: number, wanted: number): Promise<string | undefined> {
  const began = performance.now();
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
  counted.set('xenstored', requests + bytes);
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
  try {
    for (let done = 0, seed = first; done < wanted; done += BATCH, seed++) {
      const failure = exploreConfigs(lib, seed, BATCH);
      if (failure !== undefined) return `seed ${seed}: ${failure}`;
      await setImmediate();
    }
  } finally {
    lib.remove();
  }
  counted.set('config', wanted);
  console.log(`fuzz: libxlutil and we read ${wanted} files of xl.cfg alike, ${seconds(began)}`);
  return undefined;
}

/** Returns what went wrong. */
async function fuzzFrontends(first: number, wanted: number): Promise<string | undefined> {
  const began = performance.now();
  const each = 10_000;
  for (let done = 0, seed = first; done < wanted; done += each, seed = (seed + 1) % 2 ** 31) {
    const failure = await exploreFrontends(seed, Math.min(each, wanted - done));
    if (failure !== undefined) return `frontends, seed ${seed}: ${failure}`;
  }
  counted.set('frontends', wanted);
  console.log(`fuzz: ${wanted} cases of hostile backends, every frontend stands, ${seconds(began)}`);
  return undefined;
}

/** Each case with what it holds of what is counted. */
const FAMILIES: Readonly<Record<string, { readonly family: Family; readonly holds: number }>> = {
  inputs: { family: INPUTS, holds: 1 },
  backends: { family: BACKENDS, holds: 1 },
  hypercalls: { family: HYPERCALLS, holds: TRAPS_PER_HOST },
  net: { family: NET, holds: 1 },
  tcp: { family: TCP, holds: 10 },
  wasi: { family: WASI, holds: 30 },
  // Each a mount of a volume of its own, and a dozen calls.
  ext4: { family: EXT4, holds: 50 },
};

/** Files and frames, rings, hypercalls. Returns what went wrong. */
async function fuzzFamily(name: string, first: number, wanted: number): Promise<string | undefined> {
  const { family, holds } = FAMILIES[name]!;
  if (family === EXT4 && whyNoExt4 !== undefined) {
    console.log(`fuzz: no ext4 volumes: ${whyNoExt4}`);
    return undefined;
  }
  const spent = new Map<string, { cases: number; ms: number }>();
  const each = Math.min(5000, Math.ceil(wanted / holds));
  for (let done = 0, seed = first; done * holds < wanted; done += each, seed = (seed + 1) % 2 ** 31) {
    const failure = await exploreFamily(family, seed, each, (part, cases, ms) => {
      const before = spent.get(part) ?? { cases: 0, ms: 0 };
      spent.set(part, { cases: before.cases + cases * holds, ms: before.ms + ms });
    });
    if (failure !== undefined) return `${name}, seed ${seed}: ${failure}`;
    await setImmediate();
  }
  counted.set(
    name,
    [...spent.values()].reduce((sum, { cases }) => sum + cases, 0),
  );
  for (const [part, { cases, ms }] of spent)
    console.log(`fuzz: ${name}: ${part}: ${cases} cases, ${Math.round((cases * 1000) / ms)} a second`);
  return undefined;
}

if (values.replay !== undefined) {
  if (replayFile(readFileSync(values.replay, 'utf8'))) process.exitCode = 1;
} else {
  const wanted = Number(values.runs ?? process.env.XENOLITH_FUZZ_RUNS ?? 1e6);
  const seed = Number(values.seed ?? randomInt(2 ** 31));
  if (!(wanted > 0) || !Number.isInteger(seed)) throw new Error('--runs and --seed are numbers');
  // What fails may have taken every descriptor there is; what it was is written down all the same.
  const spare = openSync('/dev/null', 'r');
  console.log(`fuzz: ${wanted} requests, seed ${seed}`);
  const configs = Number(values.configs ?? process.env.XENOLITH_FUZZ_CONFIGS ?? 1e4);
  const frontends = Number(values.frontends ?? process.env.XENOLITH_FUZZ_FRONTENDS ?? 1e5);
  const want = (part: string): boolean => values.only === undefined || values.only === part;
  const found = [
    want('config') ? await fuzzConfigs(seed, configs) : undefined,
    want('frontends') ? await fuzzFrontends(seed, frontends) : undefined,
  ];
  const cases = Number(values.cases ?? process.env.XENOLITH_FUZZ_CASES ?? 2e5);
  for (const name of Object.keys(FAMILIES)) found.push(want(name) ? await fuzzFamily(name, seed, cases) : undefined);
  if (want('linux')) found.push(await fuzzLinux(seed));
  for (const what of found) {
    if (what === undefined) continue;
    console.error(what);
    process.exitCode = 1;
  }
  const failure = want('xenstored') ? await fuzz(seed, wanted) : undefined;
  if (failure !== undefined) {
    console.error(failure);
    const file = join(tmpdir(), `xenolith-fuzz-${seed}.txt`);
    closeSync(spare);
    writeFileSync(file, `${failure}\n`);
    console.error(`\nfuzz: again with \`npm run fuzz -- --replay ${file}\``);
    process.exitCode = 1;
  }
  console.log('| family | cases |\n|---|---|');
  for (const [family, n] of counted) console.log(`| \`${family}\` | ${n} |`);
}

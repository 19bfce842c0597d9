// `npm run fuzz`: the xenstore daemon against its model, and against bytes of every kind, for as long as is
// wanted; before that files of xl.cfg against libxlutil, where Debian's libxen-dev is. Prints the seed it begins with; a failure is printed as a conversation, and kept in a file.
//
//   npm run fuzz -- --runs 1e7        so many requests; else XENOLITH_FUZZ_RUNS, else a million
//   npm run fuzz -- --configs 1e5     so many files of xl.cfg; else ten thousand
//   npm run fuzz -- --only config     or xenstored
//   npm run fuzz -- --seed 123        not a seed of its own
//   npm run fuzz -- --replay FILE     what was found before
import { randomInt } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Libxlutil } from '../support/xlu-config.ts';
import { exploreConfigs } from './config/explore.ts';
import { explore, replay } from './xenstored/explore.ts';
import { parseSteps } from './xenstored/notation.ts';
import { exploreWire, replayWire, WIRE_MARK } from './xenstored/wire.ts';

const { values } = parseArgs({
  options: {
    runs: { type: 'string' },
    configs: { type: 'string' },
    only: { type: 'string' },
    seed: { type: 'string' },
    replay: { type: 'string' },
  },
});

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
  console.log(`fuzz: libxlutil and we read ${wanted} files of xl.cfg alike, ${seconds(began)}`);
  return undefined;
}

if (values.replay !== undefined) {
  if (replayFile(readFileSync(values.replay, 'utf8'))) process.exitCode = 1;
} else {
  const wanted = Number(values.runs ?? process.env.XENOLITH_FUZZ_RUNS ?? 1e6);
  const seed = Number(values.seed ?? randomInt(2 ** 31));
  if (!(wanted > 0) || !Number.isInteger(seed)) throw new Error('--runs and --seed are numbers');
  console.log(`fuzz: ${wanted} requests, seed ${seed}`);
  const configs = Number(values.configs ?? process.env.XENOLITH_FUZZ_CONFIGS ?? 1e4);
  if (values.only !== 'xenstored') {
    const difference = await fuzzConfigs(seed, configs);
    if (difference !== undefined) {
      console.error(difference);
      process.exitCode = 1;
    }
  }
  const failure = values.only === 'config' ? undefined : await fuzz(seed, wanted);
  if (failure !== undefined) {
    const file = join(tmpdir(), `xenolith-fuzz-${seed}.txt`);
    writeFileSync(file, `${failure}\n`);
    console.error(`${failure}\n\nfuzz: again with \`npm run fuzz -- --replay ${file}\``);
    process.exitCode = 1;
  }
}

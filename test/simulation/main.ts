// `npm run simulate`: hosts on virtual clocks, each with choices from a seed of its own, for as long as is wanted.
// Prints the seed it begins with; what goes wrong is made as short as it gets and kept in a file.
//
//   npm run simulate -- --minutes 5      so long; else an hour
//   npm run simulate -- --steps 1e6      so many steps
//   npm run simulate -- --seed 42        not a seed of its own
//   npm run simulate -- --replay FILE    what was found before
import { randomInt } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ListChooser, SeededChooser } from './chooser.ts';
import { Coverage } from './coverage.ts';
import { type Outcome, simulate } from './run.ts';
import { shrink } from './shrink.ts';
import { parsed, written } from './trace.ts';

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    steps: { type: 'string' },
    minutes: { type: 'string' },
    replay: { type: 'string' },
  },
});

/** Choices of one seed. */
const RUN_STEPS = 20_000;
const SLOTS = 3;
const DEFAULT_MINUTES = 60;
/** How it goes is told this often. */
const TELL_MS = 60_000;
/** Log lines shown with what has gone wrong. */
const SHOWN_LINES = 40;

const told = (outcome: Outcome): string =>
  outcome.failure ? `${outcome.failure.message}` : `all held, ${outcome.steps} steps, trace ${outcome.hash}`;

async function replay(path: string): Promise<boolean> {
  const { seed, slots, choices } = parsed(readFileSync(path, 'utf8'));
  const outcome = await simulate({ seed, slots, chooser: new ListChooser(choices) });
  console.log(outcome.lines.join('\n'));
  console.log(told(outcome));
  return outcome.failure === undefined;
}

async function report(seed: number, failed: Outcome): Promise<void> {
  console.log(`simulate: seed ${seed}, choice ${failed.choices.length}: ${failed.failure!.message}`);
  const { choices, outcome, runs } = await shrink({ seed, slots: SLOTS }, failed);
  const path = join(tmpdir(), `xenolith-simulation-${seed}.trace`);
  const lines = [`of seed ${seed}: ${failed.choices.length} choices, ${choices.length} after ${runs} runs`];
  const trace = written({ seed, slots: SLOTS, choices }, [...lines, told(outcome)]);
  writeFileSync(path, trace);
  console.log(trace);
  console.log(`the log:\n${outcome.lines.slice(-SHOWN_LINES).join('\n')}\n`);
  console.log(`${outcome.failure!.message}\nagain: npm run simulate -- --replay ${path}`);
}

async function search(): Promise<boolean> {
  const first = values.seed === undefined ? randomInt(2 ** 31) : Number(values.seed);
  const maxSteps = values.steps === undefined ? Number.POSITIVE_INFINITY : Number(values.steps);
  const minutes = values.minutes ?? (values.steps === undefined ? DEFAULT_MINUTES : Number.POSITIVE_INFINITY);
  const began = performance.now();
  const coverage = new Coverage();
  let [steps, runs, tellAt] = [0, 0, TELL_MS];
  const tell = (): void => {
    const seconds = (performance.now() - began) / 1000;
    const rate = Math.round((60 * steps) / seconds);
    console.log(`simulate: ${steps} steps, ${runs} runs in ${seconds.toFixed(0)} s (${rate} a minute)`);
  };
  console.log(`simulate: from seed ${first} on`);
  for (let seed = first; steps < maxSteps && performance.now() - began < Number(minutes) * 60_000; seed++) {
    const chooser = new SeededChooser(seed, Math.min(RUN_STEPS, maxSteps - steps));
    const outcome = await simulate({ seed, slots: SLOTS, chooser });
    coverage.add(outcome.coverage);
    steps += outcome.steps;
    runs++;
    if (outcome.failure) {
      await report(seed, outcome);
      return false;
    }
    if (performance.now() - began < tellAt) continue;
    tellAt += TELL_MS;
    tell();
  }
  tell();
  for (const what of coverage.never) console.log(`simulate: never: ${what}`);
  return true;
}

const good = values.replay === undefined ? await search() : await replay(values.replay);
if (!good) process.exitCode = 1;

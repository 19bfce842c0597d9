// Many runs, each drawn by lot from one seed, until one goes wrong; then the shortest that still does.
import fc from 'fast-check';
import { Mismatch, Run } from './run.ts';
import { anyStep, PRELUDE, type Step } from './steps.ts';

export interface Explored {
  readonly seed: number;
  readonly runs: number;
  readonly requests: number;
  /** What went wrong, as a text that can be read back; undefined when nothing did. */
  readonly failure: string | undefined;
}

export const STEPS_PER_RUN = 60;

export function explore(seed: number, runs: number, newRun: () => Run = () => new Run()): Explored {
  let requests = 0;
  const steps = fc.array(anyStep, { minLength: 1, maxLength: STEPS_PER_RUN, size: 'max' });
  const result = fc.check(
    fc.property(steps, steps => {
      const run = newRun();
      try {
        run.play([...PRELUDE, ...steps]);
      } finally {
        requests += run.requests;
      }
    }),
    { seed, numRuns: runs },
  );
  const failure = result.counterexample && describe(seed, result.counterexample[0], newRun());
  return { seed, runs, requests, failure: failure ?? undefined };
}

/** Throws a Mismatch when it still goes wrong. Returns the conversation. */
export function replay(steps: readonly Step[], run = new Run()): string {
  run.play(steps);
  return run.lines.join('\n');
}

/** What was found last, beside what was done. */
export const comment = (text: string): string =>
  text
    .split('\n')
    .map(line => `# ${line}`)
    .join('\n');

function describe(seed: number, steps: readonly Step[], run: Run): string {
  let what = 'it did not go wrong a second time';
  try {
    run.play([...PRELUDE, ...steps]);
  } catch (error) {
    what = error instanceof Mismatch ? error.message : String(error instanceof Error ? error.stack : error);
  }
  return [`# seed ${seed}`, ...run.lines, comment(what)].join('\n');
}

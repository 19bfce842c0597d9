// Many runs, each drawn by lot from one seed, until one goes wrong; then the shortest that still does.
import fc from '../../support/properties.ts';
import { Mismatch, Run } from './run.ts';
import { anySteps, PRELUDE, type Step } from './steps.ts';

export interface Explored {
  readonly seed: number;
  readonly runs: number;
  readonly requests: number;
  /** What went wrong, as a text that can be read back; undefined when nothing did. */
  readonly failure: string | undefined;
}

const STEPS_PER_RUN = 80;

export function explore(seed: number, runs: number, newRun: () => Run = () => new Run()): Explored {
  let requests = 0;
  const result = fc.check(
    fc.property(anySteps(STEPS_PER_RUN), steps => {
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

/** The conversation that steps of a text make, and what is wrong with it. */
export function replay(steps: readonly Step[], run = new Run()): { readonly text: string; readonly wrong: boolean } {
  const what = wrongWith(run, steps);
  return { text: [...run.lines, comment(what ?? 'as it ought to be')].join('\n'), wrong: what !== undefined };
}

function wrongWith(run: Run, steps: readonly Step[]): string | undefined {
  try {
    run.play(steps);
    return undefined;
  } catch (error) {
    return error instanceof Mismatch ? error.message : String(error instanceof Error ? error.stack : error);
  }
}

/** What was found last, beside what was done. */
export const comment = (text: string): string =>
  text
    .split('\n')
    .map(line => `# ${line}`)
    .join('\n');

function describe(seed: number, steps: readonly Step[], run: Run): string {
  const what = wrongWith(run, [...PRELUDE, ...steps]) ?? 'it did not go wrong a second time';
  return [`# seed ${seed}`, ...run.lines, comment(what)].join('\n');
}

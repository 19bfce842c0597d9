// A shorter list of choices that goes wrong in the same way: first with fewer faults, then with fewer steps.
import { type Choice, isFault } from './actions.ts';
import { ListChooser } from './chooser.ts';
import { type Outcome, type RunOptions, simulate } from './run.ts';

export interface Shrunk {
  readonly choices: readonly Choice[];
  readonly outcome: Outcome;
  /** Runs it took. */
  readonly runs: number;
}

/** `failed`: a run that went wrong. It takes at most `runs` runs. */
export async function shrink(
  options: Omit<RunOptions, 'chooser'>,
  failed: Outcome,
  runs = 400,
  onProgress: (left: number) => void = () => {},
): Promise<Shrunk> {
  const rule = failed.failure?.rule;
  let best = failed;
  let made = 0;
  /** True when it still goes wrong without these. */
  const without = async (from: number, to: number, among: (choice: Choice) => boolean): Promise<boolean> => {
    if (made >= runs) return false;
    const { choices } = best;
    let nth = 0;
    const fewer = choices.filter(choice => {
      if (!among(choice)) return true;
      const i = nth++;
      return i < from || i >= to;
    });
    if (fewer.length === choices.length) return false;
    made++;
    const outcome = await simulate({ ...options, chooser: new ListChooser(fewer) });
    if (outcome.failure?.rule !== rule) return false;
    // What came after it went wrong was not chosen.
    best = outcome;
    onProgress(best.choices.length);
    return true;
  };
  const reduce = async (among: (choice: Choice) => boolean, smallest = 1): Promise<void> => {
    let n = best.choices.filter(among).length;
    for (let size = n; size >= smallest && made < runs; size = Math.floor(size / 2)) {
      for (let from = 0; from < n && made < runs; ) {
        if (await without(from, from + size, among)) n = best.choices.filter(among).length;
        else from += size;
      }
    }
  };
  /** The same without who ran when: everybody does, whenever something was chosen. */
  const rested = async (): Promise<void> => {
    const rest: Choice = { verb: 'rest', target: '-', arg: 0 };
    const faults = best.choices.filter(({ verb }) => isFault(verb)).length;
    const acts = best.choices.filter(({ verb }) => verb !== 'run');
    const often = acts.flatMap(choice => [choice, rest]);
    const seldom = acts.flatMap(choice => (isFault(choice.verb) ? [rest, choice, rest] : [choice]));
    for (const choices of faults === acts.length
      ? [often]
      : [
          [rest, ...seldom],
          [rest, ...often],
        ]) {
      made++;
      const outcome = await simulate({ ...options, chooser: new ListChooser(choices) });
      if (outcome.failure?.rule !== rule) continue;
      best = outcome;
      return;
    }
  };
  await rested();
  const all = (): boolean => true;
  // order: large parts first, for a run takes as long as it is.
  await reduce(all, Math.ceil(best.choices.length / 32));
  await reduce(({ verb }) => isFault(verb));
  await reduce(({ verb }) => verb !== 'run' && !isFault(verb));
  for (let before = -1; before !== best.choices.length && made < runs; ) {
    before = best.choices.length;
    await reduce(all);
  }
  return { choices: best.choices, outcome: best, runs: made };
}

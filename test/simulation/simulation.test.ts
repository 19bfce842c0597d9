// A slice of `npm run simulate`, and that what it finds can be repeated.
import { describe, expect, it } from 'vitest';
import { seedOfThisRun } from '../support/random.ts';
import { ListChooser, SeededChooser } from './chooser.ts';
import { SOMETIMES } from './coverage.ts';
import { simulate } from './run.ts';
import { parsed, written } from './trace.ts';

const STEPS = 1200;
const SEED = seedOfThisRun();

describe('a simulated host', () => {
  it.each([SEED, SEED + 1])('keeps what it promises (npm run simulate -- --seed %i --steps 1200)', async seed => {
    const { failure } = await simulate({ seed, chooser: new SeededChooser(seed, STEPS) });
    expect(failure?.message).toBeUndefined();
  });

  it('takes the same steps again from the same seed, bit for bit (I10), and from the trace of them', async () => {
    const seed = 5;
    const first = await simulate({ seed, chooser: new SeededChooser(seed, STEPS) });
    const second = await simulate({ seed, chooser: new SeededChooser(seed, STEPS) });
    expect(SOMETIMES.filter(what => first.coverage.count(what) > 0).length).toBeGreaterThan(8);
    expect(second.hash).toBe(first.hash);
    expect(second.lines).toEqual(first.lines);
    const trace = parsed(written({ seed, slots: 3, choices: first.choices }));
    const third = await simulate({ ...trace, chooser: new ListChooser(trace.choices) });
    expect(third.hash).toBe(first.hash);
  });

  it('refuses a trace with a line that is no choice', () => {
    expect(() => parsed('seed 1\nrun xen 0\nrun away\n')).toThrow('line 3 is no choice: run away');
  });
});

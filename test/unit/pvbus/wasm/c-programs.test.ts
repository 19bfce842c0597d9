import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { seededRandom } from '../../../support/random.ts';
import { type Counts, runPlain, runSuspended, type Suspensions } from '../../../support/suspended-program.ts';
import { compileWasi, whyNoWasi } from '../../../support/wasi-cc.ts';

const why = whyNoWasi();
const SOURCE = join(import.meta.dirname, '../../../support/programs/mixture.c');
const { seed, random } = seededRandom();

describe.skipIf(why !== undefined)(`a program of clang's, suspended${why ? `: skipped, ${why}` : ''}`, () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'xenolith-suspended-'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  function output(run: (stdout: number) => { status: number; counts?: Counts }): {
    text: string;
    status: number;
    counts: Counts | undefined;
  } {
    const file = join(folder, 'out');
    const stdout = openSync(file, 'w');
    try {
      const { status, counts } = run(stdout);
      return { text: readFileSync(file, 'utf8'), status, counts };
    } finally {
      closeSync(stdout);
    }
  }

  const flagSets = [['-O0'], ['-O2'], ['-O2', '-msimd128']];
  describe.each(flagSets.map(flags => ({ name: flags.join(' '), flags })))('$name', ({ flags }) => {
    let program: Uint8Array;
    let plain: { text: string; status: number };
    const args = ['mixture', 'an argument'];
    const suspended = (how: Suspensions) => output(stdout => runSuspended(program, { args, stdout }, how));
    beforeAll(async () => {
      program = readFileSync(await compileWasi(SOURCE, { flags }));
      plain = output(stdout => ({ status: runPlain(program, { args, stdout }) }));
      plain = { text: plain.text, status: plain.status };
      expect(plain.text.length).toBeGreaterThan(100);
    });

    test('says the same when it is never suspended', () => {
      const { text, status } = suspended({});
      expect({ text, status }).toEqual(plain);
    });

    test('says the same when each call of an import suspends it', () => {
      const { counts, ...said } = suspended({ atImport: () => true });
      expect(said).toEqual(plain);
      expect(counts!.imports).toBeGreaterThan(5);
    });

    test.each([1, 2, 3, 7, 100])('says the same when it is suspended after %i units of fuel', fuel => {
      const { counts, ...said } = suspended({ fuel: () => fuel * 16 });
      expect(said).toEqual(plain);
      expect(counts!.fuel).toBeGreaterThan(10);
    });

    test(`goes on in another instance, which has its memory and globals alone (XENOLITH_SEED=${seed})`, () => {
      const { counts, ...said } = suspended({
        atImport: () => random() < 0.5,
        fuel: () => 1 + Math.floor(random() * 1000),
        moves: true,
      });
      expect(said).toEqual(plain);
      expect(counts!.fuel + counts!.imports).toBeGreaterThan(5);
    });
  });
});

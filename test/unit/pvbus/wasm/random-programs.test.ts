import fc from 'fast-check';
import { expect, test } from 'vitest';
import { WebAssemblyEngine as engine, type WasmMemory } from '../../../../domu-kernel/process/web-assembly.ts';
import { seeded } from '../../../support/random.ts';
import { randomModule } from '../../../support/random-module.ts';
import { SuspendedProgram, type Suspensions } from '../../../support/suspended-program.ts';

type Outcome = { readonly said: readonly string[]; readonly end: string; readonly memory: string };

/** Imports that tell what they were called with, and answer by it and by the turn. */
function imports(said: string[]) {
  const tell = (name: string, ...args: (number | bigint)[]): number => said.push(`${name} ${args.join(' ')}`);
  return {
    env: {
      tick: (n: number | bigint) => tell('tick', n) * 5 + Number(n),
      note: (n: number | bigint) => void tell('note', n),
      weigh: (a: number | bigint, b: number | bigint, c: number | bigint) => tell('weigh', a, b, c) + 0.5,
    },
  };
}

const bytesOf = (memory: WasmMemory, length: number): string =>
  Buffer.from(memory.buffer, 0, length).toString('latin1').replace(/\0+$/, '');

/** What has no memory yet has said nothing either. */
const lastWords = (run: () => void): string => {
  try {
    run();
    return 'ended';
  } catch (error) {
    return error instanceof engine.RuntimeError ? error.message : String(error);
  }
};

function plain(bytes: Uint8Array): Outcome {
  const said: string[] = [];
  const { exports } = new engine.Instance(new engine.Module(bytes), imports(said));
  const end = lastWords(exports._start as () => void);
  return { said, end, memory: bytesOf(exports.memory as WasmMemory, 4096) };
}

function suspended(bytes: Uint8Array, how: Suspensions): Outcome & { suspensions: number } {
  const said: string[] = [];
  const program = new SuspendedProgram(bytes, imports(said), how);
  const end = lastWords(() => program.run());
  const { counts } = program;
  return { said, end, memory: bytesOf(program.memory, 4096), suspensions: counts.imports + counts.fuel };
}

/** Tapes that say something, most of all what is behind their first few decisions. */
const tapes = fc.array(fc.nat(251), { minLength: 20, maxLength: 900, size: 'max' });

test('a random program says the same however it is suspended', () => {
  let [ended, suspensions] = [0, 0];
  fc.assert(
    fc.property(tapes, fc.integer(), (tape, seed) => {
      const bytes = randomModule(tape);
      const expected = plain(bytes);
      if (expected.end === 'ended') ended++;
      const random = seeded(seed);
      for (const how of [
        {},
        { atImport: () => true },
        { fuel: () => 1 },
        { atImport: () => true, fuel: () => 2 },
        { atImport: () => random() < 0.5, fuel: () => 1 + Math.floor(random() * 20), moves: true },
      ]) {
        const { suspensions: times, ...outcome } = suspended(bytes, how);
        suspensions += times;
        expect(outcome).toEqual(expected);
      }
    }),
    { numRuns: 150 },
  );
  expect(ended).toBeGreaterThan(75);
  expect(suspensions).toBeGreaterThan(1000);
});

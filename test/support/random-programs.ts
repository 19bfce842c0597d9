// Random WebAssembly programs: what they say as they are and suspended in every way, and damaged ones.
import { isDeepStrictEqual } from 'node:util';
import { prepareProgram, XenError } from '#pvbus';
import { WebAssemblyEngine as engine, type WasmMemory } from '../../domu-kernel/process/web-assembly.ts';
import fc from './properties.ts';
import { randomModule } from './random-module.ts';
import { SuspendedProgram, type Suspensions } from './suspended-program.ts';

/** Tapes of decisions for randomModule that say something. */
export const tapes = fc.array(fc.nat(251), { minLength: 20, maxLength: 900, size: 'max' });

/** What a program did: the calls of its imports, how it ended, its memory. */
interface Outcome {
  readonly said: readonly string[];
  readonly end: string;
  readonly memory: string;
}

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

const bytesOf = (memory: WasmMemory): string =>
  Buffer.from(memory.buffer, 0, 4096).toString('latin1').replace(/\0+$/, '');

const endOf = (run: () => void): string => {
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
  const end = endOf(exports._start as () => void);
  return { said, end, memory: bytesOf(exports.memory as WasmMemory) };
}

/** Runs a program as it is and suspended in several ways; throws if one of them is not like the first. */
export function sameHoweverSuspended(
  bytes: Uint8Array,
  random: () => number,
): { readonly ended: boolean; readonly suspensions: number } {
  const expected = plain(bytes);
  let suspensions = 0;
  const ways: Suspensions[] = [
    {},
    { atImport: () => true },
    { fuel: () => 1 },
    { atImport: () => true, fuel: () => 2 },
    { atImport: () => random() < 0.5, fuel: () => 1 + Math.floor(random() * 20), moves: true },
  ];
  for (const [i, how] of ways.entries()) {
    const said: string[] = [];
    const program = new SuspendedProgram(bytes, imports(said), how);
    const end = endOf(() => program.run());
    const outcome = { said, end, memory: bytesOf(program.memory) };
    suspensions += program.counts.imports + program.counts.fuel;
    if (!isDeepStrictEqual(outcome, expected))
      throw new Error(`way ${i}: ${JSON.stringify(outcome)} is not ${JSON.stringify(expected)}`);
  }
  return { ended: expected.end === 'ended', suspensions };
}

const damages = fc.array(
  fc.record({
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    put: fc.uint8Array({ maxLength: 2 }),
    // Mostly as many as are put in, so that the sections still fit.
    shorter: fc.constantFrom(0, 0, 0, 0, 1, -1),
  }),
  { minLength: 1, maxLength: 4 },
);
/** Binaries with some bytes changed, cut out or put in. */
export const damagedPrograms = fc.tuple(tapes, damages).map(([tape, list]) => {
  let bytes: Uint8Array = randomModule(tape);
  for (const { at, put, shorter } of list) {
    const place = Math.floor(at * bytes.length);
    bytes = Buffer.concat([bytes.subarray(0, place), put, bytes.subarray(place + Math.max(0, put.length + shorter))]);
  }
  return bytes;
});

/** Whether bytes can be prepared; throws whatever is thrown that is not a reason to refuse them. */
export function canBePrepared(bytes: Uint8Array): boolean {
  try {
    prepareProgram(bytes);
    return true;
  } catch (error) {
    if (error instanceof XenError && error.code === 'ENOEXEC' && !error.message.includes('\n')) return false;
    throw error;
  }
}

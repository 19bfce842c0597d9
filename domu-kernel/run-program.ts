// The program of a domain, from its text to its end.
import { guestGlobals } from './globals.ts';
import { guestApi } from './guest-api/api.ts';
import type { Kernel } from './kernel.ts';
import { evaluateProgram, type Main } from './program.ts';
import init from './programs/init.ts';

export interface RunningProgram {
  /** What must not be Node's own for code that reaches past the program's names to globalThis. */
  readonly globals: Readonly<Record<string, unknown>>;
  /** Resolves or rejects as the main function does; never settles where there is none. */
  readonly ended: Promise<unknown>;
}

/** Evaluate the program, or init where the domain has none, and call its main function. */
export function runProgram(kernel: Kernel): RunningProgram {
  const api = guestApi(kernel);
  const globals = guestGlobals({ ...kernel, console: api.console });
  const text = kernel.programText();
  const main = text === undefined ? (init as Main) : evaluateProgram(text, api, globals);
  // Top-level code that exports nothing lives as long as its timers and sockets: until it says otherwise.
  const ended = main ? Promise.resolve(main(api)) : new Promise<never>(() => {});
  const { setTimeout, setInterval, setImmediate, clearTimeout, clearInterval, clearImmediate } = globals;
  const timers = { setTimeout, setInterval, setImmediate, clearTimeout, clearInterval, clearImmediate };
  return { globals: { ...timers, console: api.console }, ended };
}

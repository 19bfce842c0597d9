// The program of a domain, from its text to its end.
import { isArchive } from '#pvbus';
import { GUEST_GLOBALS, guestGlobals } from './globals.ts';
import { guestApi, type Xenolith } from './guest-api/api.ts';
import type { Kernel } from './kernel.ts';
import { compileProgram, type Main } from './program.ts';
import init from './programs/init.ts';
import { archiveRoot, hasInit, startUserland } from './start-userland.ts';

const decoder = new TextDecoder();

export interface RunningProgram {
  /** What must not be Node's own for code that reaches past the program's names to globalThis. */
  readonly globals: Readonly<Record<string, unknown>>;
  /** Resolves or rejects as the main function does; never settles where there is none. */
  readonly ended: Promise<unknown>;
}

/** Make everything ready for the program, or for init where the domain has none; what it returns runs it. */
export function loadProgram(kernel: Kernel): () => RunningProgram {
  const module = kernel.module();
  if (module && isArchive(module)) return () => running(startUserland(kernel, archiveRoot(kernel, module)));
  const text = module && decoder.decode(module.slice());
  // Other vCPUs will read it.
  if (kernel.vcpu.layout.maxVcpus === 1) kernel.releaseModule();
  if (text !== undefined) return runText(kernel, compiled(text));
  return () => (hasInit(kernel) ? running(startUserland(kernel)) : runText(kernel, () => init as Main)());
}
/** The domain lives as long as its first process. */
const running = (ended: Promise<unknown>): RunningProgram => ({ globals: {}, ended });
function runText(kernel: Kernel, program: ReturnType<typeof compiled>): () => RunningProgram {
  const api = guestApi(kernel);
  return () => run(kernel, api, program);
}
/** A text that cannot be compiled fails where it would run: there is a console by then that can say so. */
function compiled(text: string): ReturnType<typeof compileProgram<(typeof GUEST_GLOBALS)[number]>> {
  try {
    return compileProgram(text, GUEST_GLOBALS);
  } catch (error) {
    return () => {
      throw error;
    };
  }
}

function run(kernel: Kernel, api: Xenolith, program: ReturnType<typeof compiled>): RunningProgram {
  const globals = guestGlobals({ ...kernel, console: api.console });
  const main = program(api, globals, kernel.program);
  // Top-level code that exports nothing lives as long as its timers and sockets: until it says otherwise.
  const ended = main ? Promise.resolve(main(api)) : new Promise<never>(() => {});
  const { setTimeout, setInterval, setImmediate, clearTimeout, clearInterval, clearImmediate } = globals;
  const timers = { setTimeout, setInterval, setImmediate, clearTimeout, clearInterval, clearImmediate };
  return { globals: { ...timers, console: api.console }, ended };
}

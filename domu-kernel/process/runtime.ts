// A WASI program that runs: an instance of its prepared module, which unwinds into its own memory when a call has to
// wait or its slice is over, and is rewound to the same call later. pvbus/wasm/prepared.ts says how.
import {
  type Clock,
  type Log,
  PREPARED_MODULE,
  type PreparedLayout,
  REWINDING_FUEL,
  REWINDS,
  RUNS,
  UNWINDS,
  XenError,
} from '#pvbus';
import type { Body } from './body.ts';
import type { Charge } from './memory-charge.ts';
import { type Process, ProcessExit } from './process.ts';
import type { SignalName } from './signals.ts';
import type { Suspended } from './suspended.ts';
import type { Wait } from './wait.ts';
import {
  WebAssemblyEngine as engine,
  WASM_PAGE,
  type WasmGlobal,
  type WasmInstance,
  type WasmMemory,
  type WasmModule,
} from './web-assembly.ts';

/** What a call that a program imports does: its result, or what it has to wait for before it is made again. */
export type Call = (process: Process, ...args: never[]) => number | Wait;
/** By import module and name. */
export type Imports = Readonly<Record<string, Readonly<Record<string, Call>>>>;

export interface RuntimeParts {
  readonly clock: Clock;
  readonly imports: Imports;
  /** Why a program was ended that did something it must not. */
  readonly say: (process: Process, why: string) => void;
  readonly log: Log;
  /** Another vCPU waits for this one: a slice is over at the next look at the clock. */
  readonly urgent?: () => boolean;
}

/** Loop heads until the first look at the clock; and how long those of the later ones are to take. */
const FIRST_FUEL = 20_000;
const MAX_FUEL = 0x7fffffff;
const LOOK_NS = 1e6;
/** Of a slice; many more than one takes. */
const MAX_LOOKS = 64;
/** Addresses are 32 bits, and the end of the save area is one. */
const MAX_PAGES = 0xffff;

/** A prepared program. */
export interface Program {
  readonly module: WasmModule;
  readonly layout: PreparedLayout;
  /** Of one that may move to another vCPU. */
  readonly bytes?: Uint8Array | undefined;
}
/** What an instance begins with that goes on with a program, besides what the program is. */
export interface Resumed {
  readonly from: Suspended;
  /** Of the call that it was suspended in, if that has been done since. */
  readonly answer: number | undefined;
}

export class Runtime implements Body {
  readonly #process: Process;
  readonly #parts: RuntimeParts;
  readonly #charge: Charge;
  readonly #maxPages: number;
  readonly #start: () => void;
  readonly #memory: WasmMemory;
  readonly #state: WasmGlobal;
  readonly #fuel: WasmGlobal;
  readonly #sp: WasmGlobal;
  readonly #end: WasmGlobal;
  readonly #pages: WasmGlobal;
  readonly #globals: Readonly<Record<string, WasmGlobal>>;
  #answer: number | undefined;
  /** Made since it began. */
  calls = 0;
  /** What it waits for; undefined when its fuel ran out. */
  #outcome: Wait | undefined;
  /** Of the stretch that runs now. */
  #fuelled = FIRST_FUEL;
  #suspended = false;

  /**
   * Throws ENOEXEC for a module that is no program, or asks for what there is not; ENOMEM. `charge` is the instance's
   * until its release; it has been charged already for one that is resumed.
   */
  constructor(process: Process, { module, layout }: Program, parts: RuntimeParts, charge: Charge, resumed?: Resumed) {
    this.#process = process;
    this.#parts = parts;
    this.#maxPages = layout.maxPages;
    this.#charge = charge;
    const pages = layout.minPages + layout.savePages;
    if (!resumed && !charge.take(pages)) throw new XenError('ENOMEM', `${pages * 64} KiB of memory are not free`);
    try {
      const { exports } = this.#instantiate(module);
      this.#start = exported(exports, '_start', 'function');
      this.#memory = exported(exports, 'memory', 'object');
      this.#state = counter(exports, 'xenolith_state');
      this.#fuel = counter(exports, 'xenolith_fuel');
      this.#sp = counter(exports, 'xenolith_sp');
      this.#end = counter(exports, 'xenolith_end');
      this.#pages = counter(exports, 'xenolith_pages');
      this.#globals = globalsOf(exports);
      // untrusted: a file may say that it is prepared, and lie about its size.
      if (this.#memory.buffer.byteLength !== pages * WASM_PAGE) throw new XenError('ENOEXEC', 'not as it was prepared');
      if (resumed) this.#resume(resumed, pages);
    } catch (error) {
      this.#charge.release();
      throw error;
    }
    process.memory = this.#memory;
    process.limitMemory(resumed ? this.limit : layout.minPages * WASM_PAGE);
    this.#count();
  }
  #resume({ from: { memory, globals, fuelled }, answer }: Resumed, pages: number): void {
    try {
      this.#memory.grow(memory.byteLength / WASM_PAGE - pages);
      for (const [name, value] of Object.entries(globals)) this.#globals[name]!.value = value as number;
    } catch (error) {
      // No address space is left; or it is not as it was prepared.
      throw new XenError('ENOMEM', 'it cannot go on', error);
    }
    new Uint8Array(this.#memory.buffer).set(new Uint8Array(memory));
    this.#fuelled = fuelled;
    this.#answer = answer;
    this.#suspended = true;
  }
  /**
   * What it is, copied, for another instance: this one is not to run again then, and its charge is that one's.
   * undefined: it is not as it was prepared.
   */
  suspended(): Suspended | undefined {
    const end = this.#end.value >>> 0;
    const globals: Record<string, number | bigint> = {};
    try {
      for (const [name, { value }] of Object.entries(this.#globals)) globals[name] = value;
    } catch {
      return undefined; // a type that JavaScript has no value for
    }
    const numbers = Object.values(globals).every(value => typeof value === 'number' || typeof value === 'bigint');
    if (!this.#suspended || !numbers || end % WASM_PAGE !== 0 || end > this.#memory.buffer.byteLength) return undefined;
    return { memory: this.#memory.buffer.slice(0, end), globals, fuelled: this.#fuelled };
  }
  get memory(): WasmMemory {
    return this.#memory;
  }
  /** What it may name of its memory. */
  get limit(): number {
    return (this.#pages.value >>> 0) * WASM_PAGE;
  }
  #instantiate(module: WasmModule): WasmInstance {
    const imports: Record<string, Record<string, unknown>> = {};
    for (const { module: from, name, kind } of engine.Module.imports(module)) {
      const call = from === PREPARED_MODULE ? this.#ours(name) : this.#wrapped(from, name);
      if (kind !== 'function' || call === undefined)
        throw new XenError('ENOEXEC', `it imports ${from}.${name}, which there is not`);
      imports[from] ??= {};
      imports[from][name] = call;
    }
    try {
      return new engine.Instance(module, imports);
    } catch (error) {
      // No address space is left, or a segment does not fit.
      if (error instanceof RangeError) throw new XenError('ENOMEM', error.message, error);
      if (error instanceof engine.LinkError || error instanceof engine.RuntimeError)
        throw new XenError('ENOEXEC', error.message, error);
      throw error;
    }
  }

  // ---- what it imports ----

  #wrapped(from: string, name: string): ((...args: never[]) => unknown) | undefined {
    const calls = this.#parts.imports[from];
    const call = calls !== undefined && Object.hasOwn(calls, name) ? calls[name] : undefined;
    if (call === undefined) return undefined;
    const process = this.#process;
    return (...args) => {
      if (this.#state.value === REWINDS) {
        this.#state.value = RUNS;
        this.#fuel.value = this.#fuelled;
      }
      this.calls++;
      const outcome = this.#takeAnswer() ?? call(process, ...args);
      if (typeof outcome !== 'number') {
        this.#outcome = outcome;
        this.#state.value = UNWINDS;
        return 0;
      }
      process.endCall();
      if (process.pending.length > 0) this.#interrupted();
      return outcome;
    };
  }
  /** Of the call that is made again. */
  #takeAnswer(): number | undefined {
    const answer = this.#answer;
    this.#answer = undefined;
    return answer;
  }
  /** A call is over in which a signal came: it must not be made again, so what only stops does so at a loop head. */
  #interrupted(): void {
    this.#process.endIfKilled();
    this.#fuel.value = 0;
  }
  #ours(name: string): ((n: number) => unknown) | undefined {
    if (name === 'grow') return pages => this.#grow(pages >>> 0);
    if (name === 'room') return bytes => this.#room(bytes >>> 0);
    return undefined;
  }
  /** In place of memory.grow. */
  #grow(pages: number): number {
    const old = this.#pages.value;
    if (pages === 0) return old;
    if (old + pages > this.#maxPages) return -1;
    const [area, end] = [old * WASM_PAGE, this.#end.value >>> 0];
    if (!this.#add(pages)) return -1;
    new Uint8Array(this.#memory.buffer).fill(0, area, end);
    const more = pages * WASM_PAGE;
    this.#pages.value = old + pages;
    this.#process.limitMemory(area + more);
    this.#sp.value = area + more;
    this.#end.value = end + more;
    return old;
  }
  /** A frame does not fit into the save area. */
  #room(bytes: number): void {
    const pages = Math.ceil(bytes / WASM_PAGE);
    if (!this.#add(pages)) throw new ProcessExit({ code: 0, signal: 'SIGKILL' });
    this.#end.value = (this.#end.value >>> 0) + pages * WASM_PAGE;
  }
  #add(pages: number): boolean {
    if (this.#charge.pages + pages > MAX_PAGES || !this.#charge.take(pages)) return false;
    try {
      this.#memory.grow(pages);
    } catch {
      this.#charge.giveBack(pages); // the module's own maximum, or no address space is left
      return false;
    }
    this.#count();
    return true;
  }
  #count(): void {
    this.#process.memoryBytes = this.#charge.pages * WASM_PAGE;
  }

  // ---- running ----

  run(untilNs: number): Wait | undefined {
    const { clock } = this.#parts;
    for (let [from, looks] = [clock.now(), 1]; ; looks++) {
      this.#goOn();
      if (this.#outcome !== undefined) {
        const outcome = this.#outcome;
        this.#outcome = undefined;
        return outcome;
      }
      const now = clock.now();
      this.#adapt(now - from);
      // A clock that stands still, as a simulation's does, ends a slice too.
      if (now >= untilNs || looks === MAX_LOOKS || this.#process.pending.length > 0) return undefined;
      if (this.#parts.urgent?.()) return undefined;
      from = now;
    }
  }
  /** Fuel for about LOOK_NS, by what the last stretch took, calls included. */
  #adapt(took: number): void {
    if (took === 0) return;
    const factor = Math.min(4, Math.max(1 / 16, LOOK_NS / took));
    this.#fuelled = Math.min(MAX_FUEL, Math.max(1, Math.round(this.#fuelled * factor)));
  }
  #goOn(): void {
    if (this.#suspended) {
      this.#state.value = REWINDS;
      this.#fuel.value = REWINDING_FUEL | this.#fuelled;
    } else this.#fuel.value = this.#fuelled;
    try {
      this.#start();
    } catch (error) {
      this.#trapped(error);
    }
    if (this.#state.value !== UNWINDS) throw new ProcessExit({ code: 0 });
    this.#suspended = true;
  }
  #trapped(error: unknown): never {
    const signal = signalOf(error);
    if (signal === undefined) throw error;
    // signalOf knows it; an exception of a program's own has neither.
    const { message = 'it threw what nobody catches', stack = message } = error as Partial<Error>;
    this.#parts.say(this.#process, message);
    this.#parts.log.info(`pid ${this.#process.pid}: ${stack}`);
    throw new ProcessExit({ code: 0, signal });
  }
  release(): void {
    this.#charge.release();
    this.#count();
  }
}

/** What Linux would have sent a program that was trapped. */
function signalOf(error: unknown): SignalName | undefined {
  if (error instanceof RangeError) return 'SIGSEGV'; // its stack is used up
  if (error instanceof engine.Exception) return 'SIGABRT';
  if (!(error instanceof engine.RuntimeError)) return undefined;
  if (/unreachable/.test(error.message)) return 'SIGABRT';
  if (/divide|remainder|unrepresentable|overflow/.test(error.message)) return 'SIGFPE';
  return /memory|table index is out/.test(error.message) ? 'SIGSEGV' : 'SIGILL';
}

/** Those that are kept while it is suspended. */
function globalsOf(exports: WasmInstance['exports']): Record<string, WasmGlobal> {
  const kept = Object.entries(exports).filter(
    ([name, value]) => value instanceof engine.Global && name.startsWith('xenolith_'),
  );
  return Object.fromEntries(kept) as Record<string, WasmGlobal>;
}

/** untrusted: a file may say that it is prepared, and have globals of its own under our names. */
function counter(exports: WasmInstance['exports'], name: string): WasmGlobal {
  const global = exported<WasmGlobal>(exports, name, 'object');
  try {
    if (global instanceof engine.Global && typeof global.value === 'number') {
      const { value } = global;
      global.value = 0.5; // throws where it may not change; only an i32 has no half
      const isInteger = global.value === 0;
      global.value = value;
      if (isInteger) return global;
    }
  } catch {
    // Said below.
  }
  throw new XenError('ENOEXEC', `${name} is no number that changes`);
}

function exported<T>(exports: WasmInstance['exports'], name: string, type: 'function' | 'object'): T {
  const value = exports[name];
  const found = type === 'function' ? typeof value === 'function' : typeof value === 'object' && value !== null;
  if (found) return value as T; // a module can export nothing else of that type under this name that would be taken for it
  throw new XenError('ENOEXEC', `it exports no ${name}`);
}

// Runs prepared programs with a kernel of a few lines, which suspends them wherever a test says.
import { WASI } from 'node:wasi';
import { PAGE_BYTES, preparedLayout, prepareProgram, REWINDING_FUEL, REWINDS, RUNS, UNWINDS } from '#pvbus';
import {
  WebAssemblyEngine as engine,
  type WasmGlobal,
  type WasmInstance,
  type WasmMemory,
  type WasmModule,
} from '../../domu-kernel/process/web-assembly.ts';

type Import = (...args: (number | bigint)[]) => unknown;
export interface Suspensions {
  /** Whether an import call suspends before it is answered. */
  readonly atImport?: () => boolean;
  /** The fuel of the next slice; for ever when left out. */
  readonly fuel?: () => number;
  /** A new instance takes over after each suspension, with nothing but the old one's memory and globals. */
  readonly moves?: boolean;
}
export interface Counts {
  imports: number;
  fuel: number;
  mostSaved: number;
}
const FOR_EVER = 0x7fffffff;

/** A suspended program that is run to its end. */
export class SuspendedProgram {
  readonly module: WasmModule;
  readonly counts: Counts = { imports: 0, fuel: 0, mostSaved: 0 };
  private instance: WasmInstance;
  private readonly imports: Record<string, Record<string, unknown>>;
  private readonly how: Suspensions;
  private readonly maxPages: number;
  private asked = false;
  private slice = FOR_EVER;

  constructor(
    plain: Uint8Array,
    imports: Readonly<Record<string, Readonly<Record<string, Import>>>>,
    how: Suspensions,
  ) {
    this.how = how;
    const prepared = prepareProgram(plain);
    this.maxPages = preparedLayout(prepared)!.maxPages;
    this.module = new engine.Module(prepared);
    const wrapped: Record<string, Record<string, unknown>> = {};
    for (const [module, functions] of Object.entries(imports)) {
      wrapped[module] = Object.fromEntries(
        Object.entries(functions).map(([name, call]) => [name, this.suspendable(call)]),
      );
    }
    wrapped.xenolith = { grow: (pages: number) => this.grow(pages >>> 0), room: (bytes: number) => this.room(bytes) };
    this.imports = wrapped;
    this.instance = new engine.Instance(this.module, this.imports);
    this.global('xenolith_fuel').value = this.slice = this.nextSlice();
  }

  get memory(): WasmMemory {
    return this.instance.exports.memory as WasmMemory;
  }

  global(name: string): WasmGlobal {
    return this.instance.exports[name] as WasmGlobal;
  }

  private get sp(): number {
    return this.global('xenolith_sp').value >>> 0;
  }

  private nextSlice(): number {
    return this.how.fuel?.() ?? FOR_EVER;
  }

  private suspendable(call: Import): Import {
    return (...args) => {
      const state = this.global('xenolith_state');
      if (state.value === REWINDS) {
        state.value = RUNS;
        this.global('xenolith_fuel').value = this.slice;
        if (!this.asked) throw new Error('rewound to an import that had not asked');
        this.asked = false;
      } else if (this.how.atImport?.()) {
        state.value = UNWINDS;
        this.asked = true;
        this.counts.imports++;
        return 0;
      }
      return call(...args);
    };
  }

  private grow(pages: number): number {
    const old = this.global('xenolith_pages');
    const before = old.value;
    if (before + pages > this.maxPages) return -1;
    try {
      this.memory.grow(pages);
    } catch {
      return -1;
    }
    const top = this.sp;
    const end = this.global('xenolith_end').value >>> 0;
    new Uint8Array(this.memory.buffer, top, end - top).fill(0);
    this.global('xenolith_sp').value = top + pages * PAGE_BYTES;
    this.global('xenolith_end').value = end + pages * PAGE_BYTES;
    old.value = before + pages;
    return before;
  }

  private room(bytes: number): void {
    const pages = Math.ceil(bytes / PAGE_BYTES);
    this.memory.grow(pages);
    this.global('xenolith_end').value = (this.global('xenolith_end').value >>> 0) + pages * PAGE_BYTES;
  }

  /** What is there of the program goes into an instance of its own. */
  private move(): void {
    const next = new engine.Instance(this.module, this.imports);
    const [from, to] = [this.instance.exports, next.exports];
    const [old, fresh] = [from.memory as WasmMemory, to.memory as WasmMemory];
    fresh.grow((old.buffer.byteLength - fresh.buffer.byteLength) / PAGE_BYTES);
    new Uint8Array(fresh.buffer).set(new Uint8Array(old.buffer));
    for (const [name, value] of Object.entries(to)) {
      if (name.startsWith('xenolith_')) (value as WasmGlobal).value = (from[name] as WasmGlobal).value;
    }
    this.instance = next;
  }

  /** Calls `_start` until it returns for good. */
  run(moved: (memory: WasmMemory) => void = () => {}): void {
    for (;;) {
      (this.instance.exports._start as () => void)();
      const state = this.global('xenolith_state');
      const bottom = this.global('xenolith_pages').value * PAGE_BYTES;
      if (state.value === RUNS) {
        if (this.sp !== bottom) throw new Error('frames are left over');
        return;
      }
      if (state.value !== UNWINDS) throw new Error(`_start returned with state ${state.value}`);
      if (!this.asked) this.counts.fuel++;
      this.counts.mostSaved = Math.max(this.counts.mostSaved, this.sp - bottom);
      if (this.how.moves) {
        this.move();
        moved(this.memory);
      }
      this.slice = this.nextSlice();
      this.global('xenolith_state').value = REWINDS;
      this.global('xenolith_fuel').value = REWINDING_FUEL | this.slice;
    }
  }
}

export interface CommandOptions {
  readonly args: readonly string[];
  readonly preopens?: Readonly<Record<string, string>>;
  readonly stdout: number;
  readonly stdin?: number;
  readonly env?: Readonly<Record<string, string>>;
}

function wasiFor({ args, preopens, stdout, stdin, env }: CommandOptions): WASI {
  return new WASI({
    version: 'preview1',
    args: [...args],
    ...(preopens && { preopens: { ...preopens } }),
    ...(stdin !== undefined && { stdin }),
    stdout,
    stderr: stdout,
    env: { ...env },
  });
}

/** The exit status of a program that runs as it is, under Node's WASI. */
export function runPlain(bytes: Uint8Array, options: CommandOptions): number {
  const wasi = wasiFor(options);
  const instance = new engine.Instance(new engine.Module(bytes), wasi.getImportObject());
  return wasi.start(instance) as number;
}

/** The same program, prepared and suspended, under the same WASI. */
export function runSuspended(
  bytes: Uint8Array,
  options: CommandOptions,
  how: Suspensions,
): { status: number; counts: Counts } {
  const wasi = wasiFor(options);
  const program = new SuspendedProgram(bytes, wasi.getImportObject() as never, how);
  // Node's WASI knows its program's memory from `start`, once; it is told of an instance that has taken over, too.
  const tell = (memory: WasmMemory): void => {
    (wasi as unknown as Record<symbol, (memory: WasmMemory) => void>)[setMemory(wasi)]!(memory);
  };
  const status = wasi.start({ exports: { memory: program.memory, _start: () => program.run(tell) } }) as number;
  return { status, counts: program.counts };
}

function setMemory(wasi: WASI): symbol {
  const found = Object.getOwnPropertySymbols(wasi).find(symbol => symbol.description === 'kSetMemory');
  if (found === undefined) throw new Error("Node's WASI has no memory to set");
  return found;
}

// The processes that lodge at a vCPU other than 0: it has the instances of their programs and gives them slices. What they
// ask of the kernel goes to vCPU 0, but for time, random numbers and giving way.
import { type Clock, type Log, XenError } from '#pvbus';
import type { Charge } from '../process/memory-charge.ts';
import { type ExitStatus, type Process, ProcessExit } from '../process/process.ts';
import { Processes } from '../process/processes.ts';
import { type Imports, type Program, Runtime } from '../process/runtime.ts';
import { Wait } from '../process/wait.ts';
import { WebAssemblyEngine as engine, WASM_PAGE, type WasmModule } from '../process/web-assembly.ts';
import { WaitQueue } from '../wait-queue.ts';
import { FdTable } from '../wasi/fd-table.ts';
import { localCalls } from '../wasi/preview1.ts';
import { Garbage } from './garbage.ts';
import { type FromLodgers, type LodgerKey, type Lodging, type ToLodgers, Told } from './lodging.ts';
import type { Mail } from './mail.ts';

export interface LodgersParts {
  readonly clock: Clock;
  readonly mail: Mail;
  readonly random: (into: Uint8Array) => void;
  readonly send: (message: FromLodgers) => void;
  /** Sends `wants`, and returns with the answer. */
  readonly askPages: (key: LodgerKey, pages: number) => number;
  /** vCPU 0 has said something. */
  readonly urgent: () => boolean;
  readonly collectGarbage: () => void;
}

/** Compiled programs that are kept. */
const MAX_PROGRAMS = 8;

/** A call that vCPU 0 makes. */
class Call {
  readonly seq: number;
  readonly answered = new WaitQueue();
  answer: number | undefined;
  constructor(seq: number) {
    this.seq = seq;
  }
}
interface Lodger {
  readonly process: Process;
  readonly told: Told;
  readonly cpuNs: number;
  runtime: Runtime | undefined;
  calls: number;
  why: string | undefined;
  stack: string | undefined;
}

/** Its process pays, on vCPU 0, which gives somewhat more than was asked for. */
class RemoteCharge implements Charge {
  pages: number;
  #spare = 0;
  readonly #ask: (pages: number) => number;
  constructor(pages: number, ask: (pages: number) => number) {
    this.pages = pages;
    this.#ask = ask;
  }
  take(pages: number): boolean {
    if (this.#spare < pages) this.#spare += this.#ask(pages - this.#spare);
    if (this.#spare < pages) return false;
    this.#spare -= pages;
    this.pages += pages;
    return true;
  }
  giveBack(pages: number): void {
    this.#spare += pages;
    this.pages -= pages;
  }
  release(): void {}
}

/** untrusted: what says that it is prepared, and is not, need not be a program with a memory that is shared. */
function compile(bytes: Uint8Array): WasmModule {
  try {
    return new engine.Module(bytes);
  } catch (error) {
    if (error instanceof engine.CompileError) throw new XenError('ENOEXEC', error.message, error);
    throw error;
  }
}

export class Lodgers {
  readonly #parts: LodgersParts;
  readonly #processes: Processes;
  readonly #lodgers = new Map<LodgerKey, Lodger>();
  readonly #garbage: Garbage;
  readonly #local: ReturnType<typeof localCalls>;
  /** The last used last. */
  readonly #modules = new Map<number, WasmModule>();

  constructor(parts: LodgersParts) {
    this.#parts = parts;
    this.#processes = new Processes(parts.clock);
    this.#garbage = new Garbage(parts.collectGarbage);
    this.#local = localCalls(parts);
  }

  step(): 'progress' | 'idle' {
    const stepped = this.#processes.step();
    for (const { told, process, cpuNs, runtime } of this.#lodgers.values()) {
      told.cpuNs = process.cpuNs - cpuNs;
      if (runtime) told.limit = runtime.limit;
    }
    this.#garbage.step();
    return stepped;
  }
  /** When one is to be woken next, ns. */
  deadline(): number | undefined {
    return this.#processes.deadline();
  }

  hear(message: ToLodgers): void {
    if (message.op === 'lodge') {
      this.#lodge(this.#parts.mail.take() as Lodging); // vCPU 0 has posted it before it said so
      return;
    }
    if (message.op === 'pages') throw new Error('pages for nobody');
    const lodger = this.#lodgers.get(message.key);
    // It has ended, and vCPU 0 will hear of it.
    if (lodger === undefined) return;
    if (message.op === 'answer') {
      const call = lodger.process.call as Call; // it waits for the answer
      call.answer = message.value;
      call.answered.wakeAll();
    } else if (message.op === 'pause') this.#processes.kill(lodger.process, message.on ? 'SIGSTOP' : 'SIGCONT');
    else if (message.op === 'leave') this.#leave(message.key, lodger);
    else this.#forget(message.key, lodger);
  }

  // ---- coming and going ----

  #lodge({ key, program, from, cpuNs, told: words }: Lodging): void {
    const { mail, send } = this.#parts;
    try {
      const lodger = this.#start(key, { module: this.#compiled(program), layout: program.layout }, from, cpuNs, words);
      mail.post({ memory: lodger.runtime!.memory }); // just made
      send({ op: 'lodged', key });
    } catch (error) {
      if (!(error instanceof XenError)) throw error;
      // There is no room here: it goes on where it was.
      this.#sendBack(key, from, undefined);
    }
  }
  #compiled({ id, bytes }: Lodging['program']): WasmModule {
    const module = this.#modules.get(id) ?? compile(bytes);
    this.#modules.delete(id);
    this.#modules.set(id, module);
    if (this.#modules.size > MAX_PROGRAMS) this.#modules.delete(this.#modules.keys().next().value!);
    return module;
  }
  #start(key: LodgerKey, program: Program, from: Lodging['from'], cpuNs: number, words: Float64Array): Lodger {
    const { clock, askPages, urgent } = this.#parts;
    const charge = new RemoteCharge(from.memory.byteLength / WASM_PAGE, pages => askPages(key, pages));
    let lodger: Lodger | undefined;
    const said = (why: string): void => {
      if (lodger) lodger.why = why;
    };
    const log: Log = {
      info: stack => {
        if (lodger) lodger.stack = stack;
      },
      warn: () => {},
      error: () => {},
    };
    const imports = this.#imports(key, program.module);
    const parts = { clock, imports, urgent, log, say: (_: Process, why: string) => said(why) };
    let runtime: Runtime | undefined;
    const process = this.#processes.spawn({
      parent: undefined,
      argv: [],
      env: new Map(),
      cwd: '/',
      fds: new FdTable(),
      directories: [],
      body: self => {
        runtime = new Runtime(self, program, parts, charge, { from, answer: undefined });
        return runtime;
      },
      onEnd: status => this.#ended(key, status),
    });
    process.cpuNs = cpuNs;
    lodger = { process, runtime, told: new Told(words), cpuNs, calls: 0, why: undefined, stack: undefined };
    this.#lodgers.set(key, lodger);
    return lodger;
  }
  #leave(key: LodgerKey, lodger: Lodger): void {
    const from = lodger.runtime?.suspended();
    // Not as it was prepared: it came by as much, so it has done this to itself.
    if (from === undefined) {
      lodger.why = 'it cannot go on';
      this.#processes.kill(lodger.process, 'SIGKILL');
      return;
    }
    const { call } = lodger.process;
    this.#forget(key, lodger);
    this.#sendBack(key, from, call instanceof Call ? call.seq : undefined);
  }
  #sendBack(key: LodgerKey, from: Lodging['from'], inCall: number | undefined): void {
    const { mail, send } = this.#parts;
    mail.post(from, from.memory instanceof ArrayBuffer ? [from.memory] : []);
    send({ op: 'left', key, inCall });
  }
  #forget(key: LodgerKey, { process, runtime }: Lodger): void {
    this.#lodgers.delete(key);
    this.#garbage.add(runtime?.memory.buffer.byteLength ?? 0);
    this.#processes.kill(process, 'SIGKILL');
  }
  #ended(key: LodgerKey, status: ExitStatus): void {
    const lodger = this.#lodgers.get(key);
    if (lodger === undefined) return; // it left, or nobody wants to know
    this.#lodgers.delete(key);
    this.#garbage.add(lodger.runtime?.memory.buffer.byteLength ?? 0);
    lodger.told.cpuNs = lodger.process.cpuNs - lodger.cpuNs;
    this.#parts.send({ op: 'ended', key, status, why: lodger.why, stack: lodger.stack });
  }

  // ---- what they import ----

  /** Whatever they import: it is there on vCPU 0, where they come from. */
  #imports(key: LodgerKey, module: WasmModule): Imports {
    const imports: Record<string, Record<string, Imports[string][string]>> = {};
    for (const { module: from, name } of engine.Module.imports(module)) {
      imports[from] ??= {};
      const local = from.startsWith('wasi_') && Object.hasOwn(this.#local, name) ? this.#local[name] : undefined;
      imports[from][name] = local ?? ((process, ...args) => this.#call(key, process, from, name, args));
    }
    return imports;
  }
  #call(key: LodgerKey, process: Process, from: string, name: string, args: (number | bigint)[]): number | Wait {
    const under = process.call;
    if (under instanceof Call) return under.answer ?? new Wait([under.answered]);
    const lodger = this.#lodgers.get(key);
    if (lodger === undefined) throw new ProcessExit({ code: 0, signal: 'SIGKILL' });
    const call = new Call(++lodger.calls);
    process.call = call;
    if (lodger.runtime) lodger.told.limit = lodger.runtime.limit;
    this.#parts.send({ op: 'call', key, seq: call.seq, from, name, args });
    return new Wait([call.answered]);
  }
}

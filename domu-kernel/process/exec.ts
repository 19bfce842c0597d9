// From a command's name to the program that runs: a file of the mount table, or a program of the kernel's own.
import { type FrameAllocator, messageOf, preparedLayout, prepareInSteps, XenError } from '#pvbus';
import type { Vnode } from '../fs/file-system.ts';
import type { MountTable } from '../fs/mount-table.ts';
import { fromCwd } from '../shell/paths.ts';
import type { Placement } from '../smp/placement.ts';
import { openVnode } from '../wasi/open-vnode.ts';
import type { Body } from './body.ts';
import { MemoryCharge } from './memory-charge.ts';
import { ModuleCache } from './module-cache.ts';
import type { Process } from './process.ts';
import { type Program, Runtime, type RuntimeParts } from './runtime.ts';
import { attempt, tell, type Waiting } from './transfer.ts';
import { YIELD } from './wait.ts';
import { WebAssemblyEngine as engine } from './web-assembly.ts';

/** A program of the kernel's own: what it returns is its exit code. */
export type Utility = (process: Process) => Waiting<number | Body>;

export interface ExecParts extends RuntimeParts {
  readonly mounts: MountTable;
  readonly frames: FrameAllocator;
  /** Of a domain of several vCPUs: which of them run what. */
  readonly placement?: Placement | undefined;
  /** By name, for what is not found in PATH. */
  readonly utilities: ReadonlyMap<string, Utility>;
  /** Runs a script: its path, and the arguments after it. */
  readonly script: (process: Process, path: string, text: string, args: readonly string[]) => Waiting<number | Body>;
}

export const NOT_FOUND = 127;
export const NOT_EXECUTABLE = 126;
export const DEFAULT_PATH = '/bin:/usr/bin';
const MAX_PROGRAM = 128 * 2 ** 20;
const MAX_SCRIPT = 2 ** 20;
const CHUNK = 256 * 1024;
/** A program that is not prepared is prepared so many steps at a time. */
const STEPS = 4;
const WASM_MAGIC = 0x6d736100;
const decoder = new TextDecoder();

export class Exec {
  readonly #parts: ExecParts;
  readonly #cache = new ModuleCache();

  readonly utilities: ReadonlyMap<string, Utility>;

  constructor(parts: ExecParts) {
    this.utilities = parts.utilities;
    this.#parts = parts;
  }

  /** What `argv` of a process says, as a routine of it. */
  *run(process: Process): Waiting<number | Body> {
    try {
      return yield* this.#run(process);
    } catch (error) {
      if (!(error instanceof XenError)) throw error;
      const name = process.argv[0] ?? '';
      const missing = error.code === 'ENOENT';
      yield* tell(process.fds.file(2), `${name}: ${missing ? 'not found' : `${error.code}: ${messageOf(error)}`}`);
      return missing ? NOT_FOUND : NOT_EXECUTABLE;
    }
  }
  *#run(process: Process): Waiting<number | Body> {
    const name = process.argv[0] ?? '';
    const found = yield* this.find(process, name);
    if (typeof found === 'function') return yield* found(process);
    const file = found;
    try {
      if (file.type !== 'file') throw new XenError('EACCES', 'it is no file');
      const cached = yield* attempt(() => this.#cache.get(file));
      if (cached) return this.#start(process, cached);
      const bytes = yield* readFile(file);
      if (isWasm(bytes)) return this.#start(process, yield* this.#load(file, bytes));
      return yield* this.#script(process, bytes);
    } finally {
      file.release();
    }
  }
  /** A file, in use, or a utility. Throws ENOENT. */
  *find(process: Process, name: string): Waiting<Vnode | Utility> {
    const { utilities } = this;
    const env = process.env.get('PATH') ?? DEFAULT_PATH;
    const paths = name.includes('/') ? [name] : env.split(':').map(directory => `${directory || '.'}/${name}`);
    for (const path of name === '' ? [] : paths) {
      for (const candidate of [path, `${path}.wasm`]) {
        const file = yield* attempt(() => this.#at(fromCwd(process.cwd, candidate)));
        if (file?.type === 'file' || (file && name.includes('/'))) return file;
        file?.release();
      }
    }
    // What a script's first line says is there, wherever it says so.
    const utility = utilities.get(/^\/(?:usr\/)?bin\/([^/]+)$/.exec(name)?.[1] ?? name);
    if (utility) return utility;
    throw new XenError('ENOENT', name);
  }
  #at(path: string): Vnode | undefined {
    try {
      return this.#parts.mounts.find(path);
    } catch (error) {
      if (error instanceof XenError && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) return undefined;
      throw error;
    }
  }
  #start(process: Process, program: Program): Body {
    const { mounts, frames, placement } = this.#parts;
    // A program has its directories there.
    for (const [fd] of [...process.fds]) if (fd > 2 + process.listeners) process.fds.close(fd);
    for (const [name, path] of process.directories) process.fds.preopen(name, openVnode(mounts.find(path)));
    const charge = new MemoryCharge(frames, process.memoryLimit);
    const runtime = new Runtime(process, program, this.#parts, charge);
    return placement?.body({ process, program, charge, parts: this.#parts }, runtime) ?? runtime;
  }
  *#load(file: Vnode, bytes: Uint8Array): Waiting<Program> {
    const prepared = preparedLayout(bytes) ? bytes : yield* prepare(bytes);
    const layout = preparedLayout(prepared);
    if (layout === undefined) throw new XenError('ENOEXEC', 'it cannot be prepared');
    try {
      const bytes = this.#parts.placement && layout.movable ? prepared : undefined;
      const program = { module: new engine.Module(prepared), layout, bytes };
      this.#cache.set(file, program);
      return program;
    } catch (error) {
      if (error instanceof engine.CompileError) throw new XenError('ENOEXEC', error.message, error);
      throw error;
    }
  }
  /** `#!/bin/sh`, or another program with an argument at most; without such a line it is none. */
  *#script(process: Process, bytes: Uint8Array): Waiting<number | Body> {
    const [, interpreter, argument] =
      /^#![ \t]*([^ \t\n]+)[ \t]*([^\n]*)/.exec(decoder.decode(bytes.subarray(0, 256))) ?? [];
    if (interpreter === undefined) throw new XenError('ENOEXEC', 'neither a WebAssembly program nor a script');
    const [path = '', ...args] = process.argv;
    if (/^\/(usr\/)?bin\/(sh|bash|ash|dash)$/.test(interpreter)) {
      if (bytes.length > MAX_SCRIPT) throw new XenError('EFBIG', `a script of more than ${MAX_SCRIPT} bytes`);
      return yield* this.#parts.script(process, path, decoder.decode(bytes), args);
    }
    const before = argument?.trim() ? [argument.trim()] : [];
    if (process.interpreted) throw new XenError('ENOEXEC', 'a script is the interpreter of a script');
    process.interpreted = true;
    process.argv = [interpreter, ...before, path, ...args];
    return yield* this.#run(process);
  }
}

const isWasm = (bytes: Uint8Array): boolean =>
  bytes.length >= 8 && new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true) === WASM_MAGIC;

function* readFile(file: Vnode): Waiting<Uint8Array> {
  const { size } = yield* attempt(() => file.attributes());
  if (size > MAX_PROGRAM) throw new XenError('EFBIG', `a program of ${size} bytes`);
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size; ) {
    const n = yield* attempt(() => file.read(at, bytes.subarray(at, at + CHUNK)));
    if (n === 0) return bytes.subarray(0, at);
    at += n;
    if (at < size) yield YIELD;
  }
  return bytes;
}
function* prepare(bytes: Uint8Array): Waiting<Uint8Array> {
  const steps = prepareInSteps(bytes);
  for (let n = 1; ; n++) {
    const { done, value } = steps.next();
    if (done) return value;
    if (n % STEPS === 0) yield YIELD;
  }
}

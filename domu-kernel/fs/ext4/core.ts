// libext2fs, built for WebAssembly with the C of this folder, on the blocks of one volume: memory, strings and imports.
import { XenError } from '#pvbus';
import { type WasmModule, WebAssemblyEngine } from '../../process/web-assembly.ts';

/** What it is built on. Offsets are bytes of the volume. */
export interface VolumeBlocks {
  read(offset: number, into: Uint8Array): void;
  write(offset: number, from: Uint8Array): void;
  free(block: number, count: number): void;
}

/** The exports; pointers and inodes are numbers. Results are those of errors.c unless the name says otherwise. */
export interface Ext4Library {
  readonly memory: { readonly buffer: ArrayBuffer };
  version(): number;
  message(): number;
  allocate_memory(bytes: number): number;
  clock(seconds: number, ns: number): void;
  mount(writable: number): number;
  block_size(): number;
  blocks(): number;
  free_blocks(): number;
  /** 1 or 0. */
  is_free(block: number): number;
  journal_inode(): number;
  orphan(): number;
  flush(): number;
  mark(superblock: number, marks: number): number;
  attributes_of(ino: number): number;
  attributes_at(): number;
  set_times(ino: number, which: number, seconds: number, ns: number): number;
  map(ino: number, first: number, count: number): number;
  allocate(ino: number, first: number, count: number): number;
  runs_at(): number;
  runs_found(): number;
  lengthen(ino: number, size: number, seconds: number, ns: number): number;
  shorten(ino: number, size: number): number;
  release(ino: number): number;
  is_more(): number;
  read_inline(ino: number): number;
  inline_at(): number;
  inline_length(): number;
  list(directory: number): number;
  listed_at(): number;
  listed_bytes(): number;
  create(directory: number, name: number): number;
  make_directory(directory: number, name: number): number;
  make_symlink(directory: number, name: number, target: number): number;
  inode_made(): number;
  link_file(directory: number, name: number, ino: number): number;
  unlink_file(directory: number, name: number, ino: number): number;
  remove_directory(directory: number, name: number, ino: number): number;
  rename_file(directory: number, name: number, to: number, as: number, ino: number, old: number): number;
  read_target(ino: number): number;
  target_at(): number;
}

const VERSION = 2;
/** The results of errors.c. */
const ERRORS = ['EOK', 'ENOSPC', 'ENOENT', 'EFBIG', 'ENOMEM', 'EMLINK', 'ENOTEMPTY', 'ENAMETOOLONG', 'EIO'] as const;
const REASONS: Readonly<Record<string, string>> = {
  ENOSPC: 'the volume is full',
  ENOENT: 'no such file',
  EFBIG: 'the file would be too large',
  ENOMEM: "the file system's memory is used up",
  EMLINK: 'it has as many names as there can be',
  ENOTEMPTY: 'the directory is not empty',
  ENAMETOOLONG: 'it is too long',
};
const NAME_ROOM = 256;
const TARGET_ROOM = 65536;
const WASI_ENOSYS = 52;
const CLOCK_STEPS = 1_000_000_000n;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export function compileExt4(bytes: Uint8Array): WasmModule {
  return new WebAssemblyEngine.Module(bytes);
}

/** A run of blocks of a file. */
export interface Run {
  readonly block: number;
  readonly count: number;
  /** HOLE and UNWRITTEN read as zeros; what is FRESH is to be written whole. */
  readonly kind: number;
}
export const HOLE = 0;
export const DATA = 1;
export const UNWRITTEN = 2;
export const FRESH = 3;

export class Ext4Core {
  readonly x: Ext4Library;
  readonly name: string;
  private readonly scratch: { readonly name: number; readonly as: number; readonly target: number };
  private diskError: unknown;
  /** Why it may not be entered again. */
  private dead: XenError | undefined;
  private budget = 0;
  private readonly budgetPerCall: number;
  private readonly wallNs: () => bigint;

  constructor(module: WasmModule, volume: { name: string; blocks: number }, disk: VolumeBlocks, wallNs: () => bigint) {
    this.name = volume.name;
    this.wallNs = wallNs;
    // untrusted: a hostile volume can make a walk long, never endless.
    this.budgetPerCall = 4 * volume.blocks + 65536;
    this.x = new WebAssemblyEngine.Instance(module, this.imports(disk)).exports as unknown as Ext4Library; // its version is checked
    if (typeof this.x.version !== 'function' || this.x.version() !== VERSION) {
      throw new XenError(
        'ENOSYS',
        `${volume.name}: the ext4 build is another version's: make it again (xl build-ext4)`,
      );
    }
    const room = (bytes: number): number => this.x.allocate_memory(bytes);
    this.scratch = { name: room(NAME_ROOM), as: room(NAME_ROOM), target: room(TARGET_ROOM) };
  }
  private imports(disk: VolumeBlocks): object {
    const transfer = (act: () => void, length: number): number => {
      this.budget -= length / 1024;
      if (this.budget < 0) throw new XenError('EIO', `${this.name}: the volume's tables lead in circles`);
      try {
        act();
        return 0;
      } catch (error) {
        this.diskError = error;
        return 1;
      }
    };
    const bytes = (at: number, length: number): Uint8Array =>
      new Uint8Array(this.x.memory.buffer, at >>> 0, length >>> 0);
    // It prints nothing; what could is linked with it all the same.
    const absent = (): number => WASI_ENOSYS;
    return {
      disk: {
        read: (offset: number, at: number, length: number) =>
          transfer(() => disk.read(offset, bytes(at, length)), length),
        write: (offset: number, at: number, length: number) =>
          transfer(() => disk.write(offset, bytes(at, length)), length),
        freed: (block: number, count: number) => disk.free(block, count),
      },
      wasi_snapshot_preview1: { fd_close: absent, fd_fdstat_get: absent, fd_seek: absent, fd_write: absent },
    };
  }

  /** One call; throws what is the matter. */
  call(what: string, call: (x: Ext4Library) => number): void {
    const result = this.enter(what, call);
    if (result !== 0) throw this.error(what, result);
  }
  /** One call; its result. Throws EIO when the library itself cannot be trusted any more. */
  enter(what: string, call: (x: Ext4Library) => number): number {
    if (this.dead) throw new XenError('EIO', `${what}: the file system was given up`, this.dead);
    this.diskError = undefined;
    this.budget = this.budgetPerCall;
    try {
      return call(this.x);
    } catch (error) {
      this.dead = new XenError('EIO', `${what}: ${error instanceof Error ? error.message : error}`, error);
      throw this.dead;
    }
  }
  /** Nothing is asked of it any more. */
  get isDead(): boolean {
    return this.dead !== undefined;
  }
  private error(what: string, result: number): XenError {
    const { diskError } = this;
    if (diskError instanceof XenError) {
      return new XenError(diskError.code, `${what}: ${diskError.message}`, diskError);
    }
    const code = ERRORS[result] ?? 'EIO';
    const why = REASONS[code] ?? (this.string(this.x.message()) || 'the volume is damaged');
    return new XenError(code, `${what}: ${why}`, diskError);
  }
  /** What time it is for what is done next. */
  setClock(): void {
    const [seconds, ns] = timeParts(this.wallNs());
    this.x.clock(seconds, ns);
  }

  // ---- arguments and results ----

  name_(text: string): number {
    return this.put(this.scratch.name, text, NAME_ROOM);
  }
  as(text: string): number {
    return this.put(this.scratch.as, text, NAME_ROOM);
  }
  target(text: string): number {
    return this.put(this.scratch.target, text, TARGET_ROOM);
  }
  /** As many bytes, for a superblock. */
  block(bytes: Uint8Array): number {
    new Uint8Array(this.x.memory.buffer).set(bytes, this.scratch.target);
    return this.scratch.target;
  }
  bytes(at: number, length: number): Uint8Array {
    return new Uint8Array(this.x.memory.buffer, at >>> 0, length);
  }
  doubles(at: number, count: number): Float64Array {
    return new Float64Array(this.x.memory.buffer, at >>> 0, count);
  }
  string(at: number): string {
    const bytes = new Uint8Array(this.x.memory.buffer, at >>> 0);
    return decoder.decode(bytes.subarray(0, bytes.indexOf(0)));
  }
  runs(): Run[] {
    const words = new Uint32Array(this.x.memory.buffer, this.x.runs_at(), 3 * this.x.runs_found());
    const runs: Run[] = [];
    for (let i = 0; i < words.length; i += 3) {
      runs.push({ block: words[i] ?? 0, count: words[i + 1] ?? 0, kind: words[i + 2] ?? 0 });
    }
    return runs;
  }
  private put(at: number, text: string, room: number): number {
    const bytes = new Uint8Array(this.x.memory.buffer, at, room);
    const { read, written } = encoder.encodeInto(text, bytes.subarray(0, room - 1));
    if (read < text.length) throw new XenError('ENAMETOOLONG', `'${text.slice(0, 40)}…' is too long`);
    bytes[written] = 0;
    return at;
  }
}

export function timeParts(ns: bigint): [seconds: number, ns: number] {
  const rest = ((ns % CLOCK_STEPS) + CLOCK_STEPS) % CLOCK_STEPS;
  return [Number((ns - rest) / CLOCK_STEPS), Number(rest)];
}
export const timeNs = (seconds: number, ns: number): bigint => BigInt(seconds) * CLOCK_STEPS + BigInt(ns);

// A process with memory, descriptors and a tmpfs of its own, whose calls a test makes directly.
import type { Clock } from '#pvbus';
import { MountTable } from '../../domu-kernel/fs/mount-table.ts';
import { Tmpfs } from '../../domu-kernel/fs/tmpfs.ts';
import type { OpenFile } from '../../domu-kernel/process/open-file.ts';
import { Process } from '../../domu-kernel/process/process.ts';
import { Wait } from '../../domu-kernel/process/wait.ts';
import { OFLAGS_CREAT } from '../../domu-kernel/wasi/abi.ts';
import { wasiErrnoName } from '../../domu-kernel/wasi/errno.ts';
import { Descriptor, FdTable } from '../../domu-kernel/wasi/fd-table.ts';
import type { Outcome, WasiCalls, WasiKernel } from '../../domu-kernel/wasi/kernel.ts';
import { OpenDirectory } from '../../domu-kernel/wasi/open-vnode.ts';
import { wasiImports } from '../../domu-kernel/wasi/preview1.ts';
import { ALL_RIGHTS } from '../../domu-kernel/wasi/rights.ts';
import type { SocketStack } from '../../domu-kernel/wasi/socket.ts';

export class RigClock implements Clock {
  ns = 5e9;
  ms = 1_700_000_000_000;
  now(): number {
    return this.ns;
  }
  wallMs(): number {
    return this.ms;
  }
}

export const rigTmpfs = (clock: Clock, limit = 64 * 2 ** 20): Tmpfs =>
  new Tmpfs({
    pages: { take: () => true, give() {} },
    limit,
    wallNs: () => BigInt(Math.floor(clock.wallMs())) * 1_000_000n,
  });

export interface WasiRigOptions {
  readonly argv?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly sockets?: SocketStack;
  readonly pages?: number;
  readonly limit?: number;
}

const FIRST = 1024; // of the memory the rig hands out

export class WasiRig {
  readonly clock = new RigClock();
  readonly fs: Tmpfs;
  readonly mounts: MountTable;
  readonly fds = new FdTable();
  readonly process: Process;
  readonly modules: Readonly<Record<string, WasiCalls>>;
  private next = FIRST;

  /** The root of a tmpfs is preopened as '/' at 3; 0 to 2 are not open. */
  constructor({ argv = ['program'], env = {}, sockets, pages = 4, limit }: WasiRigOptions = {}) {
    this.fs = rigTmpfs(this.clock, limit);
    this.mounts = new MountTable(this.fs);
    this.fds.preopen('/', new OpenDirectory(this.fs.root.hold()));
    this.process = new Process({
      pid: 1,
      parent: undefined,
      pgid: 1,
      argv,
      env: new Map(Object.entries(env)),
      cwd: '/',
      fds: this.fds,
    });
    const buffer = new ArrayBuffer(pages * 65536);
    this.process.memory = { buffer, grow: () => -1 };
    const kernel: WasiKernel = { clock: this.clock, mounts: this.mounts, random: into => into.fill(7), sockets };
    this.modules = wasiImports(kernel);
  }

  // ---- calls ----

  raw(name: string, args: readonly (number | bigint)[], module = 'wasi_snapshot_preview1'): Outcome {
    const call = this.modules[module]?.[name];
    if (!call) throw new Error(`there is no ${module}.${name}`);
    const outcome = (call as (process: Process, ...args: readonly (number | bigint)[]) => Outcome)(
      this.process,
      ...args,
    );
    if (!(outcome instanceof Wait)) this.process.endCall();
    return outcome;
  }
  /** 'SUCCESS', the name of an errno, or what to wait for. */
  call(name: string, ...args: (number | bigint)[]): string | Wait {
    const outcome = this.raw(name, args);
    return outcome instanceof Wait ? outcome : wasiErrnoName(outcome);
  }
  sock(name: string, ...args: (number | bigint)[]): string | Wait {
    const outcome = this.raw(name, args, 'xenolith_sock');
    return outcome instanceof Wait ? outcome : wasiErrnoName(outcome);
  }
  /** The call must succeed. */
  ok(name: string, ...args: (number | bigint)[]): void {
    const outcome = this.call(name, ...args);
    if (outcome !== 'SUCCESS') throw new Error(`${name}: ${outcome instanceof Wait ? 'waits' : outcome}`);
  }

  // ---- memory ----

  get view(): DataView {
    return this.process.view;
  }
  alloc(size: number): number {
    const at = this.next;
    this.next = (this.next + size + 7) & ~7;
    if (this.next > this.process.bytes.length) throw new Error('the rig has no more memory');
    return at;
  }
  /** Everything that was handed out is free again. */
  reset(): this {
    this.next = FIRST;
    return this;
  }
  bytes(data: Uint8Array | string): [pointer: number, length: number] {
    const bytes = typeof data === 'string' ? Buffer.from(data) : data;
    const at = this.alloc(bytes.length);
    this.process.bytes.set(bytes, at);
    return [at, bytes.length];
  }
  text(at: number, length: number): string {
    return Buffer.from(this.process.bytes.subarray(at, at + length)).toString();
  }
  u32(at: number): number {
    return this.view.getUint32(at, true);
  }
  u64(at: number): bigint {
    return this.view.getBigUint64(at, true);
  }
  iovs(...buffers: readonly (readonly [pointer: number, length: number])[]): [pointer: number, count: number] {
    const at = this.alloc(8 * buffers.length);
    for (const [i, [pointer, length]] of buffers.entries()) {
      this.view.setUint32(at + 8 * i, pointer, true);
      this.view.setUint32(at + 8 * i + 4, length, true);
    }
    return [at, buffers.length];
  }

  // ---- the usual ----

  open(
    path: string,
    {
      fd = 3,
      oflags = 0,
      rights = ALL_RIGHTS,
      inheriting = ALL_RIGHTS,
      fdflags = 0,
      follow = 1,
    }: {
      fd?: number;
      oflags?: number;
      rights?: number;
      inheriting?: number;
      fdflags?: number;
      follow?: number;
    } = {},
  ): number | string {
    const result = this.alloc(4);
    const args = [fd, follow, ...this.bytes(path), oflags, BigInt(rights), BigInt(inheriting), fdflags, result];
    const outcome = this.call('path_open', ...args);
    if (outcome instanceof Wait) throw new Error('path_open waits');
    return outcome === 'SUCCESS' ? this.u32(result) : outcome;
  }
  /** Opened with all rights of a file; must succeed. */
  file(path: string, content?: string, options: Parameters<WasiRig['open']>[1] = {}): number {
    const fd = this.open(path, { oflags: OFLAGS_CREAT, ...options });
    if (typeof fd === 'string') throw new Error(`${path}: ${fd}`);
    if (content !== undefined) {
      this.write(fd, content);
      this.ok('fd_seek', fd, 0n, 0, this.alloc(8));
    }
    return fd;
  }
  write(fd: number, data: string | Uint8Array): number | string | Wait {
    const result = this.alloc(4);
    const outcome = this.call('fd_write', fd, ...this.iovs(this.bytes(data)), result);
    return outcome === 'SUCCESS' ? this.u32(result) : outcome;
  }
  read(fd: number, size = 100): string | Wait {
    const into = this.alloc(size);
    const result = this.alloc(4);
    const outcome = this.call('fd_read', fd, ...this.iovs([into, size]), result);
    return outcome === 'SUCCESS' ? this.text(into, this.u32(result)) : outcome;
  }
  /** The open file at the lowest number that is free. */
  give(file: OpenFile, rights = ALL_RIGHTS): number {
    return this.fds.add(new Descriptor(file, rights, ALL_RIGHTS));
  }
  mkdir(path: string): string | Wait {
    return this.call('path_create_directory', 3, ...this.bytes(path));
  }
  symlink(target: string, path: string): string | Wait {
    return this.call('path_symlink', ...this.bytes(target), 3, ...this.bytes(path));
  }
}

// Processes, a shell and a tmpfs on a clock that a test owns: no kernel, no host.
import { type Clock, FrameAllocator, type Log, XenError } from '#pvbus';
import type { Vnode } from '../../domu-kernel/fs/file-system.ts';
import { MountTable } from '../../domu-kernel/fs/mount-table.ts';
import { Network } from '../../domu-kernel/net/network.ts';
import type { Process } from '../../domu-kernel/process/process.ts';
import { Shell } from '../../domu-kernel/shell/shell.ts';
import type { Placement } from '../../domu-kernel/smp/placement.ts';
import { Userland } from '../../domu-kernel/userland.ts';
import type { SocketStack } from '../../domu-kernel/wasi/socket.ts';
import { rigTmpfs } from './wasi-rig.ts';

const decoder = new TextDecoder();

export interface UserlandRigOptions {
  /** Frames of memory. */
  readonly frames?: number;
  /** Time passes by itself. */
  readonly clock?: Clock;
  readonly sockets?: SocketStack;
  readonly network?: Network;
  /** Of a domain of several vCPUs: what lets one of them have a turn, vCPU 0 by a step of this. */
  readonly smp?: { readonly placement: Placement | undefined; turn(): void };
}

export class UserlandRig {
  ns = 1e12;
  readonly clock: Clock;
  readonly frames: FrameAllocator;
  readonly mounts: MountTable;
  readonly userland: Userland;
  /** What the terminal shows. */
  screen = '';
  /** Bytes the console does not take now. */
  waiting = 0;
  readonly shutdowns: string[] = [];
  private readonly smp: UserlandRigOptions['smp'];
  private typed: (bytes: Uint8Array) => void = () => {};

  constructor({ frames = 16_384, clock, sockets, network, smp }: UserlandRigOptions = {}) {
    this.smp = smp;
    this.clock = clock ?? { now: () => (this.ns += 5000), wallMs: () => this.ns / 1e6 };
    this.frames = new FrameAllocator(1, 1 + frames);
    this.mounts = new MountTable(rigTmpfs(this.clock));
    const log: Log = { info() {}, warn() {}, error() {} };
    const rig = this;
    this.userland = new Userland({
      clock: this.clock,
      frames: this.frames,
      mounts: this.mounts,
      sockets,
      placement: smp?.placement,
      random: into => into.fill(4),
      log,
      console: {
        writeBytes: bytes => {
          this.screen += decoder.decode(bytes).replaceAll('\r\n', '\n');
        },
        get waiting() {
          return rig.waiting;
        },
        takeInput: typed => {
          this.typed = typed;
        },
      },
      machine: {
        name: 'rig',
        memory: () => ({ total: frames * 4096, free: this.frames.available * 4096 }),
        messages: () => 'the kernel says nothing\n',
        missing: () => undefined,
        fileSystem: () => rigTmpfs(this.clock),
        network: () => network ?? new Network({ clock: this.clock, random: () => 0.5 }),
        hostSocket: () => {
          throw new XenError('ENODEV', 'no host is here');
        },
        shutdown: how => void this.shutdowns.push(how),
      },
    });
    this.userland.terminal.attach();
  }

  write(path: string, content: string | Uint8Array): void {
    const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content;
    const file: Vnode = this.userland.create(path);
    file.truncate(0);
    for (let at = 0; at < bytes.length; ) at += file.write(at, bytes.subarray(at));
    file.release();
  }
  read(path: string): string {
    const file = this.mounts.find(path);
    const bytes = new Uint8Array(file.attributes().size);
    file.read(0, bytes);
    file.release();
    return decoder.decode(bytes);
  }

  /** Until everybody waits; time goes on to the next deadline where `timed`. */
  run({ timed = true, until = () => false }: { timed?: boolean; until?: () => boolean } = {}): void {
    const late = Date.now() + 60_000;
    for (let turns = 0; !until(); turns++) {
      if (turns % 1000 === 999 && Date.now() > late) throw new Error(`it comes to no end: ${this.screen.slice(-2000)}`);
      if (this.smp) {
        this.smp.turn();
        continue;
      }
      if (this.userland.step() === 'progress') continue;
      const deadline = this.userland.processes.deadline();
      if (!timed || deadline === undefined) return;
      this.ns = Math.max(this.ns, deadline);
    }
  }
  /** A script to its end: what it wrote to the terminal, and its status. */
  sh(script: string): { readonly out: string; readonly status: number } {
    const { terminal } = this.userland;
    const from = this.screen.length;
    let status: number | undefined;
    this.userland.spawn({
      argv: ['sh'],
      stdio: [terminal, terminal, terminal],
      routine: process => new Shell(this.userland, process).script(script),
      onEnd: ended => {
        status = ended.signal ? -1 : ended.code;
      },
    });
    this.run({ until: () => status !== undefined });
    if (status === undefined) throw new Error(`the script waits for ever: ${this.screen.slice(from)}`);
    return { out: this.screen.slice(from), status };
  }
  /** A shell with a user. */
  interactive(): Process {
    const { terminal } = this.userland;
    const shell = this.userland.spawn({
      argv: ['sh'],
      stdio: [terminal, terminal, terminal],
      routine: process => new Shell(this.userland, process).main([]),
    });
    this.run({ timed: false });
    return shell;
  }
  /** What the terminal shows after that. */
  type(keys: string, options: { timed?: boolean } = { timed: false }): string {
    const from = this.screen.length;
    this.typed(new TextEncoder().encode(keys));
    this.run(options);
    return this.screen.slice(from);
  }
}

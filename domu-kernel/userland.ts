// What a domain has that runs processes: their table, the terminal, the file systems, the programs of the kernel's own.
import { type Clock, type FrameAllocator, type Log, XenError } from '#pvbus';
import { DevFs } from './fs/dev-fs.ts';
import type { FileSystem, Vnode } from './fs/file-system.ts';
import type { MountTable } from './fs/mount-table.ts';
import type { Network } from './net/network.ts';
import { DEFAULT_BACKLOG } from './net/tcp/listener.ts';
import { type Routine, RoutineBody } from './process/body.ts';
import { Exec } from './process/exec.ts';
import type { OpenFile } from './process/open-file.ts';
import { type ExitStatus, exitNumber, type Process, type ProcessParts } from './process/process.ts';
import { Processes } from './process/processes.ts';
import type { SignalName } from './process/signals.ts';
import { Terminal, type TerminalDoor } from './process/terminal.ts';
import type { Waiting } from './process/transfer.ts';
import { Wait } from './process/wait.ts';
import { Shell } from './shell/shell.ts';
import { utilities } from './shell/utilities.ts';
import type { Placement } from './smp/placement.ts';
import { FDFLAGS_APPEND } from './wasi/abi.ts';
import { realtimeNs } from './wasi/clock.ts';
import { Descriptor, FdTable } from './wasi/fd-table.ts';
import type { WasiKernel } from './wasi/kernel.ts';
import { OpenSocket } from './wasi/open-socket.ts';
import { openVnode } from './wasi/open-vnode.ts';
import { wasiImports } from './wasi/preview1.ts';

export type Stdio = readonly [stdin: OpenFile, stdout: OpenFile, stderr: OpenFile];

/** What the kernel does for programs of its own. */
export interface Machine {
  /** As the toolstack called the domain. */
  readonly name: string;
  /** Of the domain, bytes. */
  memory(): { readonly total: number; readonly free: number };
  /** The kernel's messages. */
  messages(): string;
  /** What the domain has started without, in words: on the console this was said before. */
  missing(): string | undefined;
  /** A file system of a device; `type` where it is said. */
  fileSystem(type: string | undefined, device: string, readOnly: boolean): FileSystem;
  /** Its own loopback alone, where it has no interface. */
  network(): Network;
  /** To the host's loopback; ENODEV. */
  hostSocket(): OpenSocket;
  shutdown(how: 'poweroff' | 'reboot'): void;
}

export interface UserlandParts extends WasiKernel {
  readonly clock: Clock;
  readonly frames: FrameAllocator;
  readonly mounts: MountTable;
  readonly log: Log;
  readonly console: TerminalDoor;
  readonly machine: Machine;
  /** Of a domain of several vCPUs. */
  readonly placement?: Placement | undefined;
}

export interface SpawnOptions {
  readonly argv: readonly string[];
  readonly env?: ReadonlyMap<string, string>;
  readonly cwd?: string;
  /** By number. */
  readonly stdio: readonly (OpenFile | undefined)[];
  readonly parent?: Process | undefined;
  readonly pgid?: number;
  readonly directories?: ProcessParts['directories'];
  /** Sockets, its descriptors from 3 on. */
  readonly listeners?: readonly OpenSocket[];
  readonly memoryLimit?: number;
  readonly ignored?: ReadonlySet<SignalName>;
  readonly onEnd?: (status: ExitStatus) => void;
  /** What it runs; the program that `argv` names, else. */
  readonly routine?: (process: Process) => Routine;
}

export class Userland {
  readonly processes: Processes;
  readonly terminal: Terminal;
  readonly mounts: MountTable;
  readonly clock: Clock;
  readonly machine: Machine;
  readonly exec: Exec;
  readonly startedNs: number;
  private readonly sockets: UserlandParts['sockets'];

  constructor(parts: UserlandParts) {
    const { clock, frames, mounts, log, machine, placement } = parts;
    this.processes = new Processes(clock);
    this.terminal = new Terminal(parts.console, this.processes);
    this.mounts = mounts;
    this.clock = clock;
    this.machine = machine;
    this.sockets = parts.sockets;
    this.startedNs = clock.now();
    const wallNs = () => realtimeNs(clock);
    mounts.provide('dev', new DevFs({ random: into => parts.random(into), terminal: this.terminal, wallNs }));
    this.exec = new Exec({
      clock,
      frames,
      mounts,
      log,
      imports: wasiImports(parts),
      utilities: utilities(this),
      script: (process, path, text, args) => new Shell(this, process, { name: path, parameters: args }).script(text),
      say: (process, why) => this.say(process, why),
      placement,
      ...(placement && { urgent: () => placement.urgent() }),
    });
  }

  step(): 'progress' | 'idle' {
    this.terminal.step();
    return this.processes.step();
  }

  // ---- files ----

  /** For a redirection; `stdio` is what /dev/stdin and the others are. Throws what the file system throws. */
  open(path: string, mode: '<' | '>' | '>>', stdio?: Stdio): OpenFile {
    const vnode = mode === '<' ? this.mounts.find(path) : this.create(path);
    try {
      if (mode === '>') vnode.truncate(0);
      return openVnode(vnode, mode === '>>' ? FDFLAGS_APPEND : 0, fd => stdio?.[fd as 0 | 1 | 2] ?? this.terminal);
    } catch (error) {
      vnode.release();
      throw error;
    }
  }
  /** The file of that name, in use; made if there is none. */
  create(path: string): Vnode {
    const located = this.mounts.locate(path);
    try {
      const { vnode, directory, name } = located;
      if (vnode?.type === 'directory' || located.wantsDirectory)
        throw new XenError('EISDIR', `${path}: it is a directory`);
      return vnode?.hold() ?? directory.create(name, 'file');
    } finally {
      located.release();
    }
  }

  // ---- processes ----

  /** Its descriptors are references of its own to `stdio`. Throws EAGAIN. */
  spawn({ argv, env, cwd = '/', stdio, listeners = [], routine, ...options }: SpawnOptions): Process {
    const fds = new FdTable();
    stdio.forEach((file, fd) => {
      if (!file) return;
      file.retain();
      fds.set(fd, new Descriptor(file));
    });
    for (const socket of listeners) {
      socket.retain();
      fds.preopen('', socket);
    }
    const body = (process: Process): RoutineBody =>
      new RoutineBody(routine ? routine(process) : this.exec.run(process));
    try {
      const given = { argv, env: env ?? new Map<string, string>(), cwd, fds, listeners: listeners.length };
      return this.processes.spawn({ parent: undefined, ...options, ...given, body });
    } catch (error) {
      fds.closeAll();
      throw error;
    }
  }
  /** At a port of every address that this domain has. */
  listen(port: number): OpenSocket {
    const { sockets } = this;
    if (!sockets) throw new XenError('EAFNOSUPPORT', 'nobody makes sockets here');
    const { widest } = sockets;
    const file = new OpenSocket(sockets.stream(widest), widest);
    file.bind({ address: new Uint8Array(widest === 6 ? 16 : 4), port });
    file.listen(DEFAULT_BACKLOG);
    return file;
  }
  /** As a shell says it. */
  *waitFor(parent: Process, child: Process): Waiting<number> {
    while (child.status === undefined) yield new Wait([parent.childChanged]);
    return exitNumber(this.processes.reap(child));
  }
  /** Why a process ends that did not want to, where its user looks. */
  private say(process: Process, why: string): void {
    const line = new TextEncoder().encode(`${process.argv[0]}: ${why}\n`);
    try {
      process.fds.file(2).write(line);
    } catch {
      // Nobody is there to read it.
    }
  }
}

// The first process: starts what the root file system or the command line says, has orphans, and ends with its code.
import {
  INIT_CONFIG_PATH,
  type InitConfig,
  type InitMount,
  MAX_INIT_CONFIG,
  messageOf,
  parseInitConfig,
  XenError,
} from '#pvbus';
import type { FileSystem } from '../fs/file-system.ts';
import { makeDirectory } from '../fs/path-operations.ts';
import { NOT_FOUND } from '../process/exec.ts';
import { exitNumber, type Process } from '../process/process.ts';
import { Stream } from '../process/stream.ts';
import { attempt, readAll, type Waiting, writeText } from '../process/transfer.ts';
import { Wait } from '../process/wait.ts';
import type { Stdio, Userland } from '../userland.ts';
import { HOST_ADDRESS } from '../wasi/guest-sockets.ts';
import type { OpenSocket } from '../wasi/open-socket.ts';
import { AGAIN } from '../wasi/socket.ts';

/** How long a program's last words may take. */
const DELIVERY_NS = 10e9;
/** What keeps a program from being started, but not what is wrong with the program. */
const NOT_STARTED = 125;

export class Init {
  readonly #system: Userland;
  readonly #self: Process;

  constructor(system: Userland, self: Process) {
    this.#system = system;
    this.#self = self;
  }

  /** `path`: the program that the command line names. Returns its code. */
  *run(path: string | undefined): Waiting<number> {
    const { terminal } = this.#system;
    try {
      if (path !== undefined) return yield* this.#program({ argv: [path] });
      if (yield* this.#has(INIT_CONFIG_PATH)) return yield* this.#configured(yield* this.#config());
      for (const first of ['/init', '/sbin/init'])
        if (yield* this.#has(first)) return yield* this.#program({ argv: [first] });
      if (yield* this.#has('/etc/rc')) return yield* this.#program({ argv: ['sh', '/etc/rc'] });
      return yield* this.#program({ argv: ['sh'] });
    } catch (error) {
      if (!(error instanceof XenError)) throw error;
      yield* writeText(terminal, `init: ${messageOf(error)}\n`);
      return error.code === 'ENOENT' ? NOT_FOUND : NOT_STARTED;
    }
  }
  *#has(path: string): Waiting<boolean> {
    return yield* attempt(() => {
      try {
        const file = this.#system.mounts.find(path);
        file.release();
        return file.type === 'file';
      } catch (error) {
        if (error instanceof XenError && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) return false;
        throw error;
      }
    });
  }
  *#config(): Waiting<InitConfig> {
    const file = yield* attempt(() => this.#system.open(INIT_CONFIG_PATH, '<'));
    try {
      return parseInitConfig(yield* readAll(file, MAX_INIT_CONFIG));
    } finally {
      file.release();
    }
  }
  *#configured(config: InitConfig): Waiting<number> {
    if (!config.stdio) return yield* this.#mounted(config);
    const { stdin, stdout, stderr } = config.stdio;
    const opened: OpenSocket[] = [];
    try {
      yield* this.#connect([stdin, stdout, stderr], opened);
      const [input, output, errors] = opened as [OpenSocket, OpenSocket, OpenSocket]; // as many as there are ports
      const streams: Stdio = [new Stream(input), new Stream(output), new Stream(errors)];
      const missing = this.#system.machine.missing();
      if (missing !== undefined) yield* writeText(streams[2], `init: ${missing}\n`);
      const code = yield* this.#mounted(config, streams);
      for (const stream of [output, errors]) yield* this.#delivered(stream);
      return code;
    } finally {
      for (const stream of opened) stream.release();
    }
  }
  *#mounted(config: InitConfig, streams?: Stdio): Waiting<number> {
    try {
      for (const mount of config.mounts ?? []) {
        const { name, whyReadOnly } = yield* this.#mount(mount);
        if (whyReadOnly === undefined) continue;
        yield* writeText(streams?.[2] ?? this.#system.terminal, `init: ${name}: read-only, since ${whyReadOnly}\n`);
      }
      if (config.cwd) yield* this.#isDirectory(config.cwd);
    } catch (error) {
      if (!(error instanceof XenError)) throw error;
      yield* writeText(streams?.[2] ?? this.#system.terminal, `init: ${messageOf(error)}\n`);
      return NOT_STARTED;
    }
    return yield* this.#program(config, streams);
  }
  /** Side by side: each takes several turns of ours and of the host. */
  *#connect(ports: readonly number[], opened: OpenSocket[]): Waiting<void> {
    const asked = ports.map(port => {
      const stream = this.#system.machine.hostSocket();
      opened.push(stream);
      const to = { address: HOST_ADDRESS, port };
      return { stream, to, connected: stream.connect(to) === 0 };
    });
    for (const { stream, to, connected } of asked)
      for (let wait = connected ? 0 : stream.connect(to); wait !== 0; wait = stream.connect(to)) yield wait;
  }
  /** Its reader has said that it has all of it, or has had its time. */
  *#delivered({ socket }: OpenSocket): Waiting<void> {
    const { clock } = this.#system;
    const until = clock.now() + DELIVERY_NS;
    try {
      socket.shutdown(false, true);
      const rest = new Uint8Array(4096);
      for (let n = socket.recv(rest, false); n !== 0 && clock.now() < until; n = socket.recv(rest, false))
        if (n === AGAIN) yield new Wait([socket.queue], until);
    } catch (error) {
      // The reader has gone: nobody misses it.
      if (!(error instanceof XenError)) throw error;
    }
  }
  *#mount({ disk, path, type, readOnly }: InitMount): Waiting<FileSystem> {
    const { mounts, machine } = this.#system;
    const names = path.split('/').filter(Boolean);
    for (let n = 1; n <= names.length; n++) {
      const directory = `/${names.slice(0, n).join('/')}`;
      try {
        yield* attempt(() => makeDirectory(mounts, { path: directory }));
      } catch (error) {
        if (!(error instanceof XenError) || error.code !== 'EEXIST') throw error;
      }
    }
    return yield* attempt(() => {
      const fs = machine.fileSystem(type ?? undefined, disk, readOnly ?? false);
      mounts.mount(path, fs);
      return fs;
    });
  }

  /** Else the program would be said to be missing. */
  *#isDirectory(path: string): Waiting<void> {
    const type = yield* attempt(() => {
      const found = this.#system.mounts.find(path);
      found.release();
      return found.type;
    });
    if (type !== 'directory') throw new XenError('ENOTDIR', `${path}: no directory`);
  }

  /** Starts it with the terminal or `streams`, and waits for it; whoever else becomes a child of this is only reaped. */
  *#program(config: Pick<InitConfig, 'argv'> & Partial<InitConfig>, streams?: Stdio): Waiting<number> {
    const { processes, terminal } = this.#system;
    const self = this.#self;
    const { argv, env = {}, directories, listen } = config;
    const cwd = config.cwd ?? '/';
    const stdio = streams ?? ([terminal, terminal, terminal] as const);
    const listeners = (listen ?? []).map(port => this.#system.listen(port));
    const child = this.#system.spawn({
      ...{ argv, cwd, stdio, listeners, parent: self },
      env: new Map([
        ...(directories ? [] : self.env),
        ...Object.entries(env),
        ...(directories ? [] : [['PWD', cwd] as const]),
      ]),
      directories: directories?.map(({ name, path }) => [name, path] as const),
    });
    for (const socket of listeners) socket.release();
    terminal.foreground = child.pgid;
    for (;;) {
      for (const other of self.children) {
        // Nobody is there who could have it go on.
        if (other.stopped && other === child) processes.kill(other, 'SIGCONT');
        if (other.status === undefined) continue;
        const status = processes.reap(other);
        if (other === child) return exitNumber(status);
      }
      yield new Wait([self.childChanged]);
    }
  }
}

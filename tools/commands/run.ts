// xl run

import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { escapeControls, type InitConfig, messageOf, type RunEnd, runPaths, SHUTDOWN_crash, XenError } from '#pvbus';
import { ConsoleConnection } from '../attach-console.ts';
import { emptyPvcalls } from '../config/pvcalls-spec.ts';
import { ConfigError } from '../config/settings.ts';
import { scriptParents, watchParents } from '../parent-watch.ts';
import { type ProgramDomain, type ProgramOptions, programDomain } from '../program-domain.ts';
import { ProgramStreams } from '../program-streams.ts';
import { makeRunDirectory } from '../run-directory.ts';
import { ToolstackClient } from '../toolstack-client.ts';
import type { HostProcess } from '../topology/host-process.ts';
import { type CommandContext, CommandFailure, type RunCommand } from './command.ts';
import { type CommandLine, commandLine } from './options.ts';

/** As docker says it. */
const FAILED = 125;
const NOT_EXECUTABLE = 126;
const NOT_FOUND = 127;
const SIGNAL_EXIT: Readonly<Record<string, number>> = { SIGHUP: 129, SIGINT: 130, SIGPIPE: 141, SIGTERM: 143 };
/** ^C, as a terminal sends it. */
const INTERRUPT = Uint8Array.of(3);

export const run: RunCommand = async (args, context) => {
  const long = [
    { name: 'name', as: 'name', value: true },
    { name: 'memory', as: 'm', value: true },
    { name: 'vcpus', as: 'vcpus', value: true },
    { name: 'disk', as: 'd', value: true },
    { name: 'mount', as: 'mount', value: true },
    { name: 'volume', as: 'v', value: true },
    { name: 'env', as: 'e', value: true },
    { name: 'workdir', as: 'w', value: true },
    { name: 'publish', as: 'p', value: true },
    { name: 'net', as: 'net', value: true },
    { name: 'bare', as: 'bare' },
  ];
  const line = commandLine(args, context, 'm:d:v:e:w:p:', long, 1);
  if (typeof line === 'number') return line === 0 ? 0 : FAILED;
  try {
    return await new Run(asked(line, context), context).run();
  } catch (error) {
    if (error instanceof CommandFailure) throw error;
    const why = messageOf(error);
    // The toolstack's words of a config begin with where it came from, which is us.
    const named = why.startsWith('xl run: ') ? why : `xl run: ${why}`;
    throw new CommandFailure(named, exitCodeOf(error));
  }
};

/** What became of the program's file: the toolstack's words begin with the config's key. */
function exitCodeOf(error: unknown): number {
  if (!(error instanceof XenError) || !/^(xl run: )?ramdisk: /.test(error.message)) return FAILED;
  return error.code === 'ENOENT' ? NOT_FOUND : error.code === 'ENOEXEC' ? NOT_EXECUTABLE : FAILED;
}

function asked(line: CommandLine, { io, conf }: CommandContext): ProgramDomain {
  const [file, ...args] = line.args;
  const options = {
    ...{ file: file!, args, name: line.value('name'), memory: line.value('m'), vcpus: line.value('vcpus') },
    ...{ disks: line.values('d'), mounts: line.values('mount'), env: line.values('e'), cwd: line.value('w') },
    ...{
      volumes: line.values('v'),
      publish: line.values('p'),
      nets: line.values('net'),
      bare: line.options.has('bare'),
      terminal: terminalOf(io),
    },
  };
  try {
    return programDomain(options, { cwd: io.cwd, random: io.random, warn: () => {}, conf });
  } catch (error) {
    if (error instanceof ConfigError) throw new CommandFailure(`xl run: ${error.message}`, FAILED);
    throw error;
  }
}

function terminalOf(io: CommandContext['io']): ProgramOptions['terminal'] {
  if (!isTerminal(io)) return undefined;
  const { columns, rows } = io.stdout;
  // A terminal that does not know its size says 0.
  return { kind: io.env.TERM, ...(columns ? { columns } : {}), ...(rows ? { rows } : {}) };
}
const isTerminal = ({ stdin, stdout }: CommandContext['io']): boolean => stdin.isTTY === true && stdout.isTTY === true;

class Run {
  readonly #domain: ProgramDomain;
  readonly #context: CommandContext;
  readonly #stopped = new AbortController();
  /** Of this run alone. */
  #dir: string | undefined;
  #host: HostProcess | undefined;
  #console: ConsoleConnection | undefined;
  #streams: ProgramStreams | undefined;

  constructor(domain: ProgramDomain, context: CommandContext) {
    this.#domain = domain;
    this.#context = context;
  }

  async run(): Promise<number> {
    const { io } = this.#context;
    const interrupted = io.interrupted();
    interrupted.addEventListener('abort', () => this.#interrupt(String(interrupted.reason)), { once: true });
    // `xl run yes.wasm | head`: nobody reads what the program writes, which ends it, as a pipe would.
    const unread = io.unread();
    unread.addEventListener('abort', () => this.#stopped.abort(unread.reason), { once: true });
    const stopWatching = watchParents(scriptParents(io.env), () => this.#stopped.abort('SIGHUP'));
    let client: ToolstackClient | undefined;
    try {
      client = await this.#connect();
      return await this.#program(client);
    } catch (error) {
      const { aborted, reason } = this.#stopped.signal;
      if (aborted) return SIGNAL_EXIT[String(reason)] ?? FAILED;
      throw error;
    } finally {
      stopWatching();
      this.#console?.close();
      this.#streams?.close();
      client?.close(); // with which the domain goes
      await this.#host?.kill();
      if (this.#dir !== undefined) rmSync(this.#dir, { recursive: true, force: true });
    }
  }

  /** The first ^C is the program's. A second one, and every other signal, ends the domain. */
  #interrupt(signal: string): void {
    if (signal === 'SIGINT' && this.#console !== undefined) this.#console.send(INTERRUPT);
    else this.#stopped.abort(signal);
  }

  /** To the host that runs, or to one that runs for us alone. */
  async #connect(): Promise<ToolstackClient> {
    try {
      return await this.#context.connect();
    } catch (error) {
      if (!(error instanceof XenError) || error.code !== 'ENOENT') throw error;
    }
    // What starts processes takes longer to load than all the rest of this.
    const { HostProcess, temporaryHost } = await import('../topology/host-process.ts');
    const dir = join(this.#ownDir(), 'host');
    this.#host = await HostProcess.start(dir, temporaryHost(), this.#stopped.signal);
    return ToolstackClient.connect(runPaths(dir).toolstackSocket);
  }
  #ownDir(): string {
    this.#dir ??= makeRunDirectory();
    return this.#dir;
  }

  async #program(client: ToolstackClient): Promise<number> {
    const { io } = this.#context;
    const terminal = isTerminal(io);
    const streams = terminal ? undefined : new ProgramStreams(this.#ownDir(), io);
    this.#streams = streams;
    const { config, program } = this.#domain;
    const stdio = streams?.ports ?? null;
    const pvcalls = withSockets(config.pvcalls, streams);
    await checkBridges(client, config);
    const init: InitConfig = { ...program, stdio };
    const made = client.call('run', { config: { ...config, pvcalls }, program: init });
    // While the toolstack is at work: what the domain will want of us.
    const [{ domid }] = await Promise.all([made, streams?.listen()]);
    this.#stopped.signal.throwIfAborted();
    const console = this.#attach(client, domid);
    // order: a terminal is attached before the domain runs, so that its first line is seen.
    const attached = terminal ? (await console).run(io) : undefined;
    // Without one it is there for ^C alone, and the domain may have ended meanwhile.
    const ignored = terminal ? undefined : console.then(connection => connection.ignore()).catch(() => {});
    const ended = client.call('runEnd', { domid });
    await client.call('unpause', { domid });
    const end = await Promise.race([ended, this.#stop(), ...(attached ? [left(attached)] : [])]);
    await Promise.all([streams?.ended(), attached, ignored]);
    const { aborted, reason } = io.unread();
    // Not all that it has written is there.
    if (aborted && reason !== 'SIGPIPE') return FAILED;
    return this.#exitCode(end);
  }
  async #attach(client: ToolstackClient, domid: number): Promise<ConsoleConnection> {
    const { path } = await client.call('console', { domid });
    this.#console = await ConsoleConnection.open(path);
    return this.#console;
  }
  /** Rejects when the run is to end. */
  #stop(): Promise<never> {
    const { signal } = this.#stopped;
    return new Promise((_, reject) => {
      if (signal.aborted) reject(signal.reason);
      signal.addEventListener('abort', () => reject(signal.reason), { once: true });
    });
  }
  #exitCode({ reason, exitCode, why }: RunEnd): number {
    if (exitCode !== null) return exitCode;
    const { name } = this.#domain.config;
    if (reason === null) this.#context.err(`xl run: '${name}' was destroyed`);
    else if (reason === SHUTDOWN_crash)
      this.#context.err(`xl run: '${name}' crashed${why === null ? '' : `: ${escapeControls(why)}`}`);
    else this.#context.err(`xl run: '${name}' shut down before its program had ended`);
    return FAILED;
  }
}

/** A bridge that nobody has made would be made for the vif, with nobody on it. */
async function checkBridges(client: ToolstackClient, { vifs }: ProgramDomain['config']): Promise<void> {
  if (vifs.length === 0) return;
  const bridges = await client.call('bridges', {});
  for (const { bridge } of vifs) {
    if (bridge === null || bridges.some(({ name }) => bridge === name || isVlanOf(bridge, name))) continue;
    throw new CommandFailure(`xl run: --net ${bridge}: the host has no bridge of this name`, FAILED);
  }
}
/** `br0.10`, `br0:20:30`. */
const isVlanOf = (bridge: string, name: string): boolean =>
  bridge.startsWith(name) && '.:'.includes(bridge[name.length]!);

function withSockets(
  pvcalls: ProgramDomain['config']['pvcalls'],
  streams: ProgramStreams | undefined,
): ProgramDomain['config']['pvcalls'] {
  if (streams === undefined) return pvcalls;
  const [first] = pvcalls;
  const own = first ?? emptyPvcalls(0);
  return [{ ...own, sockets: streams.sockets }];
}

/** ^] was typed: whoever ran the program does not want it any more. */
async function left(attached: Promise<'detached' | 'closed'>): Promise<RunEnd> {
  if ((await attached) === 'closed') return new Promise(() => {}); // the domain ends, which is told elsewhere
  throw new CommandFailure('xl run: left', FAILED);
}

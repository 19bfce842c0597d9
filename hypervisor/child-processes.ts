// Spawns dom0's process and those of driver domains, and reaps them. Runs in the main thread, which lives as long as the
// process: a child is killed when the thread that spawned it ends.
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa, type Options, type ResultPromise } from 'execa';
import { runPaths, systemClock } from '#pvbus';
import { BoundedLines } from './confinement/bounded-lines.ts';
import { type Command, type Tools, withoutNetwork } from './confinement/launch-command.ts';
import type { Program, ToMain } from './process-messages.ts';

interface Host {
  readonly runDir: string;
  readonly logFd: number;
  /** Where there are namespaces. */
  readonly tools: Tools | undefined;
}
interface Callbacks {
  spawned(id: number, pid: number): void;
  /** `failure`: it has not come to be, and why. */
  exited(id: number, code: number | undefined, signal: string | undefined, failure: string | undefined): void;
  /** A child has printed that it serves. */
  serves(id: number, program: Program): void;
  /** A line that a driver domain has printed: in its name alone it comes to the log. */
  said(id: number, line: string): void;
}

/** What a program prints when it serves. */
const SERVES = 'ready';
/**
 * Small heaps grow when needed; one helper thread is enough. In dom0 a domain that is made leaves 2 MiB of garbage: with
 * V8's least room, what lives is copied at each.
 */
export const NODE_FLAGS: readonly string[] = ['--v8-pool-size=1', '--no-warnings', '--min-semi-space-size=4'];
/** These programs are compiled already (`bin/setup.mjs`). */
const COMPILED = ['--require', fileURLToPath(new URL('./code-load.cjs', import.meta.url))];

/** What a driver domain prints: whoever prints more loses it, and waits for its next line. */
const ALLOWANCE = { clock: systemClock, mostBytes: 256 << 10, bytesPerSecond: 1 << 10 };
const TOO_MUCH_MS = 1000;

/** Is it the 'error' of a child that `spawn` of ChildProcesses has never got hold of? Of that it has told. */
export const isLostChild = (error: Error & { code?: string; syscall?: string }): boolean =>
  (error.code === 'EMFILE' || error.code === 'ENFILE') && error.syscall?.startsWith('spawn ') === true;

/** One of the host's programs, as it is started. */
export function nodeCommand(
  { program, start, failures }: Pick<Extract<ToMain, { op: 'spawn' }>, 'program' | 'start' | 'failures'>,
  runDir: string,
): Command {
  const isHeir = start === 'heir';
  const file = fileURLToPath(new URL(isHeir ? './heir.js' : `./${program}`, import.meta.url));
  const args = isHeir ? [program.replace('.js', ''), '--heir'] : [];
  args.push('--parent', String(process.pid));
  if (program !== 'driver-domain.js') args.push('--run-dir', resolve(runDir));
  if (start === 'successor' || isHeir) args.push('--successor');
  if (failures > 0 && program === 'driver-domain.js') args.push('--failures', String(failures));
  if (start === 'take-over') args.push('--take-over', runPaths(runDir).takeOverSocket);
  return { file: process.execPath, args: [...NODE_FLAGS, ...COMPILED, file, ...args] };
}

export class ChildProcesses {
  private readonly host: Host;
  private readonly callbacks: Callbacks;
  private readonly running = new Map<number, ResultPromise>();

  constructor(host: Host, callbacks: Callbacks) {
    this.host = host;
    this.callbacks = callbacks;
  }
  /** Start a program with `sockets` as its descriptors 3, 4, … */
  spawn(message: Extract<ToMain, { op: 'spawn' }>): void {
    const { id, program, sockets, vcpus } = message;
    const ofDom0 = program !== 'driver-domain.js';
    const options: Options = {
      // execa takes any descriptor; its types stop at 9.
      stdio: ['ignore', 'pipe', ofDom0 ? this.host.logFd : 'pipe', ...sockets] as unknown as NonNullable<
        Options['stdio']
      >,
      // The process of any other domain sees nothing of the host's environment. What of it are certificates, Node reads
      // at each start, for as long as all else takes it; none of these programs asks anybody for one.
      env: { ...(ofDom0 && process.env), NODE_EXTRA_CA_CERTS: undefined, XENOLITH_VCPUS: vcpus },
      extendEnv: false,
      buffer: false,
      reject: false,
      forceKillAfterDelay: false,
    };
    const { runDir, tools } = this.host;
    const node = nodeCommand(message, runDir);
    const command = ofDom0 || tools === undefined ? node : withoutNetwork(tools, node);
    let child: ResultPromise;
    try {
      child = execa(command.file, command.args, options);
    } catch (error) {
      // execa does not expect a child without streams, which is what Node makes of EMFILE (see isLostChild).
      const why = error instanceof Error ? error.message : String(error);
      this.callbacks.exited(id, undefined, undefined, `its process cannot be started: no descriptors left? (${why})`);
      return;
    }
    this.running.set(id, child);
    if (child.pid !== undefined) this.callbacks.spawned(id, child.pid);
    child.stdout?.on('data', chunk => {
      for (const line of String(chunk).split('\n')) if (line === SERVES) this.callbacks.serves(id, program);
    });
    if (!ofDom0) this.hear(child, line => this.callbacks.said(id, line));
    child.then(result => {
      this.running.delete(id);
      const failure = child.pid === undefined ? `its process cannot be started: ${result.code}` : undefined;
      this.callbacks.exited(id, result.exitCode, result.signal, failure);
    });
  }
  private hear(child: ResultPromise, said: (line: string) => void): void {
    const { stderr } = child;
    const lines = new BoundedLines(said, ALLOWANCE);
    let hasEnded = false;
    stderr?.on('data', (chunk: Buffer) => {
      if (lines.take(chunk) || hasEnded) return;
      stderr.pause();
      setTimeout(() => stderr.resume(), TOO_MUCH_MS);
    });
    stderr?.on('end', () => lines.end());
    // Its end is heard when its last words have been, and somebody may be about to take its place.
    child.once('exit', () => {
      hasEnded = true;
      stderr?.resume();
    });
  }
  /** SIGKILL. */
  kill(id: number): void {
    this.running.get(id)?.kill('SIGKILL');
  }
  /** SIGKILL to every child; resolves when all have been reaped. */
  async killAll(): Promise<void> {
    const children = [...this.running.values()];
    for (const child of children) child.kill('SIGKILL');
    await Promise.allSettled(children);
  }
}

// Spawns the host's processes and reaps them. Runs in the main thread, which lives as long as the
// process: a child is killed when the thread that spawned it ends.
import { fileURLToPath } from 'node:url';
import { execa, type Options, type ResultPromise } from 'execa';
import { runPaths } from '#pvbus';
import type { Program, ToMain } from './process-messages.ts';

interface Callbacks {
  spawned(id: number, pid: number): void;
  exited(id: number, code: number | undefined, signal: string | undefined): void;
  /** A child has printed that it serves. */
  serves(id: number, program: Program): void;
}

/** What a program prints when it serves. */
const SERVES: ReadonlySet<string> = new Set(['ready', 'listening']);
/** V8 in a domain: small heaps grow when needed; one helper thread is enough for a vCPU. */
const NODE_FLAGS = ['--v8-pool-size=1', '--no-warnings'];
/** A shell collects its garbage while it waits, not when it is needed. */
const SHELL_FLAGS = ['--expose-gc'];
/** In dom0 a domain that is made leaves 2 MiB of garbage: with V8's least room, what lives is copied at each. */
const DOM0_FLAGS = ['--min-semi-space-size=4'];

export class ChildProcesses {
  private readonly host: { readonly runDir: string; readonly logFd: number };
  private readonly callbacks: Callbacks;
  private readonly running = new Map<number, ResultPromise>();

  constructor(host: { readonly runDir: string; readonly logFd: number }, callbacks: Callbacks) {
    this.host = host;
    this.callbacks = callbacks;
  }
  /** Start a program with `sockets` as its descriptors 3, 4, … */
  spawn({ id, program, sockets, vcpus, start }: Extract<ToMain, { op: 'spawn' }>): void {
    const file = fileURLToPath(new URL(`./${program}`, import.meta.url));
    const isShell = program === 'domain-shell.cjs';
    const { runDir } = this.host;
    const args = isShell ? [String(process.pid)] : ['--run-dir', runDir, '--parent', String(process.pid)];
    if (start === 'successor') args.push('--successor');
    if (start === 'take-over') args.push('--take-over', runPaths(runDir).takeOverSocket);
    const options: Options = {
      // execa takes any descriptor; its types stop at 9.
      stdio: ['ignore', isShell ? this.host.logFd : 'pipe', this.host.logFd, ...sockets] as unknown as NonNullable<
        Options['stdio']
      >,
      // A domain's process sees nothing of the host's environment.
      env: isShell ? {} : { ...process.env, XENOLITH_VCPUS: vcpus },
      extendEnv: false,
      buffer: false,
      reject: false,
      forceKillAfterDelay: false,
    };
    const child = execa(
      process.execPath,
      [...NODE_FLAGS, ...(isShell ? SHELL_FLAGS : DOM0_FLAGS), file, ...args],
      options,
    );
    this.running.set(id, child);
    if (child.pid !== undefined) this.callbacks.spawned(id, child.pid);
    child.stdout?.on('data', chunk => {
      for (const line of String(chunk).split('\n')) if (SERVES.has(line)) this.callbacks.serves(id, program);
    });
    child.then(result => {
      this.running.delete(id);
      this.callbacks.exited(id, result.exitCode, result.signal);
    });
  }
  /** SIGKILL to every child; resolves when all have been reaped. */
  async killAll(): Promise<void> {
    const children = [...this.running.values()];
    for (const child of children) child.kill('SIGKILL');
    await Promise.allSettled(children);
  }
}

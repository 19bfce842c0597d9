// The host that `xl up` starts when none runs: the hypervisor, which starts the rest.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { checkSockets, lastWordsOf, removeSockets, runPaths, XenError } from '#pvbus';
import { keptBuild } from '../kept-build.ts';
import { ToolstackClient } from '../toolstack-client.ts';

/** The program and its arguments before `--run-dir`. */
export const hostProgram = (): string[] => [
  join(keptBuild(fileURLToPath(new URL('.', import.meta.url))), 'hypervisor.js'),
];
/** Of a host whose run directory goes with it. */
export const temporaryHost = (): string[] => [...hostProgram(), '--temporary'];

const READY_MS = 30_000;
const POLL_MS = 20;
/** How long the host may take to end by itself, and then once it was told to. */
const END_MS = 5_000;
const TERM_MS = 1_000;
const JUST_NOW_MS = 200;

// A process group of its own: Ctrl-C is for us, and the host ends when its domains have been taken down. Told who
// its parent is, it ends with us however we end.
const spawnHost = (runDir: string, program: readonly string[]) =>
  execa(process.execPath, [...program, '--run-dir', runDir, '--parent', String(process.pid)], {
    reject: false,
    all: true,
    stdin: 'ignore',
    detached: true,
  });

export class HostProcess {
  readonly runDir: string;
  readonly #process: ReturnType<typeof spawnHost>;
  /** Whatever ends us takes the host along. */
  readonly #exit = (): void => void this.#process.kill('SIGTERM');
  /** Where it can be read later. */
  readonly #log: string | undefined;
  #over = false;

  private constructor(runDir: string, program: readonly string[]) {
    this.runDir = runDir;
    this.#log = program.includes('--temporary') ? undefined : runPaths(runDir).hostLog;
    this.#process = spawnHost(runDir, program);
    process.once('exit', this.#exit);
    void this.#process.then(() => {
      this.#over = true;
      process.off('exit', this.#exit);
      removeSockets(runDir); // one that was killed could not
    });
  }

  /** Resolves when its toolstack answers. Nothing is left of it when this rejects, but the log of one that is not temporary. */
  static async start(runDir: string, program: readonly string[], signal: AbortSignal): Promise<HostProcess> {
    checkSockets(runDir);
    const host = new HostProcess(runDir, program);
    try {
      await host.#ready(signal);
      return host;
    } catch (error) {
      await host.kill();
      throw error;
    }
  }

  get pid(): number | undefined {
    return this.#process.pid;
  }

  /** Resolves when the process is gone, with its exit code or signal. */
  async ended(): Promise<string> {
    const { exitCode, signal } = await this.#process;
    return signal ?? `exit code ${exitCode}`;
  }

  /** Where more is to be read of it, if anywhere: ` (more in FILE)`. */
  get more(): string {
    return this.#log !== undefined && existsSync(this.#log) ? ` (more in ${this.#log})` : '';
  }

  /** How it ended, if it has; a connection may break a moment before that is known. */
  async hasEnded(): Promise<string | null> {
    return (await this.#endsWithin(JUST_NOW_MS)) ? this.ended() : null;
  }

  /** It was asked to end by its toolstack; what does not is made to. */
  async stop(): Promise<void> {
    if (await this.#endsWithin(END_MS)) return;
    await this.kill();
  }

  async kill(): Promise<void> {
    this.#process.kill('SIGTERM');
    if (await this.#endsWithin(TERM_MS)) return;
    this.#process.kill('SIGKILL');
    await this.#process;
  }

  async #endsWithin(ms: number): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>(resolve => {
      timer = setTimeout(resolve, ms);
    });
    await Promise.race([this.#process, late]);
    clearTimeout(timer);
    return this.#over;
  }

  async #ready(signal: AbortSignal): Promise<void> {
    const path = runPaths(this.runDir).toolstackSocket;
    const deadline = performance.now() + READY_MS;
    while (!this.#over && performance.now() < deadline) {
      signal.throwIfAborted();
      try {
        (await ToolstackClient.connect(path)).close();
        return;
      } catch {
        await this.#endsWithin(POLL_MS);
      }
    }
    const host = `the host on ${this.runDir}`;
    if (!this.#over) throw new XenError('ETIMEDOUT', `${host} does not answer after ${READY_MS / 1000} s${this.more}`);
    const { all, exitCode, signal: by, message } = await this.#process;
    const why = lastWordsOf(String(all ?? '')) ?? message ?? by ?? `exit code ${exitCode}`;
    throw new XenError('EIO', `${host} did not start: ${why}${this.more}`);
  }
}

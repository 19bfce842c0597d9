// `xl run` as a process whose streams are a test's.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { dist } from '../host-view.ts';

/** Where prepared programs are kept between runs of the tests, instead of the user's own cache. */
export const PROGRAM_CACHE = join(tmpdir(), `xenolith-programs-${process.getuid?.()}`, 'cache');

export interface ProgramRun {
  readonly stdout: Buffer;
  readonly stderr: string;
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export class XlRun {
  readonly pid: number;
  readonly ended: Promise<ProgramRun>;
  readonly #child;
  stdout = Buffer.alloc(0);
  #stderr = '';

  /** `args` are those of `xl run`; stdin stays open when it is null. */
  constructor(runDir: string, args: readonly string[], stdin: string | Uint8Array | null = '') {
    const child = spawn(process.execPath, [dist('xl.js'), 'run', ...args], {
      env: { ...process.env, XDG_CACHE_HOME: PROGRAM_CACHE, XENOLITH_RUN_DIR: runDir },
    });
    this.#child = child;
    this.pid = child.pid!;
    child.stdout.on('data', chunk => {
      this.stdout = Buffer.concat([this.stdout, chunk]);
    });
    child.stderr.on('data', chunk => {
      this.#stderr += chunk;
    });
    child.stdin.on('error', () => {}); // the program may end without having read it
    if (stdin !== null) child.stdin.end(stdin);
    this.ended = once(child, 'close').then(([code, signal]) => ({
      ...{ stdout: this.stdout, stderr: this.#stderr },
      ...{ code: code as number | null, signal: signal as NodeJS.Signals | null },
    }));
  }
  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }
}

/** To its end; stdout as text. */
export async function xlRun(runDir: string, args: readonly string[], stdin = '') {
  const { stdout, stderr, code } = await new XlRun(runDir, args, stdin).ended;
  return { stdout: stdout.toString(), stderr, code };
}

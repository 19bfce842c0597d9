// Runs xl in this process: every stream a buffer, the host whichever toolstack the test names.

import { randomBytes } from 'node:crypto';
import { PassThrough } from 'node:stream';
import type { XlIo } from '../../tools/commands/command.ts';
import { runXl } from '../../tools/run-xl.ts';

export interface XlRun {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface XlCall {
  readonly dir?: string;
  readonly cwd?: string;
  readonly stdin?: XlIo['stdin'];
  readonly env?: NodeJS.ProcessEnv;
  readonly interrupted?: () => AbortSignal;
  /** Sees what is printed as it is printed. */
  readonly onOutput?: (all: string) => void;
}

class Collector extends PassThrough {
  text = '';
  constructor(onOutput: (all: string) => void) {
    super();
    this.on('data', (chunk: Buffer) => {
      this.text += chunk.toString();
      onOutput(this.text);
    });
  }
}

export async function xl(argv: readonly string[], call: XlCall = {}): Promise<XlRun> {
  const stdout = new Collector(call.onOutput ?? (() => {}));
  const stderr = new Collector(call.onOutput ?? (() => {}));
  const stdin = call.stdin ?? new PassThrough().end();
  const code = await runXl(argv, {
    stdin,
    stdout,
    stderr,
    env: { XENOLITH_RUN_DIR: call.dir ?? '/nonexistent/xenolith', ...call.env },
    cwd: call.cwd ?? '/',
    random: bytes => Uint8Array.from(randomBytes(bytes)),
    interrupted: call.interrupted ?? (() => new AbortController().signal),
  });
  await new Promise(resolve => setImmediate(resolve)); // what was written has been collected
  return { code, stdout: stdout.text, stderr: stderr.text };
}

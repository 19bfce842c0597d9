// Runs xl in this process: every stream a buffer, the host whichever toolstack the test names.

import { randomBytes } from 'node:crypto';
import { PassThrough } from 'node:stream';
import type { CommandSpec, RunCommand, XlIo } from '../../tools/commands/command.ts';
import { DEFAULT_XL_CONF } from '../../tools/config/xl-conf.ts';
import { runCommand, runXl } from '../../tools/run-xl.ts';

export interface XlRun {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface XlCall {
  readonly dir?: string;
  readonly cwd?: string;
  readonly xl?: string;
  readonly xlConf?: string;
  readonly stdin?: XlIo['stdin'];
  readonly env?: NodeJS.ProcessEnv;
  readonly interrupted?: () => AbortSignal;
  /** Its stdout is a terminal so wide. */
  readonly columns?: number;
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

export function xl(argv: readonly string[], call: XlCall = {}): Promise<XlRun> {
  return xlIo(call, io => runXl(argv, io));
}

/** One command with another body than its own. */
export function xlCommand(spec: CommandSpec, run: RunCommand, call: XlCall, args: readonly string[]): Promise<XlRun> {
  const global = { verbose: 0, dryRun: false, force: false };
  return xlIo(call, io => runCommand({ ...spec, load: async () => ({ run }) }, args, global, io, DEFAULT_XL_CONF));
}

/** Any program of ours that takes its streams. */
export async function xlIo(call: XlCall, body: (io: XlIo) => Promise<number>): Promise<XlRun> {
  const terminal = call.columns === undefined ? {} : { isTTY: true, columns: call.columns };
  const stdout = Object.assign(new Collector(call.onOutput ?? (() => {})), terminal);
  const stderr = new Collector(call.onOutput ?? (() => {}));
  const code = await body({
    stdin: call.stdin ?? new PassThrough().end(),
    stdout,
    stderr,
    env: { ...call.env, XENOLITH_RUN_DIR: call.dir ?? '/nonexistent/xenolith' },
    cwd: call.cwd ?? '/',
    xl: call.xl ?? 'xl',
    xlConf: call.xlConf ?? '/nonexistent/xl.conf',
    random: bytes => Uint8Array.from(randomBytes(bytes)),
    interrupted: call.interrupted ?? (() => new AbortController().signal),
    unread: () => new AbortController().signal,
  });
  await new Promise(resolve => setImmediate(resolve)); // what was written has been collected
  return { code, stdout: stdout.text, stderr: stderr.text };
}

// The streams and signals of this process, as a program of ours takes them.

import { fileURLToPath } from 'node:url';
import type { XlIo } from './commands/command.ts';
import { XL_CONF } from './config/xl-conf.ts';
import { spellingOf } from './spelling.ts';

/** Not argv's, which is `dist/xl.js` under `npm start`. */
const xlFile = (): string => fileURLToPath(new URL('../bin/xl', import.meta.url));

/** `name` is the program's, for what it says itself. */
export function processIo(name: string): XlIo {
  let unread: AbortController | undefined;
  for (const stream of [process.stdout, process.stderr]) {
    let failed = false;
    stream.on('error', ({ code, message }: NodeJS.ErrnoException) => {
      if (failed) return;
      failed = true;
      // `xl list | head -1`: whoever read the output has seen enough.
      const isRead = code === 'EPIPE';
      if (!isRead && stream !== process.stderr) process.stderr.write(`${name}: write error: ${message}\n`);
      if (unread === undefined) process.exit(isRead ? 0 : 1);
      unread.abort(isRead ? 'SIGPIPE' : code);
    });
  }
  return {
    get stdin() {
      return process.stdin; // made when asked for: most commands never do
    },
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    cwd: process.cwd(),
    get xl() {
      return spellingOf(xlFile(), this.cwd, process.env.PATH);
    },
    xlConf: XL_CONF,
    // Not node:crypto's, which takes milliseconds to load, before anybody asks.
    random: bytes => crypto.getRandomValues(new Uint8Array(bytes)),
    interrupted,
    unread: () => {
      unread ??= new AbortController();
      return unread.signal;
    },
  };
}

function interrupted(): AbortSignal {
  const abort = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (abort.signal.aborted) process.exit(1); // asked twice: at once, and whatever is ours goes too
      abort.abort(signal);
    });
  }
  return abort.signal;
}

/** The process ends with what `run` resolves with. */
export function exitWith(name: string, run: Promise<number>): void {
  run.then(
    exitCode => {
      process.exitCode = exitCode;
    },
    error => {
      process.stderr.write(`${name}: ${error instanceof Error ? (error.stack ?? error.message) : error}\n`);
      process.exitCode = 70; // EX_SOFTWARE
    },
  );
}

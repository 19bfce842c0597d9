// A shell with a user: prompts, lines, ^C.
import { readLine, type Waiting, writeText } from '../process/transfer.ts';
import { ExitShell, Interrupted, LeaveLoop } from './leaving.ts';
import { parse } from './parser.ts';
import type { Shell } from './shell.ts';
import { IncompleteInput } from './syntax.ts';

export function* converse(shell: Shell): Waiting<number> {
  const { self, system } = shell;
  const { terminal } = system;
  shell.interactive = true;
  terminal.foreground = self.pgid;
  terminal.leader = self.pgid;
  const [stdin, , stderr] = shell.stdio;
  let text = '';
  for (;;) {
    try {
      for (const line of shell.jobs.changes()) yield* writeText(stderr, `${line}\n`);
      yield* writeText(stderr, text === '' ? `${system.machine.name}:${shell.cwd}# ` : '> ');
      const line = yield* interruptible(shell, readLine(stdin));
      if (line === undefined && text === '') {
        yield* writeText(stderr, 'exit\n');
        return shell.status;
      }
      text += `${line ?? ''}\n`;
      const list = parse(text, line !== undefined);
      text = '';
      yield* interruptible(shell, shell.list(list, shell.stdio));
    } catch (error) {
      if (error instanceof ExitShell) return error.code;
      if (error instanceof IncompleteInput) continue;
      text = '';
      if (error instanceof Interrupted) shell.status = 130;
      else if (!(error instanceof LeaveLoop)) yield* shell.complain(error, stderr);
    }
  }
}
/** Throws Interrupted into what waits when the user has had enough. */
function* interruptible<T>(shell: Shell, inner: Waiting<T>): Waiting<T> {
  shell.interrupted = false;
  for (let next = inner.next(); ; ) {
    if (next.done) return next.value;
    yield next.value;
    if (shell.interrupted) {
      shell.interrupted = false;
      next = inner.throw(new Interrupted());
    } else next = inner.next();
  }
}

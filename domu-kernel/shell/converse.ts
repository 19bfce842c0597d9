// A shell with a user: prompts, lines, ^C.
import { readLine, tell, type Waiting, writeText } from '../process/transfer.ts';
import { takeTerminal } from './job-control.ts';
import { ExitShell, Interrupted, LeaveLoop, Replaced, ReturnFrom } from './leaving.ts';
import { parseLines } from './parser.ts';
import type { Shell } from './shell.ts';
import { IncompleteInput } from './syntax.ts';

export function* converse(shell: Shell): Waiting<unknown> {
  const giveBack = yield* takeTerminal(shell);
  shell.interactive = true;
  shell.jobControl = true;
  shell.setOption('m', true);
  try {
    return yield* conversation(shell);
  } finally {
    giveBack();
    shell.interactive = false;
    shell.jobControl = false;
  }
}
function* conversation(shell: Shell): Waiting<unknown> {
  const { system } = shell;
  let text = '';
  for (;;) {
    const [stdin, , stderr] = shell.io.stdio;
    try {
      for (const line of shell.jobs.changes()) yield* tell(stderr, line);
      yield* writeText(stderr, text === '' ? `${system.machine.name}:${shell.cwd}# ` : '> ');
      const line = yield* interruptible(shell, readLine(stdin));
      if (line === undefined && text === '') {
        if (yield* shell.warns()) continue;
        yield* tell(stderr, 'exit');
        return;
      }
      text += `${line ?? ''}\n`;
      const list = parseLines(text, line !== undefined);
      if (list instanceof IncompleteInput) continue;
      text = '';
      shell.warned = shell.warned === 'now';
      yield* interruptible(shell, shell.list(list));
    } catch (error) {
      if (error instanceof ExitShell || error instanceof Replaced) throw error;
      if (error instanceof IncompleteInput) continue;
      text = '';
      if (error instanceof Interrupted) shell.status = 130;
      else if (!(error instanceof LeaveLoop || error instanceof ReturnFrom)) yield* shell.complain(error);
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

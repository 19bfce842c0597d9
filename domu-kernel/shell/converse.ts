// A shell with a user: prompts, lines, ^C.
import { readLine, tell, type Waiting, writeText } from '../process/transfer.ts';
import { YIELD } from '../process/wait.ts';
import { ExitShell, Interrupted, LeaveLoop, Replaced, ReturnFrom } from './leaving.ts';
import { parseLines } from './parser.ts';
import type { Shell } from './shell.ts';
import { IncompleteInput } from './syntax.ts';

export function* converse(shell: Shell): Waiting<unknown> {
  const { self, system } = shell;
  const { terminal, processes } = system;
  const { pgid } = self;
  // One in the background waits until it has the terminal, as others do that read.
  while (terminal.foreground !== 0 && terminal.foreground !== pgid && !self.ignores('SIGTTIN')) {
    processes.killGroup(pgid, 'SIGTTIN');
    yield YIELD;
  }
  const { foreground, leader } = terminal;
  // Of a group of its own: the keys are not to end who has started it.
  self.pgid = self.pid;
  terminal.foreground = self.pgid;
  terminal.leader = self.pgid;
  shell.interactive = true;
  try {
    return yield* conversation(shell);
  } finally {
    self.pgid = pgid;
    terminal.foreground = foreground;
    terminal.leader = leader;
    shell.interactive = false;
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

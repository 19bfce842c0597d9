// Job control: a shell that hands the terminal out to its jobs, each of them a group. With a user it begins with it; `set -m`
// switches it on, and `set +m` off.
import type { Waiting } from '../process/transfer.ts';
import { YIELD } from '../process/wait.ts';
import type { Shell } from './shell.ts';

/** It is of a group of its own from now on, which has the terminal: what it returns takes that back. */
export function* takeTerminal({ self, system }: Shell): Waiting<() => void> {
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
  return () => {
    self.pgid = pgid;
    terminal.foreground = foreground;
    terminal.leader = leader;
  };
}

export function* controlJobs(shell: Shell, on: boolean): Waiting<void> {
  // As dash: a subshell is of a job, and has none of its own.
  if (shell.self.pid !== shell.shellPid) return;
  if (on && !shell.jobControl && !shell.interactive) shell.giveTerminalBack = yield* takeTerminal(shell);
  if (!on) shell.leaveTerminal();
  shell.jobControl = on;
}

// Commands of the shell's own about jobs.
import { XenError } from '#pvbus';
import { NOT_FOUND } from '../process/exec.ts';
import { SIGNALS } from '../process/signals.ts';
import { type Waiting, writeText } from '../process/transfer.ts';
import { Wait } from '../process/wait.ts';
import type { Stdio } from '../userland.ts';
import type { Builtin } from './builtins.ts';
import type { Job } from './jobs.ts';
import type { Shell } from './shell.ts';

function* jobs(shell: Shell, args: readonly string[], io: Stdio): Waiting<number> {
  const options = args.filter(word => /^-[lp]+$/.test(word)).join('');
  const words = args.filter(word => !/^-[lp]+$/.test(word));
  const all = words.length > 0 ? words.map(word => jobOf(shell, word)) : [...shell.jobs.list()];
  for (const job of all) {
    const state = job.update(shell.system.processes);
    const pid = job.processes[0]?.pid;
    const line = options.includes('p') ? `${pid}` : shell.jobs.describe(job, state, options ? `${pid} ` : '');
    yield* writeText(io[1], `${line}\n`);
    job.told = state;
  }
  for (const job of all) if (job.told === 'done') shell.jobs.remove(job);
  return 0;
}
function jobOf(shell: Shell, word: string | undefined): Job {
  const job = shell.jobs.find(word);
  if (job === undefined) throw new XenError('ESRCH', word === undefined ? 'no current job' : `no such job: ${word}`);
  return job;
}
/** The job, of those that have the terminal in turns. */
function controlled(shell: Shell, word: string | undefined): Job {
  const job = jobOf(shell, word);
  if (shell.jobControl && job.isGroup) return job;
  throw new XenError('EINVAL', `job ${word ?? '%+'} was not started under job control`);
}
function* fg(shell: Shell, [word]: readonly string[], io: Stdio): Waiting<number> {
  const job = controlled(shell, word);
  yield* writeText(io[1], `${job.text}\n`);
  job.told = 'running';
  shell.system.terminal.foreground = job.pgid;
  job.kill(shell.system.processes, 'SIGCONT');
  return yield* shell.foreground(job);
}
function* bg(shell: Shell, words: readonly string[], io: Stdio): Waiting<number> {
  for (const word of words.length > 0 ? words : [undefined]) {
    const job = controlled(shell, word);
    job.told = 'running';
    job.kill(shell.system.processes, 'SIGCONT');
    shell.jobs.add(job);
    yield* writeText(io[1], `[${job.id}] ${job.text} &\n`);
  }
  return 0;
}
/** A signal that has a trap ends it at once; the trap runs then. */
function* wait(shell: Shell, args: readonly string[]): Waiting<number> {
  const { processes } = shell.system;
  const all = args.length === 0;
  let status = 0;
  for (const word of all ? shell.jobs.list().map(job => `%${job.id}`) : args) {
    const job = word.startsWith('%') ? jobOf(shell, word) : shell.jobs.ofProcess(Number(word));
    status = NOT_FOUND;
    if (job === undefined) continue;
    let state = job.update(processes);
    for (; state === 'running' || (state === 'stopped' && !shell.jobControl); state = job.update(processes)) {
      if (shell.traps.heard) return 128 + SIGNALS[shell.traps.heard];
      yield new Wait([shell.self.childChanged]);
    }
    if (state === 'done') shell.jobs.remove(job);
    status = job.number;
  }
  return all ? 0 : status;
}

export const JOB_BUILTINS: readonly (readonly [name: string, builtin: Builtin])[] = [
  ['jobs', jobs],
  ['fg', fg],
  ['bg', bg],
  ['wait', wait],
];

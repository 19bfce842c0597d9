// Commands of the shell's own about jobs and processes.
import { XenError } from '#pvbus';
import { signalNamed } from '../process/signals.ts';
import { type Waiting, writeText } from '../process/transfer.ts';
import { Wait, YIELD } from '../process/wait.ts';
import type { Stdio } from '../userland.ts';
import type { Builtin } from './builtins.ts';
import { describe, type Job } from './jobs.ts';
import type { Shell } from './shell.ts';

function* jobs(shell: Shell, _args: readonly string[], io: Stdio): Waiting<number> {
  for (const job of shell.jobs.list()) {
    const state = job.update(shell.system.processes);
    yield* writeText(io[1], `${describe(job, state)}\n`);
    job.told = state;
    if (state === 'done') shell.jobs.remove(job);
  }
  return 0;
}
function jobOf(shell: Shell, word: string | undefined): Job {
  const job = shell.jobs.find(word);
  if (job === undefined) throw new XenError('ESRCH', `${word ?? 'current'}: no such job`);
  return job;
}
function* fg(shell: Shell, [word]: readonly string[], io: Stdio): Waiting<number> {
  const job = jobOf(shell, word);
  yield* writeText(io[1], `${job.text}\n`);
  job.told = 'running';
  shell.system.terminal.foreground = job.pgid;
  shell.system.processes.killGroup(job.pgid, 'SIGCONT');
  return yield* shell.foreground(job, io);
}
function* bg(shell: Shell, [word]: readonly string[], io: Stdio): Waiting<number> {
  const job = jobOf(shell, word);
  job.told = 'running';
  shell.system.processes.killGroup(job.pgid, 'SIGCONT');
  yield* writeText(io[1], `[${job.id}] ${job.text} &\n`);
  return 0;
}
function* wait(shell: Shell, args: readonly string[]): Waiting<number> {
  const { processes } = shell.system;
  const named = args.map(word => shell.jobs.ofProcess(Number(word)) ?? jobOf(shell, word));
  let status = 0;
  for (const job of args.length > 0 ? named : [...shell.jobs.list()]) {
    while (job.update(processes) === 'running') yield new Wait([shell.self.childChanged]);
    if (job.update(processes) === 'done') shell.jobs.remove(job);
    status = args.length > 0 ? job.number : 0;
  }
  return status;
}
function* kill(shell: Shell, args: readonly string[]): Waiting<number> {
  const { processes } = shell.system;
  const named = /^-(?:s)?(.*)$/.exec(args[0] ?? '')?.[1];
  const spelled = named === '' ? args[1] : named;
  const signal = signalNamed(spelled ?? 'SIGTERM');
  if (signal === undefined && spelled !== '0') throw new XenError('EINVAL', `${spelled}: no such signal`);
  const targets = args.slice(named === undefined ? 0 : named === '' ? 2 : 1);
  if (targets.length === 0) throw new XenError('EINVAL', 'whom?');
  for (const target of targets) {
    const pid = Number(target);
    if (target.startsWith('%')) {
      if (signal) processes.killGroup(jobOf(shell, target).pgid, signal);
      continue;
    }
    const process = Number.isInteger(pid) ? processes.get(pid) : undefined;
    if (process === undefined) throw new XenError('ESRCH', `${target}: no such process`);
    if (signal) processes.kill(process, signal);
  }
  // What it has sent to itself comes before what follows.
  if (shell.self.pending.length > 0) yield YIELD;
  return 0;
}

export const JOB_BUILTINS: readonly (readonly [name: string, builtin: Builtin])[] = [
  ['jobs', jobs],
  ['fg', fg],
  ['bg', bg],
  ['wait', wait],
  ['kill', kill],
];

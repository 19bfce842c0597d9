// kill and trap.
import { messageOf, XenError } from '#pvbus';
import { SIGNALS, type SignalName, signalNamed } from '../process/signals.ts';
import { tell, type Waiting, writeText } from '../process/transfer.ts';
import { YIELD } from '../process/wait.ts';
import type { Stdio } from '../userland.ts';
import type { Builtin } from './builtins.ts';
import type { Shell } from './shell.ts';
import type { TrapName } from './traps.ts';

const short = (signal: TrapName): string => signal.replace(/^SIG/, '');

function* kill(shell: Shell, args: readonly string[], io: Stdio): Waiting<number> {
  const [first = ''] = args;
  if (first === '-l') return yield* listed(args.slice(1), io);
  const named = first === '--' ? undefined : /^-(?:s(?=$|[A-Z]))?(.*)$/.exec(first)?.[1];
  const spelled = named === '' ? args[1] : named;
  const signal = spelled === '0' ? '0' : signalNamed(spelled ?? 'SIGTERM');
  if (signal === undefined) throw new XenError('EINVAL', `${spelled}: no such signal`);
  const rest = args.slice(named === '' ? 2 : named !== undefined || first === '--' ? 1 : 0);
  const targets = rest[0] === '--' ? rest.slice(1) : rest;
  if (targets.length === 0) throw new XenError('EINVAL', 'usage: kill [-s signal | -signal] pid | job ..., or kill -l');
  let status = 0;
  for (const target of targets) {
    if (target.startsWith('%')) {
      const job = shell.jobs.find(target);
      if (job === undefined) throw new XenError('ESRCH', `no such job: ${target}`);
      if (signal !== '0') job.kill(shell.system.processes, signal);
    } else if (!send(shell, target, signal)) {
      yield* tell(io[2], `kill: ${target}: no such process`);
      status = 1;
    }
  }
  // What it has sent to itself comes before what follows.
  if (shell.self.pending.length > 0) yield YIELD;
  return status;
}
/** False where there is none. */
function send({ self, system: { processes } }: Shell, target: string, signal: SignalName | '0'): boolean {
  const pid = Number(target);
  if (!/^-?\d+$/.test(target)) throw new XenError('EINVAL', `${target}: no number of a process`);
  if (pid > 0) {
    const process = processes.get(pid);
    if (process && signal !== '0') processes.kill(process, signal);
    return process !== undefined;
  }
  const pgid = pid === 0 ? self.pgid : -pid;
  return (signal === '0' ? processes.group(pgid).length : processes.killGroup(pgid, signal)) > 0;
}
/** Names of signals: of those that numbers or exit codes say, or of all. */
function* listed(words: readonly string[], io: Stdio): Waiting<number> {
  const numbers = words.length > 0 ? words.map(word => Number(word) % 128) : Object.values(SIGNALS);
  for (const number of numbers) {
    const signal = signalNamed(String(number));
    if (signal === undefined) throw new XenError('EINVAL', `${number}: no such signal`);
    yield* writeText(io[1], `${short(signal)}\n`);
  }
  return 0;
}

function* trap(shell: Shell, args: readonly string[], io: Stdio): Waiting<number> {
  const nameOf = (word: string): TrapName => {
    const name = word === '0' || word === 'EXIT' ? 'EXIT' : signalNamed(word);
    if (name === undefined) throw new XenError('EINVAL', `${word}: bad trap`);
    return name;
  };
  const { actions } = shell.traps;
  const [action = '', ...words] = args[0] === '--' ? args.slice(1) : args;
  if (args.length === 0) {
    const order = (name: TrapName): number => (name === 'EXIT' ? 0 : SIGNALS[name]);
    for (const [name, text] of [...actions].sort(([a], [b]) => order(a) - order(b)))
      yield* writeText(io[1], `trap -- '${text.replaceAll("'", `'"'"'`)}' ${short(name)}\n`);
    return 0;
  }
  const resets = action === '-' || words.length === 0 || /^\d+$/.test(action);
  try {
    for (const word of resets && action !== '-' ? [action, ...words] : words) {
      if (resets) actions.delete(nameOf(word));
      else actions.set(nameOf(word), action);
    }
    return 0;
  } catch (error) {
    if (!(error instanceof XenError)) throw error;
    yield* tell(io[2], `trap: ${messageOf(error)}`);
    return 1;
  } finally {
    shell.self.ignored = shell.traps.ignored;
  }
}

export const SIGNAL_BUILTINS: readonly (readonly [name: string, builtin: Builtin])[] = [
  ['kill', kill],
  ['trap', trap],
];

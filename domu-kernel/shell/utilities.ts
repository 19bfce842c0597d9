// The programs that a guest has without any in its file systems: processes like others, by the kernel's own code.
import { messageOf, XenError } from '#pvbus';
import type { Utility } from '../process/exec.ts';
import type { Process } from '../process/process.ts';
import { type Waiting, writeText } from '../process/transfer.ts';
import type { Stdio, Userland } from '../userland.ts';
import { FILE_UTILITIES } from './file-utilities.ts';
import { Shell } from './shell.ts';
import { ShellError } from './syntax.ts';
import { SYSTEM_UTILITIES } from './system-utilities.ts';
import { TEXT_UTILITIES } from './text-utilities.ts';

export interface Call {
  readonly system: Userland;
  readonly self: Process;
  /** Those that begin with '-', letter by letter; '--' ends them. */
  readonly options: ReadonlySet<string>;
  readonly args: readonly string[];
  /** As they were given. */
  readonly words: readonly string[];
  readonly io: Stdio;
}
export interface UtilityProgram {
  /** Letters that may be given. */
  readonly options: string;
  readonly run: (call: Call) => Waiting<number> | number;
}

export function utilities(system: Userland): ReadonlyMap<string, Utility> {
  const programs = Object.entries({ ...FILE_UTILITIES, ...TEXT_UTILITIES, ...SYSTEM_UTILITIES });
  const all = programs.map(([name, program]) => [name, asUtility(system, name, program)] as const);
  const sh: Utility = process => new Shell(system, process).main(process.argv.slice(1));
  return new Map([...all, ['sh', sh]]);
}

function asUtility(system: Userland, name: string, { options: known, run }: UtilityProgram): Utility {
  return function* (self) {
    const { fds } = self;
    const io: Stdio = [fds.get(0).file, fds.get(1).file, fds.get(2).file];
    const words = self.argv.slice(1);
    const options = new Set<string>();
    try {
      let at = 0;
      for (; known !== '' && /^-./.test(words[at] ?? ''); at++) {
        if (words[at] === '--') {
          at++;
          break;
        }
        for (const letter of words[at]!.slice(1)) {
          if (!known.includes(letter)) throw new XenError('EINVAL', `-${letter}: no such option`);
          options.add(letter);
        }
      }
      const code = run({ system, self, options, args: words.slice(at), words, io });
      return typeof code === 'number' ? code : yield* code;
    } catch (error) {
      if (!(error instanceof XenError || error instanceof ShellError)) throw error;
      yield* writeText(io[2], `${name}: ${messageOf(error)}\n`);
      return 1;
    }
  };
}

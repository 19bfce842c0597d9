// The programs that a guest has without any in its file systems: processes like others, by the kernel's own code.
import type { Utility } from '../process/exec.ts';
import type { Userland } from '../userland.ts';
import { COPYING } from './copying.ts';
import { FILE_UTILITIES } from './file-utilities.ts';
import { ip } from './ip.ts';
import { ls } from './ls.ts';
import { Shell } from './shell.ts';
import { SYSTEM_UTILITIES } from './system-utilities.ts';
import { TEXT_UTILITIES } from './text-utilities.ts';
import { asUtility } from './utility.ts';

/** Of the shell's own commands those that others start too, as `env` and `exec` do. */
const PROGRAMS_TOO = ['[', 'echo', 'false', 'kill', 'printf', 'pwd', 'test', 'true'];

export function utilities(system: Userland): ReadonlyMap<string, Utility> {
  const programs = Object.entries({ ip, ls, ...COPYING, ...FILE_UTILITIES, ...TEXT_UTILITIES, ...SYSTEM_UTILITIES });
  const all = programs.map(([name, program]) => [name, asUtility(system, name, program)] as const);
  const sh: Utility = process => new Shell(system, process).main(process.argv.slice(1));
  const builtins = PROGRAMS_TOO.map((name): [string, Utility] => [name, self => new Shell(system, self).asProgram()]);
  return new Map([...all, ...builtins, ['sh', sh]]);
}

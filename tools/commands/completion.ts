// xl completion: a script for the shell, made from the table of commands.

import { SCRIPTS, type Shell } from '../completion/scripts.ts';
import { completedCommand } from '../completion/words.ts';
import { ABSENT_COMMANDS } from './absent.ts';
import type { RunCommand } from './command.ts';
import { commandLine } from './options.ts';
import { COMMANDS } from './table.ts';

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, '', [], 1);
  if (typeof line === 'number') return line;
  const [shell] = line.args;
  if (!Object.hasOwn(SCRIPTS, shell!)) {
    context.err(`xl completion: ${shell}: expected ${Object.keys(SCRIPTS).join(', ')}`);
    return 2;
  }
  const absent = new Set(ABSENT_COMMANDS.map(({ name }) => name));
  const commands = COMMANDS.filter(({ name }) => !absent.has(name)).map(completedCommand);
  context.io.stdout.write(SCRIPTS[shell as Shell](commands)); // one of its keys, as just checked
  return 0;
};

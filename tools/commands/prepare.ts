// xl prepare

import { readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { messageOf, prepareProgram } from '#pvbus';
import { CommandFailure, type RunCommand } from './command.ts';
import { commandLine } from './options.ts';

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, '', [], 2);
  if (typeof line === 'number') return line;
  const [from, to] = line.args.map(path => resolve(context.io.cwd, path));
  try {
    writeFileSync(to!, prepareProgram(readFileSync(from!)), { mode: 0o755 });
  } catch (error) {
    throw new CommandFailure(`xl prepare: ${line.args[0]}: ${messageOf(error)}`);
  }
  return 0;
};

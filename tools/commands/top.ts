// xl top

import { runXentop } from '../xentop/run.ts';
import type { RunCommand } from './command.ts';
import { commandLine } from './options.ts';

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, '', [], 0);
  if (typeof line === 'number') return line;
  return runXentop('xentop', [], context.io);
};

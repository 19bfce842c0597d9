// xl set-parameters

import { CommandFailure, type RunCommand } from './command.ts';
import { commandLine } from './options.ts';

/** Xen: newer hypervisors have no such operation either, hypfs took its place; none of ours changes at run time. */
export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, '', [], 1);
  if (typeof line === 'number') return line;
  await context.connect();
  context.err('libxl: error: setting parameters: Function not implemented');
  throw new CommandFailure(`cannot set parameters: ${line.args[0]}`);
};

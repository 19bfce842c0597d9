// xl debug-keys

import { CommandFailure, type RunCommand } from './command.ts';
import { commandLine } from './options.ts';

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, '', [], 1);
  if (typeof line === 'number') return line;
  const keys = line.args[0]!;
  const client = await context.connect();
  try {
    await client.call('debugKeys', { keys });
    return 0;
  } catch (error) {
    context.complain(error);
    throw new CommandFailure(`cannot send debug keys: ${keys}`);
  }
};

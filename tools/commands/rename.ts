// xl rename

import type { RunCommand } from './command.ts';
import { CommandFailure } from './command.ts';
import { findDomain } from './find-domain.ts';
import { commandLine } from './options.ts';

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, '', [], 2);
  if (typeof line === 'number') return line;
  const [old, name] = line.args as [string, string];
  const client = await context.connect();
  const domid = await findDomain(client, old);
  try {
    await client.call('rename', { domid, name });
  } catch (error) {
    context.complain(error);
    throw new CommandFailure(`Can't rename domain '${old}'.`);
  }
  return 0;
};

// xl destroy

import { rcOf } from '../toolstack-client.ts';
import { CommandFailure, type RunCommand } from './command.ts';
import { findDomain } from './find-domain.ts';
import { commandLine } from './options.ts';

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, 'f', [], 1);
  if (typeof line === 'number') return line;
  const force = line.options.has('f');
  const client = await context.connect();
  const domid = await findDomain(client, line.args[0]!);
  if (domid === 0 && !force) throw new CommandFailure('Not destroying domain 0; use -f to force.');
  try {
    await client.call('destroy', { domid, force });
    return 0;
  } catch (error) {
    context.complain(error);
    throw new CommandFailure(`destroy failed (rc=${rcOf(error)})`);
  }
};

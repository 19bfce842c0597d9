// xl pause

import type { RunCommand } from './command.ts';
import { findDomain } from './find-domain.ts';
import { commandLine } from './options.ts';

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, '', [], 1);
  if (typeof line === 'number') return line;
  const client = await context.connect();
  const domid = await findDomain(client, line.args[0]!);
  // Xen: xl says what went wrong and exits with 0 all the same.
  await client.call('pause', { domid }).catch(error => context.complain(error));
  return 0;
};

// xl trigger: a button or an interrupt of hardware, of which a PV guest has none.

import type { RunCommand } from './command.ts';
import { CommandFailure } from './command.ts';
import { findDomain } from './find-domain.ts';
import { commandLine } from './options.ts';

const TRIGGERS = ['nmi', 'reset', 'init', 'power', 'sleep', 's3resume'];

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, '', [], 2);
  if (typeof line === 'number') return line;
  const [name, trigger] = line.args as [string, string];
  const client = await context.connect();
  const domid = await findDomain(client, name);
  if (!TRIGGERS.includes(trigger)) throw new CommandFailure(`Invalid trigger "${trigger}"`);
  // Xen: xl says that it failed and exits with 0 all the same.
  context.err(`libxl: error: Domain ${domid}:Send trigger '${trigger}' failed: Function not implemented`);
  return 0;
};

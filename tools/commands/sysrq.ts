// xl sysrq

import { withStore } from '../store/connect-store.ts';
import type { RunCommand } from './command.ts';
import { findDomain } from './find-domain.ts';
import { commandLine } from './options.ts';

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, '', [], 2);
  if (typeof line === 'number') return line;
  const [name, letter] = line.args as [string, string];
  if (letter.length !== 1) {
    context.err('Invalid sysrq.\n');
    return context.usage(1);
  }
  const client = await context.connect();
  const domid = await findDomain(client, name);
  await withStore(context.io.env, store => store.write(`/local/domain/${domid}/control/sysrq`, letter));
  return 0;
};

// xl fault remove

import type { RunCommand } from '../command.ts';
import { commandLine } from '../options.ts';

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, '', [], 1);
  if (typeof line === 'number') return line;
  const client = await context.connect();
  for (const word of line.args) {
    const [plan = '', fault = null] = word.split(':');
    await client.call('removeFaults', word === 'all' ? { plan: null, fault: null } : { plan, fault });
  }
  return 0;
};

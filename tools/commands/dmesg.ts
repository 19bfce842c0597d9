// xl dmesg

import type { RunCommand } from './command.ts';
import { commandLine } from './options.ts';

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, 'c', [], 0);
  if (typeof line === 'number') return line;
  const client = await context.connect();
  const { text } = await client.call('dmesg', { clear: line.options.has('c') });
  context.io.stdout.write(text);
  return 0;
};

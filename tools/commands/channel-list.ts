// xl channel-list: there are no channels here, so it is the header, as the real one prints it for a domain without.

import { left, right } from '../columns.ts';
import type { RunCommand } from './command.ts';
import { findDomain } from './find-domain.ts';
import { printJson } from './json-output.ts';
import { commandLine } from './options.ts';

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, '', [], 1);
  if (typeof line === 'number') return line;
  const client = await context.connect();
  if (line.options.has('json')) {
    for (const name of line.args) await findDomain(client, name);
    return printJson(context, []);
  }
  const titles = [left('Idx', 3), left('BE', 2), left('state', 5), left('evt-ch', 6), right('ring-ref', 8)];
  context.out([...titles, left('connection', 10), left('', 30)].join(' '));
  for (const name of line.args) await findDomain(client, name);
  return 0;
};

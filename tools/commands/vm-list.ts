// xl vm-list

import { left } from '../columns.ts';
import type { RunCommand } from './command.ts';
import { printJson } from './json-output.ts';
import { commandLine } from './options.ts';

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, '', [], 0);
  if (typeof line === 'number') return line;
  const client = await context.connect();
  const domains = await client.call('list', { domid: null });
  if (line.options.has('json')) {
    return printJson(
      context,
      domains.map(({ domid, name, uuid }) => ({ domid, name, uuid })),
    );
  }
  context.out('UUID                                  ID    name');
  for (const { uuid, domid, name } of domains) context.out(`${uuid}  ${domid}    ${left(name ?? '(null)', 30)}`);
  return 0;
};

// xl sharing: no two domains have a page in common unless one granted it, so there is never any.

import { left, right } from '../columns.ts';
import type { RunCommand } from './command.ts';
import { printJson } from './json-output.ts';
import { listDomains } from './list.ts';
import { commandLine } from './options.ts';

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, '', [], 0);
  if (typeof line === 'number') return line;
  const client = await context.connect();
  const domains = await listDomains(client, line.args[0]);
  if (line.options.has('json')) {
    return printJson(
      context,
      domains.map(({ domid, name, current_kb }) => ({ domid, name, memory_kib: current_kb, shared_kib: 0 })),
    );
  }
  context.out(`Name${' '.repeat(40)}ID   Mem Shared`);
  for (const { name, domid, current_kb } of domains) {
    context.out(
      `${left(name ?? '(null)', 40)} ${right(domid, 5)} ${right(Math.floor(current_kb / 1024), 5)}  ${right(0, 5)}`,
    );
  }
  return 0;
};

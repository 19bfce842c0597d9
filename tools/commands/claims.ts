// xl claims: the list of domains with what each has claimed and not got yet.

import type { RunCommand } from './command.ts';
import { domainJson, printJson } from './json-output.ts';
import { domainTable, listDomains } from './list.ts';
import { commandLine } from './options.ts';

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, '', [], 0);
  if (typeof line === 'number') return line;
  if (!context.conf.claim_mode) context.err('claim_mode not enabled (see man xl.conf).');
  const client = await context.connect();
  const domains = await listDomains(client, undefined);
  if (line.options.has('json')) return printJson(context, domains.map(domainJson));
  context.io.stdout.write(domainTable(domains, { claims: true }));
  return 0;
};

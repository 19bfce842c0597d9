// xl domid

import { XenError } from '#pvbus';
import { CommandFailure, type RunCommand } from './command.ts';
import { printJson } from './json-output.ts';
import { commandLine } from './options.ts';

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, '', [], 1);
  if (typeof line === 'number') return line;
  const name = line.args[0]!;
  const client = await context.connect();
  try {
    const { domid } = await client.call('domid', { name });
    if (line.options.has('json')) return printJson(context, { domid, name });
    context.out(String(domid));
    return 0;
  } catch (error) {
    if (!(error instanceof XenError) || error.code !== 'ENOENT') throw error;
    throw new CommandFailure(`Can't get domid of domain name '${name}', maybe this domain does not exist.`);
  }
};

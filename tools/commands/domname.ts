// xl domname

import { XenError } from '#pvbus';
import { CommandFailure, type RunCommand } from './command.ts';
import { printJson } from './json-output.ts';
import { commandLine } from './options.ts';

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, '', [], 1);
  if (typeof line === 'number') return line;
  const text = line.args[0]!;
  if (!/^[0-9]{1,5}$/.test(text) || Number(text) > 0x7fef) throw new CommandFailure('Invalid domain id.\n');
  const domid = Number(text);
  const client = await context.connect();
  try {
    const { name } = await client.call('domname', { domid });
    if (line.options.has('json')) return printJson(context, { domid, name });
    context.out(name);
    return 0;
  } catch (error) {
    if (!(error instanceof XenError) || !['ESRCH', 'ENOENT'].includes(error.code)) throw error;
    throw new CommandFailure(`Can't get domain name of domain id '${domid}', maybe this domain does not exist.`);
  }
};

// What `xl mem-set` and `xl mem-max` have in common: a domain and a size.

import { parseMemorySize } from '../config/memory-size.ts';
import { type CommandContext, CommandFailure } from './command.ts';
import { findDomain } from './find-domain.ts';
import { commandLine } from './options.ts';

export async function setMemory(
  args: readonly string[],
  context: CommandContext,
  op: 'setMemoryTarget' | 'setMaxMemory',
  which: 'dynamic' | 'static',
): Promise<number> {
  const line = commandLine(args, context, '', [], 2);
  if (typeof line === 'number') return line;
  const [name, size] = line.args as [string, string];
  const client = await context.connect();
  const domid = await findDomain(client, name);
  const kib = parseMemorySize(size);
  if (kib === null) throw new CommandFailure(`invalid memory size: ${size}`);
  try {
    await client.call(op, { domid, kib });
  } catch (error) {
    context.complain(error);
    throw new CommandFailure(`cannot set domid ${domid} ${which} max memory to : ${size}`);
  }
  return 0;
}

// xl console

import { ConsoleConnection } from '../attach-console.ts';
import { CommandFailure, type RunCommand } from './command.ts';
import { findDomain } from './find-domain.ts';
import { commandLine } from './options.ts';

const TYPES = ['pv', 'serial', 'vuart'];

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, 'n:t:', [], 1);
  if (typeof line === 'number') return line;
  const type = line.value('t') ?? 'pv';
  if (!TYPES.includes(type)) throw new CommandFailure(`console type supported are: ${TYPES.join(', ')}`, 2);
  const number = line.value('n') ?? '0';
  if (type !== 'pv' || !/^0+$/.test(number)) {
    throw new CommandFailure(`Unable to attach console: a domain has console 0 of type pv, not ${number} of ${type}`);
  }
  const client = await context.connect();
  const domid = await findDomain(client, line.args[0]!);
  try {
    const { path } = await client.call('console', { domid });
    const console = await ConsoleConnection.open(path);
    client.close(); // a console may stay open for days; the toolstack need not hold a connection for it
    await console.run(context.io);
    return 0;
  } catch (error) {
    context.complain(error);
    throw new CommandFailure('Unable to attach console');
  }
};

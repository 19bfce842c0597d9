// xl dump-core

import { resolve } from 'node:path';
import { rcOf } from '../toolstack-client.ts';
import { CommandFailure, type RunCommand } from './command.ts';
import { findDomain } from './find-domain.ts';
import { commandLine } from './options.ts';

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, '', [], 2);
  if (typeof line === 'number') return line;
  const [name, file] = line.args as [string, string];
  const client = await context.connect();
  const domid = await findDomain(client, name);
  try {
    await client.call('dumpCore', { domid, path: resolve(context.io.cwd, file) });
    return 0;
  } catch (error) {
    context.complain(error);
    throw new CommandFailure(`core dump failed (rc=${rcOf(error)})`);
  }
};

// xl config-update

import type { DomainConfig } from '#pvbus';
import { readConfig, readConfigFile } from '../config/read-config.ts';
import { ConfigError } from '../config/settings.ts';
import { libxlConfig } from '../libxl-json.ts';
import { yajl } from '../yajl.ts';
import { type CommandContext, CommandFailure, type RunCommand } from './command.ts';
import { findDomain } from './find-domain.ts';
import { commandLine } from './options.ts';

export const run: RunCommand = async (args, context) => {
  if (args[0] === '-h' || args[0] === '--help') return context.usage(0);
  const [name, ...more] = args;
  if (name === undefined || name.startsWith('-')) {
    context.err('xl config-update requires a domain argument');
    return context.usage(1);
  }
  context.err(
    'WARNING: xl now has better capability to manage domain configuration, avoid using this command when possible',
  );
  const client = await context.connect();
  const domid = await findDomain(client, name);
  // Xen: the file may come before the options, as with create.
  const leads = more[0] !== undefined && !more[0].startsWith('-') && !more[0].includes('=');
  const line = commandLine(
    leads ? more.slice(1) : more,
    context,
    'df:q',
    [{ name: 'defconfig', as: 'f', value: true }],
    0,
  );
  if (typeof line === 'number') return line;
  const file = line.value('f') ?? (leads ? more[0] : undefined);
  if (file === undefined) throw new CommandFailure('Config file not specified');
  const config = configOf(file, line.args, context);
  if (line.options.has('d')) context.io.stdout.write(yajl(libxlConfig(config, null)));
  context.err(`setting dom${domid} configuration`);
  try {
    await client.call('updateConfig', { domid, config });
    return 0;
  } catch (error) {
    context.complain(error);
    throw new CommandFailure('failed to update configuration');
  }
};

function configOf(file: string, assignments: readonly string[], { io, err }: CommandContext): DomainConfig {
  try {
    return readConfig(readConfigFile(file, io.cwd), file, assignments, { cwd: io.cwd, random: io.random, warn: err });
  } catch (error) {
    if (error instanceof ConfigError) throw new CommandFailure(error.message);
    throw error;
  }
}

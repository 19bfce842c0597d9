// xl block-attach

import { resolve } from 'node:path';
import { readDisk } from '../config/device-config.ts';
import { ConfigError } from '../config/settings.ts';
import { diskJson } from '../libxl-json.ts';
import { yajl } from '../yajl.ts';
import { CommandFailure, type RunCommand } from './command.ts';
import { findDomain } from './find-domain.ts';
import { commandLine } from './options.ts';

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, '', [], 2);
  if (typeof line === 'number') return line;
  const [name, ...spec] = line.args as [string, ...string[]];
  const client = await context.connect();
  const domid = await findDomain(client, name);
  const disk = diskOf(spec.join(','), context.io.cwd);
  if (context.global.dryRun) {
    context.io.stdout.write(`disk: ${yajl(diskJson(disk, false))}\n`);
    return 0;
  }
  try {
    await client.call('attachDisk', { domid, disk });
  } catch (error) {
    context.complain(error);
    throw new CommandFailure('libxl_device_disk_add failed.');
  }
  return 0;
};

function diskOf(spec: string, cwd: string) {
  try {
    return readDisk(spec, 'command line', path => resolve(cwd, path));
  } catch (error) {
    if (error instanceof ConfigError) throw new CommandFailure(error.message, error.exitCode);
    throw error;
  }
}

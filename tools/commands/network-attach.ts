// xl network-attach

import type { VifConfig } from '#pvbus';
import { readVif } from '../config/device-config.ts';
import { ConfigError } from '../config/settings.ts';
import { nicJson } from '../libxl-json.ts';
import { yajl } from '../yajl.ts';
import { type CommandContext, CommandFailure, type RunCommand } from './command.ts';
import { findDomain } from './find-domain.ts';
import { commandLine } from './options.ts';

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, '', [], 1);
  if (typeof line === 'number') return line;
  const [name, ...parts] = line.args as [string, ...string[]];
  const client = await context.connect();
  const domid = await findDomain(client, name);
  const { dryRun } = context.global;
  const vif = vifOf(parts.join(','), context, !dryRun);
  const anyDevid = !parts.some(part => /(^|,) *devid=/.test(part));
  if (dryRun) {
    const { devid, ...json } = nicJson(vif, false);
    context.io.stdout.write(`vif: ${yajl(anyDevid ? json : { devid: devid!, ...json })}\n`);
    return 0;
  }
  try {
    await client.call('attachVif', { domid, vif, anyDevid });
  } catch (error) {
    context.complain(error);
    throw new CommandFailure('libxl_device_nic_add failed.');
  }
  return 0;
};

function vifOf(spec: string, { io, err, conf }: CommandContext, withMac: boolean): VifConfig {
  try {
    return readVif(spec, 0, withMac ? io.random : null, err, conf.vif);
  } catch (error) {
    if (error instanceof ConfigError) throw new CommandFailure(error.message, error.exitCode);
    throw error;
  }
}

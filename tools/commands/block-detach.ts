// xl block-detach

import { XenError } from '#pvbus';
import { vdevNumber } from '../config/vdev.ts';
import { CommandFailure, type RunCommand } from './command.ts';
import { findDomain } from './find-domain.ts';
import { commandLine } from './options.ts';

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, 'f', [{ name: 'force', as: 'f' }], 2);
  if (typeof line === 'number') return line;
  const [name, vdev] = line.args as [string, string];
  const client = await context.connect();
  const domid = await findDomain(client, name);
  const devid = vdevNumber(vdev);
  const none = new CommandFailure(`Error: Device ${vdev} not connected.`);
  if (devid === null) throw none;
  const force = line.options.has('f') || context.global.force;
  try {
    await client.call('detach', { domid, type: 'vbd', devid, force });
  } catch (error) {
    if (error instanceof XenError && (error.code === 'ENOENT' || error.code === 'ESRCH')) throw none;
    context.complain(error);
    throw new CommandFailure('libxl_device_disk_remove failed.');
  }
  return 0;
};

// xl network-detach

import { XenError } from '#pvbus';
import { withStore } from '../store/connect-store.ts';
import { type CommandContext, CommandFailure, type RunCommand } from './command.ts';
import { findDomain } from './find-domain.ts';
import { guestDevices } from './guest-devices.ts';
import { commandLine } from './options.ts';

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, '', [], 2);
  if (typeof line === 'number') return line;
  const [name, which] = line.args as [string, string];
  const client = await context.connect();
  const domid = await findDomain(client, name);
  const devid = await vifNumber(domid, which, context);
  if (devid === undefined) throw new CommandFailure(`Unknown device ${which}.`);
  try {
    await client.call('detach', { domid, type: 'vif', devid, force: context.global.force });
  } catch (error) {
    if (error instanceof XenError && (error.code === 'ENOENT' || error.code === 'ESRCH')) {
      throw new CommandFailure(`Unknown device ${which}.`);
    }
    context.complain(error);
    throw new CommandFailure('libxl_device_nic_del failed.');
  }
  return 0;
};

/** A vif by its number or its mac. */
async function vifNumber(domid: number, which: string, { io }: CommandContext): Promise<number | undefined> {
  if (/^[0-9]{1,3}$/.test(which)) return Number(which) <= 255 ? Number(which) : undefined;
  if (!/^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$/.test(which)) return undefined;
  return withStore(io.env, async store => {
    for (const { devid, backendKey } of await guestDevices(store, domid, 'vif'))
      if ((await backendKey('mac'))?.toLowerCase() === which.toLowerCase()) return devid;
    return undefined;
  });
}

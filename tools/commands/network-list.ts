// xl network-list

import { left, right } from '../columns.ts';
import { withStore } from '../store/connect-store.ts';
import type { RunCommand } from './command.ts';
import { findDomain } from './find-domain.ts';
import { type GuestDevice, guestDevices, numberOr } from './guest-devices.ts';
import { commandLine } from './options.ts';

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, '', [], 1);
  if (typeof line === 'number') return line;
  const client = await context.connect();
  const titles = [left('Idx', 3), left('BE', 2), left('Mac Addr.', 17), left('handle', 6), left('state', 5)];
  context.out(
    [...titles, left('evt-ch', 6), `${right('tx-', 5)}/${left('rx-ring-ref', 5)}`, left('BE-path', 30)].join(' '),
  );
  for (const name of line.args) {
    const domid = await findDomain(client, name);
    await withStore(context.io.env, async store => {
      for (const device of await guestDevices(store, domid, 'vif')) context.out(await row(device));
    });
  }
  return 0;
};

async function row({ devid, backend, backendDomid, frontendKey, backendKey }: GuestDevice): Promise<string> {
  const [mac, handle, state, port, tx, rx] = await Promise.all([
    backendKey('mac'),
    numberOr(backendKey('handle'), devid),
    numberOr(frontendKey('state')),
    numberOr(frontendKey('event-channel')),
    numberOr(frontendKey('tx-ring-ref')),
    numberOr(frontendKey('rx-ring-ref')),
  ]);
  const numbers = `${right(handle, 6)} ${right(state, 5)} ${right(port, 6)} ${right(tx, 5)}/${left(rx, 11)}`;
  return `${left(devid, 3)} ${left(backendDomid, 2)} ${mac ?? '00:00:00:00:00:00'}${numbers} ${left(backend, 30)}`;
}

// xl network-list

import { left, right } from '../columns.ts';
import { withStore } from '../store/connect-store.ts';
import type { ToolstackClient } from '../toolstack-client.ts';
import type { CommandContext, RunCommand } from './command.ts';
import { findDomain } from './find-domain.ts';
import { type GuestDevice, guestDevices, numberOr, stateName } from './guest-devices.ts';
import { orNull, printJson } from './json-output.ts';
import { commandLine } from './options.ts';

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, '', [], 1);
  if (typeof line === 'number') return line;
  const client = await context.connect();
  if (line.options.has('json')) return asJson(line.args, client, context);
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

async function asJson(names: readonly string[], client: ToolstackClient, context: CommandContext): Promise<number> {
  const list: unknown[] = [];
  for (const name of names) {
    const domid = await findDomain(client, name);
    await withStore(context.io.env, async store => {
      for (const device of await guestDevices(store, domid, 'vif')) {
        const { devid, backend, backendDomid } = device;
        const { mac, handle, state, port, tx, rx } = await nodesOf(device);
        list.push({
          ...{ domid, devid, backend_domid: backendDomid, mac: mac ?? null, handle },
          ...{ state: stateName(state), event_channel: orNull(port), tx_ring_ref: orNull(tx), rx_ring_ref: orNull(rx) },
          backend,
        });
      }
    });
  }
  return printJson(context, list);
}

async function nodesOf({ devid, frontendKey, backendKey }: GuestDevice) {
  const [mac, handle, state, port, tx, rx] = await Promise.all([
    backendKey('mac'),
    numberOr(backendKey('handle'), devid),
    numberOr(frontendKey('state')),
    numberOr(frontendKey('event-channel')),
    numberOr(frontendKey('tx-ring-ref')),
    numberOr(frontendKey('rx-ring-ref')),
  ]);
  return { mac, handle, state, port, tx, rx };
}

async function row(device: GuestDevice): Promise<string> {
  const { devid, backend, backendDomid } = device;
  const { mac, handle, state, port, tx, rx } = await nodesOf(device);
  const numbers = `${right(handle, 6)} ${right(state, 5)} ${right(port, 6)} ${right(tx, 5)}/${left(rx, 11)}`;
  return `${left(devid, 3)} ${left(backendDomid, 2)} ${mac ?? '00:00:00:00:00:00'}${numbers} ${left(backend, 30)}`;
}

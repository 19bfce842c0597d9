// xl block-list

import { left } from '../columns.ts';
import { withStore } from '../store/connect-store.ts';
import { CommandFailure, type RunCommand } from './command.ts';
import { findDomain } from './find-domain.ts';
import { type GuestDevice, guestDevices, numberOr, stateName } from './guest-devices.ts';
import { orNull, printJson } from './json-output.ts';
import { commandLine } from './options.ts';

const row = (...[vdev, be, handle, state, port, ref, path]: (string | number)[]): string =>
  [
    left(vdev!, 5),
    left(be!, 3),
    left(handle!, 6),
    left(state!, 5),
    left(port!, 6),
    left(ref!, 8),
    left(path!, 30),
  ].join(' ');

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, '', [], 1);
  if (typeof line === 'number') return line;
  const client = await context.connect();
  const json = line.options.has('json');
  const list: unknown[] = [];
  if (!json) context.out(row('Vdev', 'BE', 'handle', 'state', 'evt-ch', 'ring-ref', 'BE-path'));
  for (const name of line.args) {
    let domid: number;
    try {
      domid = await findDomain(client, name);
    } catch (error) {
      // Xen: a name that is nobody's is said, and the others are listed all the same.
      if (!(error instanceof CommandFailure)) throw error;
      context.err(`${name} is an invalid domain identifier`);
      continue;
    }
    await withStore(context.io.env, async store => {
      for (const device of await guestDevices(store, domid, 'vbd')) {
        if (json) list.push(await deviceJson(domid, device));
        else context.out(await describe(domid, device));
      }
    });
  }
  return json ? printJson(context, list) : 0;
};

async function nodesOf({ frontendKey }: GuestDevice): Promise<[state: number, port: number, ref: number]> {
  return Promise.all([
    numberOr(frontendKey('state')),
    numberOr(frontendKey('event-channel')),
    numberOr(frontendKey('ring-ref')),
  ]);
}

async function deviceJson(domid: number, device: GuestDevice): Promise<unknown> {
  const { devid, backend, backendDomid, backendKey } = device;
  const [state, port, ref] = await nodesOf(device);
  const [vdev, target, mode] = await Promise.all([backendKey('dev'), backendKey('params'), backendKey('mode')]);
  return {
    ...{ domid, devid, vdev: vdev ?? null, backend_domid: backendDomid, state: stateName(state) },
    ...{ event_channel: orNull(port), ring_ref: orNull(ref), backend },
    ...{ target: target ?? null, writable: mode === 'w' },
  };
}

async function describe(domid: number, device: GuestDevice): Promise<string> {
  const { devid, backend, backendDomid } = device;
  const [state, port, ref] = await nodesOf(device);
  return row(devid, backendDomid, domid, state, port, ref, backend);
}

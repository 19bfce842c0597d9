// A domain's devices as the toolstack noted them in xenstore, with what both ends have written since.

import { childrenOf, readKey, type XenstoreClient } from '#pvbus';

/** Keys of one end of a device. */
export type DeviceKeys = (key: string) => Promise<string | undefined>;

export interface GuestDevice {
  readonly devid: number;
  readonly backend: string;
  readonly backendDomid: number;
  /** What a key of either end holds; undefined where there is none. */
  readonly frontendKey: DeviceKeys;
  readonly backendKey: DeviceKeys;
}

/** In order of their numbers. */
export async function guestDevices(store: XenstoreClient, domid: number, type: string): Promise<GuestDevice[]> {
  const directory = `/libxl/${domid}/device/${type}`;
  const devids = (await childrenOf(store, directory)).map(Number).filter(Number.isInteger);
  const devices: GuestDevice[] = [];
  for (const devid of devids.sort((a, b) => a - b)) {
    const backend = await readKey(store, `${directory}/${devid}/backend`);
    const frontend = await readKey(store, `${directory}/${devid}/frontend`);
    if (backend === undefined || frontend === undefined) continue; // unplugged meanwhile
    devices.push({
      devid,
      backend,
      backendDomid: Number(/^\/local\/domain\/([0-9]+)\//.exec(backend)?.[1] ?? 0),
      frontendKey: name => readKey(store, `${frontend}/${name}`),
      backendKey: name => readKey(store, `${backend}/${name}`),
    });
  }
  return devices;
}

const STATES = [
  'unknown',
  'initialising',
  'init-wait',
  'initialised',
  'connected',
  'closing',
  'closed',
  'reconfiguring',
  'reconfigured',
];

/** Xen: io/xenbus.h, enum xenbus_state. */
export const stateName = (state: number): string => STATES[state] ?? 'unknown';

/** Xen: what a frontend has not said yet is -1. */
export async function numberOr(value: Promise<string | undefined>, otherwise = -1): Promise<number> {
  const text = await value;
  return text !== undefined && /^[0-9]+$/.test(text) ? Number(text) : otherwise;
}

/** What the frontend says, or the backend where the frontend has nothing yet. */
export async function stateOf({ frontendKey, backendKey }: GuestDevice): Promise<string> {
  const state = await numberOr(frontendKey('state'));
  return stateName(state >= 0 ? state : await numberOr(backendKey('state')));
}

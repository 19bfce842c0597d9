// A host at one moment, as `xl ps` and `xl graph` show it: domains with their devices.

import { type DomainInfo, readKey, type XenstoreClient } from '#pvbus';
import { type GuestDevice, guestDevices, numberOr, stateName } from './commands/guest-devices.ts';
import { withStore } from './store/connect-store.ts';
import type { ToolstackClient } from './toolstack-client.ts';

export interface DeviceState {
  readonly type: 'vbd' | 'vif' | 'pvcalls';
  readonly devid: number;
  /** xvda, vif0, pvcalls0. */
  readonly name: string;
  readonly backendDomid: number;
  /** What the frontend says, or the backend where the frontend has nothing yet. */
  readonly state: string;
  readonly backendState: string;
  /** Of a vbd. */
  readonly target: string | null;
  readonly writable: boolean | null;
  /** Of a vif. */
  readonly bridge: string | null;
  readonly mac: string | null;
  /** The frontend's port; null until it has one. */
  readonly eventChannel: number | null;
}

export interface DomainState {
  readonly info: DomainInfo;
  /** null: nobody noted when it began. */
  readonly uptimeSeconds: number | null;
  /** Of one CPU, over CPU_WINDOW_MS; null when that was not asked for. */
  readonly cpuPercent: number | null;
  /** null: not made by the toolstack. */
  readonly restarts: number | null;
  readonly devices: readonly DeviceState[];
}

const CPU_WINDOW_MS = 250;

export async function hostState(
  client: ToolstackClient,
  env: NodeJS.ProcessEnv,
  wantsCpu: boolean,
): Promise<DomainState[]> {
  const earlier = wantsCpu ? await client.call('list', { domid: null }) : [];
  const from = performance.now();
  if (wantsCpu) await new Promise(resolve => setTimeout(resolve, CPU_WINDOW_MS));
  const [domains, restarts] = await Promise.all([client.call('list', { domid: null }), client.call('restarts', {})]);
  const ns = (performance.now() - from) * 1e6;
  return withStore(env, store =>
    Promise.all(
      domains.map(async (info): Promise<DomainState> => {
        const before = earlier.find(({ domid }) => domid === info.domid)?.cpu_time;
        return {
          info,
          uptimeSeconds: await uptime(store, info),
          cpuPercent: before === undefined ? null : Math.max(0, ((info.cpu_time - before) / ns) * 100),
          restarts: restarts.find(({ domid }) => domid === info.domid)?.restarts ?? null,
          devices: await devicesOf(store, info.domid),
        };
      }),
    ),
  );
}

async function uptime(store: XenstoreClient, { domid, uuid }: DomainInfo): Promise<number | null> {
  if (domid === 0) return null; // it has been up as long as the host, which nobody noted
  const start = await readKey(store, `/vm/${uuid}/start_time`);
  return start === undefined ? null : Math.max(0, Math.floor(Date.now() / 1000 - Number(start)));
}

async function devicesOf(store: XenstoreClient, domid: number): Promise<DeviceState[]> {
  const found: DeviceState[] = [];
  for (const type of ['vbd', 'vif', 'pvcalls'] as const) {
    for (const device of await guestDevices(store, domid, type)) found.push(await describe(type, device));
  }
  return found;
}

async function describe(type: DeviceState['type'], device: GuestDevice): Promise<DeviceState> {
  const { devid, backendDomid, frontendKey, backendKey } = device;
  const [state, backendState, port, portTx] = await Promise.all([
    numberOr(frontendKey('state')),
    numberOr(backendKey('state')),
    numberOr(frontendKey('event-channel')),
    numberOr(frontendKey('event-channel-tx')),
  ]);
  const [dev, params, mode, bridge, mac] = await Promise.all(
    ['dev', 'params', 'mode', 'bridge', 'mac'].map(key => backendKey(key)),
  );
  const channel = port >= 0 ? port : portTx;
  return {
    ...{ type, devid, backendDomid },
    name: type === 'vbd' ? (dev ?? `vbd${devid}`) : `${type}${devid}`,
    state: stateName(state >= 0 ? state : backendState),
    backendState: stateName(backendState),
    target: type === 'vbd' ? (params ?? null) : null,
    writable: type === 'vbd' ? mode === 'w' : null,
    bridge: bridge ?? null,
    mac: mac ?? null,
    eventChannel: channel < 0 ? null : channel,
  };
}

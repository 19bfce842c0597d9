// Plug a device into a domain and unplug it again, by xenstore alone: the two ends do the rest.
import {
  childrenOf,
  type Domid,
  errorPath,
  readKey,
  readState,
  stateName,
  XenbusState,
  XenError,
  type XenstoreClient,
} from '#pvbus';
import { type DeviceSpec, deviceNodes } from './devices.ts';
import { removeNodes, writeNodes } from './domain-nodes.ts';
import type { FaultPlans } from './faults/fault-plans.ts';
import { lastSaid } from './host-log.ts';
import { isRunnable, runAddScript, runRemoveScript, type ScriptHost } from './hotplug-script.ts';
import type { ToolstackParts } from './parts.ts';
import { backendPath, frontendPath, libxlDevicePath, libxlPath } from './xenstore-paths.ts';

/** How long a backend may take to open what a device stands for. */
const BACKEND_READY_MS = 20_000;
/** So much of its reason for not doing so is quoted. */
const MAX_SAID = 400;

export interface DevicePaths {
  readonly type: string;
  readonly devid: number;
  readonly backend: string;
  readonly frontend: string;
  readonly libxl: string;
}

export const pathsOf = (domid: Domid, device: DeviceSpec): DevicePaths => ({
  type: device.type,
  devid: device.devid,
  backend: backendPath(device.backendDomid, device.type, domid, device.devid),
  frontend: frontendPath(domid, device.type, device.devid),
  libxl: libxlDevicePath(domid, device.type, device.devid),
});

/**
 * Describe devices to both of their ends; those with a script of dom0's to run, once that has run. Resolves before a
 * backend has looked at them. Throws what a script says is wrong.
 */
export async function addDevices(
  host: ScriptHost & { readonly faults: Pick<FaultPlans, 'making'> },
  domid: Domid,
  devices: readonly DeviceSpec[],
): Promise<void> {
  const { xs } = host;
  const scripted = devices.filter(
    ({ backendDomid, backend }) => backendDomid === 0 && isRunnable(backend.script ?? null),
  );
  // order: a backend takes no device that has no state, which is therefore the last of the nodes.
  const held = scripted.map(device => `${pathsOf(domid, device).backend}/state`);
  const nodes = devices.flatMap(device => deviceNodes(domid, device)).filter(({ path }) => !held.includes(path));
  await host.faults.making(domid, devices, planted => writeNodes(xs, [...nodes, ...planted]));
  for (const device of scripted) {
    const paths = pathsOf(domid, device);
    await runAddScript(host, device.backend.script!, paths);
    await xs.write(`${paths.backend}/state`, String(XenbusState.Initialising));
  }
}

/**
 * Wait until the device's backend serves it: it is in InitWait or beyond. Throws what the backend says is
 * wrong, ETIMEDOUT when it says nothing, e.g. because no such backend runs.
 */
export async function backendReady(
  parts: Pick<ToolstackParts, 'xs' | 'runDir' | 'startedMs'>,
  domid: Domid,
  device: DeviceSpec,
): Promise<void> {
  const { xs } = parts;
  const { backend } = pathsOf(domid, device);
  const name = `${device.type} ${device.devid} of dom${domid}`;
  const state = await waitForState(
    xs,
    backend,
    now => now !== XenbusState.Initialising && now !== XenbusState.Unknown,
    BACKEND_READY_MS,
  );
  if (state === undefined) {
    const driver = `dom${device.backendDomid}: driver-domain.js, `;
    const why = lastSaid(parts, driver);
    // That another one has taken its place is no reason.
    const isKnown = why !== undefined && !why.endsWith('another one takes its place');
    throw new XenError('ETIMEDOUT', `${name}: no backend has taken care of it${isKnown ? `; ${driver}${why}` : ''}`);
  }
  if (state !== XenbusState.Closing && state !== XenbusState.Closed) return;
  // untrusted: a driver domain's own words.
  const said = (await readKey(xs, errorPath(backend)))?.slice(0, MAX_SAID).replace(/\p{Cc}/gu, '?');
  const [, code = 'EIO', why = said] = /^([A-Z0-9]+) (.*)$/s.exec(said ?? '') ?? [];
  throw new XenError(code, why ?? `${name}: its backend went to ${stateName(state)}`);
}

/** Every device of the domain that is there, whoever added it. The primary console is not among them. */
export async function listDevices(xs: XenstoreClient, domid: Domid): Promise<DevicePaths[]> {
  const devices: DevicePaths[] = [];
  for (const type of await childrenOf(xs, `${libxlPath(domid)}/device`)) {
    if (type === 'console') continue;
    for (const devid of await childrenOf(xs, `${libxlPath(domid)}/device/${type}`)) {
      const libxl = libxlDevicePath(domid, type, Number(devid));
      const [backend, frontend] = await Promise.all([
        readKey(xs, `${libxl}/backend`),
        readKey(xs, `${libxl}/frontend`),
      ]);
      if (backend === undefined || frontend === undefined) continue;
      devices.push({ type, devid: Number(devid), backend, frontend, libxl });
    }
  }
  return devices;
}

/** Ask both ends to let go: the frontend follows its backend's state. One that is Closed has nothing to let go of. */
export async function unplug(xs: XenstoreClient, device: Pick<DevicePaths, 'backend'>): Promise<void> {
  await xs.transaction(async tx => {
    const state = await readKey(xs, `${device.backend}/state`, tx);
    if (state === undefined) return;
    // Also of a Closed one: after a connection that has failed its frontend is about to ask for the next.
    await xs.write(`${device.backend}/online`, '0', tx);
    if (Number(state) === XenbusState.Closed) return;
    await xs.write(`${device.backend}/state`, String(XenbusState.Closing), tx);
  });
}

/** Wait until the backend is Closed or its nodes are gone. False when it took too long. */
export async function backendClosed(xs: XenstoreClient, device: DevicePaths, timeoutMs: number): Promise<boolean> {
  const over = (now: XenbusState): boolean => now === XenbusState.Closed || now === XenbusState.Unknown;
  return (await waitForState(xs, device.backend, over, timeoutMs)) !== undefined;
}

/** Have its script clear up after it, and take the nodes away. */
export async function removeDevice(host: ScriptHost, device: DevicePaths): Promise<void> {
  await runRemoveScript(host, device);
  await removeDeviceNodes(host.xs, device);
}

/** Take the nodes away, which also ends a backend that has not closed. */
export async function removeDeviceNodes(xs: XenstoreClient, device: DevicePaths): Promise<void> {
  await removeNodes(xs, [
    device.backend,
    device.frontend,
    device.libxl,
    errorPath(device.backend).replace(/\/error$/, ''),
  ]);
}

/** The state that satisfied `done`; undefined after `timeoutMs`. */
export async function waitForState(
  xs: XenstoreClient,
  path: string,
  done: (state: XenbusState) => boolean,
  timeoutMs: number,
): Promise<XenbusState | undefined> {
  const token = `toolstack:${nextToken++}`;
  let changed: () => void = () => {};
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    changed();
  }, timeoutMs);
  await xs.watch(`${path}/state`, token, () => changed());
  try {
    for (;;) {
      // order: listen, then look; a change in between is heard.
      const next = new Promise<void>(resolve => {
        changed = resolve;
      });
      const state = await readState(xs, path);
      if (done(state)) return state;
      if (timedOut) return undefined;
      await next;
    }
  } finally {
    clearTimeout(timer);
    await xs.unwatch(`${path}/state`, token).catch(() => {}); // the connection is gone: so is the watch
  }
}
let nextToken = 1;

// Plugging a device into a domain that is there already, and unplugging one.
import {
  Cleanup,
  type DiskConfig,
  type DomainConfig,
  type Domid,
  parentOf,
  type ToolstackStep,
  type VifConfig,
  XenError,
  type XenstoreClient,
} from '#pvbus';
import {
  addDevices,
  backendClosed,
  backendReady,
  type DevicePaths,
  listDevices,
  pathsOf,
  removeDevice,
  unplug,
} from './add-device.ts';
import { checkDevices } from './check-config.ts';
import { devicesOf } from './devices.ts';
import type { DomainRecord } from './domain-records.ts';
import { driverDomainsSettled, servedByUs } from './driver-domains.ts';
import type { ToolstackParts } from './parts.ts';

/** Xen: LIBXL_DESTROY_TIMEOUT, how long both ends have to let go of a device. */
const CLOSED_MS = 10_000;

/** The classes that can be plugged: what xenstore calls them. */
export type PluggableType = 'vbd' | 'vif';

/** One of the two. */
export interface Pluggable {
  readonly disk: DiskConfig | null;
  readonly vif: VifConfig | null;
}

/** Resolves when a backend serves the device. Fails with nothing left of it. */
export async function plug(parts: ToolstackParts, record: DomainRecord, { disk, vif }: Pluggable): Promise<void> {
  const { records } = parts;
  const { domid } = record;
  const before = record.config;
  if (disk !== null && before.disks.some(other => other.devid === disk.devid)) {
    throw new XenError('EEXIST', `disk ${disk.vdev}: dom${domid} has one`);
  }
  if (vif !== null && before.vifs.some(other => other.devid === vif.devid || other.mac === vif.mac)) {
    throw new XenError('EEXIST', `vif: dom${domid} has one with devid ${vif.devid} or mac ${vif.mac}`);
  }
  const added: DomainConfig = {
    ...before,
    ...{ disks: disk === null ? [] : [disk], vifs: vif === null ? [] : [vif], pvcalls: [], p9: [] },
  };
  // Until it is over, nobody else is given the same image.
  const release = records.claim(added);
  const undo = new Cleanup();
  try {
    const at = (step: ToolstackStep<'attach'>): Promise<void> | undefined =>
      parts.faults.at('attach', before.name, step);
    await at('config');
    const { backendOf } = await checkDevices(added, records);
    const devices = devicesOf(added, backendOf);
    for (const device of devices) undo.add(device.type, () => removePlugged(parts, pathsOf(domid, device)));
    await at('nodes');
    await addDevices(parts, domid, devices);
    await at('backend');
    for (const device of devices) if (servedByUs(parts, device)) await backendReady(parts, domid, device);
    await at('record');
    const { config } = record;
    const disks = [...config.disks, ...added.disks];
    records.change(domid, { config: { ...config, disks, vifs: [...config.vifs, ...added.vifs] } });
    undo.disarm();
  } finally {
    await undo.run();
    release();
  }
}

/**
 * Resolves when both ends have let go and its nodes are gone. Throws ENOENT when there is no such device, ETIMEDOUT
 * when its backend does not close, unless `force`, which takes the nodes away all the same.
 */
export async function unplugDevice(
  parts: ToolstackParts,
  record: DomainRecord,
  type: PluggableType,
  devid: number,
  force: boolean,
): Promise<void> {
  const { xs, backendsSettled } = parts;
  const { domid } = record;
  const device = (await listDevices(xs, domid)).find(one => one.type === type && one.devid === devid);
  if (device === undefined) throw new XenError('ENOENT', `dom${domid} has no ${type} ${devid}`);
  const at = (step: ToolstackStep<'detach'>): Promise<void> | undefined =>
    parts.faults.at('detach', record.config.name, step);
  await at('unplug');
  await unplug(xs, device);
  await at('closed');
  if (!(await backendClosed(xs, device, CLOSED_MS)) && !force) {
    throw new XenError('ETIMEDOUT', `${type} ${devid} of dom${domid}: not closed after ${CLOSED_MS / 1000} s`);
  }
  await at('nodes');
  await removePlugged(parts, device);
  await backendsSettled();
  await driverDomainsSettled(parts, [device]);
  await at('record');
  const others = <T extends { devid: number }>(list: readonly T[]): T[] => list.filter(one => one.devid !== devid);
  const { config } = record;
  const rest = type === 'vbd' ? { disks: others(config.disks) } : { vifs: others(config.vifs) };
  parts.records.note(domid, { config: { ...config, ...rest } });
}

export async function removePlugged(parts: ToolstackParts, device: DevicePaths): Promise<void> {
  await removeDevice(parts, device);
  await removeIfEmpty(parts.xs, [device.backend, device.frontend, device.libxl].map(parentOf));
}

/** Xen: libxl leaves no empty directories of a class of devices. */
async function removeIfEmpty(xs: XenstoreClient, directories: readonly string[]): Promise<void> {
  await xs.transaction(async tx => {
    for (const path of directories) {
      const children = await xs.directory(path, tx).catch((error): string[] => {
        if (error instanceof XenError && error.code === 'ENOENT') return ['(gone)'];
        throw error;
      });
      if (children.length === 0) await xs.rm(path, tx);
    }
  });
}

/** The lowest number that no vif of the domain has. */
export function freeVifNumber(config: DomainConfig): number {
  let devid = 0;
  while (config.vifs.some(vif => vif.devid === devid)) devid++;
  return devid;
}

/** The domain as it was made. Throws ESRCH for one that was not made here. */
export function recordOf({ records }: ToolstackParts, domid: Domid): DomainRecord {
  const record = records.get(domid);
  if (record === undefined) throw new XenError('ESRCH', `dom${domid} was not made by this toolstack`);
  return record;
}

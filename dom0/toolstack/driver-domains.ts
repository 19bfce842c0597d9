// Domains that serve devices to others: those that are programs of the host's (driver_domain=1 and no kernel), what the
// toolstack asks of them, and what it believes of the answers.
import {
  domid as asDomid,
  type DeviceCounters,
  type DomainConfig,
  type Domid,
  parseDecimal,
  readKey,
  type VbdCounters,
  type VifCounters,
  XenError,
  type XenstoreClient,
} from '#pvbus';
import { type DevicePaths, listDevices } from './add-device.ts';
import type { DeviceSpec } from './devices.ts';
import type { DomainRecords } from './domain-records.ts';
import { lastSaid } from './host-log.ts';
import type { ToolstackParts } from './parts.ts';
import { domainPath } from './xenstore-paths.ts';

/** It is no guest's kernel but the host's own driver domain. */
export const isOwnDriverDomain = ({ driver_domain, kernel }: Pick<DomainConfig, 'driver_domain' | 'kernel'>): boolean =>
  driver_domain && kernel === '';

/** How long one may take to answer. One whose process is just being replaced is late, and missed only in a list. */
const ANSWER_MS = 1000;
/** So often a new one is asked whether it serves. Its process may have to wait for a machine that has no time for it. */
const MAX_ASKED = 60;

export interface DriverDomainParts {
  readonly xs: XenstoreClient;
  readonly records: DomainRecords;
}

/** Is the domid that of a driver domain whose process is the host's program, and which runs? */
export function serves({ records }: Pick<DriverDomainParts, 'records'>, domid: Domid): boolean {
  const record = records.get(domid);
  return record !== undefined && !record.ended && isOwnDriverDomain(record.config);
}

/** Is the device's backend one of ours, in dom0 or in a driver domain? A guest's own may come whenever it likes. */
export const servedByUs = (parts: Pick<DriverDomainParts, 'records'>, { backendDomid }: DeviceSpec): boolean =>
  backendDomid === 0 || serves(parts, backendDomid);

/** The backend's domain. The path is the toolstack's own note. */
export function backendDomidOf({ backend }: Pick<DevicePaths, 'backend'>): Domid {
  return asDomid(Number(/^\/local\/domain\/([0-9]+)\//.exec(backend)?.[1] ?? 0));
}

/** Resolves when the driver domains of these devices have acted on every change of xenstore up to now. */
export async function driverDomainsSettled(
  parts: DriverDomainParts,
  devices: readonly Pick<DevicePaths, 'backend'>[],
): Promise<void> {
  const domids = new Set(devices.map(backendDomidOf));
  await Promise.all([...domids].map(async domid => void (serves(parts, domid) && (await ask(parts.xs, domid)))));
}

/** Resolves when a driver domain that has just been let run serves. Throws why it does not, as soon as that is known. */
export async function driverDomainServes(
  parts: Pick<ToolstackParts, 'xs' | 'records' | 'runDir' | 'startedMs'>,
  domid: Domid,
): Promise<void> {
  for (let asked = 0; asked < MAX_ASKED; asked++) {
    if (await ask(parts.xs, domid)) return;
    const record = parts.records.get(domid);
    if (record === undefined || record.ended || record.phase === 'going')
      throw new XenError('ECANCELED', `dom${domid} has ended before it served`);
    const said = lastSaid(parts, `dom${domid}: driver-domain.js, `);
    // Those that are replaced at once may have been killed.
    const [why] = /^.* \d+ in a row did not serve/.exec(said ?? '') ?? [];
    if (why !== undefined) throw new XenError('EIO', `dom${domid} does not serve: driver-domain.js, ${why}`);
  }
  throw new XenError('ETIMEDOUT', `dom${domid} does not serve after ${(MAX_ASKED * ANSWER_MS) / 1000} s`);
}

/** What they have counted of the devices they serve, by the frontend's domain. */
export async function driverDomainCounters(parts: DriverDomainParts): Promise<DeviceCounters[]> {
  const { xs, records } = parts;
  const users = records.all().filter(({ config }) => [...config.disks, ...config.vifs].some(isElsewhere));
  if (users.length === 0) return [];
  const devices = (
    await Promise.all(users.map(async ({ domid }) => (await listDevices(xs, domid)).map(device => ({ domid, device }))))
  )
    .flat()
    .filter(({ device }) => serves(parts, backendDomidOf(device)));
  await driverDomainsSettled(
    parts,
    devices.map(({ device }) => device),
  );
  const counters = new Map<Domid, { domid: Domid; vifs: VifCounters[]; vbds: VbdCounters[] }>();
  for (const { domid, device } of devices) {
    const of = counters.get(domid) ?? { domid, vifs: [], vbds: [] };
    counters.set(domid, of);
    const numbers = countersIn(await readKey(xs, `${device.backend}/statistics`));
    if (device.type === 'vbd') of.vbds.push(named(device.devid, VBD_KEYS, numbers) as VbdCounters);
    if (device.type === 'vif') of.vifs.push(named(device.devid, VIF_KEYS, numbers) as VifCounters);
  }
  return [...counters.values()];
}

/** dom0's and theirs, in order of domid; the devices of one in order of their number. */
export function mergedCounters(all: readonly DeviceCounters[]): DeviceCounters[] {
  const merged = new Map<number, { domid: DeviceCounters['domid']; vifs: VifCounters[]; vbds: VbdCounters[] }>();
  for (const { domid, vifs, vbds } of all) {
    const of = merged.get(domid) ?? { domid, vifs: [], vbds: [] };
    merged.set(domid, of);
    of.vifs.push(...vifs);
    of.vbds.push(...vbds);
  }
  const byNumber = (a: { devid: number }, b: { devid: number }): number => a.devid - b.devid;
  for (const { vifs, vbds } of merged.values()) {
    vifs.sort(byNumber);
    vbds.sort(byNumber);
  }
  return [...merged.values()].sort((a, b) => a.domid - b.domid);
}

const isElsewhere = ({ backend }: { backend: string | null }): boolean => backend !== null;

const VBD_KEYS = ['oo_req', 'rd_req', 'wr_req', 'rd_sect', 'wr_sect'] as const;
const VIF_KEYS = [
  ...(['rx_bytes', 'rx_packets', 'rx_errors', 'rx_dropped'] as const),
  ...(['tx_bytes', 'tx_packets', 'tx_errors', 'tx_dropped'] as const),
];

/** untrusted: the driver domain's text. Nothing but numbers that are exact, separated by blanks; else none. */
export function countersIn(text: string | undefined): number[] {
  if (text === undefined || !/^[0-9]{1,16}( [0-9]{1,16}){0,15}$/.test(text)) return [];
  const numbers = text.split(' ').map(Number);
  return numbers.every(Number.isSafeInteger) ? numbers : [];
}
function named(devid: number, keys: readonly string[], numbers: readonly number[]): Record<string, number> {
  return Object.fromEntries([['devid', devid], ...keys.map((key, i) => [key, numbers[i] ?? 0])]);
}

/** False when it does not answer in time, or is gone. */
async function ask(xs: XenstoreClient, domid: Domid): Promise<boolean> {
  const data = `${domainPath(domid)}/data`;
  // One more than any before, also than those of a toolstack before this one.
  const number = Math.max(lastQuestion, parseDecimal(await readKey(xs, `${data}/asked`)) ?? 0) + 1;
  lastQuestion = number;
  const token = `question:${number}`;
  let changed: () => void = () => {};
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    changed();
  }, ANSWER_MS);
  await xs.watch(`${data}/answered`, token, () => changed());
  try {
    const isThere = await xs.transaction(async tx => {
      // One that is gone must not come back as this node alone.
      if ((await readKey(xs, domainPath(domid), tx)) === undefined) return false;
      await xs.write(`${data}/asked`, String(number), tx);
      return true;
    });
    if (!isThere) return false;
    for (;;) {
      // order: listen, then look; a change in between is heard.
      const next = new Promise<void>(resolve => {
        changed = resolve;
      });
      // An answer to a later question is one to this.
      if ((parseDecimal(await readKey(xs, `${data}/answered`)) ?? 0) >= number) return true;
      if (late) return false;
      await next;
    }
  } finally {
    clearTimeout(timer);
    await xs.unwatch(`${data}/answered`, token).catch(() => {}); // the connection is gone: so is the watch
  }
}
let lastQuestion = 0;

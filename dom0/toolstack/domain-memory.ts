// How much memory a domain is to have, and how much it may: xl mem-set and mem-max. Nodes and limits are those that
// libxl writes and sets.
import { type Domid, readKey, XenError, type XenstoreClient } from '#pvbus';
import type { ToolstackParts } from './parts.ts';
import { memoryPath, vmPath } from './xenstore-paths.ts';

/** Xen: a domain's limit is this much above its target. */
export const MAXMEM_SLACK_KIB = 1024;
const KIB_PER_MIB = 1024;

type Parts = Pick<ToolstackParts, 'xc' | 'xs' | 'records'>;

/** The guest's balloon is to aim at `kib`. It may never get there. Throws EINVAL beyond the domain's maximum. */
export async function setMemoryTarget(parts: Parts, domid: Domid, kib: number): Promise<void> {
  const { xc, xs } = parts;
  const { uuid } = guestInfo(parts, domid);
  await xs.transaction(async tx => {
    await neededKib(xs, domid, 'target', tx);
    if (kib > (await neededKib(xs, domid, 'static-max', tx)))
      throw new XenError('EINVAL', 'memory_dynamic_max must be less than or equal to memory_static_max');
    xc.maxMem(domid, kib + MAXMEM_SLACK_KIB);
    await xs.write(`${memoryPath(domid)}/target`, String(kib), tx);
    await xs.write(`${vmPath(uuid)}/memory`, String(Math.floor(kib / KIB_PER_MIB)), tx);
  });
}

/** The target may be at most `kib` from now on, and the domain have no more. Throws EINVAL below the target. */
export async function setMaxMemory(parts: Parts, domid: Domid, kib: number): Promise<void> {
  const { xc, xs, records } = parts;
  guestInfo(parts, domid);
  await xs.transaction(async tx => {
    if (kib < (await neededKib(xs, domid, 'target', tx)))
      throw new XenError('EINVAL', 'memory_static_max must be greater than or or equal to memory_dynamic_max');
    xc.maxMem(domid, kib + MAXMEM_SLACK_KIB);
    await xs.write(`${memoryPath(domid)}/static-max`, String(kib), tx);
  });
  const record = records.get(domid);
  if (record !== undefined) records.change(domid, { config: { ...record.config, maxmem: inMib(kib) } });
}

/** What the person asked for is what the domain has when it comes again. */
export function rememberTarget({ records }: Parts, domid: Domid, kib: number): void {
  const record = records.get(domid);
  if (record !== undefined) records.change(domid, { config: { ...record.config, memory: inMib(kib) } });
}

/** What a domain's node says in KiB; undefined when it has none. */
export async function memoryKib(
  xs: XenstoreClient,
  domid: Domid,
  node: 'target' | 'static-max',
  tx = 0,
): Promise<number | undefined> {
  const value = await readKey(xs, `${memoryPath(domid)}/${node}`, tx);
  return value !== undefined && /^[0-9]{1,15}$/.test(value) ? Number(value) : undefined;
}
async function neededKib(xs: XenstoreClient, domid: Domid, node: 'target' | 'static-max', tx: number): Promise<number> {
  const kib = await memoryKib(xs, domid, node, tx);
  if (kib === undefined) throw new XenError('ENOENT', `Cannot get memory info from ${memoryPath(domid)}/${node}`);
  return kib;
}
function guestInfo({ xc }: Parts, domid: Domid): { uuid: string } {
  if (domid === 0) throw new XenError('EINVAL', "domain 0's memory is fixed: guests have theirs from the host");
  const info = xc.domainInfo(domid);
  if (info === undefined) throw new XenError('ESRCH', `there is no dom${domid}`);
  return info;
}
const inMib = (kib: number): number => Math.max(1, Math.ceil(kib / KIB_PER_MIB));

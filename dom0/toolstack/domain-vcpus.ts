// Which of a domain's vCPUs are to be up: xl vcpu-set. The nodes are those that libxl writes for a pv domain.
import { type Domid, XenError } from '#pvbus';
import type { ToolstackParts } from './parts.ts';
import { availabilityPath } from './xenstore-paths.ts';

/** The first `count` are to be up, the others not. The guest acts upon it, or not. */
export async function setVcpus(
  { xc, xs, records }: Pick<ToolstackParts, 'xc' | 'xs' | 'records'>,
  domid: Domid,
  count: number,
): Promise<void> {
  const info = xc.domainInfo(domid);
  if (info === undefined) throw new XenError('ESRCH', `there is no dom${domid}`);
  const max = info.maxVcpuId + 1;
  if (count > max) throw new XenError('ERANGE', `Requested ${count} VCPUs, however maxcpus is ${max}!`);
  await xs.transaction(async tx => {
    const nodes = Array.from({ length: max }, (_, id) =>
      xs.write(availabilityPath(domid, id), id < count ? 'online' : 'offline', tx),
    );
    await Promise.all(nodes);
  });
  const record = records.get(domid);
  if (record !== undefined && count > 0) records.change(domid, { config: { ...record.config, vcpus: count } });
}

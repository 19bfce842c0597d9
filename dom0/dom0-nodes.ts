// What xenstore holds of dom0 itself, and the directories everybody else's nodes go under.
// Xen: what xen-init-dom0 writes.
import type { XenstoreClient } from '#pvbus';
import { BACKEND_TYPES, writeNodes } from './toolstack/domain-nodes.ts';
import { DOM0_NAME } from './toolstack/domain-records.ts';
import { domainPath, PRIVATE, vmPath } from './toolstack/xenstore-paths.ts';

export const DOM0_UUID = '00000000-0000-0000-0000-000000000000';

export async function writeDom0Nodes(xs: XenstoreClient, vcpus: number, memoryKiB: number): Promise<void> {
  const home = domainPath(0);
  await writeNodes(xs, [
    { path: home, value: '', perms: PRIVATE },
    { path: `${home}/name`, value: DOM0_NAME },
    { path: `${home}/domid`, value: '0' },
    { path: `${home}/vm`, value: vmPath(DOM0_UUID) },
    ...Array.from({ length: vcpus }, (_, i) => ({ path: `${home}/cpu/${i}/availability`, value: 'online' })),
    { path: `${home}/memory/static-max`, value: String(memoryKiB) },
    { path: `${home}/memory/target`, value: String(memoryKiB) },
    // Made now, so that what one domain leaves behind can be told from what was always there.
    ...BACKEND_TYPES.flatMap(type => [
      { path: `${home}/backend/${type}`, value: '' },
      { path: `${home}/error/backend/${type}`, value: '' },
    ]),
    { path: '/vm', value: '', perms: PRIVATE },
    { path: vmPath(DOM0_UUID), value: '' },
    { path: `${vmPath(DOM0_UUID)}/name`, value: DOM0_NAME },
    { path: `${vmPath(DOM0_UUID)}/uuid`, value: DOM0_UUID },
    { path: '/libxl', value: '', perms: PRIVATE },
    { path: '/libxl/0/type', value: 'pv' },
  ]);
}

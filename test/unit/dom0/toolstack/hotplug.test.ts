// Act 74, as often as XENOLITH_TEST_ROUNDS says (the list of hostile acts has 10000): the real toolstack, backends, xenstored
// and hypervisor in one thread, and a guest with the real drivers whose devices come and go.
import { afterAll, beforeAll, expect, it } from 'vitest';
import { dumpState } from '../../../../hypervisor/dump.ts';
import { checkInvariants } from '../../../support/core-invariants.ts';
import { SimulatedHost } from '../../../support/simulated-host.ts';
import { disk, net } from './domain-config.ts';

const ROUNDS = Number(process.env.XENOLITH_TEST_ROUNDS ?? 25);
/** A round takes 35 ms; on a machine that others keep busy, ten times as long. */
const LONG = { timeout: 180_000 + ROUNDS * 500 };
const [VDEV, DEVID] = ['xvdb', 51728] as const;
let host: SimulatedHost;
beforeAll(async () => {
  host = await SimulatedHost.start();
});
afterAll(() => host?.stop());

async function nodesBelow(path: string): Promise<string[]> {
  const names = await host.xs.directory(path);
  return [path, ...(await Promise.all(names.map(name => nodesBelow(`${path}/${name}`)))).flat()];
}
/** Domains, event channels and grants as the hypervisor has them, and the nodes of xenstore. */
const inventory = async (): Promise<object> => ({
  hypervisor: ['q', 'e', 'g'].map(key => dumpState(host.core.hypervisor, key)),
  nodes: (await host.run(nodesBelow('/local/domain'))).sort(),
});

it(
  'act 74: a disk and an interface that are plugged and unplugged in a loop leave everything as it was',
  LONG,
  async () => {
    const program = host.program('export default async function main() { await new Promise(() => {}); }');
    const image = host.program('x'.repeat(1 << 16), 'disk.img');
    const { domid: id } = await host.create(`name = "web"\nmemory = 16\nramdisk = "${program}"`);
    const round = async (): Promise<void> => {
      const { toolstack } = host;
      await host.run(toolstack.attachDisk(id, disk({ target: image, vdev: VDEV, devid: DEVID })));
      const devid = await host.run(toolstack.attachVif(id, net(), true));
      await host.run(toolstack.detach(id, 'vif', devid, false));
      await host.run(toolstack.detach(id, 'vbd', DEVID, false));
    };
    await round(); // directories of a class of device stay when the first one has gone
    await host.rest();
    const before = await inventory();
    for (let n = 0; n < ROUNDS; n++) {
      await round();
      checkInvariants(host.core.hypervisor);
    }
    await host.rest();
    expect(await inventory()).toEqual(before);
  },
);

// Twenty domains at once, over and over (XENOLITH_TEST_ROUNDS). Each has what a domain can have: a disk, an interface,
// a port of the host. Of all of them nothing is left: no process, descriptor, memfd, event channel, grant, pool,
// xenstore node or file.
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type DomainConfig, runPaths } from '#pvbus';
import { ToolstackClient } from '../../../tools/toolstack-client.ts';
import { freePort } from '../../support/host-peer.ts';
import { dist, HostRig } from '../../support/host-rig.ts';
import { inventoryAtRest, settled } from '../../support/inventory.ts';
import { eventually } from '../../support/processes.ts';
import { disk, domainConfig, net } from '../../unit/dom0/toolstack/domain-config.ts';

const DOMAINS = 20;
const ROUNDS = Number(process.env.XENOLITH_TEST_ROUNDS ?? 5);

const dir = mkdtempSync(join(tmpdir(), 'xenolith-twenty-'));
let host: HostRig;
let toolstack: ToolstackClient;
let configs: DomainConfig[];
beforeAll(async () => {
  host = await HostRig.start();
  toolstack = await ToolstackClient.connect(runPaths(host.runDir).toolstackSocket);
  const port = await freePort();
  configs = Array.from({ length: DOMAINS }, (_, i) => config(i, port));
});
afterAll(async () => {
  toolstack?.close();
  await host?.stop();
  rmSync(dir, { recursive: true, force: true });
});

/** By turns: with a disk, with an interface, with both, with nothing. The first has a port of the host, too. */
function config(i: number, hostPort: number): DomainConfig {
  const hasDisk = i % 4 === 0 || i % 4 === 2;
  const hasVif = i % 4 === 1 || i % 4 === 2;
  const address = (n: number): string => `10.9.0.${n + 1}`;
  const neighbour = i % 4 === 1 ? i + 1 : i - 1;
  return domainConfig({
    name: `one-of-twenty-${i}`,
    uuid: randomUUID(),
    memory: 16,
    kernel: dist('domu-kernel.js'),
    ramdisk: join(import.meta.dirname, 'guest.ts'),
    cmdline: hasVif ? `ip=${address(i)}:::255.255.255.0 ping=${address(neighbour)}` : '',
    disks: hasDisk ? [disk({ target: image(i) })] : [],
    vifs: hasVif ? [net({ mac: `00:16:3e:00:01:${(16 + i).toString(16)}` })] : [],
    pvcalls:
      i === 0
        ? [
            {
              devid: 0,
              backend: null,
              listen: [{ host: hostPort, guest: 80 }],
              connect: [],
              sockets: null,
              allow: [],
              resolver: null,
            },
          ]
        : [],
  });
}
function image(i: number): string {
  const path = join(dir, `disk-${i}.img`);
  writeFileSync(path, '');
  truncateSync(path, 1 << 20);
  return path;
}
/** One domain's life: created, at work with its devices; the caller destroys it. */
async function create(one: DomainConfig): Promise<number> {
  const { domid } = await toolstack.call('create', { config: one, paused: false, monitor: true });
  const words = `dom${domid} has used its devices`;
  await eventually(`${one.name}: ${words}`, () => host.consoleLog(one.name).includes(words));
  return domid;
}

it(`fault 40: ${DOMAINS} domains at once, ${ROUNDS} times: nothing of them is left`, {
  timeout: 120_000 + ROUNDS * 60_000,
}, async () => {
  const before = await inventoryAtRest(host);
  for (let round = 0; round < ROUNDS; round++) {
    const domids = await Promise.all(configs.map(create));
    expect(new Set(domids).size).toBe(DOMAINS);
    const listed = await toolstack.call('list', { domid: null });
    expect(listed.map(({ domid }) => domid)).toEqual([0, ...domids.sort((a, b) => a - b)]);
    await Promise.all(domids.map(domid => toolstack.call('destroy', { domid, force: false })));
  }
  expect(await settled(host, before)).toEqual(before);
});

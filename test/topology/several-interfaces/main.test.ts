// A guest with a vif on each of two bridges, and a guest on either that asks it: both are answered at the same time, from addresses
// that xl.cfg's vifs say, and an interface that is detached and attached while it runs goes and comes with its address.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { HostRig } from '../../support/host-rig.ts';
import { eventually } from '../../support/processes.ts';
import { xl } from '../../support/xl.ts';
import { KERNEL } from '../lifecycle/host.ts';

const dir = mkdtempSync(join(tmpdir(), 'xenolith-several-'));
let host: HostRig;
const program = (name: string): string => fileURLToPath(new URL(`${name}.ts`, import.meta.url));
const act = async (...args: string[]): Promise<void> => {
  expect(await xl(args, { dir: host.runDir, cwd: dir })).toMatchObject({ code: 0 });
};
async function create(name: string, source: string, vifs: readonly string[], cmdline = ''): Promise<void> {
  const lines = [
    `name = "${name}"`,
    `kernel = "${KERNEL}"`,
    `ramdisk = "${program(source)}"`,
    'memory = 32',
    `vif = ${JSON.stringify(vifs)}`,
    `cmdline = "${cmdline}"`,
  ];
  writeFileSync(join(dir, `${name}.cfg`), lines.join('\n'));
  await act('create', `${name}.cfg`);
}
const says = (name: string, text: string): Promise<unknown> =>
  eventually(`${name} says ${text}`, () => host.consoleLog(name).includes(text));

beforeAll(async () => {
  host = await HostRig.start();
});
afterAll(async () => {
  await host?.stop();
  rmSync(dir, { recursive: true, force: true });
});

it('a guest serves on two bridges at once, and on an interface that comes while it runs', async () => {
  await create('both', 'both', ['bridge=front,ip=10.5.0.1/24', 'bridge=back,ip=10.6.0.1 255.255.255.0']);
  await create('near', 'asks', ['bridge=front'], 'ip=10.5.0.2:::255.255.255.0 ask=10.5.0.1');
  await create('far', 'asks', ['bridge=back'], 'ip=10.6.0.2:::255.255.255.0 ask=10.6.0.1,10.6.0.9');
  await says('near', '10.5.0.1: eth0 10.5.0.1, eth1 10.6.0.1');
  await says('far', '10.6.0.1: eth0 10.5.0.1, eth1 10.6.0.1');
  await act('network-detach', 'both', '1');
  await says('near', '10.5.0.1: eth0 10.5.0.1\r\n');
  await act('network-attach', 'both', 'bridge=back', 'ip=10.6.0.9/24');
  await says('far', '10.6.0.9: eth0 10.5.0.1, eth1 10.6.0.9');
  await says('near', '10.5.0.1: eth0 10.5.0.1, eth1 10.6.0.9');
});

// A guest with a vif on each of two bridges, and a guest on either that asks it: both are answered at the same time, from addresses
// that xl.cfg's vifs say, and an interface that is detached and attached while it runs goes and comes with its address. And guests
// whose interfaces have several queues.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type FrameBytes, flowHash } from '#pvbus';
import { withXenstore } from '../../../tools/library/with-xenstore.ts';
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

it('guests have several queues, and what goes by each of them comes whole', async () => {
  await create('echo', 'flows', ['bridge=queues'], 'ip=10.7.0.1:::255.255.255.0 xen_netfront.max_queues=2');
  await create(
    'flows',
    'flows',
    ['bridge=queues'],
    'ip=10.7.0.2:::255.255.255.0 xen_netfront.max_queues=4 ask=10.7.0.1',
  );
  await says('flows', '32 flows of 40 datagrams came back whole');
  for (const [name, queues] of [
    ['echo', 2],
    ['flows', 4],
  ] as const) {
    const { domid } = (await host.domains()).find(domain => domain.name === name)!;
    const path = `/local/domain/${domid}/device/vif/0`;
    const [said, keys] = await withXenstore(host, xs =>
      Promise.all([xs.read(`${path}/multi-queue-num-queues`), xs.directory(path)]),
    );
    expect([said, keys.filter(key => key.startsWith('queue-')).length]).toEqual([String(queues), queues]);
  }
  // Which queue each flow has to go by, of either end.
  for (const queues of [2, 4]) {
    for (const toEcho of [true, false]) {
      const used = Array.from({ length: 32 }, (_, i) => flowHash(datagram(5000 + i, toEcho)) % queues);
      expect(new Set(used).size).toBe(queues);
    }
  }
});

/** The head of one of them, to the echo or from it. */
function datagram(port: number, toEcho: boolean): FrameBytes {
  const bytes = new Uint8Array(42);
  bytes.set([0x08, 0x00, 0x45], 12);
  bytes.set([17, 0, 0, 10, 7, 0, toEcho ? 2 : 1, 10, 7, 0, toEcho ? 1 : 2], 23);
  const view = new DataView(bytes.buffer);
  view.setUint16(toEcho ? 34 : 36, port);
  view.setUint16(toEcho ? 36 : 34, 7);
  return { length: bytes.length, byteAt: i => bytes[i]! };
}

// The small office on a host where every notification goes through the hypervisor. It is slower, and does the
// same: no domain, program or backend can tell.
import { afterAll, beforeAll, expect, it } from 'vitest';
import { HostRig } from '../../support/host-rig.ts';
import { Office, TOPOLOGY } from '../../support/office.ts';
import { eventually } from '../../support/processes.ts';

let host: HostRig;
let office: Office;
beforeAll(async () => {
  [host, office] = await Promise.all([HostRig.start({ mediated: true }), Office.make()]);
});
afterAll(async () => {
  office?.remove();
  await host?.stop();
});

it('is joined by xl up, which brings up the four domains', async () => {
  expect(await host.xlIn(office.dir, 'up', '-q', TOPOLOGY)).toEqual({ exitCode: 0, stdout: '', stderr: '' });
  expect((await host.domains()).map(({ name }) => name)).toEqual(['Domain-0', 'web', 'pinger', 'worker', 'spare']);
});

it('has no doorbell: every event channel between two domains is mediated', async () => {
  await eventually('web is connected', async () => (await office.curl(office.url('/'))).status === 200);
  await host.xl('dmesg', '-c');
  await host.xl('debug-keys', 'em');
  const { stdout } = await host.xl('dmesg', '-c');
  const channels = stdout.match(/: dom\d+ port \d+, .*$/gm) ?? [];
  // Each at both of its ends: console and xenstore of four, and the devices of two.
  expect(channels.length).toBeGreaterThanOrEqual(2 * (4 + 4 + 2));
  expect(channels.filter(line => !line.endsWith(', mediated'))).toEqual([]);
  expect(stdout).toContain(', 0 doorbell pages');
});

it('serves a file, keeps a note, answers a ping', async () => {
  expect((await office.curl(office.url('/hello.txt'))).status).toBe(200);
  expect((await office.curl('-d', 'by way of the hypervisor', office.url('/notes'))).status).toBe(201);
  expect((await office.curl(office.url('/notes'))).body).toMatch(/ by way of the hypervisor\n$/);
  await eventually('the pinger is answered', () => / seq=\d+ time=/.test(host.consoleLog('pinger')));
});

it('is left by xl down, which takes the four domains down in order', async () => {
  expect(await host.xlIn(office.dir, 'down', '-q', TOPOLOGY)).toMatchObject({ exitCode: 0, stderr: '' });
  expect((await host.domains()).map(({ name }) => name)).toEqual(['Domain-0']);
});

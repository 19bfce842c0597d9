// What xl has for people, on a real host: up twice, ps, logs, events, wait, graph.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { dist, HostRig } from '../../support/host-rig.ts';
import { eventually } from '../../support/processes.ts';
import { xl } from '../../support/xl.ts';

const GUEST = fileURLToPath(new URL('guest.ts', import.meta.url));
const dir = mkdtempSync(join(tmpdir(), 'xenolith-people-'));
const topology = (more = ''): string => `
bridges: [people0]
images:
  - { path: web.img, size: 1M }
domains:
  web: { kernel: ${dist('domu-kernel.js')}, ramdisk: ${GUEST}, memory: 32, disk: ["web.img,raw,xvda,w"], vif: ["bridge=people0"], on_reboot: restart }
${more}`;
const job = `  job: { kernel: ${dist('domu-kernel.js')}, ramdisk: ${GUEST}, memory: 16 }\n`;
let host: HostRig;
beforeAll(async () => {
  host = await HostRig.start();
  writeFileSync(join(dir, 't.yaml'), topology(job));
});
afterAll(async () => {
  await host?.stop();
  rmSync(dir, { recursive: true, force: true });
});
const on = (...argv: string[]) => xl(argv, { dir: host.runDir, cwd: dir });
const ps = async (...argv: string[]) => JSON.parse((await on('ps', '--json', ...argv)).stdout).domains;

it('up makes the domains, wait says when they are up and what they have said', async () => {
  const waiting = on('wait', 'web', '--for', 'console=^web is up');
  expect(await on('up', '-q', 't.yaml')).toEqual({ code: 0, stdout: '', stderr: '' });
  expect(await on('wait', 'web')).toEqual({ code: 0, stdout: '', stderr: '' });
  expect(await waiting).toEqual({ code: 0, stdout: '', stderr: '' });
  expect(await on('wait', '--for', 'console=[0-9] never', '--timeout', '0.1', 'job')).toEqual({
    ...{ code: 3, stdout: '', stderr: 'xl wait: job: not console=[0-9] never after 0.1 s\n' },
  });
  expect((await on('wait', 'nobody', '--for', 'shutdown')).code).toBe(1);
  expect((await on('wait', 'web', '--for', 'nonsense')).code).toBe(2);
});

it('ps shows them with their devices, by host and by topology', async () => {
  const [web, ...others] = await ps('t.yaml');
  expect(others.map(({ name }: { name: string }) => name)).toEqual(['job']);
  expect(web).toMatchObject({ name: 'web', vcpus: 1, restarts: 0, uptime_s: expect.any(Number) });
  expect(web.cpu_percent).toEqual(expect.any(Number));
  expect(web.disks).toEqual([
    { vdev: 'xvda', devid: 51712, backend_domid: 0, state: 'connected', target: join(dir, 'web.img'), writable: true },
  ]);
  expect(web.vifs).toMatchObject([{ devid: 0, state: 'connected', bridge: 'people0' }]);
  expect((await ps())[0]).toMatchObject({ name: 'Domain-0', restarts: null });
  const rows = (await on('ps')).stdout.split('\n');
  expect(rows[0]).toMatch(/^NAME +ID +STATE +UP +MEM +VCPUS +CPU% +RESTARTS +DISKS +VIFS$/);
  expect(rows.find(row => row.startsWith('web '))).toMatch(/ 32M +1 +\d+\.\d +0 +xvda +vif0@people0$/);
});

it('network-list and block-list as JSON have what both ends wrote', async () => {
  const [disk] = JSON.parse((await on('block-list', '--json', 'web')).stdout);
  expect(disk).toMatchObject({ vdev: 'xvda', state: 'connected', backend_domid: 0, writable: true });
  expect(disk.event_channel).toBeGreaterThan(0);
  const [vif] = JSON.parse((await on('network-list', '--json', 'web')).stdout);
  expect(vif).toMatchObject({ devid: 0, state: 'connected', mac: expect.stringMatching(/^00:16:3e:/) });
  const uptimes = JSON.parse((await on('uptime', '--json', 'web')).stdout);
  expect(uptimes).toMatchObject([{ name: 'web', uptime_s: expect.any(Number) }]);
});

it('graph has live states and channels', async () => {
  const { nodes, edges } = JSON.parse((await on('graph', '--json')).stdout);
  expect(nodes.find(({ id }: { id: string }) => id === 'domain:web').state).toMatch(/running|blocked|runnable/);
  const disk = edges.find(({ to }: { to: string }) => to === `disk:${join(dir, 'web.img')}`);
  expect(disk).toMatchObject({
    from: 'domain:web',
    state: 'connected',
    label: expect.stringMatching(/^xvda rw, port \d+$/),
  });
  expect((await on('graph', 't.yaml')).stdout).toContain('>xvda rw, port ');
});

it('a second up changes nothing, a changed file only what differs', async () => {
  const before = await ps();
  expect((await on('up', '-n', 't.yaml')).stdout).toMatch(/\nNothing would change\.\n$/);
  expect((await on('up', '-q', 't.yaml')).code).toBe(0);
  expect((await ps()).map(({ domid }: { domid: number }) => domid)).toEqual(
    before.map(({ domid }: { domid: number }) => domid),
  );
  writeFileSync(join(dir, 't.yaml'), topology().replace('memory: 32', 'memory: 24, cpu_weight: 512'));
  expect((await on('up', '-n', 't.yaml')).stdout).toContain(
    '~ domain web: memory 32 -> 24, cpu_weight 256 -> 512\n- domain job\n',
  );
  expect(await on('up', '-q', 't.yaml')).toEqual({ code: 0, stdout: '', stderr: '' });
  expect((await ps()).map(({ name }: { name: string }) => name)).toEqual(['Domain-0', 'web']);
  expect(JSON.parse((await on('sched-credit2', '--json', '-d', 'web')).stdout)[0].weight).toBe(512);
  await eventually('the balloon is there', async () => (await ps('t.yaml'))[0].memory_kib <= 25 << 10);
  expect((await on('up', '-n', 't.yaml')).stdout).toMatch(/\nNothing would change\.\n$/);
});

it('events have each end with its reason, and ps counts restarts', async () => {
  const [{ domid }] = await ps('t.yaml');
  expect((await on('reboot', 'web')).code).toBe(0);
  await eventually('it is back', async () => (await ps('t.yaml'))[0].restarts === 1);
  await eventually('it says so', () => host.consoleLog('web').split('web is up').length === 3);
  const events = (await on('events', '--json')).stdout
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line));
  const web = events.filter(({ name }) => name === 'web');
  expect(web.map(({ event, reason }) => [event, reason])).toEqual([
    ...[
      ['created', null],
      ['shutdown', 'reboot'],
      ['destroyed', null],
      ['created', null],
    ],
  ]);
  expect(web[1].domid).toBe(domid);
  const again = events.find(({ event, text }) => event === 'reaction' && text.startsWith("domain 'web' was restarted"));
  expect(again).toMatchObject({
    domid: web[3].domid,
    text: `domain 'web' was restarted as dom${web[3].domid}`,
    plan: null,
  });
  expect((await on('events')).stdout).toContain(` web (${domid}) shutdown: reboot\n`);
});

it('create -F has the lines of the monitor, up to its end', async () => {
  const config = `name = "brief"\nkernel = "${dist('domu-kernel.js')}"\nramdisk = "${GUEST}"\nmemory = 16\n`;
  writeFileSync(join(dir, 'brief.cfg'), config);
  const running = xl(['create', '-qF', 'brief.cfg'], { dir: host.runDir, cwd: dir });
  expect((await on('wait', 'brief', '--for', 'console=is up')).code).toBe(0);
  const domid = Number((await on('domid', 'brief')).stdout);
  expect(JSON.parse((await on('list', '-l', 'brief')).stdout)[0].config.b_info.sched_params).toEqual({
    ...{ sched: 'credit2', weight: 256, cap: 0 },
  });
  expect((await on('shutdown', 'brief')).code).toBe(0);
  const { code, stdout, stderr } = await running;
  expect([code, stdout]).toEqual([0, '']);
  expect(stderr.replace(/pid \d+/, 'pid')).toBe(
    `Waiting for domain brief (domid ${domid}) to die [pid]\nDomain ${domid} has shut down, reason code 0 0x0\n` +
      `Action for shutdown reason code 0 is destroy\nDomain ${domid} needs to be cleaned up: destroying the domain\n` +
      'Done. Exiting now\n',
  );
});

it('events -f goes on, until interrupted', async () => {
  const abort = new AbortController();
  const following = xl(['events', '-f'], {
    ...{ dir: host.runDir, interrupted: () => abort.signal },
    onOutput: all => {
      if (/ web \(\d+\) destroyed\n$/.test(all) && all.split('destroyed').length > 3) abort.abort();
    },
  });
  expect((await on('destroy', 'web')).code).toBe(0);
  expect((await following).code).toBe(0);
  expect(await on('wait', 'web', '--for', 'destroyed')).toEqual({ code: 0, stdout: '', stderr: '' });
  expect((await ps('t.yaml'))[0]).toEqual({ domid: null, name: 'web', state: 'absent', disks: [], vifs: [] });
});

it('logs are of a console, of the host, of a part of it, with -n and -f', async () => {
  const web = await on('logs', 'web');
  expect([web.code, web.stdout.split('web is up').length]).toEqual([0, 3]); // it was there twice
  expect((await on('logs', '-n', '1', 'job')).stdout).toBe('job is up\n');
  expect((await on('logs', 'job', 'web')).stdout).toMatch(/^job \| job is up\nweb \| /);
  const all = (await on('logs')).stdout;
  expect(all).toContain(' dom0: ');
  const dom0 = (await on('logs', 'dom0')).stdout.trimEnd().split('\n');
  expect(dom0.every(line => / dom0: /.test(line))).toBe(true);
  expect(await on('logs', 'nobody')).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('there is no log of nobody'),
  });
  const abort = new AbortController();
  const following = xl(['logs', '-f', '-n', '0', 'web'], {
    ...{ dir: host.runDir, interrupted: () => abort.signal },
    onOutput: text => {
      if (text.includes('web is up')) abort.abort();
    },
  });
  expect((await on('up', '-q', 't.yaml')).code).toBe(0);
  expect(await following).toEqual({ code: 0, stdout: 'web is up\n', stderr: '' });
});

// What breaks: the process of a driver domain, which serves the disks and vifs of two guests: killed at moments that a seed
// puts in order, also in the middle of its next one's negotiation; over and over; for good, with the domain. Then dom0's,
// which stands still. What must survive: every write that was acknowledged, in order; the guests, which see a pause; a
// third one, served by dom0, which sees nothing at all. Before, no domain but dom0 could serve devices.
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type DomainConfig, runPaths } from '#pvbus';
import { ToolstackClient } from '../../../tools/toolstack-client.ts';
import { type Inventory, inventoryAtRest, settled } from '../../support/inventory.ts';
import { commandLine, eventually, isAlive } from '../../support/processes.ts';
import { seededRandom } from '../../support/random.ts';
import { reactions } from '../../support/reactions.ts';
import { xl } from '../../support/xl.ts';
import { LifecycleHost } from '../../topology/lifecycle/host.ts';
import { disk, net } from '../../unit/dom0/toolstack/domain-config.ts';
import { BLOCK_BYTES, BLOCKS, fillBlock } from './pattern.ts';

const GUEST = fileURLToPath(new URL('guest.ts', import.meta.url));
const dir = mkdtempSync(join(tmpdir(), 'xenolith-driver-domain-'));
const { seed, random } = seededRandom();
let host: LifecycleHost;
let before: Inventory;
let storage: number;
const domids = new Map<string, number>();

const on = (...argv: string[]) => xl(argv, { dir: host.rig.runDir, cwd: dir });
const fine = { code: 0, stdout: '', stderr: '' };
const image = (name: string): string => {
  const path = join(dir, `${name}.img`);
  writeFileSync(path, '');
  truncateSync(path, BLOCKS * BLOCK_BYTES);
  return path;
};
const driverDomain = (name: string): DomainConfig =>
  host.config(name, '', { driver_domain: true, kernel: '', ramdisk: null, vcpus: 3, maxvcpus: 3 });
/** Over a connection of its own: dom0 is killed here. */
async function call<T>(body: (toolstack: ToolstackClient) => Promise<T>): Promise<T> {
  const toolstack = await ToolstackClient.connect(runPaths(host.rig.runDir).toolstackSocket);
  try {
    return await body(toolstack);
  } finally {
    toolstack.close();
  }
}
const create = async (config: DomainConfig): Promise<number> => {
  const { domid } = await call(toolstack => toolstack.call('create', { config, paused: false, monitor: true }));
  domids.set(config.name, domid);
  return domid;
};
/** Its disk, and its vif if it has a peer, are served by `backend`. */
const guest = (name: string, who: number, backend: string | null, peer?: number): Promise<number> =>
  create(
    host.config(name, '', {
      ramdisk: GUEST,
      cmdline: `who=${who}${peer === undefined ? '' : ` ip=10.7.0.${who}:::255.255.255.0 peer=10.7.0.${peer}`}`,
      disks: [disk({ target: image(name), backend })],
      vifs: peer === undefined ? [] : [net({ mac: `00:16:3e:00:00:0${who}`, backend, bridge: 'theirs' })],
    }),
  );

/** What the guest has said last: how often it has written and read blocks, and how many datagrams it has had. */
function said(name: string): { rounds: number; datagrams: number } {
  const [, rounds, datagrams] = /.*\n(\d+) rounds, (\d+) datagrams/s.exec(host.rig.consoleLog(name)) ?? [];
  return { rounds: Number(rounds ?? 0), datagrams: Number(datagrams ?? 0) };
}
/** Each of them goes on with all that it does. */
async function goOn(...names: string[]): Promise<void> {
  const then = names.map(said);
  const goes = (name: string, i: number): boolean => {
    const now = said(name);
    return now.rounds > then[i]!.rounds + 1 && (name === 'own' || now.datagrams > then[i]!.datagrams);
  };
  await eventually(`${names} go on`, () => names.every(goes)).catch(error => {
    const logs = names.map(name => `${name}: ${host.rig.consoleLog(name).slice(-500)}`);
    throw new Error(`${error.message}; seed ${seed}\n${logs.join('\n')}\n${host.rig.log().slice(-3000)}`);
  });
}
const driverPid = (): number | undefined =>
  host.rig.processes().find(pid => isAlive(pid) && commandLine(pid).includes('/driver-domain.js'));
async function kill(): Promise<void> {
  const pid = await eventually('a driver domain to kill', driverPid);
  process.kill(pid, 'SIGKILL');
  await eventually('it is gone', () => !isAlive(pid));
}
/** The one that is there now has been there long enough for its end to be no failure. */
const hasServed = () =>
  eventually('it has served for a while', () => {
    const [, at = ''] = /.*\n(\S+) dom\d+: serves/s.exec(host.rig.log()) ?? [];
    return Date.now() - Date.parse(at) > 500;
  });
const dom0Pid = (): number => host.rig.processes().find(pid => /\/dom0\.js /.test(commandLine(pid)))!;

beforeAll(async () => {
  host = await LifecycleHost.start();
  host.ending(); // its own connection to dom0 would, when that is killed
  host.toolstack.close();
  before = await inventoryAtRest(host.rig);
  storage = await create(driverDomain('storage'));
  await guest('one', 1, 'storage', 2);
  await guest('two', 2, String(storage), 1);
  await guest('own', 3, null);
  await goOn('one', 'two', 'own');
});
afterAll(async () => {
  await host?.stop();
  rmSync(dir, { recursive: true, force: true });
});

it('serves the devices that name it, as dom0 serves its own', async () => {
  const one = domids.get('one')!;
  expect((await on('block-list', 'one')).stdout).toMatch(
    new RegExp(`^51712 ${storage} .* 4 .*/local/domain/${storage}/backend/vbd/${one}/51712`, 'm'),
  );
  expect((await on('network-list', 'one')).stdout).toMatch(new RegExp(`^0 +${storage} +00:16:3e:00:00:01 `, 'm'));
  expect((await on('list', '-l', 'one')).stdout).toContain('"backend_domname": "storage"');
  const { xs } = host;
  const backend = `/local/domain/${storage}/backend/vbd/${one}/51712`;
  expect(await xs.getPerms(backend)).toEqual([`n${storage}`, `r${one}`]);
  expect(await xs.getPerms(`/local/domain/${one}/device/vbd/51712`)).toEqual([`n${one}`, `r${storage}`]);
  // Counted there, and told when it is asked.
  const counters = await call(toolstack => toolstack.call('counters', {}));
  for (const domid of ['one', 'two', 'own'].map(name => domids.get(name)!)) {
    const [counted] = counters.filter(of => of.domid === domid);
    expect(counted!.vbds[0]!.wr_req).toBeGreaterThan(0);
    if (domid !== domids.get('own')) expect(counted!.vifs[0]!.tx_packets).toBeGreaterThan(0);
  }
});

it('fault 35: killed at five moments, fault 36: also while it negotiates, costs its guests a pause and the others nothing', async () => {
  const { xs } = host;
  const state = (path: string) => xs.read(`${path}/state`).catch(() => '');
  const of = (name: string, type: string, devid: number) => ({
    back: `/local/domain/${storage}/backend/${type}/${domids.get(name)}/${devid}`,
    front: `/local/domain/${domids.get(name)}/device/${type}/${devid}`,
  });
  const becomes = (what: string, path: string, states: string[]) =>
    eventually(what, async () => states.includes(await state(path)));
  const disk1 = of('one', 'vbd', 51712);
  const vif2 = of('two', 'vif', 0);
  const moments: [string, () => Promise<unknown>][] = [
    ['as soon as it is there', () => eventually('it is there', driverPid)],
    ['when it waits for the disk', () => becomes('InitWait', disk1.back, ['2'])],
    ['when the disk has answered', () => becomes('Initialised', disk1.front, ['3'])],
    ['when the vif has answered', () => becomes('Initialised or more', vif2.front, ['3', '4'])],
  ];
  const order = moments.map(moment => [random(), moment] as const).sort(([a], [b]) => a - b);
  await kill();
  for (const [, [, come]] of order) {
    // A moment that has passed unseen is none; the next one is as good.
    await Promise.race([come(), goOn('one', 'two')]);
    await kill();
  }
  await goOn('one', 'two');
  // For certain: it waits in the hypercall by which it takes up the channel that a frontend has offered.
  const held = { name: 'held', part: 'hypercall', domain: 'storage', op: 'EVTCHNOP_bind_interdomain' } as const;
  const plan = { name: 'handshake', seed: 0, faults: [{ ...held, nth: [1], delay: 3_600_000 }] };
  await call(toolstack => toolstack.call('addFaults', { plan }));
  await kill();
  await eventually('it waits', async () => (await call(to => to.call('faults', {})))[0]?.injected === 1);
  const devices = [disk1, of('two', 'vbd', 51712), of('one', 'vif', 0), vif2];
  const states = await Promise.all(
    devices.map(async ({ front, back }) => `${await state(front)},${await state(back)}`),
  );
  expect(states).toContain('3,2');
  await kill();
  await call(toolstack => toolstack.call('removeFaults', { plan: 'handshake', fault: null }));
  const own = said('own');
  await goOn('one', 'two', 'own');
  expect(said('own').rounds).toBeGreaterThan(own.rounds);
  expect(host.rig.log(), `seed ${seed}`).not.toMatch(new RegExp(`vbd 51712 of dom${domids.get('own')}: disconnected`));
});

it('fault 34: serves on while dom0 stands still, fault 33: and when that is killed', async () => {
  const pid = dom0Pid();
  const driver = driverPid();
  // What they say goes to dom0, so the images tell.
  const looks = () => ['one', 'two'].map(name => readFileSync(join(dir, `${name}.img`)).toString('latin1'));
  const write = async (when: string): Promise<void> => {
    const then = looks();
    await eventually(`the guests write ${when}`, () => looks().every((now, i) => now !== then[i]));
  };
  process.kill(pid, 'SIGSTOP');
  await write('while dom0 stands still');
  process.kill(pid, 'SIGKILL');
  await write('while there is no dom0');
  await goOn('one', 'two', 'own');
  await eventually('the next one can be asked', () => call(async () => true).catch(() => false));
  expect(isAlive(driver!)).toBe(true);
});

it('fault 37: that keeps ending comes back later and later, its devices say why, and the log is not flooded', async () => {
  const error = `/local/domain/${storage}/error/backend/vbd/${domids.get('one')}/51712/error`;
  const why = () => host.xs.read(error).catch(() => undefined);
  const told = (what: string) => call(toolstack => reactions(toolstack, new RegExp(what)));
  await hasServed();
  const row = '5 in a row did not serve, another one comes in 0.25 s';
  // By dom0, which is faster than whoever looks for a process: none of them lives until it has served.
  const fault = {
    name: 'row',
    part: 'process',
    process: 'domain',
    domain: 'storage',
    kill: 'before',
    every: 10,
  } as const;
  await call(toolstack => toolstack.call('addFaults', { plan: { name: 'row', seed: 0, faults: [fault] } }));
  await host.logged(`dom${storage}: driver-domain.js`, row);
  await call(toolstack => toolstack.call('removeFaults', { plan: 'row', fault: null }));
  // The next one comes late, and says so before it tries.
  const whyNot = 'EIO its backend has ended \\d+ times in a row without having served';
  const says = `^vbd 51712 of dom${domids.get('one')}: its backend says ${whyNot}$`;
  await eventually('its devices say why', async () => (await told(says)).length > 0);
  await kill();
  expect(host.rig.log()).not.toContain('6 in a row');
  await goOn('one', 'two', 'own');
  await eventually('the error is taken back', async () => (await why()) === undefined);
  const pid = driverPid();
  const served = `^process ${pid} serves as driver domain 'storage' \\(dom${storage}\\), \\d+ ms after `;
  await eventually('it is in the events', async () => (await told(served)).length === 1);
  const anew = `^vif 0 of dom${domids.get('one')}: connected anew, \\d+ ms after the end of its backend$`;
  await eventually('its vif is there again', async () => (await told(anew)).length > 0);
});

/** The processes of these domains without it for as long as `body` takes. */
async function without(exhaust: 'descriptors' | 'memory', names: string[], body: () => Promise<void>): Promise<void> {
  const faults = names.map(name => ({ name, part: 'process', process: 'domain', domain: name, exhaust }) as const);
  await call(toolstack => toolstack.call('addFaults', { plan: { name: 'exhausted', seed: 0, faults } }));
  const befallen = async (): Promise<boolean> =>
    (await call(toolstack => toolstack.call('faults', {}))).every(({ injected }) => injected === 1);
  await eventually('it is so', befallen);
  try {
    await body();
  } finally {
    await call(toolstack => toolstack.call('removeFaults', { plan: 'exhausted', fault: null }));
  }
}
it('fault 3: without descriptors, as its guest, it serves what it has; a disk more is refused with its reason', async () => {
  image('extra');
  const attach = () => on('block-attach', 'one', `${join(dir, 'extra.img')},raw,xvdb,w,backend=storage`);
  await without('descriptors', ['storage', 'one'], async () => {
    await goOn('one', 'two', 'own');
    const refused = await attach();
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(/vbd 51728 of dom\d+: its image .*: EMFILE/);
    await goOn('one', 'two', 'own');
  });
  expect(await attach()).toEqual(fine);
  await goOn('one', 'two', 'own');
  expect(await on('block-detach', 'one', 'xvdb')).toEqual(fine);
});
it('fault 3: without memory it goes on, or another process does in its place', async () => {
  await without('memory', ['storage'], () => goOn('one', 'two', 'own'));
  await goOn('one', 'two', 'own');
});

it('has put on the image what it acknowledged, through all of that', async () => {
  const domid = domids.get('one')!;
  await call(async toolstack => {
    const ended = toolstack.call('wait', { domid, until: 'destroyed' });
    await toolstack.call('shutdown', { domid });
    await ended;
  });
  const [, list = ''] = /final ([\d,]+)/.exec(host.rig.consoleLog('one')) ?? [];
  const versions = list.split(',').map(Number);
  expect(versions).toHaveLength(BLOCKS);
  const bytes = readFileSync(join(dir, 'one.img'));
  const expected = new Uint8Array(BLOCK_BYTES);
  const wrong = versions.flatMap((version, block) => {
    fillBlock(expected, 1, block, version);
    return bytes.subarray(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES).equals(expected) ? [] : [block];
  });
  expect(wrong).toEqual([]);
});

it('destroyed under its guest is gone, the guest waits, and another one serves what it is given', async () => {
  const row = async (vdev: number) =>
    new RegExp(`^${vdev} (\\d+) +\\d+ +(\\d) `, 'm').exec((await on('block-list', 'two')).stdout)?.slice(1);
  const attach = () => on('block-attach', 'two', `${join(dir, 'more.img')},raw,xvdb,w,backend=spare`);
  image('more');
  expect(await on('destroy', 'storage')).toEqual(fine);
  await eventually('the frontend waits for a backend', async () => (await row(51712))?.[1] === '1');
  // Nothing is made for a backend that is not there, and the line says which.
  const refused = await attach();
  expect([refused.code, refused.stderr]).toEqual([
    1,
    expect.stringContaining("disk xvdb: backend domain 'spare' does not exist"),
  ]);
  const spare = await create(driverDomain('spare'));
  expect(await attach()).toEqual(fine);
  await eventually('it is connected', async () => `${await row(51728)}` === `${spare},4`);
  expect(await on('block-detach', 'two', 'xvdb')).toEqual(fine);
  // At once: its image was let go of.
  expect(await attach()).toEqual(fine);
  expect(await on('network-attach', 'two', 'mac=00:16:3e:00:00:77', 'backend=spare')).toEqual(fine);
  const vif = new RegExp(`^1 +${spare} +00:16:3e:00:00:77 +1 +4 `, 'm');
  await eventually('the vif is connected', async () => vif.test((await on('network-list', 'two')).stdout));
  expect(await on('network-detach', 'two', '1')).toEqual(fine);
});

it('leaves nothing', async () => {
  for (const name of ['two', 'own', 'spare']) expect(await on('destroy', name)).toEqual(fine);
  expect(await settled(host.rig, before)).toEqual(before);
});

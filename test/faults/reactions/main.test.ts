// What a host does by itself is in its events: each kind on real processes, with the fault that it answers to where one is planted.
import { once } from 'node:events';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { runPaths } from '#pvbus';
import type * as library from '../../../tools/library/xenolith.d.ts';
import { dist } from '../../support/host-view.ts';
import { commandLine, eventually, family } from '../../support/processes.ts';
import { buildKernels } from '../../topology/hostile-acts/kernels.ts';

const { expectInvariant, Host, inject }: typeof library = await import(dist('library.mjs'));

const SEED = 77;
const ramdisk = fileURLToPath(new URL('../fault-plans/guest.ts', import.meta.url));
const dir = mkdtempSync(join(tmpdir(), 'reactions-'));
let host: library.Host;
const disk = (name: string, more = ''): string => {
  const image = join(dir, `${name}.img`);
  writeFileSync(image, '');
  truncateSync(image, 1 << 20);
  return `${image},raw,xvda,w${more}`;
};
/** Created, and ready. */
async function guest(name: string, keys: object = {}): Promise<library.DomainConsole> {
  await host.domain(name).create({ ramdisk, memory: 16, ...keys });
  const console = await host.domain(name).console();
  await console.waitFor('ready');
  return console;
}
const plan = (name: string, fault: library.Fault): Promise<library.Injection> =>
  inject(host, { name: 'f', ...fault }, { plan: name, seed: SEED });

type Reaction = Extract<library.HostEvent, { event: 'fault' }>;
/** The first that is said so. `cause`: the plan that it answers to, which has first befallen that occurrence. */
async function reaction(text: RegExp, cause?: string, occurrence = 1): Promise<void> {
  let said: string[] = [];
  const looked = eventually(`a reaction ${text} to ${cause}`, async () => {
    const events = await host.events().catch((): library.HostEvent[] => []); // dom0 may be another one in a moment
    const told = events.filter((one): one is Reaction => one.event === 'fault');
    const hit = told.find(one => one.what === 'reaction' && text.test(one.text) && one.plan === (cause ?? null));
    const injected = told.filter(one => one.what === 'injected' && one.plan === cause);
    said = told.slice(-20).map(one => `${one.what} ${one.plan}: ${one.text}`);
    return hit && (cause === undefined || injected.length > 0) && { hit, injected };
  });
  const found = await looked.catch(error => {
    throw new Error(`${error.message}; last was told:\n${said.join('\n')}`);
  });
  expect(found.hit).toMatchObject(
    cause === undefined ? { plan: null, fault: null, seed: null } : { plan: cause, fault: 'f', seed: SEED },
  );
  if (cause !== undefined) expect(found.injected[0]!.occurrences[0]).toBe(occurrence);
}

beforeAll(async () => {
  const building = buildKernels(dir);
  host = await Host.start({ memory: '512M' });
  await building;
  await host.domain('storage').create({ driver_domain: true, kernel: '', memory: 64 });
});
afterAll(async () => {
  await host?.stop();
  rmSync(dir, { recursive: true });
});

it('a driver domain is served by another process, and its disk is connected anew', async () => {
  const console = await guest('remote', { disk: [disk('remote', ',backend=storage')] });
  await using _killed = await plan('storage', { part: 'disk', domain: 'remote', op: 'write', nth: 2, kill: 'after' });
  for (const n of [1, 2]) console.write(`write 0 ${n}\n`);
  await reaction(/^process \d+ serves as driver domain 'storage' \(dom\d+\), \d+ ms after/, 'storage', 2);
  await reaction(/^vbd 51712 of dom\d+: connected anew, \d+ ms after/, 'storage', 2);
  await reaction(/^vbd 51712 of dom\d+: its backend is Connected/, 'storage', 2);
});

it('a request that a backend has failed, a guest that is restarted', async () => {
  const console = await guest('local', { disk: [disk('local')], on_crash: 'restart' });
  {
    await using _failed = await plan('failed', { part: 'disk', domain: 'local', op: 'write', nth: 1, error: 'EIO' });
    console.write('write 0 1\n');
    await reaction(/^blkback: vbd 51712 of dom\d+: request op 1 failed: /, 'failed');
  }
  const kill = { part: 'disk', domain: 'local', op: 'write', nth: 1, kill: 'before', process: 'guest' } as const;
  await using _killed = await plan('guest', kill);
  console.write('write 0 2\n');
  await reaction(/^domain 'local' was restarted as dom\d+/, 'guest');
  await using _timed = await plan('timed', { part: 'process', domain: 'local', kill: true });
  await reaction(/^domain 'local' was restarted as dom\d+, 2 times in a row/, 'timed');
});

it('xenstored is another process', async () => {
  await using _killed = await plan('xenstored', { part: 'process', process: 'xenstored', kill: true });
  await reaction(/^process \d+ serves as xenstored, \d+ ms after/, 'xenstored');
});

it('host.xenstore is another process, too: its watches are there, its transaction is not', async () => {
  const { xenstore } = host;
  const [path, half] = ['/tool/watched', '/tool/half'];
  let seen = 0;
  const hears = (times: number): Promise<true> =>
    eventually(`the watch is called ${times} times`, () => seen === times);
  await xenstore.write(path, 'before');
  await xenstore.watch(path, 'token', () => void seen++);
  await hears(1);
  const xenstored = family(host.pid).find(pid => /\/xenstored\.js /.test(commandLine(pid)))!;
  let lost = 0;
  const broken = xenstore.transaction(async tx => {
    lost = tx;
    await xenstore.write(half, '1', tx);
    process.kill(xenstored, 'SIGKILL');
    for (;;) await xenstore.write(half, '2', tx);
  });
  await expect(broken).rejects.toMatchObject({ code: 'ECONNRESET' });
  expect(await xenstore.read(path)).toBe('before');
  expect(await xenstore.exists(half)).toBe(false);
  await hears(2);
  await xenstore.write(path, 'after');
  await hears(3);
  await xenstore.transaction(async tx => {
    await expect(xenstore.read(path, lost)).rejects.toMatchObject({ code: 'ENOENT' });
    expect(await xenstore.read(path, tx)).toBe('after');
  });
  await xenstore.unwatch(path, 'token');
  await xenstore.rm(path);
  expect(seen).toBe(3);
});

it('dom0 is another process, and all that it serves is connected anew', async () => {
  const keys = {
    disk: [disk('beside')],
    vif: ['bridge=xenbr0'],
    pvcalls: ['connect=1'],
    p9: [`tag=work,path=${dir},security_model=none`],
  };
  const console = await guest('beside', keys);
  await expectInvariant(host, 'I8', { domains: ['beside'] }, { within: 30_000 });
  await using _killed = await plan('dom0', { part: 'disk', domain: 'beside', op: 'write', nth: 1, kill: 'before' });
  console.write('write 0 3\n');
  await reaction(/^process \d+ serves as dom0, \d+ ms after/, 'dom0');
  for (const device of ['vbd 51712', 'vif 0', 'pvcalls 0', '9pfs 0'])
    await reaction(new RegExp(`^${device} of dom\\d+: connected anew, \\d+ ms after`), 'dom0');
  console.close();
});

it('a device that its backend gives up, since it cannot have its pages', async () => {
  await using _refused = await plan('given-up', {
    part: 'grant',
    type: 'vif',
    domain: 'net',
    op: 'map',
    error: 'no_space',
  });
  await guest('net', { vif: ['bridge=xenbr0'] });
  await reaction(/^vif 0 of dom\d+: its backend says .*injected: map of dom\d+: GNTST_no_space/, 'given-up');
  await host.domain('net').destroy();
});

// That one has waited for its backend as long as it does takes minutes: unit/domu-kernel/blkfront/waiting.test.ts sees it say so.
it('a frontend that gives up its device, since it cannot have what a connection takes', async () => {
  const refused = { part: 'hypercall', domain: 'poor', op: 'EVTCHNOP_alloc_unbound', nth: 1, error: 'ENOSPC' } as const;
  await using _refused = await plan('refused', refused);
  await host.domain('poor').create({ ramdisk, memory: 16, disk: [disk('poor')] });
  await reaction(/^vbd 51712 of dom\d+: its frontend says ENOSPC /, 'refused');
  await host.domain('poor').destroy();
});

it('a vif that its frontend has broken', async () => {
  const vif = ['bridge=xenbr0', 'bridge=xenbr0'];
  const disks = [disk('mallory'), `${disk('mallory-ro').split(',')[0]},raw,xvdb,r`];
  await host.domain('mallory').create({ kernel: join(dir, 'mallory.js'), ramdisk: '', memory: 64, disk: disks, vif });
  const console = await host.domain('mallory').console();
  await console.waitFor('{');
  console.write('22\n');
  await reaction(/^netback: vif\d+\.0: disabled: dom\d+ broke the protocol: /);
  await host.domain('mallory').destroy();
});

it('a tool that the toolstack cuts off', async () => {
  const socket = connect(runPaths(host.runDir).toolstackSocket);
  socket.end(new Uint8Array(64).fill(0xff));
  socket.resume();
  await once(socket, 'close');
  await reaction(/^dom0: toolstack: a tool was cut off: /);
});

it('a watchdog that has run out', async () => {
  await guest('watched', { extra: 'watchdog=1', on_watchdog: 'preserve' });
  await using stopped = await plan('stopped', { part: 'process', domain: 'watched', stop: '4s' });
  await stopped.happened();
  await reaction(/^xen: dom\d+: watchdog expired/);
});

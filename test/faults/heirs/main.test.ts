// What breaks: dom0's process and that of a driver domain, whose heirs wait; the heirs themselves, before they are needed and
// while they take over; the hypervisor. What must be: the heir goes on as the process that has ended, or another one does
// that did not wait; guests see a pause; the host never has more than one heir for each, and none outlives it. Before,
// every process was started when it was missing. Nor does the log say that an heir stands still because it waits, as it did:
// in a build that looks for that more often, and names the process.
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type DomainConfig, runPaths } from '#pvbus';
import { processInventory } from '../../../tools/library/host-inventory.ts';
import { ToolstackClient } from '../../../tools/toolstack-client.ts';
import { changedBuild } from '../../support/changed-build.ts';
import { commandLine, eventually, isAlive, isShell } from '../../support/processes.ts';
import { seededRandom } from '../../support/random.ts';
import { LifecycleHost } from '../../topology/lifecycle/host.ts';
import { disk } from '../../unit/dom0/toolstack/domain-config.ts';
import { BLOCK_BYTES, BLOCKS } from '../driver-domain/pattern.ts';

type Served = 'dom0' | 'driver-domain';
const GUEST = fileURLToPath(new URL('../driver-domain/guest.ts', import.meta.url));
/** `XENOLITH_TEST_ROUNDS=20`: more kills. */
const KILLS = Number(process.env.XENOLITH_TEST_ROUNDS ?? 2);
const dir = mkdtempSync(join(tmpdir(), 'xenolith-heirs-'));
const { seed, random } = seededRandom();
/** Who is served by which process. */
const GUESTS: Readonly<Record<Served, string>> = { dom0: 'own', 'driver-domain': 'one' };
const LOOK_MS = 20;
/** So much longer than it takes to be reported. */
const WAIT_MS = 5 * 10 * LOOK_MS;
const LOOKS_AT_REST = 10;
/** The guests', and one for the next domain. */
const SHELLS = 3;
let build: string;
let host: LifecycleHost;
/** Of hypervisorHas: no heir waits yet. */
let before: string[];

async function create(config: DomainConfig): Promise<void> {
  const toolstack = await ToolstackClient.connect(runPaths(host.rig.runDir).toolstackSocket);
  await toolstack.call('create', { config, paused: false, monitor: true }).finally(() => toolstack.close());
}
function guest(name: string, who: number, backend: string | null): Promise<void> {
  const target = join(dir, `${name}.img`);
  writeFileSync(target, '');
  truncateSync(target, BLOCKS * BLOCK_BYTES);
  return create(host.config(name, '', { ramdisk: GUEST, cmdline: `who=${who}`, disks: [disk({ target, backend })] }));
}
/** How often it has written blocks and read them back. */
const rounds = (name: string): number => Number(/.*\n(\d+) rounds/s.exec(host.rig.consoleLog(name))?.[1] ?? 0);
async function goesOn(served: Served): Promise<void> {
  const name = GUESTS[served];
  const then = rounds(name);
  await eventually(`${name} goes on`, () => rounds(name) > then + 1).catch(error => {
    const said = `${host.rig.consoleLog(name).slice(-500)}\n${host.rig.log().slice(-3000)}`;
    throw new Error(`${error.message}; seed ${seed}\n${said}`);
  });
}
/** Both at once: they do not concern one another. */
async function each(body: (served: Served) => Promise<unknown>): Promise<void> {
  await Promise.all((['dom0', 'driver-domain'] as const).map(body));
}
/** What the hypervisor has open. */
const hypervisorHas = (): string[] =>
  processInventory(host.rig.processes(), host.rig.log()).descriptors.filter(line => line.startsWith('hypervisor.js'));
const running = (words: string): number[] =>
  host.rig.processes().filter(pid => isAlive(pid) && commandLine(pid).includes(words));
const serving = (served: Served): number[] => running(`/${served}.js `);
const heirs = (served: Served): number[] => running(`/heir.js ${served} `);
const heirOf = (served: Served): Promise<number> => eventually(`an heir of ${served} waits`, () => heirs(served)[0]);
async function kill(pid: number): Promise<void> {
  process.kill(pid, 'SIGKILL');
  await eventually('it is gone', () => !isAlive(pid));
}
/** It is the only one, whatever it was called before, and its guest goes on. */
async function isServed(served: Served): Promise<void> {
  await eventually(`${served} is there`, () => serving(served).length === 1);
  await goesOn(served);
}
/** It has read all it needs, and sleeps until it is told what it is: in recvmsg(2) of x86-64. */
const isReady = (pid: number): boolean => readFileSync(`/proc/${pid}/syscall`, 'latin1').startsWith('47 ');

beforeAll(async () => {
  build = changedBuild('heirs', {
    'event-pump-thread.js': text => {
      for (const part of ['var LOOK_MS = 1e3;', 'the event loop has stood still']) expect(text).toContain(part);
      return text
        .replace('var LOOK_MS = 1e3;', `var LOOK_MS = ${LOOK_MS};`)
        .replaceAll('the event loop', `the event loop of process \${process.pid}`);
    },
  });
  host = await LifecycleHost.start({ dist: join(build, 'dist') });
  host.ending(); // its connection is dom0's, and goes with it
  host.toolstack.close();
  await create(host.config('storage', '', { driver_domain: true, kernel: '', ramdisk: null, vcpus: 3, maxvcpus: 3 }));
  await guest('own', 1, null);
  await guest('one', 2, 'storage');
  await each(goesOn);
  // Also of the shell for the next domain, which is a moment in coming.
  const looks: string[][] = [];
  await eventually('what the hypervisor has open is at rest', () => {
    looks.push(hypervisorHas());
    const last = looks.slice(-LOOKS_AT_REST);
    const isRest = last.length === LOOKS_AT_REST && last.every(look => isDeepStrictEqual(look, last[0]));
    return isRest && host.rig.processes().filter(isShell).length === SHELLS;
  });
  before = looks.at(-1)!;
  // Where one has ended the next heir comes at once.
  await each(served => kill(serving(served)[0]!));
});
afterAll(async () => {
  await host?.stop();
  for (const made of [dir, build]) if (made !== undefined) rmSync(made, { recursive: true, force: true });
});

it('is not in the inventory of its host', async () => {
  await each(heirOf);
  await expect.poll(hypervisorHas, { timeout: 60_000 }).toEqual(before);
});

it('goes on in the place of the one that ends, and another one comes to wait', () =>
  each(async served => {
    const heir = await heirOf(served);
    await eventually('it sleeps', () => isReady(heir));
    // Confined as what it becomes.
    const layers = (pid: number): string[] =>
      readFileSync(`/proc/${pid}/status`, 'latin1').match(/^(NoNewPrivs|Seccomp|Seccomp_filters|CapEff):.*$/gm)!;
    const old = serving(served)[0]!;
    expect(layers(heir)).toEqual(layers(old));
    await kill(old);
    await eventually('it has become that', () => serving(served)[0] === heir);
    await goesOn(served);
    expect(await heirOf(served)).not.toBe(heir);
    expect([serving(served), heirs(served).length]).toEqual([[heir], 1]);
  }));

it('fault 34: stands still for nobody while it waits', () =>
  each(async served => {
    const heir = await heirOf(served);
    await eventually('it sleeps', () => isReady(heir));
    await pause(WAIT_MS);
    const said = `the event loop of process ${heir} `;
    expect(host.rig.log()).not.toContain(said);
    await kill(serving(served)[0]!);
    await eventually('it has become that', () => serving(served)[0] === heir);
    await goesOn(served);
    // It may be slow from here on, and says so then before it goes on.
    const first = host.rig
      .log()
      .split('\n')
      .find(line => line.includes(said));
    if (first !== undefined) expect(first).toMatch(/has stood still/);
  }));

it('is not missed when it was killed before', () =>
  each(async served => {
    const heir = await heirOf(served);
    await kill(heir);
    await host.logged(`a prepared ${served}.js ended: SIGKILL`);
    await kill(serving(served)[0]!);
    await isServed(served);
    expect(await heirOf(served)).not.toBe(heir);
  }));

it('is replaced when it is killed while it takes over', () =>
  each(async served => {
    const heir = await heirOf(served);
    await kill(serving(served)[0]!);
    await pause(random() * 30);
    if (isAlive(heir)) await kill(heir);
    await isServed(served);
    expect(serving(served)).not.toEqual([heir]);
  }));

it(`takes over ${KILLS} times in a row`, () =>
  each(async served => {
    for (let i = 0; i < KILLS; i++) {
      await heirOf(served);
      await kill(serving(served)[0]!);
      await isServed(served);
    }
    await heirOf(served);
    expect([serving(served).length, heirs(served).length]).toEqual([1, 1]);
  }));

it('ends with the hypervisor', async () => {
  await each(heirOf);
  const all = host.rig.processes();
  process.kill(host.rig.hypervisorPid, 'SIGKILL');
  await eventually('nothing of the host is left', () => !all.some(isAlive));
});

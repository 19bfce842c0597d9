// Rows 4, 5, 9, 11, 12 and 15 of the catalogue: what domains that share pages and event channels do to one another when one of
// them goes, wants back what it has lent, or asks for too much, and what a bug of the hypervisor costs. Three domains of one
// kernel without drivers; the hypervisor has a bug for those who ask for it.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { runPaths } from '#pvbus';
import { ToolstackClient } from '../../../tools/toolstack-client.ts';
import { BenchDomain } from '../../bench/bench-domain.ts';
import { changedBuild } from '../../support/changed-build.ts';
import { HostRig } from '../../support/host-rig.ts';
import { eventually, isAlive } from '../../support/processes.ts';
import { buildKernels, image } from '../../topology/hostile-acts/kernels.ts';
import { PATTERN, THE_BUG } from './words.ts';

const ROUNDS = 8;
const PORTS = 16;
/** Linux' own limit for a process, vm.max_map_count, where nobody has changed it. */
const MAPS_OF_LINUX = 65_530;

const BUG = `if (view.getUint32(arg + evtchn_status.at.port, true) === ${THE_BUG}) throw new Error('an invariant is broken');`;

const folder = mkdtempSync(join(tmpdir(), 'xenolith-between-'));
let build: string;
let host: HostRig;
let toolstack: ToolstackClient;
let one: BenchDomain;
let two: BenchDomain;
let three: BenchDomain;

const create = (name: string, onCrash = 'preserve', more = ''): Promise<BenchDomain> =>
  BenchDomain.create(host, folder, name, `kernel = "${folder}/peer.js"\non_crash = "${onCrash}"\n${more}`);
/** An act, with what it is told; what came of it. */
const tell = async (who: BenchDomain, act: string, ...args: unknown[]): Promise<Record<string, unknown>> => {
  const outcome = (await who.run(`${act}:${args.flat().join(' ')}`)) as unknown as Record<string, unknown>;
  if ('failed' in outcome) throw new Error(`${who.name}, ${act}: ${outcome.failed}`);
  return outcome;
};
/** Grants of `granter` that `mapper` has mapped, as the hypervisor counts them. */
async function inUse(granter: BenchDomain, mapper: BenchDomain): Promise<string[]> {
  await toolstack.call('dmesg', { clear: true });
  await toolstack.call('debugKeys', { keys: 'g' });
  const { text } = await toolstack.call('dmesg', { clear: true });
  const [, ofGranter = ''] = text.split(`dom${granter.domid}: `);
  return ofGranter.split(/dom\d+: /)[0]!.match(new RegExp(`gref \\d+: gfn \\d+, dom${mapper.domid},`, 'g')) ?? [];
}

beforeAll(async () => {
  build = changedBuild('has-a-bug', {
    'hypervisor-core.js': text => text.replace('  status(caller, view, arg) {', `$&\n${BUG}`),
  });
  await buildKernels(folder, [join(import.meta.dirname, 'peer.ts')]);
  host = await HostRig.start({ dist: join(build, 'dist') });
  toolstack = await ToolstackClient.connect(runPaths(host.runDir).toolstackSocket);
  const disk = image(join(folder, 'one.img'), 1 << 20);
  [one, two, three] = [
    await create('one', 'preserve', `disk = ["${disk},raw,xvda,w"]`),
    await create('two', 'destroy'),
    await create('three'),
  ];
});
afterAll(async () => {
  for (const domain of [one, two, three]) domain?.close();
  toolstack?.close();
  await host?.stop();
  for (const dir of [folder, build]) if (dir !== undefined) rmSync(dir, { recursive: true, force: true });
});

it('fault 4: a domain that cuts its memory into pieces is refused long before Linux is, and may mend it', async () => {
  const maps = (): number => readFileSync(`/proc/${one.pid}/maps`, 'latin1').split('\n').length;
  const before = maps();
  const cut = await tell(one, 'cut', two.domid);
  expect(cut).toMatchObject({ code: 'ENOSPC', why: `dom${one.domid}: 1 pages to share with dom${two.domid}` });
  expect(cut.pieces).toBeGreaterThan(900);
  expect(maps()).toBeGreaterThan(before + 1000);
  expect(maps()).toBeLessThan(MAPS_OF_LINUX / 10);
  // It has no more of what it can have; others have all of theirs.
  await tell(two, 'grant', three.domid);
  await tell(one, 'mend');
  await eventually('it is whole again', () => maps() < before + 100);
  expect(await tell(one, 'cut', two.domid)).toEqual(cut);
  await tell(one, 'mend');
});

it('fault 11: a grant is not taken back while it is mapped, and is afterwards', async () => {
  const { ref } = await tell(one, 'grant', two.domid);
  expect(await tell(two, 'map', one.domid, ref)).toEqual({ byte: PATTERN });
  expect(await inUse(one, two)).toHaveLength(1);
  expect(await tell(one, 'revoke', ref)).toEqual({ ended: false, released: 'EBUSY' });
  expect(await tell(two, 'look')).toEqual({ byte: PATTERN });
  await tell(two, 'unmap');
  expect(await inUse(one, two)).toEqual([]);
  expect(await tell(one, 'revoke', ref)).toEqual({ ended: true, released: true });
});

it('fault 9: what is sent while a port is closed, and opened for another one, is heard by nobody else', async () => {
  const sent = async (more: number): Promise<void> => {
    const from = (await tell(one, 'sent')).sent as number;
    await eventually('more is sent', async () => ((await tell(one, 'sent')).sent as number) > from + more);
  };
  for (let round = 0; round < ROUNDS; round++) {
    const { ports } = await tell(two, 'listen', one.domid, PORTS);
    await tell(one, 'storm', two.domid, ports);
    await eventually('it is heard', async () => (await tell(two, 'heard')).times !== 0);
    // In the middle of it.
    expect(await tell(two, 'reopen', three.domid)).toEqual({ same: true });
    await sent(1000);
    expect(await tell(two, 'heard')).toEqual({ times: 0, ports: 0 });
    // Who they are for now is heard.
    await tell(three, 'once', two.domid, ports);
    const heard = await eventually('the other one is', async () => {
      const now = await tell(two, 'heard');
      return now.ports === PORTS && now;
    });
    await sent(100);
    expect(await tell(two, 'heard')).toEqual(heard);
    expect(Object.keys((await tell(one, 'calm')).answers as object)).toEqual(['ok']);
    await tell(two, 'close');
  }
});

it('fault 15: half a request in a slot is not looked at, however often its backend is notified', async () => {
  expect(await tell(one, 'half')).toEqual({ early: 0, status: 0, answers: 1 });
});

it('fault 12: of a mapper that is killed no pin is left, and the page is the granter’s again', async () => {
  const { ref } = await tell(one, 'grant', two.domid);
  expect(await tell(two, 'map', one.domid, ref)).toEqual({ byte: PATTERN });
  expect(await inUse(one, two)).toHaveLength(1);
  process.kill(two.pid, 'SIGKILL');
  await eventually('it is no more', () => !isAlive(two.pid));
  await eventually('its pins are gone', async () => (await inUse(one, two)).length === 0);
  expect(await tell(one, 'revoke', ref)).toEqual({ ended: true, released: true });
});

it('fault 5: a bug of the hypervisor costs the domain that has met it, and the log has the stack', async () => {
  one.start('bug:');
  const says = `internal error in a hypercall of dom${one.domid} vcpu0: Error: an invariant is broken\\x0a`;
  await eventually('the log says so', () => host.log().includes(says));
  expect(host.log().split(says)[1]).toMatch(/^ +at EventChannelOp\.status \(.*hypervisor-core\.js/);
  const stateOf = async ({ domid }: BenchDomain): Promise<string | undefined> =>
    (await host.domains()).find(domain => domain.domid === domid)?.state;
  await eventually('it has crashed', async () => (await stateOf(one))?.includes('c'));
  expect(await stateOf(three)).not.toContain('c');
  const { ref } = await tell(three, 'grant', 0);
  expect(await tell(three, 'revoke', ref)).toEqual({ ended: true, released: true });
});

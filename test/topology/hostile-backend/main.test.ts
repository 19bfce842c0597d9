// The acts of a backend of docs/hostile-acts.md on real processes: a domain with a kernel written for them serves the disks,
// interfaces and sockets of a victim that has the real drivers. After each the victim lives and answers, what it does with its other
// devices goes on, and the innocent beside, whom dom0 serves, has seen nothing.
import { isDeepStrictEqual } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { XenbusState } from '#pvbus';
import type { BenchDomain } from '../../bench/bench-domain.ts';
import { takeInventory } from '../../support/inventory.ts';
import { eventually } from '../../support/processes.ts';
import { IDLE, lasting, Stage } from '../hostile-acts/stage.ts';
import { createBackend, createVictim, diskOf, KERNELS } from './kernels.ts';

/** Tests of this file, but for the last and what the events say. */
const ACTS = 19;
const { Closed } = XenbusState;

let stage: Stage;
let before: unknown;
let backend: BenchDomain;
let victim: BenchDomain;

interface Report {
  /** Of its vCPU's loop, and how often it slept. */
  readonly turns: number;
  readonly sleeps: number;
  /** Sleeps in which a peer is not heard: those that lasted, and those that ended before although nobody else called. */
  readonly kept: number;
  readonly cut: number;
  /** By its clock, ns. */
  readonly now: number;
  readonly disks: Readonly<
    Record<string, { readonly ok: number; readonly failed: readonly string[]; readonly bytes: readonly number[] }>
  >;
  /** Of each pvcalls device, how its connections went. */
  readonly calls: Readonly<Record<string, readonly string[]>>;
  readonly quarantined: readonly number[];
  readonly vifs: readonly { readonly rxFrames: number; readonly rxErrors: number; readonly txFrames: number }[];
}
const report = async (): Promise<Report> => (await victim.run('report')) as unknown as Report;

beforeAll(async () => {
  stage = await Stage.start(KERNELS);
  const { host, folder } = stage;
  before = lasting(await stage.inventory());
  backend = await createBackend(host, folder);
  victim = await createVictim(host, folder, backend);
  await stage.told(backend);
  expect(await backend.run(`serve: ${victim.domid}`)).toEqual({ serves: victim.domid });
});
afterAll(async () => {
  await stage?.stop();
  console.log(`acts of a backend: ${stage?.contained} of ${ACTS} ${IDLE ? 'seen not to be done' : 'contained'}`);
});

const act = (name: string | number): Promise<unknown> => backend.run(`act: ${name}`);
/** What came of an act. */
const came = async (name: string | number, outcome: unknown): Promise<void> => {
  const answer = await act(name);
  await stage.seen(() => expect(answer).toEqual(outcome));
};
async function contained(): Promise<void> {
  await report();
  await stage.othersGetOn();
  stage.contained++;
}
const seenSoon = (what: string, condition: () => unknown): Promise<void> =>
  stage.seen(() => stage.eventually(what, condition));
/** Its readers have ended with this. */
const failed = (number: number, code: string): Promise<unknown> =>
  seenSoon(`${diskOf(number)} has failed with ${code}`, async () => {
    const { failed: codes = [] } = (await report()).disks[diskOf(number)] ?? {};
    return codes.length === 2 && codes.every(one => one === code);
  });
const says = (what: RegExp): Promise<unknown> =>
  seenSoon(`the victim says ${what}`, () => what.test(stage.host.consoleLog('victim')));

const BROKEN: readonly (readonly [number, string, number, string])[] = [
  [30, 'answers more than was asked', 0, 'its ring holds more responses'],
  [31, 'answers what was not asked', 1, 'a response to request .* which is not in flight'],
  [32, 'answers with another operation', 2, 'a response of operation'],
];
it.each(BROKEN)('act %i: a disk backend that %s loses the disk, whose reads fail', async (number, _what, disk, why) => {
  await came(number, { state: Closed });
  await failed(disk, 'EIO');
  await says(new RegExp(`${diskOf(disk)}: the backend sent .*${why}.*; the disk is given up`));
  await contained();
});
it('each disk that the victim gives up is in the events, in its own words', async () => {
  const disks = BROKEN.map(
    ([, , disk]) => `vbd ${51712 + 16 * disk} of dom${victim.domid}: its frontend says EPROTO ${diskOf(disk)}: `,
  );
  await seenSoon('they are told', async () => {
    const { stdout } = await stage.host.xl('events');
    return disks.every(words => stdout.includes(words));
  });
});
it('act 33: a disk backend that keeps a page mapped: what was shared with it is not used again, and counted', async () => {
  await came(33, { state: Closed, kept: true });
  await says(/xvdd: the backend keeps \d+ shared pages mapped; they are not used again/);
  await seenSoon('the pages are quarantined', async () => (await report()).quarantined.includes(51712 + 48));
  await contained();
});
it('act 40: a backend finds zeros in the pages of a disk and an interface, and frames', async () => {
  await came(40, { pages: 4, disk: 0, frame: 0, buffer: 0 });
  await contained();
});
it('act 34: a disk backend that scribbles over the ring and over what it has answered: the reads go on', async () => {
  const ok = (await report()).disks.xvde?.ok ?? 0;
  await came(34, { answered: 100, odd: 0 });
  await seenSoon('all of it was read', async () => (await report()).disks.xvde!.ok >= ok + 100);
  // Of act 40, and what was there with the answer or came later; not what was there before, and nothing of the ring.
  const bytes = (await report()).disks.xvde?.bytes ?? [];
  await stage.seen(() => expect(bytes.includes(2) || bytes.includes(3)).toBe(true));
  expect(bytes.filter(byte => ![0, 2, 3].includes(byte))).toEqual([]);
  await contained();
});
it('act 35: a net backend whose frames lie beyond their page, are negative or never end loses the interface', async () => {
  await came(35, { closed: 3 });
  expect((await report()).vifs.every(({ rxFrames }) => rxFrames === 0)).toBe(true);
  await contained();
});
it('act 36: a disk backend that never answers: its readers wait, nobody else does, and the disk can be reset', async () => {
  await came(36, { waits: true });
  await contained();
  const waiting = (await report()).disks.xvdf;
  await stage.seen(() => expect(waiting).toMatchObject({ ok: 0, failed: [] }));
  await came('reset', { again: 2 });
  await seenSoon('what was asked is answered', async () => (await report()).disks.xvdf!.ok >= 2);
});
/** Events that it is rung with, and sleeps that they do not end; a victim that sleeps more seldom than it hears them needs none. */
const SLEPT_THROUGH = 100_000;
const KEPT = 20;
const HEARD_PER_S = 500;
const NAMED = /dom\d+: its events bring nothing/;
it('act 37, fault 7: a disk backend that notifies without end is slept through but for 500 times a second, and the victim goes on reading', {
  timeout: 600_000,
}, async () => {
  let rung = 0;
  // How fast either of them is is the machine's: only what hangs ends this.
  const stormsUntil = (condition: () => boolean | Promise<boolean>): Promise<void> =>
    stage.seen(async () => {
      do {
        const { events } = (await act(37)) as { events: number };
        expect(events).toBeGreaterThanOrEqual(10_000);
        rung += events;
      } while (!(await condition()));
    });
  const { now: begun } = await report();
  // Until that backend is made to wait.
  await stormsUntil(() => NAMED.test(stage.host.consoleLog('victim')));
  const from = await report();
  // However seldom it had the processor: of what rings it while it does not listen nothing wakes it.
  rung = 0;
  await stormsUntil(async () => {
    if (rung < SLEPT_THROUGH) return false;
    const { kept, sleeps, now } = await report();
    return kept - from.kept >= KEPT || sleeps - from.sleeps < (HEARD_PER_S * (now - from.now)) / 1e9;
  });
  const to = await report();
  expect(to.cut - from.cut).toBe(0);
  // Each sleep is interrupted, and none is kept from coming.
  expect(to.turns - from.turns).toBeLessThan(64 * (to.sleeps - from.sleeps));
  for (const [, wakes] of stage.host.consoleLog('victim').matchAll(/bring nothing.*; (\d+) such/g))
    expect(Number(wakes)).toBeLessThanOrEqual(1 + (HEARD_PER_S * (to.now - begun)) / 1e9);
  await contained();
});
it('act 38: a disk backend that makes no sense of its size and features is not connected to', async () => {
  await came(38, { states: new Array(4).fill(Closed) });
  await says(/the backend claims "0" sectors/);
  expect(Object.keys((await report()).disks)).not.toEqual(expect.arrayContaining([diskOf(6)]));
  await contained();
});
it('act 39: a disk backend whose state flaps: the victim survives it, and asks again once it is steady', async () => {
  // Again, where the victim was too slow to see it closed in between.
  await seenSoon('the victim has seen it closed', async () => {
    await came(39, { flaps: 10, again: 2 });
    return /vbd 51872: the backend is Closed/.test(stage.host.consoleLog('victim'));
  });
  await contained();
});
it.each([
  ['act 30: a net backend that answers more than was sent', 'net30'],
  ['act 31: a net backend that answers what was not sent', 'net31'],
])('%s loses the interface', async (_what, name) => {
  await came(name, { closed: true });
  await says(/the backend sent .*the interface is given up/);
  await contained();
});
/** The connections of that device went so. */
const went = (devid: number, outcomes: readonly string[]): Promise<unknown> =>
  seenSoon(`pvcalls ${devid}: ${outcomes}`, async () => isDeepStrictEqual((await report()).calls[devid], outcomes));
it.each([
  ['act 30: a pvcalls backend that answers more than was asked', 'calls30', 0],
  ['act 31: a pvcalls backend that answers what was not asked', 'calls31', 1],
  ['act 32: a pvcalls backend that answers with another command', 'calls32', 2],
  ['act 35: a pvcalls backend whose result is none', 'calls35', 3],
] as const)('%s loses the device, and what waits fails', async (_what, name, devid) => {
  await came(name, { state: Closed });
  await went(devid, ['EIO']);
  await says(new RegExp(`pvcalls/${devid}: EIO: the backend `));
  await contained();
});
it('act 30: a pvcalls backend whose data rings hold more than they can, or less than nothing, loses those connections', async () => {
  await came('streams', { streams: 3 });
  await went(4, ['EIO', 'EIO', '1']);
  await contained();
});
it('act 36: a pvcalls backend that never answers: who connects waits, nobody else does', async () => {
  await came('calls36', { waits: true });
  await contained();
  expect((await report()).calls[5] ?? []).toEqual([]);
});
it('nothing is left of either', async () => {
  // As with Xen: a domain of which another one has something mapped is not gone before that one.
  await stage.destroy(backend);
  await stage.destroy(victim);
  let now: unknown;
  await eventually('the inventory is what it was', async () => {
    now = lasting(await takeInventory(stage.host, 'qema'));
    return isDeepStrictEqual(now, before);
  }).catch(() => expect(now).toEqual(before));
});

// Rows 29 and 30 of the catalogue, and 6 to 8 for a vif: a link that loses, doubles, mixes up and changes frames, and one
// that is cut for a while. Everything that a guest hands to the other arrives whole and in its order, nothing else does.
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type * as library from '../../../tools/library/xenolith.d.ts';
import { dist } from '../../support/host-view.ts';
import { eventually } from '../../support/processes.ts';

const { expectInvariant, Host, inject }: typeof library = await import(dist('library.mjs'));

const ramdisk = fileURLToPath(new URL('guest.ts', import.meta.url));
const PIECES = 64;
/** So many of them are sent at once; */
const WINDOW = 8;
/** more than that, and again. */
const WINDOWS = 20;

interface Seen {
  readonly next: number;
  readonly again: number;
  readonly early: number;
  readonly changed: number;
  readonly foreign: number;
}

let host: library.Host;
const consoles: library.DomainConsole[] = [];

async function ask(who: 1 | 2, line: string): Promise<string> {
  consoles[who]!.write(`${line}\n`);
  return /> (.*) </.exec(await consoles[who]!.waitFor(/> .* </))![1]!;
}
const seen = async (): Promise<Seen> => JSON.parse(await ask(2, 'seen')) as Seen;
/** One transfer while these faults are there: what the receiver saw of it, and how often they happened. */
async function transfer(...faults: library.Fault[]): Promise<{ seen: Seen; injected: number }> {
  await seen();
  const injection = await inject(host, faults, { seed: 3 });
  expect(await ask(1, `send ${PIECES}`)).toBe(`all of ${PIECES}`);
  // Then it has told of all that it did.
  await injection.remove();
  const told = (await injection.events()).flatMap(one => (one.event === 'fault' ? [one.count] : []));
  const injected = told.reduce((sum, count) => sum + count, 0);
  const after = await seen();
  expect(after).toMatchObject({ next: PIECES, foreign: 0 });
  return { seen: after, injected };
}

async function begin(who: 1 | 2): Promise<void> {
  const cmdline = `who=${who} peer=10.9.0.${3 - who} ip=10.9.0.${who}:::255.255.255.0`;
  await host.domain(`g${who}`).create({ ramdisk, memory: 16, cmdline, vif: [`mac=00:16:3e:00:09:0${who}`] });
  consoles[who] = await host.domain(`g${who}`).console();
  await consoles[who]!.waitFor('ready');
}

beforeAll(async () => {
  host = await Host.start({ memory: '256M' });
  await begin(1);
  await begin(2);
});
afterAll(() => host?.stop());

const LINK = { part: 'net', domain: 'g2', device: 'vif0' } as const;

describe('fault 29: a link between two guests', () => {
  it('fault 29: loses nothing by itself', async () => {
    expect((await transfer()).seen).toMatchObject({ early: 0, changed: 0 });
  });
  it('fault 29: that drops 30 %', async () => {
    const lost = await transfer(
      { ...LINK, name: 'there', op: 'rx', probability: '30%', drop: true },
      { ...LINK, name: 'back', op: 'tx', probability: '30%', drop: true },
    );
    expect(lost.injected).toBeGreaterThan(PIECES / 8);
    expect(lost.seen.changed).toBe(0);
  });
  it('fault 29: that doubles', async () => {
    expect((await transfer({ ...LINK, op: 'rx', every: 3, duplicate: 2 })).seen.again).toBeGreaterThan(0);
  });
  it('fault 29: that mixes up', async () => {
    expect((await transfer({ ...LINK, op: 'rx', every: 4, reorder: true })).seen.early).toBeGreaterThan(0);
  });
  it('fault 29: that changes a bit, which no guest takes for what was sent', async () => {
    const changed = await transfer({ ...LINK, op: 'rx', probability: '20%', corrupt: true });
    expect(changed.injected).toBeGreaterThan(0);
    // A checksum between guests is left out: most of those bits are found by the one that the program has.
    expect(changed.seen.changed).toBeGreaterThan(0);
    expect(changed.seen.changed).toBeLessThanOrEqual(changed.injected);
  });
  it('fault 29: that is parted from one peer', async () => {
    const parted = await inject(host, { ...LINK, op: 'rx', peer: 'g1', drop: true });
    const all = ask(1, `send ${PIECES}`);
    await parted.happened(3);
    // What was on its way before.
    await seen();
    await parted.happened(3 + WINDOW);
    expect((await seen()).again).toBe(0);
    await parted.remove();
    expect(await all).toBe(`all of ${PIECES}`);
    expect(await seen()).toMatchObject({ next: PIECES, foreign: 0 });
  });
});

describe('fault 30: a link that is cut', () => {
  it('fault 30: on its way back alone, loses the answers, and is whole again', async () => {
    await seen();
    const cut = await inject(host, { ...LINK, op: 'tx', drop: true });
    const all = ask(1, `send ${PIECES}`);
    await cut.happened(3);
    // The way there is whole: what is sent at once arrives, again and again.
    const once = await eventually('it comes again', async () => {
      const now = await seen();
      return now.next === WINDOW && now.again > 0 && now;
    });
    expect(once).toMatchObject({ foreign: 0, changed: 0, early: 0 });
    await cut.remove();
    expect(await all).toBe(`all of ${PIECES}`);
    expect(await seen()).toMatchObject({ next: PIECES, foreign: 0 });
  });
  it('fault 30: both ways, takes nothing with it, and is whole again', async () => {
    const cut = await inject(host, { ...LINK, drop: true });
    const all = ask(1, `send ${PIECES}`);
    await cut.happened(WINDOWS);
    await cut.remove();
    expect(await all).toBe(`all of ${PIECES}`);
    expect(await seen()).toMatchObject({ next: PIECES, foreign: 0 });
    await expectInvariant(host, 'I8', { domains: ['g1', 'g2'] });
  });
});

describe('events of a vif', () => {
  const OF = { part: 'event', type: 'vif', domain: 'g2' } as const;
  it('fault 6: that are lost, are made up for a second later', async () => {
    const lost = await transfer(
      { ...OF, name: 'heard', op: 'receive', nth: 1, drop: true },
      { ...OF, name: 'sent', op: 'send', nth: 3, drop: true },
    );
    expect(lost.injected).toBe(2);
  });
  it('fault 7: that come again and again, do nothing twice', async () => {
    const { seen: after } = await transfer({ ...OF, op: 'send', every: 2, duplicate: 500 });
    expect(after.changed).toBe(0);
  });
  it('fault 8: that come late', async () => {
    expect((await transfer({ ...OF, op: 'send', every: 5, delay: 20 })).injected).toBeGreaterThan(0);
  });
});

it('a ring of a vif that cannot be mapped is the end of that vif alone', async () => {
  const mapping = await inject(host, { part: 'grant', type: 'vif', domain: 'g3', nth: 1, error: 'no_space' });
  const cmdline = 'who=1 peer=10.9.0.9 ip=10.9.0.3:::255.255.255.0';
  await host.domain('g3').create({ ramdisk, memory: 16, cmdline, vif: ['mac=00:16:3e:00:09:03'] });
  await mapping.happened();
  await mapping.remove();
  await host.domain('g3').destroy();
  expect((await transfer()).seen.changed).toBe(0);
});

it('pages of a vif that cannot be copied lose their frames, and nothing else', async () => {
  const OF = { part: 'grant', op: 'copy', domain: 'g2' } as const;
  // Among the first is the list of the pages that are to stay mapped: without it each of them is copied.
  const copies = await inject(host, [
    { ...OF, name: 'list', times: 2, error: 'bad_gntref' },
    { ...OF, name: 'page', from: 20, every: 40, error: 'eagain' },
  ]);
  await host.domain('g2').destroy();
  await begin(2);
  expect((await transfer()).seen.changed).toBe(0);
  await copies.happened(2, 'list');
  await copies.happened(2, 'page');
  await copies.remove();
});

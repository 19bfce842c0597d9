// A shared folder with faults: the real worker, server and client, and a folder of this machine's.
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { checkPlan, type Planted, type XenError } from '#pvbus';
import type { Vnode } from '../../../../../domu-kernel/fs/file-system.ts';
import type { P9FileSystem } from '../../../../../domu-kernel/fs/p9-file-system.ts';
import { SharedFolderRig } from '../../../../support/shared-folder-rig.ts';

let rig: SharedFolderRig;
let fs: P9FileSystem;
beforeEach(() => {
  rig = new SharedFolderRig();
  fs = rig.mount();
});
afterEach(() => {
  expect(rig.broken).toEqual([]);
  rig.end();
});

const eventsOf = (...faults: object[]): Planted[] => planted(...faults.map(fault => ({ part: 'event', ...fault })));
function planted(...faults: object[]): Planted[] {
  const checked = checkPlan(
    faults.map(fault => ({ part: '9pfs', ...fault })),
    'p',
  );
  if ('problems' in checked) throw new Error(JSON.stringify(checked.problems));
  return checked.plan.faults.map(fault => ({ plan: 'p', seed: 1, startedNs: 0, fault }));
}
const plant = (...faults: object[]): void => rig.plant(planted(...faults));
const occurrences = (): number[] => rig.injected.flatMap(one => one.occurrences);
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
function said(act: () => unknown): unknown {
  try {
    return act();
  } catch (error) {
    return (error as XenError).code ?? (error as Error).message;
  }
}
const onHost = (name: string): string => readFileSync(join(rig.folder, name), 'utf8');
function made(name: string, text = ''): Vnode {
  writeFileSync(join(rig.folder, name), text);
  return fs.root.lookup(name)!;
}

it('fails the message that is chosen, of which nothing is done, and no other', () => {
  const file = made('f', 'old');
  plant({ op: 'write', nth: 2, error: 'ENOSPC' }, { name: 'gone', op: 'getattr', error: 'ESTALE' });
  expect([1, 2, 3].map(n => said(() => file.write(n, bytes(`${n}`))))).toEqual([1, 'ENOSPC', 1]);
  expect(onHost('f')).toBe('o1d3');
  expect(said(() => file.attributes())).toBe('ESTALE');
  expect(said(() => fs.root.create('g', 'file').release())).toBeUndefined();
  rig.worker.step();
  expect(occurrences()).toEqual([2, 1]);
  expect(rig.injected[0]).toMatchObject({ fault: 'fault-1', where: '9pfs 0 of dom1' });
  file.release();
});

it('is chosen by path, also where files were opened before or are called otherwise now', () => {
  mkdirSync(join(rig.folder, 'in'));
  writeFileSync(join(rig.folder, 'in/f'), '');
  const directory = fs.root.lookup('in')!;
  const [outside, inside] = [made('f'), directory.lookup('f')!];
  expect([outside, inside].map(file => file.write(0, bytes('x')))).toEqual([1, 1]);
  plant({ path: '/in', op: 'write', error: 'EIO' }, { name: 'made', path: '/in/new', op: 'lcreate', error: 'EDQUOT' });
  expect([outside, inside].map(file => said(() => file.write(0, bytes('y'))))).toEqual([1, 'EIO']);
  renameSync(join(rig.folder, 'in/f'), join(rig.folder, 'moved'));
  expect(said(() => inside.write(0, bytes('z')))).toBe(1);
  expect(['new', 'newer'].map(name => said(() => directory.create(name, 'file').release()))).toEqual([
    'EDQUOT',
    undefined,
  ]);
  for (const file of [outside, inside, directory]) file.release();
});

it('a rename is of the name that it leaves and of the one that it takes, a walk of where it leads', () => {
  made('a').release();
  plant({ path: '/b', error: 'EACCES' });
  expect(said(() => fs.root.rename('a', fs.root, 'b'))).toBe('EACCES');
  expect(said(() => fs.root.rename('a', fs.root, 'c'))).toBeUndefined();
  expect(said(() => fs.root.lookup('b'))).toBe('EACCES');
  expect(said(() => fs.root.rename('c', fs.root, 'bb'))).toBeUndefined();
  rig.worker.step();
  expect(occurrences().length).toBe(2);
});

it('moves few bytes at a time where it is to, and the guest hears how many', () => {
  const file = made('f', 'abcdefgh');
  plant({ op: 'read', nth: 1, short: 3 }, { name: 'write', op: 'write', short: 2 });
  const into = new Uint8Array(8);
  expect(file.read(0, into)).toBe(3);
  expect(new TextDecoder().decode(into.subarray(0, 3))).toBe('abc');
  expect(file.read(0, into)).toBe(8);
  expect(said(() => file.write(0, bytes('12345')))).toBe(5);
  expect(onHost('f')).toBe('12345fgh');
  rig.worker.step();
  expect(occurrences().length).toBe(1 + 3); // of five bytes two, two and one
  file.release();
});

it('answers later, or not before the fault goes, and nothing of it is done until then', () => {
  const file = made('f', 'old');
  file.write(0, bytes('old')); // it is open
  plant({ op: 'write', nth: 1, delay: 50 }, { name: 'stall', op: 'write', nth: 2, stall: true });
  const write = (text: string): string => said(() => file.write(0, bytes(text))) as string;
  // Nobody answers: so the call waits for as long as the clock stands still.
  expect(write('new')).toBe('nobody answers');
  expect(onHost('f')).toBe('old');
  expect(rig.worker.deadline()).toBe(rig.core.clock.now() + 50e6);
  rig.core.clock.advance(50e6);
  rig.worker.step();
  expect(onHost('f')).toBe('new');
  rig.disconnect();
  rig.connect();
  expect(write('two')).toBe('nobody answers');
  rig.core.clock.advance(3600e9);
  rig.worker.step();
  expect(onHost('f')).toBe('new');
  plant();
  rig.worker.step();
  expect(onHost('f')).toBe('two');
  expect(occurrences()).toEqual([1, 2]);
  rig.disconnect(); // who was to hear of it has given up
  rig.connect();
  file.release();
});

it('of a client that goes while its message waits nothing is left to do', () => {
  const file = made('f', 'old');
  file.write(0, bytes('old'));
  plant({ op: 'write', nth: 1, delay: 50 });
  expect(said(() => file.write(0, bytes('new')))).toBe('nobody answers');
  rig.disconnect();
  rig.core.clock.advance(3600e9);
  rig.worker.step();
  expect(rig.worker.deadline()).toBeUndefined();
  expect(onHost('f')).toBe('old');
  rig.connect();
  file.release();
});

it('has no answer where it is dropped, and is not done', () => {
  const file = made('f', 'old');
  file.write(0, bytes('old'));
  plant({ op: 'write', nth: 1, drop: true });
  expect(said(() => file.write(0, bytes('new')))).toBe('nobody answers');
  plant();
  rig.worker.step();
  expect(onHost('f')).toBe('old');
  file.release();
});

it.each([
  ['before', 'old'],
  ['after', 'new'],
] as const)(
  'is killed %s a write, of which nobody hears; what comes then is left to whoever serves next',
  (kill, left) => {
    const file = made('f', 'old');
    file.write(0, bytes('old'));
    plant({ op: 'write', nth: 1, kill }, { name: 'other', nth: 100, error: 'EIO' });
    expect(said(() => file.write(0, bytes('new')))).toBe('nobody answers');
    expect(onHost('f')).toBe(left);
    // All that was counted is told with it.
    expect(rig.injected.map(({ fault, counts, process }) => [fault, counts.seen, process])).toEqual([
      ['other', 1, undefined],
      ['fault-1', 1, { kill: true }],
    ]);
    rig.disconnect();
    rig.connect();
    expect(said(() => fs.root.lookup('f'))).toBe('nobody answers');
    expect(rig.injected.length).toBe(2);
    plant();
    file.release();
  },
);

it.each(['before', 'after'])('what is killed %s it is done is done once, also where its plan ends instead', kill => {
  plant({ op: 'mkdir', kill });
  let turns = 0;
  const turn = rig.turn.bind(rig);
  rig.turn = () => {
    if (++turns === 5) plant();
    turn();
  };
  expect(said(() => fs.root.create('d', 'directory').release())).toBeUndefined();
  expect(turns).toBeGreaterThanOrEqual(5);
});

it('is not there without a plan, and a message of each kind can be chosen', () => {
  plant({ op: 'mkdir', error: 'EROFS' }, { name: 'unlink', op: 'unlinkat', error: 'EROFS' });
  made('f').release();
  expect(said(() => fs.root.create('d', 'directory'))).toBe('EROFS');
  expect(said(() => fs.root.unlink('f'))).toBe('EROFS');
  plant();
  expect(said(() => fs.root.create('d', 'directory').release())).toBeUndefined();
  expect(said(() => fs.root.unlink('f'))).toBeUndefined();
});

it('its channel, by the guest’s number of it, loses what it hears or tells it late', () => {
  const file = made('f', 'old');
  file.write(0, bytes('old'));
  rig.plant(
    eventsOf({ port: rig.port, op: 'receive', nth: 1, drop: true }, { name: 'other', port: rig.port + 1, drop: true }),
  );
  rig.worker.step(); // as it does when its channels are others
  expect(said(() => file.write(0, bytes('new')))).toBe('nobody answers');
  expect(onHost('f')).toBe('old');
  expect(occurrences()).toEqual([1]);
  rig.plant([]); // it looks by itself then
  rig.worker.step();
  expect(onHost('f')).toBe('new');
  rig.disconnect();
  rig.connect();
  rig.plant(eventsOf({ type: '9pfs', op: 'send', nth: 1, delay: 30 }));
  expect(said(() => fs.root.lookup('f')?.release())).toBeUndefined(); // it looks at the ring itself
  expect(rig.worker.deadline()).toBe(rig.core.clock.now() + 30e6);
  rig.guest.events.poll();
  rig.plant([]); // late is not lost
  expect(rig.guest.events.poll()).toBe(true);
  file.release();
});

// What of the host's log, and of what both ends of a device say in xenstore, becomes events: over a real log, xenstored and
// journal.
import { appendFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, expect, it } from 'vitest';
import { domid, XenstoreClient } from '#pvbus';
import type { DomainRecord, DomainRecords } from '../../../../dom0/toolstack/domain-records.ts';
import { Ledger } from '../../../../dom0/toolstack/ledger.ts';
import { Reactions } from '../../../../dom0/toolstack/reactions.ts';
import { MemoryDisk } from '../../../support/memory-journal.ts';
import { removeScratchFolders, ScratchFolder } from '../../../support/scratch-folder.ts';
import { ListLog, rigTransport, XenstoreRig } from '../../../support/xenstore-rig.ts';
import { domainConfig } from './domain-config.ts';

afterAll(removeScratchFolders);

let path: string;
let told: string[];
let ledger: Ledger;
/** Devices whose faults were asked for. */
let asked: number;
let answer: () => void;
let reactions: Reactions;
let rig: XenstoreRig;
let xs: XenstoreClient;
beforeEach(async () => {
  path = join(new ScratchFolder().path, 'host.log');
  writeFileSync(path, '');
  told = [];
  asked = 0;
  const answered = new Promise<undefined>(resolve => {
    answer = () => resolve(undefined);
  });
  ledger = Ledger.begin(new MemoryDisk(), new ListLog());
  rig = new XenstoreRig();
  xs = new XenstoreClient(rigTransport(rig));
  const user = { domid: 4, config: domainConfig({}) } as DomainRecord;
  const storage = { domid: 3, config: domainConfig({ driver_domain: true, kernel: '' }) } as DomainRecord;
  reactions = new Reactions({
    ...{ xs, clock: rig.clock, log: rig.log },
    records: { all: () => [storage, user], get: () => undefined } as unknown as DomainRecords,
    ledger,
    replacements: { from: () => undefined, listen: () => {} },
    told: { reaction: (_domid, text) => told.push(text) },
    faults: {
      causeAt: () => {
        asked++;
        return answered;
      },
      causeOfEnd: () => undefined,
    },
    logPath: path,
    settled: async () => {},
  });
  await reactions.start();
});
afterEach(() => reactions.stop());

it('lines about devices wait side by side for what faults have done there, and are told in their order', async () => {
  const lines = [1, 2, 3].map(domid => `vbd 51712 of dom${domid}: request 1 failed`);
  appendFileSync(path, lines.map(line => `T blkback: error: ${line}\n`).join(''));
  const heard = reactions.heard();
  await new Promise(resolve => setImmediate(resolve));
  expect(asked).toBe(3);
  answer();
  await heard;
  expect(told).toEqual(lines.map(line => `blkback: ${line}`));
});

it('a driver domain that says something else each time pushes nothing out', async () => {
  const mad = (i: number): string => `T dom3 blkback: warning: ${'x'.repeat(i)}\n`;
  appendFileSync(path, `${Array.from({ length: 500 }, (_, i) => mad(i + 1)).join('')}T dom0: error: it is\n`);
  await reactions.heard();
  expect(told.length).toBe(101);
  expect(told.at(-1)).toBe('dom0: it is');
});

it('what the hypervisor quotes of a driver domain that ends again and again pushes nothing out', async () => {
  const ends = (i: number): string =>
    `T xen: warning: dom3: driver-domain.js, process ${i}, has ended: exit code 1, and had printed: ${'x'.repeat(i)}; another one takes its place\n`;
  appendFileSync(path, `${Array.from({ length: 500 }, (_, i) => ends(i + 1)).join('')}T xen: error: it is\n`);
  await reactions.heard();
  expect(told.length).toBe(101);
  expect(told.at(-1)).toBe('xen: it is');
});

it('where the log is told up to is its beginning once that has begun anew, so that who comes next neither repeats nor misses a line', async () => {
  answer();
  appendFileSync(path, `T blkback: error: one\n${'T dom0: all is well\n'.repeat(1 << 15)}`);
  await reactions.heard();
  const toldUpTo = (): unknown => ledger.table('reactions').get('log');
  expect(toldUpTo()).toBe('T blkback: error: one\n'.length);
  for (let n = 1; n < 7; n++) {
    appendFileSync(path, 'T dom0: all is well\n'.repeat(1 << 15));
    await reactions.heard();
  }
  expect([statSync(path).size, toldUpTo()]).toEqual([0, 0]);
  expect(told).toEqual(['blkback: one']);
});

/** Nothing moves any more. */
async function still(): Promise<void> {
  for (let turns = 0; turns < 10; turns = xs.outstanding === 0 ? turns + 1 : 0)
    await new Promise(resolve => setImmediate(resolve));
}
const frontend = (domid: number, devid: number): string => `/local/domain/${domid}/error/device/vbd/${devid}/error`;

it('a frontend that gives its device up is heard, of a domain that was there and of one that comes, also before that is known', async () => {
  answer();
  await xs.write(frontend(4, 51712), 'ETIMEDOUT vbd 51712: the backend does not answer');
  await still();
  await xs.write(frontend(9, 51728), 'EPROTO the backend sent nonsense');
  await xs.write('/local/domain/9/error/device/vbd/none/error', 'nobody');
  await still();
  expect(told).toHaveLength(1);
  reactions.created({ domid: domid(9), config: domainConfig({}) });
  await still();
  await xs.write(frontend(9, 51744), 'EIO and another one');
  await still();
  expect(told).toEqual([
    'vbd 51712 of dom4: its frontend says ETIMEDOUT vbd 51712: the backend does not answer',
    'vbd 51728 of dom9: its frontend says EPROTO the backend sent nonsense',
    'vbd 51744 of dom9: its frontend says EIO and another one',
  ]);
  reactions.destroyed(domid(9));
  await still();
  await xs.write(frontend(9, 51744), 'EIO again');
  await still();
  expect(told).toHaveLength(3);
});

it('a guest speaks of its own devices alone, and is not listened to for ever', async () => {
  answer();
  await xs.write('/local/domain/4/error/backend/vbd/5/51712/error', 'EIO of another one’s');
  await still();
  expect(told).toEqual([]);
  for (let i = 0; i < 150; i++) {
    await xs.write(frontend(4, i), `EIO ${i}`);
    await still();
  }
  expect(told).toHaveLength(100);
  expect(told.at(-1)).toBe('vbd 99 of dom4: its frontend says EIO 99');
  await xs.write(frontend(3, 1), 'EIO it is a domain of its own');
  await xs.write('/local/domain/3/error/backend/vbd/5/51712/error', 'EIO and it serves some');
  await still();
  expect(told.slice(100)).toEqual([
    'vbd 1 of dom3: its frontend says EIO it is a domain of its own',
    'vbd 51712 of dom5: its backend says EIO and it serves some',
  ]);
});

it('a guest that gives up many devices at once is not warned of', async () => {
  answer();
  for (const domid of [4, 9]) for (let i = 0; i < 150; i++) await xs.write(frontend(domid, i), `EIO ${i}`);
  reactions.created({ domid: domid(9), config: domainConfig({}) });
  await still();
  expect(told).toHaveLength(200);
  expect(rig.log.lines.filter(line => line.startsWith('warning'))).toEqual([]);
});

it('an error that is written just before a newcomer is looked at is told once', async () => {
  answer();
  await xs.write('/local/domain/9/error/device/vbd', '');
  const other = new XenstoreClient(rigTransport(rig));
  const directory = xs.directory.bind(xs);
  // order: the event is there with the answer, and not before.
  xs.directory = async path => {
    if (path.endsWith('/vbd')) {
      other.write(frontend(9, 51712), 'EIO once').catch(error => told.push(error));
      await new Promise(resolve => setImmediate(resolve));
    }
    return directory(path);
  };
  reactions.created({ domid: domid(9), config: domainConfig({}) });
  await still();
  expect(told).toEqual(['vbd 51712 of dom9: its frontend says EIO once']);
});

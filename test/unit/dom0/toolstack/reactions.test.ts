// What of the host's log becomes events: over a real log, xenstored and journal.
import { appendFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, expect, it } from 'vitest';
import { XenstoreClient } from '#pvbus';
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
/** Devices whose faults were asked for. */
let asked: number;
let answer: () => void;
let reactions: Reactions;
beforeEach(async () => {
  path = join(new ScratchFolder().path, 'host.log');
  writeFileSync(path, '');
  told = [];
  asked = 0;
  const answered = new Promise<undefined>(resolve => {
    answer = () => resolve(undefined);
  });
  const rig = new XenstoreRig();
  const storage = { domid: 3, config: domainConfig({ driver_domain: true, kernel: '' }) } as DomainRecord;
  reactions = new Reactions({
    ...{ xs: new XenstoreClient(rigTransport(rig)), clock: rig.clock, log: rig.log },
    records: { all: () => [storage], get: () => undefined } as unknown as DomainRecords,
    ledger: Ledger.begin(new MemoryDisk(), new ListLog()),
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

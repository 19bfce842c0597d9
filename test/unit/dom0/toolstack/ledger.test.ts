import { beforeEach, describe, expect, it } from 'vitest';
import { recordsOf } from '../../../../dom0/journal-file.ts';
import { Ledger } from '../../../../dom0/toolstack/ledger.ts';
import { MemoryDisk } from '../../../support/memory-journal.ts';
import { ListLog } from '../../../support/xenstore-rig.ts';

let disk: MemoryDisk;
let log: ListLog;
beforeEach(() => {
  disk = new MemoryDisk();
  log = new ListLog();
});
/** What another process finds. */
const found = (table = 'domains') => Ledger.goOn(disk, log).table<unknown>(table).entries();

describe('what the toolstack notes', () => {
  it('is known to the one after it, in the order in which it came', () => {
    const domains = Ledger.begin(disk, log).table<object>('domains');
    domains.set(3, { name: 'web', disks: [] });
    domains.set(1, { name: 'db', disks: [{ devid: 51712 }] });
    domains.set(3, { name: 'www', disks: [] });
    domains.set(2, { name: 'gone', disks: [] });
    domains.delete(2);
    expect(found()).toEqual([
      [3, { name: 'www', disks: [] }],
      [1, { name: 'db', disks: [{ devid: 51712 }] }],
    ]);
    expect(found('events')).toEqual([]);
  });

  it('fault 43: together happens wholly or not at all', () => {
    const ledger = Ledger.begin(disk, log);
    const domains = ledger.table<string>('domains');
    const comings = ledger.table<string>('comings');
    ledger.together(() => {
      domains.set(1, 'web');
      comings.set('web', 'soon');
    });
    const whole = Buffer.from(disk.file!.bytes);
    for (let length = whole.length - 1; length > 16; length--) {
      disk.file!.bytes = whole.subarray(0, length);
      expect([found(), found('comings')]).toEqual([[], []]);
    }
    disk.file!.bytes = whole;
    expect([found().length, found('comings').length]).toEqual([1, 1]);
  });

  it('is cut off where it is damaged, and what comes then is kept', () => {
    const domains = Ledger.begin(disk, log).table<string>('domains');
    domains.set(1, 'web');
    const end = disk.file!.bytes.length;
    domains.set(2, 'db');
    disk.file!.bytes[end + 12]! ^= 1;
    const next = Ledger.goOn(disk, log);
    expect(log.lines.at(-1)).toMatch(/its last \d+ bytes are damaged, and cut off/);
    next.table<string>('domains').set(3, 'mail');
    expect(found()).toEqual([
      [1, 'web'],
      [3, 'mail'],
    ]);
  });

  it('of another version, or of somebody else, is refused and left as it is', () => {
    Ledger.begin(disk, log).table<string>('domains').set(1, 'web');
    const was = Buffer.from(disk.file!.bytes);
    disk.file!.bytes[8] = 99;
    expect(() => Ledger.goOn(disk, log)).toThrow('a journal of version 99; the toolstack reads version 1');
    disk.file!.bytes = Buffer.from('my thesis, in its only copy');
    expect(() => Ledger.goOn(disk, log)).toThrow('this is not a journal of the toolstack');
    expect(disk.file!.bytes.length).toBe(27);
    disk.file!.bytes = was;
    expect(found()).toEqual([[1, 'web']]);
  });

  it('is no more than what is true, however often it changed', () => {
    const domains = Ledger.begin(disk, log).table<string>('domains');
    for (let i = 0; i < 4000; i++) domains.set(1, 'x'.repeat(1000) + i);
    expect(disk.file!.bytes.length).toBeLessThan(1.2 * 2 ** 20);
    expect(found()).toEqual([[1, `${'x'.repeat(1000)}3999`]]);
  });
  it('is written anew in records of one entry each: a table may outgrow the longest record', () => {
    const domains = Ledger.begin(disk, log).table<string>('domains');
    for (let i = 0; i < 1100; i++) domains.set(i % 3, 'x'.repeat(1000));
    const { bytes } = disk.file!;
    const sizes = [...recordsOf(bytes, 16)].map(({ body }) => body.length);
    expect(bytes.length).toBeLessThan(2 ** 20);
    expect(Math.max(...sizes)).toBeLessThan(1100);
    expect(found()).toHaveLength(3);
  });
});

describe('a full disk', () => {
  it('refuses what must be kept, lets go on what need not be, and has all once there is room', () => {
    const ledger = Ledger.begin(disk, log);
    const domains = ledger.table<string>('domains');
    domains.set(1, 'web');
    disk.beforeAppend = () => {
      throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
    };
    expect(() => domains.set(2, 'db')).toThrow(expect.objectContaining({ code: 'ENOSPC' }));
    expect(domains.has(2)).toBe(false);
    domains.note(1, 'web, ended');
    domains.note(4, 'mail');
    expect(domains.get(1)).toBe('web, ended');
    expect(log.lines.filter(line => line.includes('journal'))).toHaveLength(1);
    disk.beforeAppend = () => {};
    domains.set(3, 'dns');
    expect(log.lines.at(-1)).toContain('is written again');
    expect(found()).toEqual([
      [1, 'web, ended'],
      [4, 'mail'],
      [3, 'dns'],
    ]);
  });
});

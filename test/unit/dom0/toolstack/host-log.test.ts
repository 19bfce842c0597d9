// What the toolstack hears of the host's log.
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { logTail } from '#pvbus';
import { deviceIn, domidIn, HostLog, type Said } from '../../../../dom0/toolstack/host-log.ts';
import { LogReader } from '../../../../tools/log-reader.ts';
import { removeScratchFolders, ScratchFolder } from '../../../support/scratch-folder.ts';

afterAll(removeScratchFolders);

let path: string;
let heard: Said[];
let log: HostLog;
beforeEach(() => {
  path = join(new ScratchFolder().path, 'host.log');
  writeFileSync(path, 'T dom0: error: of a host before this one\n');
  heard = [];
  log = new HostLog(path, undefined, said => heard.push(said));
});
const says = (text: string): void => {
  appendFileSync(path, text);
  log.look();
};

it('warnings and errors are heard, once each, whole, and whoever comes next goes on behind them', () => {
  says('T dom0: up\nT xenstored: error: dom3: connection error 2\nT blkback: warn');
  expect(heard).toEqual([{ who: 'xenstored', what: 'dom3: connection error 2' }]);
  says('ing: ünder way\n');
  expect(heard.slice(1)).toEqual([{ who: 'blkback', what: 'ünder way' }]);
  says('T xen: error: a\n');
  const next = new HostLog(path, log.at, said => heard.push(said));
  appendFileSync(path, 'T dom0 vcpu0: error: b\n');
  next.look();
  log.at = next.at;
  says('T dom3 slow-blkback: warning: c\n');
  expect(heard.slice(2)).toEqual([
    { who: 'xen', what: 'a' },
    { who: 'dom0 vcpu0', what: 'b' },
    { who: 'dom3 slow-blkback', what: 'c' },
  ]);
  next.close();
  log.close();
});

it('what is said again and again is heard of ever more seldom, and hides nothing else', () => {
  for (let n = 1; n <= 4096; n++) says(`T blkback: error: vbd 51712 of dom1: request ${n} failed\n`);
  expect(heard.length).toBe(32 + 7);
  expect(heard.at(-1)!.what).toBe('vbd 51712 of dom1: request 4096 failed (said 4096 times)');
  says('T blkback: error: vbd 51712 of dom2: request 1 failed\n');
  expect(heard.at(-1)!.what).toBe('vbd 51712 of dom2: request 1 failed');
  log.close();
});

it('whoever is far behind, and a line without end, are skipped', () => {
  says(`T dom0: error: ${'x'.repeat(1 << 18)}\nT dom0: error: behind it\n`);
  expect(heard).toEqual([{ who: 'dom0', what: 'behind it' }]);
  says(`${'T dom0: all is well\n'.repeat(1 << 17)}T dom0: error: at the end\n`);
  expect(heard.slice(1)).toEqual([{ who: 'dom0', what: 'at the end' }]);
  log.close();
});

it('what is written while it is read is heard of at the next look', () => {
  let lines = 0;
  const eager = new HostLog(path, 0, () => {
    if (++lines < 100) appendFileSync(path, `T dom3: error: ${'x'.repeat(lines)}\n`);
  });
  eager.look();
  expect(lines).toBe(1);
  eager.look();
  expect(lines).toBe(2);
  eager.close();
  log.close();
});

describe('a log that has become too long', () => {
  const MAX = 1000;
  const line = (n: number): string => `T dom3: error: line ${n} ${'x'.repeat(80)}\n`;

  it('is kept once beside it and begins anew, and nothing goes unheard or unread', () => {
    let times = 0;
    const bounded = new HostLog(path, undefined, said => heard.push(said), {
      beginsAnew: () => times++,
      maxBytes: MAX,
    });
    const reader = LogReader.open(path)!;
    reader.read(false);
    const read: string[] = [];
    for (let n = 0; n < 100; n++) {
      appendFileSync(path, line(n));
      if (n % 3 === 0) read.push(...reader.read(false));
      bounded.look();
      expect(readFileSync(path).length).toBeLessThanOrEqual(MAX);
      expect(bounded.at).toBe(readFileSync(path).length);
    }
    read.push(...reader.read(false));
    const all = Array.from({ length: 100 }, (_, n) => line(n).trimEnd());
    expect(read).toEqual(all);
    expect(new Set(heard.map(({ what }) => Number(/^line (\d+)/.exec(what)![1]))).size).toBe(heard.length);
    expect(times).toBeGreaterThan(5);
    const kept = readFileSync(`${path}.1`, 'utf8') + readFileSync(path, 'utf8');
    expect(kept.trimEnd().split('\n')).toEqual(all.slice(-kept.trimEnd().split('\n').length));
    expect(logTail(path, MAX)).toBe(readFileSync(path, 'utf8'));
    reader.close();
    bounded.close();
    log.close();
  });

  it('is kept with a line that comes meanwhile, when that is heard too', () => {
    const bounded = new HostLog(
      path,
      0,
      ({ what }) => {
        if (heard.push({ who: 'dom3', what }) === 15) appendFileSync(path, line(99));
      },
      { maxBytes: MAX },
    );
    appendFileSync(path, Array.from({ length: 20 }, (_, n) => line(n)).join(''));
    bounded.look();
    expect(readFileSync(path, 'utf8')).toContain(line(99));
    bounded.look();
    expect(readFileSync(path, 'utf8')).toBe('');
    expect(readFileSync(`${path}.1`, 'utf8').endsWith(line(99))).toBe(true);
    expect(heard.at(-1)!.what).toBe(/line 99 x+/.exec(line(99))![0]);
    bounded.close();
    log.close();
  });

  it('stays as it is while it cannot be kept', () => {
    mkdirSync(`${path}.1`); // in the way of the copy
    const bounded = new HostLog(path, 0, said => heard.push(said), { maxBytes: MAX });
    appendFileSync(path, line(1).repeat(20));
    bounded.look();
    expect(readFileSync(path, 'utf8')).toContain(line(1).repeat(20));
    expect(existsSync(`${path}.1`)).toBe(true);
    bounded.close();
    log.close();
  });
});

it('a host without a log says nothing', () => {
  const none = new HostLog('/nonexistent/host.log', undefined, said => heard.push(said));
  none.look();
  none.close();
  expect(heard).toEqual([]);
});

it('a line is about the domain and the device that it names', () => {
  expect(domidIn('vbd 51712 of dom12: request op 1 failed')).toBe(12);
  expect(domidIn('vif7.0: disabled')).toBe(7);
  expect(domidIn('the journal is damaged')).toBeNull();
  expect(deviceIn('vbd 51712 of dom12: x')).toEqual({ type: 'vbd', devid: 51712, domid: 12 });
  expect(deviceIn('vif7.1: disabled')).toEqual({ type: 'vif', devid: 1, domid: 7 });
  expect(deviceIn('console of dom3: x')).toEqual({ type: 'console', devid: 0, domid: 3 });
  expect(deviceIn('dom3: watchdog expired')).toBeUndefined();
});

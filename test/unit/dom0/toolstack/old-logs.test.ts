// Which logs of domains stay.
import { mkdirSync, readdirSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { runPaths } from '#pvbus';
import { OldLogs } from '../../../../dom0/toolstack/old-logs.ts';
import { removeScratchFolders, ScratchFolder } from '../../../support/scratch-folder.ts';
import { ListLog } from '../../../support/xenstore-rig.ts';

afterAll(removeScratchFolders);

function rig(inUse: readonly string[] = []) {
  const { path } = new ScratchFolder();
  const dir = join(path, 'log');
  mkdirSync(dir);
  const paths = runPaths(path);
  const log = new ListLog();
  const old = new OldLogs(path, () => inUse.map(paths.consoleLog), log);
  let written = 0;
  /** Later than all before. */
  const write = (file: string): void => {
    writeFileSync(file, 'x');
    utimesSync(file, ++written, written);
  };
  const files = (): string[] => readdirSync(dir).sort();
  return { path, paths, old, write, files, log };
}

it('of a thousand domains that were run, each of another name, the last ones have their logs', () => {
  const { paths, old, write, files } = rig();
  const most: number[] = [];
  for (let n = 0; n < 1000; n++) {
    write(paths.consoleLog(`run-${n}`));
    write(`${paths.consoleLog(`run-${n}`)}.1`);
    write(paths.monitorLog(`run-${n}`));
    old.domainGone();
    most.push(files().length);
  }
  expect(Math.max(...most)).toBe((64 + 15) * 3);
  for (const n of [936, 999]) expect(files()).toContain(`console-run-${n}.log.1`);
  expect(files()).not.toContain('xl-run-900.log');
});

it('a domain that lives keeps its logs however old, under whatever name it was made, and so does what is no log of a domain', () => {
  const { path, paths, old, write, files } = rig(['a b.log', 'web']);
  const kept = [
    paths.consoleLog('a b.log'),
    paths.monitorLog('a b.log'),
    `${paths.monitorLog('web')}.10`,
    paths.eventLog,
  ];
  for (const file of [...kept, join(path, 'log', 'mine.txt')]) write(file);
  const before = files();
  for (let n = 0; n < 160; n++) {
    write(paths.consoleLog(String(n)));
    old.domainGone();
  }
  expect(files()).toEqual(expect.arrayContaining(before));
  expect(files().length).toBe(before.length + 64);
});

it('where there is no folder, that is said', () => {
  const { log } = rig();
  const old = new OldLogs('/nonexistent', () => [], log);
  for (let n = 0; n < 16; n++) old.domainGone();
  expect(log.lines).toEqual([expect.stringContaining('ENOENT')]);
});

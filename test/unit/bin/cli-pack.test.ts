// xl as the build has packed it: with what the engine has made of it before, and without.
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, rmSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { dist } from '../../support/host-view.ts';

const KEPT = `pack.${process.versions.v8}.cache`;
/** The build may have been another Node's. */
const elsewhere = !existsSync(join(dist('cli'), KEPT));
/** One of a module that is packed, one of a file beside it. */
const COMMANDS = [
  ['list', '--nonsense'],
  ['uptime', '--help'],
];

let copy: string;
beforeAll(() => {
  copy = mkdtempSync(join(tmpdir(), 'xenolith-cli-'));
  cpSync(dist('cli'), copy, { recursive: true });
  cpSync(dist('package.json'), join(copy, 'package.json')); // for CommonJS, whatever package the temporary folder is in
});
afterAll(() => rmSync(copy, { recursive: true, force: true }));

const says = (dir: string) =>
  COMMANDS.map(args => {
    const { stdout, stderr, status } = spawnSync(process.execPath, [join(dir, 'xl.js'), ...args], { encoding: 'utf8' });
    return { stdout, stderr, status };
  });

it.skipIf(elsewhere)('what the engine had compiled at the build is taken', () => {
  // In a process of its own, as xl is: it is for an engine with the same flags.
  const loader = JSON.stringify(join(dist('cli'), 'load.cjs'));
  const asked = `console.log(require(${loader}).script.cachedDataRejected)`;
  const { stdout } = spawnSync(process.execPath, ['--eval', asked], { encoding: 'utf8' });
  expect(stdout).toBe('false\n');
});

it('xl says the same without it, and with one that is cut short', () => {
  const whole = says(copy);
  expect(whole.map(({ status }) => status)).toEqual([2, 0]);
  if (!elsewhere) truncateSync(join(copy, KEPT), 1000);
  expect(says(copy)).toEqual(whole);
  rmSync(join(copy, KEPT), { force: true });
  expect(says(copy)).toEqual(whole);
});

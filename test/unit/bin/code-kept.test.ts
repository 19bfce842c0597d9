// What the build keeps of programs whose start guests wait for: that the engine takes it, and what happens when it does not.
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { NODE_FLAGS } from '../../../hypervisor/child-processes.ts';
import { dist, root } from '../../support/host-view.ts';

const ENGINE = `.${process.versions.v8}.cache`;
const PROGRAMS = readdirSync(dist('code')).map(name => name.replace(/\.js\..*/, '.js'));
/** The build may have been another Node's. */
const elsewhere = !existsSync(join(dist('code'), `dom0.js${ENGINE}`));

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'xenolith-code-'));
  copyFileSync(dist('package.json'), join(dir, 'package.json')); // for CommonJS, whatever package the temporary folder is in
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const node = (...args: string[]): string => {
  const { stdout, stderr } = spawnSync(process.execPath, [...args], { encoding: 'utf8' });
  return stdout + stderr;
};

it('of dom0, xenstored and driver domains with their threads something is kept', () => {
  expect(PROGRAMS).toEqual(
    expect.arrayContaining(['dom0.js', 'driver-domain.js', 'xenstored.js', 'blkback-thread.js']),
  );
});

it.skipIf(elsewhere)('the engine takes it, with the flags of the processes that they are', () => {
  const asked = `
    const { keptAt } = require(${JSON.stringify(dist('code-load.cjs'))});
    const { readFileSync } = require('node:fs');
    for (const name of ${JSON.stringify(PROGRAMS)}) {
      const filename = ${JSON.stringify(dist('.'))}.replace(/\\.?\\/*$/, '/') + name;
      const text = require('node:module').wrap(readFileSync(filename, 'utf8'));
      const script = new (require('node:vm').Script)(text, { filename, cachedData: readFileSync(keptAt(filename)) });
      console.log(name, script.cachedDataRejected);
    }`;
  expect(node(...NODE_FLAGS, '-e', asked)).toBe(PROGRAMS.map(name => `${name} false\n`).join(''));
});

it('a program that has changed since, or of which the engine refuses what is kept, is compiled', () => {
  const program = join(dir, 'program.js');
  copyFileSync(join(root, 'bin/code-load.cjs'), join(dir, 'code-load.cjs'));
  const text = 'console.log(require("node:path").basename(__filename), "then", this === module.exports);\n';
  writeFileSync(program, text);
  node(join(root, 'bin/code-keep.cjs'), program);
  const says = (...flags: string[]): string => node(...flags, '--require', join(dir, 'code-load.cjs'), program);
  expect(says()).toBe('program.js then true\n');
  expect(says('--min-semi-space-size=2')).toBe('program.js then true\n');
  writeFileSync(program, text.replace('then', 'by now'));
  expect(says()).toBe('program.js by now true\n');
  writeFileSync(program, text);
  truncateSync(join(dir, 'code', `program.js${ENGINE}`), 100);
  expect(says()).toBe('program.js then true\n');
  rmSync(join(dir, 'code'), { recursive: true });
  expect(says()).toBe('program.js then true\n');
});

// What happens: the checkout that a host was started from is built anew, as `npm test` and `npm run build` do. What must be: the
// host goes on starting domains, dom0 and xenstored, from the files that it was started with. Before, those were taken
// away: Landlock let its threads read no others, and no domain after the next came to be. A build that would have to install
// packages anew takes no file away either, and is none.
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { keptBuild } from '../../../tools/kept-build.ts';
import type * as library from '../../../tools/library/xenolith.d.ts';
import { dist, root } from '../../support/host-view.ts';
import { commandLine, eventually, family } from '../../support/processes.ts';

const SOURCES = ['bin', 'dom0', 'domu-kernel', 'hypervisor', 'pvbus', 'tools', 'package.json', 'package-lock.json'];
const RAMDISK = fileURLToPath(new URL('../lifecycle/guest.ts', import.meta.url));

/** A build is many times the work of a test, on a machine that has no time for it. */
const BUILT_MS = 600_000;
const NEW = 'of the build anew';

const dir = mkdtempSync(join(tmpdir(), 'xenolith-built-anew-'));
const at = (name: string): string => join(dir, name);
let host: library.Host;
async function create(name: string): Promise<void> {
  await host.domain(name).create({ ramdisk: RAMDISK, memory: 16 });
  await (await host.domain(name).console()).waitFor('is up');
}
const pidOf = (program: RegExp): number | undefined => family(host.pid).find(pid => program.test(commandLine(pid)));
/** It is killed, and another one serves. */
async function replace(program: RegExp): Promise<void> {
  const old = pidOf(program)!;
  process.kill(old, 'SIGKILL');
  await eventually('another one', () => ![undefined, old].includes(pidOf(program)));
  await eventually('it serves', () =>
    host.domains().then(
      () => true,
      () => false,
    ),
  );
}

beforeAll(async () => {
  const kept = keptBuild(dist('.'));
  for (const name of SOURCES) cpSync(join(root, name), at(name), { recursive: true });
  cpSync(dist('.'), at('dist'), { recursive: true });
  cpSync(kept, at(basename(kept)), { recursive: true });
  symlinkSync(join(root, 'node_modules'), at('node_modules'));
  const { Host }: typeof library = await import(at('dist/library.mjs'));
  host = await Host.start({ memory: '256M' });
  await create('before');
  for (const source of ['domu-kernel/shell.ts', 'dom0/main.ts', 'dom0/heir.ts', 'dom0/xenstored/main.ts'])
    writeFileSync(at(source), `${readFileSync(at(source), 'utf8')}\nconsole.error('${NEW}');\n`);
  await execa(process.execPath, [at('bin/setup.mjs')]);
}, BUILT_MS);
afterEach(({ task }) => {
  if (task.result?.state === 'fail') console.error(host.log());
});
afterAll(async () => {
  await host?.stop();
  rmSync(dir, { recursive: true, force: true });
});

it('a host whose checkout is built anew goes on starting domains', async () => {
  expect(readFileSync(at('dist/domain-shell.cjs'), 'utf8')).toContain(NEW);
  // The first has the shell that waited, the second one that came after it.
  await create('one');
  await create('two');
});
it('packages are not installed anew under it: the build refuses, and says which host', async () => {
  const lockfile = readFileSync(at('package-lock.json'), 'utf8');
  // What must not be called: node_modules is the checkout's own.
  mkdirSync(at('path'));
  writeFileSync(at('path/npm'), '#!/bin/sh\necho npm was called >&2\nexit 1\n', { mode: 0o755 });
  writeFileSync(at('package-lock.json'), `${lockfile}\n`);
  const env = { PATH: `${at('path')}:${process.env.PATH}` };
  const built = await execa(process.execPath, [at('bin/setup.mjs')], { env, reject: false });
  writeFileSync(at('package-lock.json'), lockfile);
  expect([built.exitCode, built.stderr]).toEqual([
    1,
    `packages would be installed anew under hosts that run from here: on ${host.runDir}, process ${host.pid}; end them first (xl down)`,
  ]);
  await create('three');
});
it('and xenstored and dom0, all from the files that it was started with', async () => {
  await replace(/\/xenstored\.js .*--run-dir/);
  // The first is succeeded by the heir that waited, the second by one that came after it.
  for (const name of ['four', 'five']) {
    await replace(/\/dom0\.js /);
    await create(name);
  }
  expect(host.log()).not.toContain(NEW);
  const names = (await host.domains()).map(({ name }) => name);
  expect(names).toEqual(['Domain-0', 'before', 'one', 'two', 'three', 'four', 'five']);
});

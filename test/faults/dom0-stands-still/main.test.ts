// What breaks: dom0's event loop stands still, in a build that has a signal for that and looks more often. What must be:
// the log says so and that it goes on, guests live, and the toolstack is as it was.
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { changedBuild } from '../../support/changed-build.ts';
import { dist, HostRig } from '../../support/host-rig.ts';
import { commandLine, eventually } from '../../support/processes.ts';

const STAND = `process.on('SIGUSR2', () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2000));\n`;
const GUEST = `
import { clock } from 'xenolith';
export default async function main() {
  for await (const n of clock.every(50)) console.log('beat', n);
}`;
let dir: string;
let host: HostRig;
beforeAll(async () => {
  dir = changedBuild('stands-still', {
    'event-pump-thread.js': text => text.replace('var LOOK_MS = 1e3;', 'var LOOK_MS = 50;'),
    'dom0.js': text => text + STAND,
  });
  host = await HostRig.start({ dist: join(dir, 'dist') });
});
afterAll(async () => {
  await host?.stop();
  if (dir !== undefined) rmSync(dir, { recursive: true, force: true });
});

it('fault 34: an event loop of dom0 that stands still is named in the log, and everything goes on', async () => {
  const [program, file] = ['guest.ts', 'beats.cfg'].map(name => join(dir, name)) as [string, string];
  writeFileSync(program, GUEST);
  writeFileSync(file, `name = "beats"\nkernel = "${dist('domu-kernel.js')}"\nramdisk = "${program}"\nmemory = 16\n`);
  expect(await host.xl('create', '-q', file)).toMatchObject({ exitCode: 0 });
  await eventually('it beats', () => host.consoleLog('beats').includes('beat'));
  const dom0 = host.processes().find(pid => commandLine(pid).includes('/dom0.js'))!;
  process.kill(dom0, 'SIGUSR2');
  await eventually('the log says so', () => /dom0 vcpu0: error: the event loop has stood still/.test(host.log()));
  await eventually('and that it goes on', () => /dom0 vcpu0: warning: the event loop goes on/.test(host.log()));
  expect((await host.domains()).map(({ name }) => name)).toEqual(['Domain-0', 'beats']);
  const { stdout } = await host.xl('events');
  expect(stdout).toMatch(/dom0 vcpu0: the event loop has stood still/);
  const said = host.consoleLog('beats').length;
  await eventually('it still beats', () => host.consoleLog('beats').length > said);
});

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type ProcessInventory, processesBelow, processInventory } from '../../../../tools/library/host-inventory.ts';

const dir = mkdtempSync(join(tmpdir(), 'xenolith-inventory-'));
let dom0: ChildProcess;
const inventory = (log = ''): ProcessInventory => processInventory(processesBelow(dom0.pid!), log);
const said = async (line: string): Promise<void> => {
  dom0.stdin!.write('\n');
  const [chunk] = await once(dom0.stdout!, 'data');
  expect(String(chunk)).toBe(`${line}\n`);
};

beforeAll(() => {
  const program = join(dir, 'dom0.js');
  writeFileSync(join(dir, 'package.json'), '{ "type": "commonjs" }'); // for CommonJS, whatever package the temporary folder is in
  // Says what it has done for each line that it reads.
  writeFileSync(
    program,
    `const esbuild = require(${JSON.stringify(createRequire(import.meta.url).resolve('esbuild'))});
     const acts = [
       () => 'nothing',
       () => esbuild.transform('1').then(() => 'bundled'),
       () => esbuild.stop().then(() => 'stopped'),
     ];
     process.stdin.on('data', async () => console.log(await acts.shift()()));`,
  );
  // As in a checkout whose name has a blank.
  const bundler = join(dir, 'a blank', 'esbuild');
  mkdirSync(dirname(bundler));
  symlinkSync(createRequire(import.meta.url).resolve('@esbuild/linux-x64/bin/esbuild'), bundler);
  const env = { ...process.env, ESBUILD_BINARY_PATH: bundler };
  dom0 = spawn(process.execPath, [program], { env, stdio: ['pipe', 'pipe', 'inherit'] });
});
afterAll(() => {
  dom0.kill('SIGKILL');
  rmSync(dir, { recursive: true });
});

it("leaves out esbuild's process, which dom0 keeps for a moment, and what dom0 has open of it", async () => {
  await said('nothing');
  const before = inventory();
  expect(before.processes).toEqual(['dom0.js']);
  await said('bundled');
  expect(processesBelow(dom0.pid!)).toHaveLength(2);
  expect(inventory()).toEqual(before);
  await said('stopped');
  await expect.poll(() => processesBelow(dom0.pid!)).toHaveLength(1);
  expect(inventory()).toEqual(before);
});

it('hears from dom0 alone which threads it has started', () => {
  const said = '10:00 dom0: starts\n10:01 dom0: thread of nbd starts\n';
  const printed = [
    '10:02 dom3: x dom0: starts',
    '10:03 dom3: \u2028x dom0: starts\u2028',
    '10:04 dom3: dom0: thread of p9 starts',
  ];
  expect(inventory(`${said}${printed.join('\n')}\n`)).toEqual(inventory(said));
  expect(inventory(said)).not.toEqual(inventory());
  expect(inventory(`${said}10:05 dom0: starts\n`)).toEqual(inventory());
});

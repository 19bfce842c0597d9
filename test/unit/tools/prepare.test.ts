// xl prepare, as it is built: what it writes, and that it ends then.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { preparedLayout } from '#pvbus';
import { dist } from '../../support/host-view.ts';
import { commandOf } from '../../support/tiny-module.ts';

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'xenolith prepare-'));
  writeFileSync(join(dir, 'in.wasm'), commandOf([]));
  writeFileSync(join(dir, 'none.wasm'), 'no program');
});
afterAll(() => rmSync(dir, { recursive: true }));

const prepare = (from: string, env: NodeJS.ProcessEnv = {}) => {
  const args = [dist('xl.js'), 'prepare', from, 'out.wasm'];
  const run = spawnSync(process.execPath, args, { cwd: dir, env: { ...process.env, ...env }, timeout: 60_000 });
  return { code: run.status, stdout: String(run.stdout), stderr: String(run.stderr) };
};

it('writes a program that domains start without delay, and says nothing', () => {
  expect(prepare('in.wasm')).toEqual({ code: 0, stdout: '', stderr: '' });
  expect(preparedLayout(readFileSync(join(dir, 'out.wasm')))).toMatchObject({ minPages: 1 });
  expect(statSync(join(dir, 'out.wasm')).mode & 0o100).toBe(0o100);
});
it('says in one line what is wrong with the file', () => {
  expect(prepare('none.wasm')).toEqual({
    ...{ code: 1, stdout: '' },
    stderr: expect.stringMatching(/^xl prepare: none\.wasm: WebAssembly program: .*\n$/),
  });
  expect(prepare('missing.wasm')).toEqual({
    ...{ code: 1, stdout: '' },
    stderr: expect.stringMatching(/^xl prepare: missing\.wasm: ENOENT: no such file or directory.*\n$/),
  });
});
it('ends when it is written: whoever has worked on it waits for none of the engine’s threads', () => {
  // Node would wait so in the process that has read it, for a compiler of the engine's.
  writeFileSync(
    join(dir, 'waits.cjs'),
    `const fs = require('node:fs');
     const { readFileSync } = fs;
     fs.readFileSync = (path, ...options) => {
       if (String(path).endsWith('/in.wasm')) setInterval(() => {}, 1000);
       return readFileSync(path, ...options);
     };`,
  );
  const waits = { NODE_OPTIONS: `--require=${JSON.stringify(join(dir, 'waits.cjs'))}` };
  expect(prepare('in.wasm', waits)).toEqual({ code: 0, stdout: '', stderr: '' });
});

// --host NAME: which of the hosts on this machine is meant.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { FakeToolstack } from '../../support/fake-toolstack.ts';
import { xl } from '../../support/xl.ts';

let base: string;
let lab: FakeToolstack;
let field: FakeToolstack;
beforeEach(async () => {
  base = mkdtempSync(join(tmpdir(), 'xl-hosts-'));
  lab = await FakeToolstack.start(join(base, 'xenolith/lab'));
  field = await FakeToolstack.start(join(base, 'xenolith/field'));
  lab.add({ domid: 1, name: 'mouse' });
  field.add({ domid: 1, name: 'hare' });
});
afterEach(async () => {
  await lab.stop();
  await field.stop();
  rmSync(base, { recursive: true, force: true });
});
const name = async (...argv: string[]) => {
  const { code, stdout, stderr } = await xl([...argv, 'domname', '1'], {
    dir: lab.dir,
    env: { XDG_RUNTIME_DIR: base },
  });
  return code === 0 ? stdout.trim() : stderr.trim();
};

it('wins over the environment, and the last one over the others', async () => {
  expect(await name()).toBe('mouse');
  expect(await name('--host', 'field')).toBe('hare');
  expect(await name('-v', '--host=field')).toBe('hare');
  expect(await name('--host', 'field', '--host', 'lab')).toBe('mouse');
});

it('of nobody names the directory where it would be', async () => {
  expect(await name('--host', 'moon')).toBe(
    `xl: no xenolith host runs on ${base}/xenolith/moon (\`xl up FILE' starts one)`,
  );
});

it('is a name, not a path', async () => {
  expect(await name('--host', '../lab')).toContain("a host name is letters, digits, '.', '_' and '-'");
  expect((await xl(['--host'])).stderr).toBe('unknown global option\n');
});

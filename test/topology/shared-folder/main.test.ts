// A folder of the host's in a guest: p9= in its config, mounted by the guest's shell, kept through the end of dom0's process.
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { HostRig } from '../../support/host-rig.ts';
import { commandLine, eventually, isAlive } from '../../support/processes.ts';
import { xl } from '../../support/xl.ts';
import { KERNEL } from '../lifecycle/host.ts';

const SCRIPT = `mount -t 9p work /folder
cat /folder/question
echo fine > /folder/answer
mkdir /folder/made
mv /folder/answer /folder/made/answer
cat /folder/out || echo nothing outside
ls /folder
until test -e /folder/go; do sleep 0.05; done
echo again > /folder/made/again
mount -t 9p work /other -o ro
echo no > /other/no || echo read-only
sync
`;

const dir = mkdtempSync(join(tmpdir(), 'xenolith-folder-'));
const shared = join(dir, 'shared');
let host: HostRig;
const on = (...argv: string[]) => xl(argv, { dir: host.runDir, cwd: dir });
const config = (name: string, p9: string): string => {
  const file = `${name}.cfg`;
  const text = `name = "${name}"\nkernel = "${KERNEL}"\nramdisk = "root.tar"\nmemory = 16\np9 = [ "${p9}" ]\n`;
  writeFileSync(join(dir, file), text);
  return file;
};

beforeAll(async () => {
  const root = join(dir, 'root');
  for (const folder of ['etc', 'folder', 'other']) mkdirSync(join(root, folder), { recursive: true });
  writeFileSync(join(root, 'etc/rc'), SCRIPT);
  execFileSync('tar', ['-cf', join(dir, 'root.tar'), '-C', root, '.']);
  mkdirSync(shared);
  writeFileSync(join(shared, 'question'), 'how are you?\n');
  writeFileSync(join(dir, 'secret'), 'not for the guest\n');
  symlinkSync('../secret', join(shared, 'out'));
  host = await HostRig.start();
});
afterAll(async () => {
  await host?.stop();
  rmSync(dir, { recursive: true, force: true });
});

it('is read and written by the guest, which gets nowhere else, also when dom0 has been replaced', async () => {
  const created = await on('create', config('worker', 'tag=work,path=shared,security_model=none'));
  expect(created, created.stderr).toMatchObject({ code: 0 });
  const said = (): string => host.consoleLog('worker').replaceAll('\r', '');
  await eventually('it has listed the folder', () => said().includes('question\n'));
  await eventually('it waits', () => existsSync(join(shared, 'made/answer')));
  expect(said()).toContain('how are you?\n');
  expect(said()).toContain('nothing outside\n');
  expect(said()).not.toContain('not for the guest');
  expect(readFileSync(join(shared, 'made/answer'), 'utf8')).toBe('fine\n');

  const dom0 = host.processes().find(pid => commandLine(pid).includes('dom0.js'))!;
  process.kill(dom0, 'SIGKILL');
  await eventually('it is gone', () => !isAlive(dom0));
  writeFileSync(join(shared, 'go'), '');
  await eventually('it goes on', () => existsSync(join(shared, 'made/again')) && said().includes('read-only'));
  expect(readdirSync(join(shared, 'made')).sort()).toEqual(['again', 'answer']);
  expect(existsSync(join(shared, 'no'))).toBe(false);
});

it('says what is wrong with a folder in one line, and creates nothing', async () => {
  for (const [p9, why] of [
    ['tag=x,path=missing,security_model=none', /p9 x: .*\/missing: there is no such folder\n$/],
    ['tag=x,path=secret,security_model=none', /p9 x: .*\/secret is no folder\n$/],
    ['tag=x,path=shared,security_model=mapped', /p9 x: security_model 'mapped': it is always none\n$/],
    ['tag=x,path=shared', /p9 spec missing required field!\n$/],
    ['tag=x,path=shared,security_model=none,mode=ro', /Unknown string `mode=ro' in p9 spec\n$/],
  ] as const) {
    const { code, stderr } = await on('create', config('wrong', p9));
    expect(code, stderr).not.toBe(0);
    expect(stderr).toMatch(why);
  }
  expect((await on('list')).stdout).not.toContain('wrong');
});

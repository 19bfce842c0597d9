import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { xl } from '../../../support/xl.ts';

const cwd = mkdtempSync(join(tmpdir(), 'xl-lint-'));
afterAll(() => rmSync(cwd, { recursive: true }));
async function lint(text: string) {
  writeFileSync(join(cwd, 'a.cfg'), text);
  return xl(['lint', 'a.cfg'], { cwd });
}
const GOOD = 'name = "a"\nkernel = "/k"\n';

describe('xl lint', () => {
  it('says nothing of a file with nothing wrong in it', async () => {
    const more =
      'memory = 64\ndisk = ["/x,raw,xvda,rw"]\nvif = ["mac=00:16:3e:00:00:01,bridge=xenbr0", ""]\ncpus = "0-1"\n';
    expect(await lint(GOOD + more)).toEqual({ code: 0, stdout: '', stderr: '' });
  });
  it.each([
    ['memmory = 1', "a.cfg:3: unknown key `memmory', did you mean `memory'?"],
    ['on_rebot = "x"', "a.cfg:3: unknown key `on_rebot', did you mean `on_reboot'?"],
    ['zzzzqqqq = 1', "a.cfg:3: unknown key `zzzzqqqq'"],
    ['bios = "ovmf"', "a.cfg:3: `bios' has no meaning here"],
    ['vcpus = [1]', "a.cfg:3: parameter `vcpus' is a list but should be a single value"],
    ['memory = "x"', "a.cfg:3: parameter `memory' is not a valid number"],
    ['localtime = [0]', "a.cfg:3: parameter `localtime' is a list but should be a single value"],
    ['cpus = "0-x"', /^a\.cfg:3: `cpus': .*$/],
    ['disk = ["/x,raw,xvda,rw,bogus=1"]', /^a\.cfg:3: `disk': .*$/],
    ['disk = ["/x,raw,nonsense,rw"]', /^a\.cfg:3: `disk': Invalid or unsupported virtual disk identifier nonsense/],
    ['vif = ["bogus=1"]', "a.cfg:3: `vif': unrecognized argument `bogus=1'"],
    ['vif = ["mac=zz"]', "a.cfg:3: `vif': Invalid parameter `mac'."],
    ['on_crash = "explode"', 'a.cfg:3: Unknown on_crash action "explode" specified'],
  ])('%s', async (line, expected) => {
    const { code, stdout, stderr } = await lint(`${GOOD}${line}\n`);
    expect([code, stderr]).toEqual([1, '']);
    const lines = stdout.trimEnd().split('\n');
    expect(lines).toHaveLength(1);
    expect(lines[0]).toEqual(typeof expected === 'string' ? expected : expect.stringMatching(expected));
  });
  it('says all there is to say, in the order of the file', async () => {
    const { stdout } = await lint(`vnc = 1\n${GOOD}memmory = 2\nusb = 1\n`);
    expect(stdout.split('\n').map(line => line.slice(0, 8))).toEqual(['a.cfg:1:', 'a.cfg:4:', 'a.cfg:5:', '']);
  });
  it('of a file that xl cannot read says what xl says', async () => {
    const { code, stdout } = await lint('Name = "x"\n');
    expect(code).toBe(1);
    expect(stdout).toMatch(/^a\.cfg:1: config parsing error near `N/);
    const missing = await xl(['lint', 'b.cfg'], { cwd });
    expect([missing.code, missing.stdout]).toEqual([
      1,
      'Failed to read config file: b.cfg: No such file or directory\n',
    ]);
  });
});

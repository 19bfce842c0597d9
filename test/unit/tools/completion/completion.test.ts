// The completion scripts in the shells they are for, with the names of a host's domains.
import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FakeToolstack } from '../../../support/fake-toolstack.ts';
import { xl } from '../../../support/xl.ts';

const root = join(import.meta.dirname, '../../../..');
let host: FakeToolstack;
let dir: string;
beforeAll(async () => {
  host = await FakeToolstack.start();
  host.add({ domid: 1, name: 'web' });
  host.add({ domid: 2, name: 'worker' });
  host.add({ domid: 3, name: "it's $(touch pwned); a" });
  dir = mkdtempSync(join(tmpdir(), 'xl-completion-'));
  mkdirSync(join(dir, 'bin'));
  const main = join(root, 'tools/xl.ts');
  const tsx = join(root, 'node_modules/tsx/dist/loader.mjs');
  writeFileSync(join(dir, 'bin/xl'), `#!/bin/sh\nexec '${process.execPath}' --import '${tsx}' '${main}' "$@"\n`);
  chmodSync(join(dir, 'bin/xl'), 0o755);
  writeFileSync(join(dir, 'web.cfg'), '');
  for (const shell of ['bash', 'zsh', 'fish'])
    writeFileSync(join(dir, shell), (await xl(['completion', shell])).stdout);
});
afterAll(async () => {
  await host.stop();
  rmSync(dir, { recursive: true, force: true });
});

/** What the shell prints. Not spawnSync: the host is this process. */
function run(shell: string, script: string): Promise<string> {
  const env = { ...process.env, PATH: `${join(dir, 'bin')}:${process.env.PATH}`, XENOLITH_RUN_DIR: host.dir };
  const child = spawn(shell, [...(shell === 'bash' ? ['--norc'] : shell === 'zsh' ? ['-f'] : ['-N']), '-c', script], {
    cwd: dir,
    env,
  });
  let out = '';
  child.stdout.on('data', chunk => (out += chunk));
  child.stderr.on('data', chunk => (out += chunk));
  return new Promise(resolve => child.on('close', () => resolve(out)));
}
const complete = async (...words: string[]): Promise<string[]> => {
  const list = words.map(word => `'${word}'`).join(' ');
  const script = `. ./bash; COMP_WORDS=(${list}); COMP_CWORD=${words.length - 1}; _xl; printf '%s\\n' "\${COMPREPLY[@]}"; complete -p xl`;
  const lines = (await run('bash', script)).trimEnd().split('\n');
  expect(lines.pop()).toBe('complete -F _xl xl');
  return lines;
};

describe('in bash', () => {
  it('completes commands, ours too, and none that is not here', async () => {
    expect(await complete('xl', 'vcpu')).toEqual(['vcpu-list', 'vcpu-pin', 'vcpu-set']);
    const all = await complete('xl', '');
    expect(all).toEqual(expect.arrayContaining(['create', 'list', 'up', 'ps', 'graph', 'doctor', 'completion']));
    expect(all).not.toContain('migrate');
    expect(await complete('xl', '--h')).toEqual(['--host']);
  });

  it('completes options of the command', async () => {
    expect(await complete('xl', 'list', '--')).toEqual(
      expect.arrayContaining(['--long', '--verbose', '--json', '--cpupool', '--numa']),
    );
    expect(await complete('xl', '-v', 'wait', '--')).toEqual(expect.arrayContaining(['--for=', '--timeout=']));
    expect(await complete('xl', 'pause', '--j')).toEqual(['']);
  });

  it('completes names of domains, quoted where they need it, and runs nothing of them', async () => {
    expect(await complete('xl', 'pause', 'w')).toEqual(['web', 'worker']);
    expect(await complete('xl', 'console', 'it')).toEqual(["it\\'s\\ \\$\\(touch\\ pwned\\)\\;\\ a"]);
    expect(await run('bash', 'ls pwned')).toContain('No such file');
  });

  it('completes files where a file is wanted, and fixed words', async () => {
    expect(await complete('xl', 'create', 'we')).toEqual(['web.cfg']);
    expect(await complete('xl', 'up', 'web.')).toEqual(['web.cfg']);
    expect(await complete('xl', 'completion', '')).toEqual(['bash', 'zsh', 'fish']);
  });
});

for (const shell of ['zsh', 'fish']) {
  const missing = spawnSync(shell, ['-c', 'true']).error !== undefined;
  it.skipIf(missing)(`is read by ${shell} (skipped where it is not installed)`, async () => {
    const source =
      shell === 'zsh'
        ? 'autoload -U compinit; compinit -u -D; . ./zsh; whence _xl'
        : '. ./fish; complete -C "xl pause w"';
    const said = await run(shell, source);
    expect(said).toContain(shell === 'zsh' ? '_xl' : 'worker');
  });
}

it('of another shell says which there are', async () => {
  expect(await xl(['completion', 'csh'])).toEqual({
    ...{ code: 2, stdout: '', stderr: 'xl completion: csh: expected bash, zsh, fish\n' },
  });
});

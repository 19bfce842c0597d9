// The completion scripts in the shells they are for, with the names of a host's domains.
import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FakeToolstack } from '../../../support/fake-toolstack.ts';
import { dist } from '../../../support/host-view.ts';
import { xl } from '../../../support/xl.ts';

let host: FakeToolstack;
let dir: string;
beforeAll(async () => {
  host = await FakeToolstack.start();
  host.add({ domid: 1, name: 'web' });
  host.add({ domid: 2, name: 'worker' });
  host.add({ domid: 3, name: "it's $(touch pwned); a" });
  dir = mkdtempSync(join(tmpdir(), 'xl-completion-'));
  mkdirSync(join(dir, 'bin'));
  // Built: a shell asks it again and again.
  writeFileSync(join(dir, 'bin/xl'), `#!/bin/sh\nexec '${process.execPath}' '${dist('cli/xl.js')}' "$@"\n`);
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

const without = (shell: string): boolean => spawnSync(shell, ['-c', 'true']).error !== undefined;

describe.skipIf(without('fish'))('in fish (skipped where it is not installed)', () => {
  const complete = async (line: string): Promise<string[]> => {
    const lines = (await run('fish', `. ./fish; complete -C ${JSON.stringify(line)}`)).trimEnd().split('\n');
    return lines.map(text => text.split('\t')[0]!);
  };

  it('completes commands, options and fixed words', async () => {
    expect(await complete('xl vcpu')).toEqual(['vcpu-list', 'vcpu-pin', 'vcpu-set']);
    const all = await complete('xl ');
    expect(all).toEqual(expect.arrayContaining(['create', 'up', 'doctor']));
    expect(all).not.toContain('migrate');
    expect(all).not.toContain('web.cfg');
    expect(await complete('xl list --lo')).toEqual(['--long']);
    expect(await complete('xl wait --fo')).toEqual(['--for']);
    expect(await complete('xl completion z')).toEqual(['zsh']);
  });

  it('completes names of domains and runs nothing of them; files where a file is wanted', async () => {
    expect(await complete('xl pause w')).toEqual(['web', 'worker']);
    expect(await complete('xl console it')).toEqual(["it's $(touch pwned); a"]); // which it quotes on its line
    expect(await complete('xl create we')).toEqual(['web.cfg']);
    expect(await run('bash', 'ls pwned')).toContain('No such file');
  });
});

/** Types each line and the tabulator into a zsh on a terminal, and prints what its line is then. */
const TYPIST = `
zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z 'PS1=; autoload -U compinit; compinit -u -D; . ./zsh'
zpty -w z 'show() { print -r -- "<""<$BUFFER>>"; BUFFER=; }; zle -N show; bindkey "^X" show; print is" "there'
zpty -r z said '*is there*'
for line in "$@"; do
  zpty -n -w z "$line"$'\\t\\x18'
  zpty -r z said '*<<*>>*'
  said=\${said#*<<}
  print -r -- "\${said%>>*}"
done
zpty -d z`;

describe.skipIf(without('zsh'))('in zsh (skipped where it is not installed)', () => {
  /** What becomes of each line. */
  const completed = async (...lines: string[]): Promise<string[]> => {
    writeFileSync(join(dir, 'typist'), TYPIST);
    const said = await run('zsh', `. ./typist ${lines.map(line => `'${line}'`).join(' ')}`);
    return said.replace(/\r?\n$/, '').split(/\r?\n/);
  };

  it('completes commands, options, fixed words, names of domains, and files', async () => {
    expect(await completed('xl vcpu-p', 'xl list --lo', 'xl completion z', 'xl pause we', 'xl create we')).toEqual([
      ...['xl vcpu-pin ', 'xl list --long ', 'xl completion zsh ', 'xl pause web ', 'xl create web.cfg '],
    ]);
  });

  it('quotes names that need it, and runs nothing of them', async () => {
    expect(await completed('xl console it')).toEqual(["xl console it\\'s\\ \\$\\(touch\\ pwned\\)\\;\\ a "]);
    expect(await run('bash', 'ls pwned')).toContain('No such file');
  });
});

it('of another shell says which there are', async () => {
  expect(await xl(['completion', 'csh'])).toEqual({
    ...{ code: 2, stdout: '', stderr: 'xl completion: csh: expected bash, zsh, fish\n' },
  });
});

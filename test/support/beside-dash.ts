// What a script comes to in Debian's dash, and in a guest's shell.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { UserlandRig } from './userland-rig.ts';

const dash = '/bin/dash';
export const whyNoDash = spawnSync(dash, ['-c', ':']).status === 0 ? undefined : 'no dash here';

export interface Result {
  readonly out: string;
  readonly status: number | null;
}
export const whyNoTerminal =
  spawnSync('script', ['-qec', ':', '/dev/null']).status === 0 ? undefined : 'no script here';

const env = { PATH: '/usr/bin:/bin', LC_ALL: 'C.UTF-8' };
/** In an empty directory, without input; only commands that are the shell's own, and the utilities that guests have too. */
export function byDash(script: string): Result {
  return beside(script, cwd => {
    const { stdout, status, signal } = spawnSync(dash, ['../script'], { cwd, env, input: '', encoding: 'utf8' });
    return { out: stdout, status, signal };
  });
}
/** The same with a terminal, which it may hand out. */
export function byDashAtTerminal(script: string): Result {
  return beside(script, cwd => {
    const command = `${dash} ../script < /dev/null > ../out 2> /dev/null`;
    const { status, signal } = spawnSync('script', ['-qec', command, '/dev/null'], {
      ...{ cwd, env: { ...env, SHELL: dash } },
      stdio: 'ignore',
      timeout: 60_000, // only for what hangs: nothing else can interrupt it
    });
    return { out: readFileSync(join(cwd, '../out'), 'utf8'), status, signal };
  });
}
/** `run` has the script beside its directory. */
function beside(script: string, run: (cwd: string) => Result & { readonly signal: string | null }): Result {
  const dir = mkdtempSync(join(tmpdir(), 'xenolith-dash-'));
  try {
    const cwd = join(dir, 'd');
    mkdirSync(cwd);
    writeFileSync(join(dir, 'script'), script);
    const { out, status, signal } = run(cwd);
    if (signal) throw new Error(`dash was ended by ${signal}`);
    return { out, status };
  } finally {
    rmSync(dir, { recursive: true });
  }
}
export function byUs(script: string): Result {
  const rig = new UserlandRig();
  rig.write('/script', script);
  rig.sh('mkdir /d');
  const { status } = rig.sh('cd /d; sh ../script < /dev/null > /out 2> /err');
  return { out: rig.read('/out'), status };
}

/** Of a file in which each begins with a line `#: NAME`. */
export function scriptsIn(file: URL): (readonly [name: string, script: string])[] {
  const [, ...scripts] = readFileSync(file, 'utf8').split(/^#: /m);
  return scripts.map(text => {
    const end = text.indexOf('\n');
    return [text.slice(0, end), text.slice(end + 1)] as const;
  });
}

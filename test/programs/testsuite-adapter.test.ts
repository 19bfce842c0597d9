// The adapter for the runner of the public test suite of WASI preview1, on programs of ours, run as that one runs its own.
import { execFile } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { HostRig } from '../support/host-rig.ts';
import { root } from '../support/host-view.ts';
import { orSkip, Unavailable } from '../support/programs/unavailable.ts';
import { PROGRAM_CACHE } from '../support/programs/xl-run.ts';
import { compileWasi } from '../support/wasi-cc.ts';

const PYTHON = '/usr/bin/python3';
const RUNNER = fileURLToPath(new URL('../support/programs/testsuite-runner.py', import.meta.url));

/** As NAME.json has it, beside NAME.wasm. */
interface Asked {
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly root?: string;
  readonly dirs?: readonly string[];
  readonly exit_code?: number;
  readonly stdout?: string;
  readonly stderr?: string;
}

let dir: string;
let host: HostRig;
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'xenolith-adapter-'));
  mkdirSync(join(dir, 'fs.dir'));
  writeFileSync(join(dir, 'fs.dir', 'file'), '');
  host = await HostRig.start();
});
afterAll(async () => {
  await host?.stop();
  rmSync(dir, { recursive: true, force: true });
});
const builtOf = (name: string): Promise<string> => {
  if (!existsSync(PYTHON)) throw new Unavailable(`no ${PYTHON}`);
  return compileWasi(fileURLToPath(new URL(`../support/programs/c/${name}.c`, import.meta.url)));
};
function put(program: string, name: string, asked: Asked): void {
  copyFileSync(program, join(dir, `${name}.wasm`));
  writeFileSync(join(dir, `${name}.json`), JSON.stringify(asked));
}

test('programs have what they are to have, and their ends are what they are', { timeout: 240_000 }, async context => {
  const given = await orSkip(context, () => builtOf('given'));
  const ends = await orSkip(context, () => builtOf('ends'));
  const env = { a: 'text', b: 'escap " ing', c: 'new\nline' };
  const variables = 'env a=text\nenv b=escap " ing\nenv c=new\nline\n';
  const path = 'fs.dir/file';
  put(given, 'of-a-root', {
    args: ['file'],
    env,
    root: 'fs.dir',
    stdout: `${variables}3 /\nfile: there\n`,
    stderr: '',
  });
  put(given, 'of-folders', { args: [path], dirs: ['fs.dir'], stdout: `3 fs.dir\n${path}: there\n` });
  put(given, 'of-nothing', { args: [path], stdout: `${path}: Capabilities insufficient\n` });
  put(ends, 'failure', { args: ['33'], exit_code: 33 });
  put(ends, 'stdin-is-open', { args: ['stdin'], stdout: 'ready', stderr: 'all is well' });
  put(ends, 'trap', { args: ['trap'], exit_code: 134, stderr: 'trap: unreachable\n' });
  copyFileSync(ends, join(dir, 'without-a-word.wasm'));
  const adapter = join(root, 'examples/wasi-testsuite/xenolith.py');
  const { stdout } = await promisify(execFile)(PYTHON, [RUNNER, adapter, dir], {
    timeout: 200_000,
    env: { ...process.env, XDG_CACHE_HOME: PROGRAM_CACHE, XENOLITH_RUN_DIR: host.runDir },
  });
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
  const asAsked = ['failure', 'of-a-root', 'of-folders', 'of-nothing', 'stdin-is-open', 'trap'];
  expect(stdout.split('\n')).toEqual([
    `xenolith ${version}`,
    ...asAsked.map(name => `${name} as asked`),
    "without-a-word exit code 2 '' ''", // it is told when one is not
    '',
  ]);
});

// Folders of the host for a program: `xl run -v`.
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { HostRig } from '../support/host-rig.ts';
import { orSkip } from '../support/programs/unavailable.ts';
import { PROGRAM_CACHE, xlRun } from '../support/programs/xl-run.ts';
import { compileWasi } from '../support/wasi-cc.ts';

const BUILT = { timeout: 240_000 };
const folder = () => compileWasi(fileURLToPath(new URL('../support/programs/c/folder.c', import.meta.url)));

let dir: string;
let shared: string;
let host: HostRig;
beforeAll(async () => {
  process.env.XDG_CACHE_HOME = PROGRAM_CACHE;
  dir = mkdtempSync(join(tmpdir(), 'xenolith-volumes-'));
  shared = join(dir, 'shared');
  mkdirSync(join(shared, 'below'), { recursive: true });
  writeFileSync(join(shared, 'file'), 'of the host\n');
  writeFileSync(join(dir, 'outside'), 'secret\n');
  symlinkSync('../file', join(shared, 'below', 'inside'));
  symlinkSync('../outside', join(shared, 'relative'));
  symlinkSync(join(dir, 'outside'), join(shared, 'absolute'));
  host = await HostRig.start();
});
afterAll(async () => {
  await host?.stop();
  rmSync(dir, { recursive: true, force: true });
});

test('a program reads a file of a folder and writes one; nothing leads out of it', BUILT, async context => {
  const program = await orSkip(context, folder);
  const run = (...args: string[]) => xlRun(host.runDir, ['-v', `${shared}:/srv/shared`, program, ...args]);
  const names = ['file', 'below/inside', '../outside', '../../outside', 'relative', 'absolute', '../../dev/null'];
  const read = await run('read', ...names.map(name => `/srv/shared/${name}`));
  expect(read.stdout.replaceAll('/srv/shared/', '')).toBe(
    [
      ...['of the host', 'of the host', '../outside: No such file or directory'],
      ...['../../outside: No such file or directory', 'relative: No such file or directory'],
      'absolute: No such file or directory\n',
    ].join('\n'),
  );
  expect(read).toMatchObject({ stderr: '', code: 4 });
  expect(await run('write', '/srv/shared/below/made', 'by the guest')).toEqual({ stdout: '', stderr: '', code: 0 });
  expect(readFileSync(join(shared, 'below', 'made'), 'utf8')).toBe('by the guest');
});

test('answers that a program waits for are news: thousands of them are no storm of events', BUILT, async context => {
  const program = await orSkip(context, folder);
  const names = new Array<string>(1000).fill('/v/file');
  const run = await xlRun(host.runDir, ['--name=asks-much', '-v', `${shared}:/v`, program, 'read', ...names]);
  expect(run).toEqual({ stdout: 'of the host\n'.repeat(1000), stderr: '', code: 0 });
  expect(host.consoleLog('asks-much')).toBe('');
});

test('a folder that is :ro is read only, beside one that is not', BUILT, async context => {
  const program = await orSkip(context, folder);
  const other = join(dir, 'other');
  mkdirSync(other);
  const run = (...args: string[]) =>
    xlRun(host.runDir, ['-v', `${shared}:/in:ro`, `--volume=${other}:/out`, program, ...args]);
  const before = readdirSync(shared);
  expect(await run('write', '/in/made', 'x')).toMatchObject({ stdout: '/in/made: Read-only file system\n', code: 1 });
  expect(await run('read', '/in/file')).toMatchObject({ stdout: 'of the host\n', code: 0 });
  expect(await run('write', '/out/made', 'x')).toMatchObject({ stdout: '', code: 0 });
  expect([readdirSync(shared), readdirSync(other)]).toEqual([before, ['made']]);
});

test('a bare program has what the options say, and nothing else', BUILT, async context => {
  const program = await orSkip(context, () =>
    compileWasi(fileURLToPath(new URL('../support/programs/c/given.c', import.meta.url))),
  );
  const run = async (...args: string[]) =>
    (await xlRun(host.runDir, ['--bare', ...args])).stdout.split('\n').slice(0, -1);
  expect(await run(program, '/etc/init.json', 'file')).toEqual([
    '/etc/init.json: Capabilities insufficient',
    'file: Capabilities insufficient',
  ]);
  const variables = ['-e', 'a=text', '-e', 'b=escap " ing', '-e', 'c=new\nline'];
  expect(await run(...variables, '-v', `${shared}:fs.dir`, program, 'fs.dir/file', 'fs.dir/../outside')).toEqual([
    ...['env a=text', 'env b=escap " ing', 'env c=new', 'line', '3 fs.dir'],
    ...['fs.dir/file: there', 'fs.dir/../outside: Operation not permitted'],
  ]);
  expect(await run('-v', `${shared}:/`, program, 'file', '/below/inside')).toEqual([
    ...['3 /', 'file: there', '/below/inside: there'],
  ]);
});

test('stdin, stdout and stderr are pipes for it', BUILT, async context => {
  const acts = await orSkip(context, () => {
    const from = fileURLToPath(new URL('../wasi/programs/preview1/', import.meta.url));
    const sources = readdirSync(from).filter(name => name.endsWith('.c'));
    return compileWasi(
      sources.map(name => from + name),
      { flags: ['-O1', '-g0'] },
    );
  });
  const run = (act: string) => xlRun(host.runDir, ['--bare', '-v', `${shared}:/`, acts, act], 'typed');
  for (const act of ['not-a-socket', 'poll-stdio']) expect(await run(act)).toEqual({ stdout: '', stderr: '', code: 0 });
});

test('a disk that is not there is not the program that is not there', BUILT, async context => {
  const program = await orSkip(context, folder);
  const run = async (...args: string[]) => (await xlRun(host.runDir, args)).code;
  expect(await run('-d', `${program}.img`, program)).toBe(125);
  expect(await run(`${program}.not.wasm`)).toBe(127);
  expect(await run(join(shared, 'file'))).toBe(125);
});

test('what cannot be a volume is said in one line, and exits with 125', BUILT, async context => {
  const program = await orSkip(context, folder);
  const why = async (volume: string) => {
    const { stdout, stderr, code } = await xlRun(host.runDir, ['-v', volume, program, 'read', '/v/file']);
    expect([stdout, code]).toEqual(['', 125]);
    return stderr.replaceAll(dir, '');
  };
  expect(await why(shared)).toMatch(/^xl run: --volume .*: not HOST:GUEST or .*\n$/);
  expect(await why(`${dir}/missing:/v`)).toBe('xl run: p9 volume0: /missing: there is no such folder\n');
  expect(await why(`${shared}/file:/v`)).toBe('xl run: p9 volume0: /shared/file is no folder\n');
  expect(await why(`${shared}:/dev`)).toBe('init: mount 9p volume0 on /dev: something is mounted there\n');
});

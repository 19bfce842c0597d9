// Everything in a folder whose name has a space, `ü`, `%41` and `,` in it: the program with the packages it needs, the run
// directory, the temporary one, guests' programs and images. Before, no host started from such a folder, and `xl run` failed
// where the temporary directory was one. Then a build of which a program cannot start: who and why is what its user reads.
import { type ChildProcess, spawn } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { execa } from 'execa';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { dist, root } from '../../support/host-view.ts';
import { eventually } from '../../support/processes.ts';
import { commandOf } from '../../support/tiny-module.ts';

const folder = mkdtempSync(join(tmpdir(), 'x ü%41,'));
const at = (...names: string[]): string => join(folder, ...names);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** With those that they need. */
function copyPackages(...names: string[]): void {
  for (const name of names) {
    const [from, to] = [join(root, 'node_modules', name), at('i/node_modules', name)];
    if (existsSync(to) || !existsSync(from)) continue; // for another machine
    cpSync(from, to, { recursive: true });
    const { dependencies, optionalDependencies } = JSON.parse(readFileSync(join(to, 'package.json'), 'utf8'));
    copyPackages(...Object.keys({ ...dependencies, ...optionalDependencies }));
  }
}
/** A checkout, as far as its programs are concerned. */
beforeAll(() => {
  mkdirSync(at('i'));
  cpSync(dist('.'), at('i/dist'), { recursive: true });
  cpSync(join(root, 'bin'), at('i/bin'), { recursive: true });
  copyPackages('koffi', 'node-ipc', 'esbuild', 'fatfs-wasm');
  writeFileSync(at('hello.wasm'), commandOf([]));
});

const env = { XENOLITH_RUN_DIR: at('run'), XDG_CACHE_HOME: at('cache'), TMPDIR: folder };
const xlWith = (more: Record<string, string>, ...args: string[]) =>
  execa(process.execPath, [at('i/bin/xl'), ...args], {
    ...{ cwd: folder, env: { ...env, ...more }, stdin: 'ignore', reject: false },
  });
const xl = (...args: string[]) => xlWith({}, ...args);

describe('a host in such a folder', () => {
  const TOPOLOGY = `
images: [{ path: "d ü%41,.img", size: 1M }]
domains:
  driver: { driver_domain: 1, memory: 64 }
  reader:
    { kernel: "${at('i/dist/domu-kernel.js')}", ramdisk: "reads ü%41, it.ts", memory: 32, after: driver,
      disk: ["vdev=xvda,backend=driver,target=${at('d ü%41,.img')}"], on_poweroff: preserve }
`;
  const PROGRAM = `
import { disks } from 'xenolith';
import { word } from './what ü%41, is.ts';
export default async function main() {
  const sector = new Uint8Array(512);
  await disks.get('xvda').submitRead(0, sector);
  console.log(word + ' ' + String.fromCharCode(...sector.subarray(0, 5)));
}
`;
  let up: ChildProcess;
  let said: Promise<string>;
  beforeAll(async () => {
    writeFileSync(at('t.yaml'), TOPOLOGY);
    writeFileSync(at('reads ü%41, it.ts'), PROGRAM);
    writeFileSync(at('what ü%41, is.ts'), "export const word = 'it is';\n");
    writeFileSync(at('d ü%41,.img'), Buffer.from('whole'.padEnd(1 << 20, '.')));
    up = spawn(process.execPath, [at('i/bin/xl'), 'up', 't.yaml'], {
      ...{ cwd: folder, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] },
    });
    said = Promise.all([text(up.stdout!), text(up.stderr!)]).then(([out, err]) => out + err);
  });
  afterAll(async () => {
    up?.kill('SIGTERM');
    await said;
  });

  it('starts, and so do a driver domain and a guest whose program is bundled', async () => {
    const log = at('run/log/console-reader.log');
    const done = () => existsSync(log) && readFileSync(log, 'utf8').includes('it is whole');
    await Promise.race([
      eventually('the guest has read its disk', done),
      said.then(all => Promise.reject(new Error(`xl up has ended: ${all}`))),
    ]);
  });
  it('runs programs whose streams are sockets below such a temporary directory', async () => {
    const { exitCode, stderr } = await xl('run', '-v', `${folder}:/in`, 'hello.wasm');
    expect([exitCode, stderr]).toEqual([0, '']);
  });
});

it('xl run starts a host of its own below such a temporary directory, a relative one too', async () => {
  mkdirSync(at('t'));
  const { exitCode, stderr } = await xlWith({ TMPDIR: 't', XENOLITH_RUN_DIR: at('none') }, 'run', 'hello.wasm');
  expect([exitCode, stderr]).toEqual([0, '']);
});

describe('a program of the host that cannot start', () => {
  const changed: string[] = [];
  const faulty = (program: string, word: string): void => {
    changed.push(program);
    const text = readFileSync(dist(program), 'utf8');
    writeFileSync(at('i/dist', program), `throw new TypeError('${word}');\n${text}`);
  };
  afterEach(() => {
    for (const name of changed.splice(0)) cpSync(dist(name), at('i/dist', name));
  });
  // What is compiled already stays behind: the engine knows its text by the length alone.
  beforeAll(() => rmSync(at('i/dist/code'), { recursive: true, force: true }));

  it.each([
    ['hypervisor.js', 'TypeError: no luck'],
    ['dom0.js', 'a process of dom0 ended: exit code 1, and had printed: dom0: TypeError: no luck'],
    ['xenstored.js', 'a process of dom0 ended: exit code 1, and had printed: xenstored: TypeError: no luck'],
  ])('%s is named, with its reason, by whoever wanted a host', async (program, why) => {
    faulty(program, 'no luck');
    const { exitCode, stderr } = await xlWith({ XENOLITH_RUN_DIR: at('none') }, 'run', 'hello.wasm');
    expect(exitCode).toBe(125);
    // Its log has gone with its directory, and is not named.
    expect(stderr).toMatch(/^xl run: the host on \S.* did not start: [^\n]*$/);
    expect(stderr.endsWith(why)).toBe(true);
  });
  it('a process for a domain is, by whoever wanted a domain', async () => {
    faulty('domain-shell.cjs', 'no shell');
    const { exitCode, stderr } = await xlWith({ XENOLITH_RUN_DIR: at('none') }, 'run', 'hello.wasm');
    expect([exitCode, stderr]).toEqual([125, expect.stringMatching(/^xl run: [^\n]*: TypeError: no shell[^\n]*$/)]);
  });
  it('what makes programs ready to run is, and what tries a process for `xl doctor`', async () => {
    faulty('prepare-program.js', 'no time');
    const none = { XENOLITH_RUN_DIR: at('none'), XDG_CACHE_HOME: at('empty') };
    const { exitCode, stderr } = await xlWith(none, 'run', 'hello.wasm');
    expect([exitCode, stderr]).toEqual([126, expect.stringMatching(/^xl run: ramdisk: [^\n]*: TypeError: no time$/)]);
    faulty('shell-test.js', 'no test');
    expect((await xlWith(none, 'doctor')).stdout).toContain('TypeError: no test');
  });
});

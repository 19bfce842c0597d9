// Whatever throws on whichever thread, while all the others are asleep in a system call: it is the end of that
// domain, with the exception's words in the host's log, and of nobody else. In dom0 it is the end of its process.
import { copyFileSync, cpSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { runPaths } from '#pvbus';
import { dist, HostRig, root } from '../../support/host-rig.ts';
import { commandLine, eventually, isAlive } from '../../support/processes.ts';

const dir = mkdtempSync(join(tmpdir(), 'xenolith-crash-'));
const at = (name: string): string => join(dir, name);
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function cfg(name: string, keys: Record<string, string> = {}): string {
  const all = {
    ...{ name: `"${name}"`, kernel: `"${dist('domu-kernel.js')}"`, memory: '16' },
    ...{ ramdisk: `"${join(import.meta.dirname, 'guest.ts')}"`, on_crash: '"preserve"', ...keys },
  };
  const lines = Object.entries(all).map(([key, value]) => `${key} = ${value}\n`);
  writeFileSync(at(`${name}.cfg`), lines.join(''));
  return at(`${name}.cfg`);
}
async function create(host: HostRig, file: string): Promise<void> {
  expect(await host.xl('create', '-q', file)).toEqual({ exitCode: 0, stdout: '', stderr: '' });
}

describe('an exception of a guest', () => {
  let host: HostRig;
  beforeAll(async () => {
    host = await HostRig.start();
    await create(host, cfg('neighbour'));
  });
  afterAll(() => host?.stop());
  afterEach(async () => {
    // The neighbour is as it was. It is the last test that asks whether it still hears.
    for (const { name } of await host.domains()) if (name.startsWith('faulty')) await host.xl('destroy', name);
    expect((await host.domains()).find(({ name }) => name === 'neighbour')?.state).toMatch(/^[-r][-b]----$/);
  });

  /** In `xl list`, in the host's log, in xl dmesg, on its console. */
  async function isReported(name: string, words: string, { onConsole = true } = {}): Promise<void> {
    const state = async () => (await host.domains()).find(one => one.name === name)?.state;
    await eventually('xl list shows the crash', async () => (await state()) === '---sc-').catch(async error => {
      throw new Error(`${error.message}; it shows ${await state()}\n${host.logToQuote()}`);
    });
    const line = new RegExp(`domain '${name}' \\(dom\\d+\\) has crashed: ${words}; on_crash=preserve$`, 'm');
    await eventually('the log names domain and exception', () => line.test(host.log())).catch(error => {
      throw new Error(`${error.message}\n${host.logToQuote()}`);
    });
    expect((await host.xl('dmesg')).stdout).toMatch(new RegExp(`dom(ain )?\\d+.*${words}`, 'i'));
    if (onConsole) expect(host.consoleLog(name)).toContain(words);
  }

  it.each([
    ['at the top level of its program', 'at-top-level'],
    ['in its main function', 'in-main'],
    ['in a promise that nobody watches', 'in-a-promise'],
    ['in a timer', 'in-a-timer'],
    ['in a watch of xenstore', 'in-a-watch'],
  ])('fault 41: %s is its crash', async (_where, fails) => {
    await create(host, cfg(`faulty-${fails}`, { cmdline: `"fails=${fails}"` }));
    await isReported(`faulty-${fails}`, `RangeError: a bug ${fails}`);
  });

  it('fault 41: that its stack is full is its crash', async () => {
    await create(host, cfg('faulty', { cmdline: '"fails=by-recursion"' }));
    await isReported('faulty', 'RangeError: Maximum call stack size exceeded');
  });

  it('fault 41: that WebAssembly traps is its crash', async () => {
    await create(host, cfg('faulty', { cmdline: '"fails=in-wasm"' }));
    await isReported('faulty', 'RuntimeError: unreachable');
  });

  it('fault 41: that its heap is full is its crash', async () => {
    await create(host, cfg('faulty', { cmdline: '"fails=by-hoarding"' }));
    const words = 'its process ended: killed by SIGABRT, and had printed: FATAL ERROR: .*out of memory.*';
    await isReported('faulty', words, { onConsole: false });
  });

  it('while its kernel is loaded is its crash', async () => {
    writeFileSync(at('broken-kernel.js'), "throw new SyntaxError('a bug in the kernel');");
    await create(host, cfg('faulty', { kernel: `"${at('broken-kernel.js')}"` }));
    await isReported('faulty', 'SyntaxError: a bug in the kernel', { onConsole: false });
  });

  it('at the start of its kernel is its crash', async () => {
    await create(host, cfg('faulty', { cmdline: '"root=/dev/xvdz"' }));
    await isReported('faulty', 'XenError: root=/dev/xvdz: this domain has no such disk');
  });

  it('on the vCPU thread of its kernel, in the event that wakes it, is its crash', async () => {
    await build({
      ...{
        entryPoints: [join(import.meta.dirname, 'faulty-kernel.ts')],
        outfile: at('faulty-kernel.js'),
        bundle: true,
      },
      ...{ platform: 'node', target: 'node20', format: 'cjs', external: ['koffi'], loader: { '.wasm': 'binary' } },
      ...{ absWorkingDir: root, logOverride: { 'empty-import-meta': 'silent' } },
    });
    await create(host, cfg('faulty', { kernel: `"${at('faulty-kernel.js')}"` }));
    await eventually('it sleeps', () => host.consoleLog('faulty').includes('faulty begins'));
    const { domid } = (await host.domains()).find(({ name }) => name === 'faulty')!;
    const console = connect(runPaths(host.runDir).consoleSocket(domid)).on('error', () => {});
    console.write('x');
    await isReported('faulty', 'TypeError: a bug in the console driver');
    console.destroy();
  });

  it('costs nobody else anything: the neighbour hears that it is to shut down', async () => {
    expect((await host.xl('shutdown', '-w', 'neighbour')).exitCode).toBe(0);
    expect(host.consoleLog('neighbour')).toContain('goes in peace');
    await create(host, cfg('neighbour'));
  });
});

describe('an exception on a thread of dom0', () => {
  const BACKENDS = ['blkback', 'netback', 'pvcalls'];
  let host: HostRig;
  beforeAll(async () => {
    // A copy of what the build made, the backends' threads faulty.
    cpSync(dist('.'), at('dist'), { recursive: true });
    symlinkSync(join(root, 'node_modules'), at('node_modules'));
    await build({
      ...{ entryPoints: [join(import.meta.dirname, 'faulty-backend.ts')], outfile: at('faulty-backend.js') },
      ...{ bundle: true, platform: 'node', format: 'cjs', packages: 'external', absWorkingDir: root },
      ...{ inject: [join(root, 'bin/own-url.mjs')], define: { 'import.meta.url': 'fileUrl' } },
    });
    for (const backend of BACKENDS) copyFileSync(at('faulty-backend.js'), at(`dist/${backend}-thread.js`));
    writeFileSync(at('disk.img'), '');
    truncateSync(at('disk.img'), 1 << 20);
    host = await HostRig.start({ dist: at('dist') });
    await create(host, cfg('neighbour'));
  });
  afterAll(() => host?.stop());

  it.each([
    ['blkback', 2, () => ({ disk: `["${at('disk.img')},raw,xvda,w"]` })],
    ['netback', 3, () => ({ vif: '["bridge=xenbr0"]' })],
    ['pvcalls', 4, () => ({ pvcalls: '["listen=0:80"]' })],
  ] as const)("%s is the end of dom0's process, with its words, and of nothing else", async (backend, vcpu, device) => {
    // By its number: what the hypervisor is starting looks like itself, for a moment.
    const others = [host.hypervisorPid, ...host.processes().filter(pid => /xenstored\.js/.test(commandLine(pid)))];
    const created = await host.xl('create', '-q', cfg('user', device()));
    // The tool that waited for the device hears of it, in a line; it may have been done a moment before.
    if (created.exitCode !== 0) expect(created.stderr).toMatch(/^(libxl: error|xl): .*\n$/);
    const ended = new RegExp(`dom0\\.js, process \\d+, has ended: vcpu${vcpu}: RangeError: a bug in ${backend}`);
    await eventually('the log names thread and exception', () => ended.test(host.log())).catch(error => {
      throw new Error(`${error.message}\n${host.logToQuote()}`);
    });
    // Each one that takes its place ends as well, until the bug is mended.
    copyFileSync(dist(`${backend}-thread.js`), at(`dist/${backend}-thread.js`));
    await eventually('the domain can be ended', async () => {
      await host.xl('destroy', 'user');
      const list = await host.xl('list');
      return list.exitCode === 0 && !list.stdout.includes('user');
    });
    expect(others.filter(pid => !isAlive(pid))).toEqual([]);
  });

  it("that a driver domain's processes end at their start fails its creation, and leaves nothing", async () => {
    writeFileSync(at('dist/driver-domain.js'), "throw new RangeError('a bug of a driver domain');\n");
    const lines = ['name = "storage"', 'driver_domain = 1', 'memory = 16'];
    writeFileSync(at('storage.cfg'), lines.join('\n'));
    const { exitCode, stderr } = await host.xl('create', '-q', at('storage.cfg'));
    expect([exitCode, stderr]).toEqual([
      3,
      expect.stringMatching(
        /^libxl: error: .*: dom\d+ does not serve: driver-domain\.js, process \d+, has ended: exit code 1, and had printed: RangeError: a bug of a driver domain; 5 in a row did not serve\n$/,
      ),
    ]);
    expect((await host.domains()).map(({ name }) => name)).toEqual(['Domain-0', 'neighbour']);
  });

  it('costs nobody else anything: the neighbour hears that it is to shut down', async () => {
    await eventually('dom0 is there', async () => (await host.xl('list')).exitCode === 0);
    expect(await host.xl('shutdown', '-w', 'neighbour')).toMatchObject({ exitCode: 0 });
    expect(host.consoleLog('neighbour')).toContain('goes in peace');
    expect(host.processes().length).toBeGreaterThan(2);
  });
});

// Consoles as terminals of the host: by hand, and by Debian's xenconsole.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, existsSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { runPaths } from '#pvbus';
import { compile, whyNoCompiler } from '../../../tools/layouts/ask-gcc.ts';
import { preloaded } from '../../support/preloaded.ts';
import { eventually, openFiles } from '../../support/processes.ts';
import { LifecycleHost } from '../lifecycle/host.ts';

const XENCONSOLE = '/usr/lib/xen-4.17/bin/xenconsole';
let host: LifecycleHost;
beforeAll(async () => {
  host = await LifecycleHost.start();
});
afterEach(async () => {
  for (const { domid } of await host.list()) if (domid !== 0) await host.destroy(domid);
});
afterAll(() => host?.stop());

const terminalOf = (domid: number): Promise<string> =>
  eventually('the console has a terminal', async () => {
    const path = await host.xs.read(`/local/domain/${domid}/console/tty`).catch(() => '');
    return path !== '' && path;
  }) as Promise<string>;

class Line {
  readonly fd: number;
  text = '';
  readonly #buffer = Buffer.alloc(4096);
  constructor(path: string) {
    this.fd = openSync(path, constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK);
  }
  /** False when there is no room: the guest is to read first. */
  write(text: string): boolean {
    try {
      writeSync(this.fd, text);
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return false;
      throw error;
    }
  }
  /** What has come since; undefined once the line is dead. */
  read(): string | undefined {
    try {
      const n = readSync(this.fd, this.#buffer);
      if (n === 0) return undefined;
      this.text += this.#buffer.toString('utf8', 0, n);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') return undefined;
    }
    return this.text;
  }
}

describe('a console', () => {
  it('is a terminal that carries both directions, and dies with its domain', async () => {
    const domid = await host.create(host.config('talk', 'echo'));
    await host.up('talk');
    const line = new Line(await terminalOf(domid));
    expect(terminals()).toBe(1);
    await eventually('what was said before is there', () => line.read()?.includes(`talk is up as dom${domid}`));
    line.write('hello\n');
    await eventually('the guest answers', () => line.read()?.includes('you said hello'));
    await host.destroy(domid);
    await eventually('the line is dead', () => line.read() === undefined);
    closeSync(line.fd);
    await eventually('dom0 has closed it', () => terminals() === 0);
  });

  it('fault 32: whose terminal nobody reads holds nobody up', async () => {
    const domid = await host.create(host.config('loud', 'echo'));
    await host.up('loud');
    const path = await terminalOf(domid);
    const line = new Line(path);
    for (let i = 0; i < 500; i++) await eventually('there is room', () => line.write(`${'x'.repeat(120)}${i}\n`));
    await eventually('the guest has said everything', () => host.rig.consoleLog('loud').includes(`x499`));
    await eventually('the end of it comes', () => line.read()?.includes('x499'));
    closeSync(line.fd);
  });
});

const missing = existsSync(XENCONSOLE)
  ? existsSync('/usr/include/xenctrl.h')
    ? whyNoCompiler()
    : 'no /usr/include/xenctrl.h (Debian: libxen-dev)'
  : `no ${XENCONSOLE} (Debian: xen-utils-4.17)`;

describe("Debian's xenconsole", () => {
  it.skipIf(missing)(
    `attaches, carries both directions, and ends with the domain${missing ? `: ${missing}` : ''}`,
    async () => {
      const folder = mkdtempSync(join(tmpdir(), 'xenconsole-'));
      const preload = join(folder, 'any-domain.so');
      compile(fileURLToPath(new URL('any-domain.c', import.meta.url)), preload, '-shared', '-fPIC');
      const domid = await host.create(host.config('real', 'echo'));
      await host.up('real');
      await terminalOf(domid);
      const console = spawn(XENCONSOLE, [String(domid), '--num', '0', '--interactive'], {
        env: { ...process.env, ...preloaded(preload), XENSTORED_PATH: runPaths(host.rig.runDir).xenstoredSocket },
      });
      let out = '';
      console.stdout.on('data', bytes => (out += bytes));
      console.stderr.on('data', bytes => (out += bytes));
      const ended = once(console, 'exit');
      try {
        await eventually('it shows what was said', () => out.includes(`real is up as dom${domid}`));
        console.stdin.write('knock\n');
        await eventually('the guest answers', () => out.includes('you said knock'));
        await host.destroy(domid);
        await ended;
      } finally {
        console.kill('SIGKILL');
        rmSync(folder, { recursive: true });
      }
    },
  );
});

/** How many dom0 has open. */
const terminals = (): number =>
  openFiles(host.rig.processes().find(isDom0)!).filter(name => name.endsWith('/ptmx')).length;
const isDom0 = (pid: number): boolean =>
  execFileSync('cat', [`/proc/${pid}/cmdline`], { encoding: 'utf8' }).includes('dom0.js');

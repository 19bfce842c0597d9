// A domain whose root is an archive: its shell on the console, and programs in C beside one another.
import { readFileSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ArchiveEntry, cpioArchive, domid, runPaths } from '#pvbus';
import { eventually } from '../../support/processes.ts';
import { compileWasi, whyNoWasi } from '../../support/wasi-cc.ts';
import { LifecycleHost } from '../lifecycle/host.ts';

const missing = whyNoWasi();
const source = fileURLToPath(new URL('../../unit/domu-kernel/process/acts.c', import.meta.url));
const plain = { mode: 0o755, mtime: 0, target: '', data: new Uint8Array() };

let host: LifecycleHost;
let acts: Uint8Array;
beforeAll(async () => {
  if (missing === undefined) acts = readFileSync(await compileWasi(source, { flags: ['-O1'] }));
  host = await LifecycleHost.start();
});
afterAll(() => host?.stop());

/** An archive of `files`, and its path. */
function archive(name: string, files: Readonly<Record<string, string | Uint8Array>>): string {
  const entries: ArchiveEntry[] = Object.entries(files).map(([path, content]) => ({
    ...plain,
    path,
    type: 'file',
    data: Buffer.from(content),
  }));
  const path = join(host.rig.runDir, `${name}.cpio`);
  writeFileSync(
    path,
    cpioArchive([
      ...['bin', 'etc', 'tmp'].map(dir => ({ ...plain, path: dir, type: 'directory' as const })),
      ...entries,
    ]),
  );
  return path;
}
const create = (name: string, files: Readonly<Record<string, string | Uint8Array>>): Promise<number> =>
  host.create(host.config(name, '', { ramdisk: archive(name, files), memory: 64 }));

/** The user at a domain's console. */
class User {
  readonly #socket: Socket;
  #text = '';
  #read = 0;
  constructor(id: number) {
    this.#socket = connect(runPaths(host.rig.runDir).consoleSocket(domid(id)));
    this.#socket.setEncoding('utf8').on('data', text => {
      this.#text += String(text).replaceAll('\r\n', '\n');
    });
    this.#socket.on('error', () => {});
  }
  /** What the console says up to `what`, from where it was read last. */
  async sees(what: string): Promise<string> {
    await eventually(`the console says ${what}; it says: ${this.#text.slice(this.#read)}`, () =>
      this.#text.includes(what, this.#read),
    );
    const end = this.#text.indexOf(what, this.#read) + what.length;
    const seen = this.#text.slice(this.#read, end);
    this.#read = end;
    return seen;
  }
  type(keys: string): void {
    this.#socket.write(keys);
  }
  /** What a command says before the next prompt. */
  async runs(command: string): Promise<string> {
    this.type(`${command}\r`);
    await this.sees(`${command}\n`);
    return (await this.sees(':/# ')).replace(/[^\n]*:\/# $/, '');
  }
  close(): void {
    this.#socket.destroy();
  }
}

describe.skipIf(missing !== undefined)(`a domain of processes${missing ? ` (${missing})` : ''}`, () => {
  it('has a shell on its console: pipelines, background jobs, ^C, exit status', async () => {
    const id = await create('shell', { 'bin/acts': acts });
    const user = new User(id);
    await user.sees('shell:/# ');
    expect(await user.runs('acts write 5000 | acts cat | wc -l')).toBe('5000\n');
    expect(await user.runs('acts exit 9; echo $?')).toBe('9\n');

    expect(await user.runs('acts spin &')).toMatch(/^\[1\] \d+\n$/);
    // It computes, and the shell answers.
    expect(await user.runs('echo at once')).toBe('at once\n');
    expect(await user.runs('ps')).toMatch(/ R .*acts spin\n/);
    await host.rig.xl('sysrq', 'shell', 't');
    await user.sees('acts spin\n');
    expect(await user.runs('kill %1; wait')).toBe('');

    user.type('acts spin\r');
    await user.sees('acts spin\n');
    user.type('\x03');
    await user.sees('^C\nshell:/# ');
    expect(await user.runs('echo $?')).toBe('130\n');
    user.type('while true; do acts exit 1; done\r');
    await user.sees('done\n');
    user.type('\x1a\x03');
    await user.sees('^C\n');
    expect(await user.runs('echo still here')).toBe('still here\n');

    user.type('acts sleep 100000\r');
    await user.sees('100000\n');
    user.type('\x1a');
    await user.sees('[1] + Stopped                    acts sleep 100000\nshell:/# ');
    user.type('fg\r');
    await user.sees('fg\nacts sleep 100000\n');
    user.type('\x03');
    await user.sees('^C\nshell:/# ');
    const alone = await user.runs('ps');
    expect(
      alone
        .trim()
        .split('\n')
        .slice(1)
        .map(line => line.split(/ +/).at(-1)),
    ).toEqual(['init', 'sh', 'ps']);

    user.type('exit 6\r');
    await eventually('the domain is gone', async () => (await host.info(id)) === undefined);
    user.close();
  });

  it('runs what its archive says first, tells how it ended, and powers off', async () => {
    const init = JSON.stringify({ argv: ['/bin/acts', 'env', 'x'], env: { A: 'given' }, cwd: '/tmp' });
    const config = host.config('first', '', {
      ramdisk: archive('first', { 'bin/acts': acts, 'etc/init.json': init }),
      memory: 32,
      on_poweroff: 'preserve',
    });
    const id = await host.create(config);
    await eventually('the console says it', () => host.rig.consoleLog('first').includes('/tmp given 3'));
    const code = await eventually('the exit code is there', () =>
      host.xs.read(`/local/domain/${id}/data/exit-code`).catch(() => ''),
    );
    expect(code).toBe('0');
    await host.destroy(id);
  });
});

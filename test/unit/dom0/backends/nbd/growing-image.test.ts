// A qemu-img that makes an image larger and does not come to an end, since it waits to open the image's backing file.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { QemuNbd } from '../../../../../dom0/backends/nbd/qemu-nbd.ts';
import { commandLine, eventually, family, isAlive, signalAll } from '../../../../support/processes.ts';
import { ListLog } from '../../../../support/xenstore-rig.ts';

const noQemu = existsSync('/usr/bin/qemu-nbd') ? '' : 'skipped: qemu-utils is not installed';
const HOST = fileURLToPath(new URL('growing-host.ts', import.meta.url));

let dir: string;
let host: ChildProcess | undefined;
let waiting: number[] = [];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'xenolith-growing-'));
  writeFileSync(join(dir, 'base'), '');
  truncateSync(join(dir, 'base'), 4 << 20);
  const words = ['create', '-q', '-f', 'qcow2', '-b', 'base', '-F', 'raw', 'image'];
  execFileSync('qemu-img', words, { cwd: dir, stdio: 'ignore' });
});
afterEach(() => {
  vi.useRealTimers();
  host?.kill('SIGKILL');
  signalAll(waiting, 'SIGKILL');
  waiting = [];
  rmSync(dir, { recursive: true, force: true });
});
/** Who opens it waits for somebody who writes. */
function block(): void {
  rmSync(join(dir, 'base'));
  execFileSync('mkfifo', [join(dir, 'base')]);
}
/** Of a process below `pid`. */
async function qemuImg(pid: number): Promise<number> {
  const isOurs = (other: number): boolean => /^\S*qemu-img resize /.test(commandLine(other));
  const [found] = await eventually('qemu-img runs', () => {
    const all = family(pid).filter(isOurs);
    return all.length > 0 && all;
  });
  waiting.push(found!);
  return found!;
}

describe.skipIf(noQemu !== '')(`an image that does not become larger ${noQemu}`, () => {
  it('is waited for by who stops it no longer than its qemu-nbd would be', async () => {
    const socket = join(dir, 'socket');
    const options = {
      label: 'vbd',
      format: 'qcow2',
      path: join(dir, 'image'),
      readOnly: false,
      discard: true,
    } as const;
    const server = new QemuNbd({ ...options, socket, log: new ListLog() });
    await eventually('qemu-nbd serves', () => existsSync(socket));
    server.serves();
    block();
    const grown = server.grow(8 << 20).catch(error => error);
    const pid = await qemuImg(process.pid);
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    let stopped = false;
    void server.stop().then(() => {
      stopped = true;
    });
    await vi.advanceTimersByTimeAsync(9_999);
    expect([stopped, isAlive(pid)]).toEqual([false, true]);
    await vi.advanceTimersByTimeAsync(1);
    vi.useRealTimers();
    await eventually('it has stopped', () => stopped);
    await eventually('qemu-img has ended', () => !isAlive(pid));
    expect(await grown).toMatchObject({ code: 'EINVAL' });
    expect(existsSync(socket)).toBe(false);
  });

  it('is let go of when its host is killed', async () => {
    host = spawn(process.execPath, ['--import', 'tsx', HOST, dir], { stdio: ['pipe', 'ignore', 'inherit'] });
    await eventually('qemu-nbd serves', () => existsSync(join(dir, 'socket')));
    block();
    host.stdin!.end('grow\n');
    const pid = await qemuImg(host.pid!);
    host.kill('SIGKILL');
    await eventually('qemu-img has ended', () => !isAlive(pid));
  });
});

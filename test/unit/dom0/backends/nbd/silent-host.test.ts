// The host of an NBD server goes from the network without a word, in network namespaces of its own; and its server stands
// still, which is another thing.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';

const script = join(import.meta.dirname, 'silent-host.ts');
const tools = ['/usr/bin/unshare', '/usr/bin/nsenter', '/usr/sbin/ip', '/usr/sbin/nbdkit', '/usr/bin/nbdkit'];
const missing = tools.slice(0, 3).find(tool => !existsSync(tool)) ?? (tools.slice(3).some(existsSync) ? '' : 'nbdkit');
const own = process.getuid?.() === 0 ? ['-n'] : ['-rn'];
const noVeth = spawnSync('unshare', [...own, 'ip', 'link', 'add', 'va', 'type', 'veth'], { encoding: 'utf8' });
const why = missing !== '' ? `${missing} is not installed` : noVeth.status === 0 ? '' : noVeth.stderr?.trim();

let child: ChildProcess | undefined;
let dir: string | undefined;
afterEach(() => {
  child?.kill('SIGKILL'); // unshare, which blocks SIGTERM, and what it has started with it
  if (dir !== undefined) rmSync(dir, { recursive: true, force: true });
});

it.skipIf(why !== '')(
  `loses its connection, and no request, and one whose server stands still keeps it ${why}`,
  async () => {
    dir = mkdtempSync(join(tmpdir(), 'silent-host-'));
    const started = spawn('unshare', [...own, '--kill-child', process.execPath, '--import', 'tsx', script, dir], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    child = started;
    let said = '';
    started.stdout.on('data', (chunk: Buffer) => {
      said += chunk.toString();
    });
    await new Promise(resolve => started.once('close', resolve));
    expect(said.trim().split('\n')).toEqual([
      'idle: lost: its host does not answer',
      'idle: back',
      'writing: lost: its host does not answer',
      'writing: nothing of it may arrive later, all of it in the end: true',
      'standing still: kept, all of it in the end: true',
    ]);
  },
  120_000,
);

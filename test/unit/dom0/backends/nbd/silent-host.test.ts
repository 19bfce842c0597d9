// The host of an NBD server goes from the network without a word, in network namespaces of its own; and its server stands
// still, which is another thing.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';

const script = join(import.meta.dirname, 'silent-host.ts');
const tools = ['/usr/bin/unshare', '/usr/bin/nsenter', '/usr/sbin/ip', '/usr/sbin/nbdkit', '/usr/bin/nbdkit'];
const missing = tools.slice(0, 3).find(tool => !existsSync(tool)) ?? (tools.slice(3).some(existsSync) ? '' : 'nbdkit');
const own = process.getuid?.() === 0 ? ['-n'] : ['-rn'];
const noVeth = spawnSync('unshare', [...own, 'ip', 'link', 'add', 'va', 'type', 'veth'], { encoding: 'utf8' });
const why = missing !== '' ? `${missing} is not installed` : noVeth.status === 0 ? '' : noVeth.stderr?.trim();

it.skipIf(why !== '')(
  `loses its connection, and no request, and one whose server stands still keeps it ${why}`,
  async () => {
    const child = spawn('unshare', [...own, '--kill-child', process.execPath, '--import', 'tsx', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let said = '';
    child.stdout.on('data', (chunk: Buffer) => {
      said += chunk.toString();
    });
    await new Promise(resolve => child.once('close', resolve));
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

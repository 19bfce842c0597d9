// What breaks: the file system with xenstored's journal is full. What must be: every request is answered as ever, the log says that
// nothing is kept, nothing is left that would bring back what is not true any more, and with room again all of it is kept.
import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, expect, it } from 'vitest';

const inside = fileURLToPath(new URL('on-a-full-disk.ts', import.meta.url));
const MOUNT = 'mount -t tmpfs -o size=1m none "$1"';
/** In a mount namespace of its own: nothing of it is left, whatever happens. */
const unshared = (folder: string, command: string): string[] => ['-rm', 'sh', '-c', command, 'sh', folder];
const folder = mkdtempSync(join(tmpdir(), 'xenstored-full-'));
const why = spawnSync('unshare', unshared(folder, MOUNT)).status === 0 ? '' : ': no mount namespace for this user';
afterAll(() => rmdirSync(folder));

it.skipIf(why)(
  `fault 20: a journal without room is given up, said so, and kept again when there is room${why}`,
  async () => {
    const command = `${MOUNT} && TMPDIR="$1" exec "${process.execPath}" --import tsx "${inside}"`;
    const { stdout } = await promisify(execFile)('unshare', unshared(folder, command), { timeout: 150_000 });
    const { stale, before, during, back, log } = JSON.parse(stdout);
    expect({ stale, before, during }).toEqual({ stale: false, before: 'x', during: 'full' });
    expect(back).toEqual(['x', 'full', 'y']);
    expect(log).toMatch(/journal: ENOSPC.*; nothing is kept now/);
  },
);

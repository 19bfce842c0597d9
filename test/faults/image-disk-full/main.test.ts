// What breaks: the file system with a guest's sparse image is full, while another guest's image is elsewhere (fault 26).
// What must be: the guest's writes fail where nothing is allocated and nowhere else, the other one notices nothing, with
// room again what failed can be done, and what was acknowledged is on the image.
import { execFile, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, expect, it } from 'vitest';

const inside = fileURLToPath(new URL('on-a-small-disk.ts', import.meta.url));
const MOUNT = 'mount -t tmpfs -o size=1m none "$1/small"';
/** In a mount namespace of its own: nothing of it is left, whatever happens. */
const unshared = (folder: string, command: string): string[] => ['-rm', 'sh', '-c', command, 'sh', folder];
const folder = mkdtempSync(join(tmpdir(), 'xenolith-image-'));
mkdirSync(join(folder, 'small'));
const why = spawnSync('unshare', unshared(folder, MOUNT)).status === 0 ? '' : ': no mount namespace for this user';
afterAll(() => rmSync(folder, { recursive: true }));

it.skipIf(why)(
  `fault 26: a full file system below a sparse image costs what it has no room for, and nobody else${why}`,
  async () => {
    const command = `${MOUNT} && TMPDIR="$1" exec "${process.execPath}" --import tsx "${inside}" "$1"`;
    const { stdout } = await promisify(execFile)('unshare', unshared(folder, command), { timeout: 150_000 });
    const { acknowledged, full, again, log } = JSON.parse(stdout);
    expect(acknowledged).toBeGreaterThan(4);
    expect(full).toEqual({
      ...{ write: 'failed EIO', again: 'failed EIO', allocated: 'ok', hole: 'same', kept: 'same', flush: 'ok' },
      ...{ other: 'ok', flushOther: 'ok' },
    });
    expect(again).toEqual({ write: 'ok', flush: 'ok', read: 'same', other: 'same' });
    expect(log).toMatch(/vbd 51712 of dom\d+: request .*op 1 failed: .*ENOSPC/);
  },
);

// What breaks: the file system with the run directory is full, while a domain lives and another is created (fault 54).
// What must be: the creation works, since nothing of it needs room there, xenstored goes on without a journal, the domain
// that was there notices nothing, and with room again all is as ever.
import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, expect, it } from 'vitest';

const inside = fileURLToPath(new URL('on-a-full-disk.ts', import.meta.url));
const MOUNT = 'mount -t tmpfs -o size=4m none "$1"';
/** In a mount namespace of its own: nothing of it is left, whatever happens. */
const unshared = (folder: string, command: string): string[] => ['-rm', 'sh', '-c', command, 'sh', folder];
const folder = mkdtempSync(join(tmpdir(), 'xenolith-full-'));
const why = spawnSync('unshare', unshared(folder, MOUNT)).status === 0 ? '' : ': no mount namespace for this user';
afterAll(() => rmdirSync(folder));

it.skipIf(why)(`fault 54: a full run directory costs no domain anything${why}`, async () => {
  const command = `${MOUNT} && TMPDIR="$1" exec "${process.execPath}" --import tsx "${inside}"`;
  const { stdout } = await promisify(execFile)('unshare', unshared(folder, command), { timeout: 150_000 });
  const { full, list, alive, left, log } = JSON.parse(stdout);
  expect({ full, list }).toEqual({ full: 'created', list: ['Domain-0', 'bystander', 'late'] });
  expect({ alive, left }).toEqual({ alive: true, left: [] });
  expect(log).toMatch(/xenstored: error: journal: ENOSPC.*; nothing is kept now/);
});

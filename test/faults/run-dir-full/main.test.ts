// What breaks: the file system with the run directory is full, while a domain lives and another is created (fault 54).
// What must be: the creation works or fails with its reason and leaves nothing, the domain that was there notices
// nothing, and with room again all is as ever.
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

it.skipIf(why)(`fault 54: a full run directory costs a creation at most${why}`, async () => {
  const command = `${MOUNT} && TMPDIR="$1" exec "${process.execPath}" --import tsx "${inside}"`;
  const { stdout } = await promisify(execFile)('unshare', unshared(folder, command), { timeout: 150_000 });
  const { full, list, again, alive, left, log } = JSON.parse(stdout);
  if (full === 'created') expect(list).toEqual(['Domain-0', 'bystander', 'late']);
  else {
    expect(full).toContain('ENOSPC');
    expect(list).toEqual(['Domain-0', 'bystander']);
  }
  expect({ again, alive, left }).toEqual({ again: 'created', alive: true, left: [] });
  expect(log).toContain('ENOSPC');
});

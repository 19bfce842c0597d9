// What breaks: the file of a guest's disk blocks whoever reads or writes it, since its server stands still: a file of FUSE, whose
// server is QEMU's storage daemon, stopped and continued (fault 25). What must be: no request is lost; after a few such turns of its
// thread the disk is served by another one, and then guests beside it go on while it blocks.
import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, expect, it } from 'vitest';

const inside = fileURLToPath(new URL('on-a-stopped-file.ts', import.meta.url));
/** In namespaces of its own, where FUSE may be mounted: nothing of it is left, whatever happens. */
const unshared = (folder: string, command: string): string[] => ['-rm', 'sh', '-c', command, 'sh', folder];
const folder = mkdtempSync(join(tmpdir(), 'xenolith-slow-'));
const MOUNT = 'exec 3<>/dev/fuse && mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 none "$1"';
const why =
  spawnSync('unshare', unshared(folder, MOUNT)).status !== 0
    ? ': this user may mount no file system of FUSE'
    : spawnSync('qemu-storage-daemon', ['--version']).status !== 0
      ? ': there is no qemu-storage-daemon (Debian: qemu-utils)'
      : '';
afterAll(() => rmSync(folder, { recursive: true }));

it.skipIf(why)(`fault 25: a file that blocks is served by a thread where nobody else waits for it${why}`, async () => {
  const command = `exec "${process.execPath}" --import tsx "${inside}" "$1"`;
  const { stdout } = await promisify(execFile)('unshare', unshared(folder, command), { timeout: 170_000 });
  const { answers, beside, early, answer, read, image } = JSON.parse(stdout);
  expect(answers.length).toBeGreaterThanOrEqual(3);
  expect(new Set(answers)).toEqual(new Set(['ok']));
  // Twenty of each, while a write to that file is not answered.
  expect(beside).toEqual(new Array(20).fill(['ok', 'same']));
  expect({ early, answer, read }).toEqual({ early: '', answer: 'ok', read: 'same' });
  expect(image).toEqual([answers.length, 99]);
});

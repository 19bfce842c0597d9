// Folders of tests, each named by the process that has it: those of a run that was killed are removed by a later one.
import { existsSync, lstatSync, mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startTime } from './processes.ts';

const PREFIX = 'xenolith-test-';

/** Of pids: a folder may be seen where its process is not. */
const namespace = (): string => /\d+/.exec(readlinkSync('/proc/self/ns/pid'))![0];

/** In memory, where that can be. */
export const memoryFolder = (): string => (existsSync('/dev/shm') ? '/dev/shm' : tmpdir());

/** A pid may be another process's later, which has begun at another time. */
export function ownFolder(dir = tmpdir()): string {
  return mkdtempSync(join(dir, `${PREFIX}${process.pid}.${startTime(process.pid)}.${namespace()}-`));
}

/** Remove those below `dir`, of this user, of processes that would be seen from here and have ended. */
export function removeLeftFolders(dir: string): void {
  for (const name of readdirSync(dir)) {
    const [, pid, started, where] = /^xenolith-test-(\d+)\.(\d+)\.(\d+)-/.exec(name) ?? [];
    if (pid === undefined || where !== namespace() || startTime(Number(pid)) === started) continue;
    const path = join(dir, name);
    const stat = lstatSync(path, { throwIfNoEntry: false });
    if (!stat?.isDirectory() || stat.uid !== process.getuid?.()) continue;
    try {
      rmSync(path, { recursive: true, force: true });
    } catch {
      // A guest of that run has taken the rights to it away: it stays.
    }
  }
}

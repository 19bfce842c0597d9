// fsck.vfat, and what it says without what differs from run to run.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

const FSCK = '/usr/sbin/fsck.vfat';
/** Why it cannot be asked. */
export const fsckMissing = existsSync(FSCK) ? undefined : `${FSCK} is not here (Debian: dosfstools)`;

/** Of every volume that is in use; of FAT32, whose other boot sector has no such mark, too. */
const DIRTY =
  /^ *(Dirty bit is set|Automatically removing dirty bit|There are differences between boot|This is mostly harmless|65:01\/00$|Not automatically fixing this)/;

/** '' when there is nothing to repair but the mark that says that it may be needed. '-n' only looks, '-a' repairs without asking. */
export function fsck(option: '-n' | '-a', path: string): string {
  const { status, stdout, stderr } = spawnSync(FSCK, [option, path], { encoding: 'utf8' });
  if (status === 0) return '';
  if (status !== 1) return `fsck.vfat ended with ${status}: ${stderr}`;
  const lines = stdout
    .split('\n')
    .filter(line => line !== '' && !DIRTY.test(line) && !/^(fsck\.fat|\/|.*\.img:|Leaving|Performing)/.test(line))
    .map(line => line.trim().replace(/\d+/g, 'N'));
  if (lines.length === 0 && !/^ *Dirty bit is set/m.test(stdout)) return `status ${status}`;
  return [...new Set(lines)].join('\n');
}
export function count(complaints: Map<string, number>, seen: string): void {
  for (const line of seen.split('\n')) complaints.set(line, (complaints.get(line) ?? 0) + 1);
}

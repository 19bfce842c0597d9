// Which topology a host was started for, and by which process, noted in its run directory, so that `xl down` of
// that file ends it.

import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { processStat } from '../parent-watch.ts';

const markerOf = (runDir: string): string => join(runDir, 'topology');

/** This process started the host. `path` is absolute, with symbolic links resolved. */
export function noteOwner(runDir: string, path: string): void {
  const self = processStat(process.pid);
  writeFileSync(markerOf(runDir), `${process.pid} ${self?.startTime ?? ''} ${path}\n`, { mode: 0o600 });
}

/** The topology whose `xl up` runs the host; null when nobody's does, or not any more. */
export function ownerOf(runDir: string): string | null {
  let text: string;
  try {
    text = readFileSync(markerOf(runDir), 'utf8');
  } catch {
    return null;
  }
  const [, pid, startTime, path] = /^([0-9]+) ([0-9]*) (.*)\n$/s.exec(text) ?? [];
  const stat = processStat(Number(pid));
  // It may have been killed, which leaves the note behind.
  return stat !== null && !stat.dead && stat.startTime === startTime ? path! : null;
}

export function forgetOwner(runDir: string): void {
  rmSync(markerOf(runDir), { force: true });
}

// Which topology a host was started for, noted in its run directory, so that `xl down` of that file ends it.

import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const markerOf = (runDir: string): string => join(runDir, 'topology');

/** `path` is absolute, with symbolic links resolved. */
export function noteOwner(runDir: string, path: string): void {
  writeFileSync(markerOf(runDir), `${path}\n`, { mode: 0o600 });
}

export function ownerOf(runDir: string): string | null {
  try {
    return readFileSync(markerOf(runDir), 'utf8').trimEnd();
  } catch {
    return null; // nobody, or nobody any more
  }
}

export function forgetOwner(runDir: string): void {
  rmSync(markerOf(runDir), { force: true });
}

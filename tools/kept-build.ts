// Where the files of a build stay. In a checkout `dist` becomes the next build's (bin/setup.mjs); beside it is a copy of each build from which a host runs.
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

/** The copy of what is in `dist` now; `dist` itself where there is none, as in an installed package. */
export function keptBuild(dist: string): string {
  try {
    const kept = `${resolve(dist)}.${readFileSync(join(dist, '.built'), 'latin1')}`;
    return existsSync(kept) ? kept : dist;
  } catch {
    return dist; // no build of a checkout
  }
}

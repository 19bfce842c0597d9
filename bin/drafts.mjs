// What builds are made in, `dist.PID` and `dist.PID.old`, until they take the place of dist.
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';

/** Removes those of builds that were interrupted: their process is gone. */
export function removeDrafts(root) {
  for (const name of readdirSync(root)) {
    const pid = /^dist\.([1-9][0-9]*)(\.old)?$/.exec(name)?.[1];
    if (pid !== undefined && !isThere(Number(pid))) rmSync(join(root, name), { recursive: true, force: true });
  }
}

function isThere(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM'; // somebody else's
  }
}

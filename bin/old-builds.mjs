// What builds leave beside dist: `dist.PID`, with or without an ending, in which one is made or taken away, and `dist.` with what
// a build is known by, its copy for hosts to run from.
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';

/** Removes those of builds that were interrupted: their process is gone. */
export function removeDrafts(root) {
  for (const name of readdirSync(root)) {
    const pid = /^dist\.([1-9][0-9]{0,9})(\.old|\.kept)?$/.exec(name)?.[1];
    if (pid !== undefined && !isThere(Number(pid))) rmSync(join(root, name), { recursive: true, force: true });
  }
}

/** Removes the copies that nothing runs from, but for those in `but`. */
export function removeUnused(root, but) {
  for (const name of readdirSync(root)) {
    if (!/^dist\.[0-9a-f]{16}$/.test(name) || but.includes(name) || isRunFrom(name)) continue;
    rmSync(join(root, name), { recursive: true, force: true });
  }
}

/** Every process of a host names its program, anybody's for everybody to see. */
function isRunFrom(name) {
  return readdirSync('/proc').some(pid => {
    try {
      return /^[0-9]+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(`/${name}/`);
    } catch {
      return false; // it has ended
    }
  });
}

function isThere(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM'; // somebody else's
  }
}

// Hosts that run from a checkout, anybody's for everybody to see: every process names its program.
import { readdirSync, readFileSync } from 'node:fs';

/** Each with what it is known by: `on RUN_DIR, process PID`. */
export function hostsOf(root) {
  return readdirSync('/proc').flatMap(pid => {
    if (!/^[0-9]+$/.test(pid)) return [];
    const args = argumentsOf(pid);
    const isOurs = args.some(arg => /^\/dist(\.[0-9a-f]{16})?\/hypervisor\.js$/.test(below(arg, root)));
    const dir = args[args.indexOf('--run-dir') + 1];
    return isOurs && args.includes('--run-dir') ? [`on ${dir}, process ${pid}`] : [];
  });
}

const below = (path, root) => (path.startsWith(root) ? path.slice(root.length) : '');

function argumentsOf(pid) {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch {
    return []; // it has ended
  }
}

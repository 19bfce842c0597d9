// Ends with whoever started us, also when that was killed without a word. A child learns of its parent's death
// from the kernel (PR_SET_PDEATHSIG), but not of its grandparent's: `npm start` runs us through a shell, and the
// shell outlives npm.

import { readFileSync } from 'node:fs';

export interface ProcessId {
  readonly pid: number;
  /** Clock ticks since boot: a pid may be used again, the pair may not. */
  readonly startTime: string;
}

interface ProcessStat extends ProcessId {
  readonly parent: number;
  readonly dead: boolean;
}

/** null when there is no such process. Linux: proc(5), /proc/pid/stat. */
export function processStat(pid: number): ProcessStat | null {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return null;
  }
  // The second field is the program's name in parentheses, and may hold anything.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const [state, parent] = fields;
  return { pid, parent: Number(parent), dead: state === 'Z' || state === 'X', startTime: fields[19] ?? '' };
}

/** npm and its like set their title, which is what /proc shows as their command line. */
function isPackageManager(pid: number): boolean {
  try {
    return /(^|\/)(npm|npx|yarn|pnpm)\b|npm-cli\.js/.test(readFileSync(`/proc/${pid}/cmdline`, 'latin1'));
  } catch {
    return false;
  }
}

/** Our ancestors up to the package manager that runs us as a script; none when none does. */
export function scriptParents(env: NodeJS.ProcessEnv, self = process.pid): ProcessId[] {
  if (env.npm_lifecycle_event === undefined) return [];
  const chain: ProcessId[] = [];
  for (let pid = processStat(self)?.parent ?? 0; pid > 1; ) {
    const stat = processStat(pid);
    if (stat === null) break;
    chain.push({ pid, startTime: stat.startTime });
    if (isPackageManager(pid)) return chain;
    pid = stat.parent;
  }
  // The variable was inherited, but who set it is not above us: only a parent is ours to follow.
  return chain.slice(0, 1);
}

/** Calls `onGone` once, within `intervalMs` of the end of any of `parents`. Returns how to stop. */
export function watchParents(
  parents: readonly ProcessId[],
  onGone: (gone: ProcessId) => void,
  intervalMs = 500,
): () => void {
  if (parents.length === 0) return () => {};
  const timer = setInterval(() => {
    const gone = parents.find(({ pid, startTime }) => {
      const stat = processStat(pid);
      return stat === null || stat.dead || stat.startTime !== startTime;
    });
    if (gone === undefined) return;
    clearInterval(timer);
    onGone(gone);
  }, intervalMs);
  timer.unref(); // it must not keep alive what has nothing left to do
  return () => clearInterval(timer);
}

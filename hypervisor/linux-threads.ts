// Threads as Linux has them, read in /proc: of processes that may end at any moment.
import { closeSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs';

const head = Buffer.allocUnsafeSlow(1024);
/** The beginning of a file, which is all that is wanted: for a whole one Node makes room of 64 KiB, each time. */
function beginningOf(path: string): string {
  const fd = openSync(path, 'r');
  try {
    return head.toString('latin1', 0, readSync(fd, head));
  } finally {
    closeSync(fd);
  }
}

/** The threads of a process; none of one that has ended. */
export function threadsOf(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).map(Number);
  } catch {
    return [];
  }
}
/** The thread of a process that has this number in the process's own namespace. */
export const threadNumbered = (pid: number, tid: number): number | undefined =>
  threadsOf(pid).find(thread => {
    try {
      const numbers = /^NSpid:\t(.*)$/m.exec(readFileSync(`/proc/${pid}/task/${thread}/status`, 'latin1'))?.[1];
      return Number(numbers?.split('\t').at(-1) ?? thread) === tid;
    } catch {
      return false; // it has ended
    }
  });
/** ns; 0 of one that has ended. */
export function threadTime(pid: number, tid: number): number {
  try {
    return Number(beginningOf(`/proc/${pid}/task/${tid}/schedstat`).split(' ', 1)[0]);
  } catch {
    return 0;
  }
}
/** Does it run, or could it if Linux had a CPU for it? Also true of one that has ended. */
export function isRunnable(pid: number, tid: number): boolean {
  try {
    const text = beginningOf(`/proc/${pid}/task/${tid}/stat`);
    return text[text.lastIndexOf(')') + 2] === 'R';
  } catch {
    return true;
  }
}

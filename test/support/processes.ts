// What Linux says of processes: who descends from whom, what is left.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

interface ProcessInfo {
  readonly pid: number;
  readonly ppid: number;
  readonly state: string;
  /** In ticks since the machine began, as Linux prints it. */
  readonly started: string;
}

function stat(pid: number): ProcessInfo | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const words = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return { pid, ppid: Number(words[1]), state: words[0]!, started: words[19]! };
  } catch {
    return undefined;
  }
}

/** Every living process below `pid`, and itself. */
export function family(pid: number): number[] {
  const all = readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .map(name => stat(Number(name)))
    .filter(info => info !== undefined);
  const found = [pid];
  for (let i = 0; i < found.length; i++) {
    for (const info of all) if (info.ppid === found[i]) found.push(info.pid);
  }
  return found;
}
/** False for the dead and for zombies. */
export function isAlive(pid: number): boolean {
  const info = stat(pid);
  return info !== undefined && info.state !== 'Z' && info.state !== 'X';
}
/** When it began: with its pid, who it is. undefined: there is none. */
export const startTime = (pid: number): string | undefined => stat(pid)?.started;
/** The process a domain runs in: the one that carries its memory and is none of the host's own. */
export function processOfDomain(domid: number, among: readonly number[]): number {
  const pid = among.find(candidate => {
    const proc = `/proc/${candidate}`;
    try {
      return (
        readFileSync(`${proc}/cmdline`, 'latin1').includes('domain-shell') &&
        readFileSync(`${proc}/maps`, 'latin1').includes(`/memfd:xenolith-dom${domid} `)
      );
    } catch {
      return false; // it has ended
    }
  });
  if (pid === undefined) throw new Error(`none of ${among} is the process of dom${domid}`);
  return pid;
}
/** What its threads have used of processors, those that have ended left out. */
export function cpuTimeNs(pid: number): number {
  const tasks = readdirSync(`/proc/${pid}/task`);
  const files = tasks.map(task => readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'latin1'));
  return files.reduce((ns, text) => ns + Number(text.split(' ')[0]), 0);
}
/** To each that is still there. */
export function signalAll(pids: Iterable<number>, signal: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
}
/** Empty for a process that is no more. */
export function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ').trim();
  } catch {
    return '';
  }
}
/** A domU's process, or one that waits to become it; not what has put it into namespaces of its own. */
export const isShell = (pid: number): boolean => /^\S*node .*\/domain-shell\.cjs/.test(commandLine(pid));
/** What a process has open, by what Linux calls it without its number. */
export const openFiles = (pid: number): string[] =>
  readdirSync(`/proc/${pid}/fd`)
    .flatMap(fd => {
      try {
        return [readlinkSync(`/proc/${pid}/fd/${fd}`).replace(/\[\d+\]|\d+$/, '')];
      } catch {
        return []; // closed meanwhile
      }
    })
    .sort();

type Truthy<T> = Exclude<T, false | null | undefined | 0 | ''>;
/** Look every so often until `condition` holds; throws with `what` after `timeoutMs`. */
export async function eventually<T>(
  what: string,
  condition: () => T | Promise<T>,
  timeoutMs = 60_000,
  everyMs = 20,
): Promise<Truthy<T>> {
  const end = Date.now() + timeoutMs;
  for (;;) {
    const value = await condition();
    if (value) return value as Truthy<T>; // just tested
    if (Date.now() > end) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await new Promise(resolve => setTimeout(resolve, everyMs));
  }
}

// What the processes of a host have, as lists of text: taken before and after, the difference names what was left.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import type { XenstoreClient } from '#pvbus';

export interface ProcessInventory {
  /** Programs that run. */
  readonly processes: readonly string[];
  /** Descriptors of hypervisor, xenstored and dom0, by what they lead to; with them every memfd somebody holds. */
  readonly descriptors: readonly string[];
  /** Shared memory that is mapped in them. */
  readonly mappings: readonly string[];
}

/** Of these processes, which are a host's; `log` is what that has logged. */
export function processInventory(pids: readonly number[], log: string): ProcessInventory {
  const processes = pids.flatMap(pid => named(pid));
  // By name: a process that was replaced may have a lower number than one that was not.
  const own = processes
    .filter(({ program }) => /^(hypervisor|xenstored|dom0)\.js$/.test(program))
    .sort((a, b) => a.program.localeCompare(b.program));
  const heirs = heirsAmong(processes);
  const bundlers = processes.filter(({ program }) => program === BUNDLER);
  const ofDom0 = new Map([...lateThreads(log), ['socket:', BUNDLER_SOCKETS * bundlers.length]]);
  const but = (program: string): ReadonlyMap<string, number> => (program === 'dom0.js' ? ofDom0 : NOTHING);
  return {
    processes: processes
      .filter(process => !heirs.includes(process) && !bundlers.includes(process))
      .map(({ program }) => program)
      .sort(),
    descriptors: own.flatMap(({ pid, program }) => {
      const descriptors = descriptorsOf(pid);
      return counted(
        program,
        program === 'hypervisor.js' ? withoutHeirs(descriptors, heirs) : descriptors,
        but(program),
      );
    }),
    mappings: own.flatMap(({ pid, program }) => counted(program, mappingsOf(pid), but(program))),
  };
}

/** A process and all that descend from it. */
export function processesBelow(pid: number): number[] {
  try {
    const children = readdirSync(`/proc/${pid}/task`).flatMap(task =>
      readFileSync(`/proc/${pid}/task/${task}/children`, 'latin1').split(' ').filter(Boolean),
    );
    return [pid, ...children.flatMap(child => processesBelow(Number(child)))];
  } catch {
    return []; // it has ended meanwhile
  }
}

/** `path` and every path below it. */
export async function nodesBelow(xs: XenstoreClient, path: string): Promise<string[]> {
  const names = await xs.directory(path).catch((): string[] => []); // removed meanwhile
  const below = await Promise.all(names.map(name => nodesBelow(xs, path === '/' ? `/${name}` : `${path}/${name}`)));
  return [path, ...below.flat()];
}

/** One that has taken another's place has its words as one, in which a path with blanks is several. */
function wordsOf(pid: number): string[] {
  try {
    const text = readFileSync(`/proc/${pid}/cmdline`, 'latin1').replace(/\0+$/, '');
    return text.split(text.includes('\0') ? '\0' : ' ');
  } catch {
    return []; // it has ended meanwhile
  }
}

/** What a program is given to load before is none. */
const isProgram = (word: string): boolean => /\.c?js$/.test(word) && !word.endsWith('/code-load.cjs');

function named(pid: number): { pid: number; program: string }[] {
  const words = wordsOf(pid);
  const isLauncher = /\/(setpriv|unshare)$/.test(words[0] ?? '');
  const program = (isLauncher ? undefined : words.find(isProgram)) ?? words[0] ?? '';
  return program === '' ? [] : [{ pid, program: program.slice(program.lastIndexOf('/') + 1) }];
}

/** It bundles guests' programs, and ends some time after the last one: dom0 writes to it and reads from it. */
const BUNDLER = 'esbuild';
const BUNDLER_SOCKETS = 2;

/** Which program waits, and how many sockets the hypervisor has of it: one for each vCPU, and of what it prints. */
const heirOf = (pid: number): string => / \S*\/heir\.js (\S+) /.exec(wordsOf(pid).join(' '))?.[1] ?? '';
const HEIR_SOCKETS: Readonly<Record<string, number>> = { dom0: 7 + 1, 'driver-domain': 3 + 2 };
/** One for each program may wait, or not yet: those are not in an inventory, and others are. */
function heirsAmong<T extends { pid: number; program: string }>(processes: readonly T[]): T[] {
  const first = new Map<string, T>();
  for (const heir of processes.filter(({ program }) => program === 'heir.js')) {
    const of = heirOf(heir.pid);
    if (!first.has(of)) first.set(of, heir);
  }
  return [...first.values()];
}
/** What the hypervisor has of one: sockets, and itself. */
function withoutHeirs(descriptors: readonly string[], heirs: readonly { pid: number }[]): string[] {
  const left = [...descriptors];
  const take = (kind: string): void => {
    const at = left.indexOf(kind);
    if (at >= 0) left.splice(at, 1);
  };
  for (const { pid } of heirs) {
    take('anon_inode:[pidfd]');
    for (let n = HEIR_SOCKETS[heirOf(pid)] ?? 0; n > 0; n--) take('socket:');
  }
  return left;
}

function descriptorsOf(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`).flatMap(fd => {
    try {
      return [kindOf(readlinkSync(`/proc/${pid}/fd/${fd}`))];
    } catch {
      return []; // closed meanwhile
    }
  });
}
function mappingsOf(pid: number): string[] {
  const lines = readFileSync(`/proc/${pid}/maps`, 'latin1').split('\n');
  return lines.filter(line => line.includes('/memfd:')).map(line => kindOf(line.slice(line.indexOf('/memfd:'))));
}
/** `socket:[1234]` is any socket; a memfd is known by its name. */
const kindOf = (link: string): string => link.replace(/\[\d+\]$/, '').replace(/ \(deleted\)$/, '');

/** `but`: so many of each are not counted. */
function counted(program: string, things: readonly string[], but: ReadonlyMap<string, number>): string[] {
  const counts = new Map<string, number>();
  for (const thing of things) counts.set(thing, (counts.get(thing) ?? 0) + 1);
  for (const [thing, n] of but) if (counts.has(thing)) counts.set(thing, counts.get(thing)! - n);
  return [...counts].map(([thing, n]) => `${program}: ${n} ${thing}`).sort();
}

/**
 * A thread that dom0 has started for who needed it stays. What it has belongs to no domain, and is left out: so is said in the log
 * which ones have been started by the process that is dom0 now.
 */
function lateThreads(log: string): ReadonlyMap<string, number> {
  const lines = log.split('\n');
  const counts = new Map<string, number>();
  for (const line of lines.slice(lines.findLastIndex(each => DOM0_STARTS.test(each)) + 1)) {
    const [, name = ''] = THREAD_STARTS.exec(line) ?? [];
    if (name === '') continue;
    for (const [thing, n] of WITH_EVENT_LOOP.has(name) ? OF_EVENT_LOOP : OF_THREAD)
      counts.set(thing, (counts.get(thing) ?? 0) + n);
  }
  return counts;
}
/** Whole lines of dom0's own: what a domain prints is in the log too. */
const DOM0_STARTS = /^\S+ dom0: starts$/;
const THREAD_STARTS = /^\S+ dom0: thread of (pvcalls|nbd|p9|slow-blkback) starts$/;
/** Its main thread's, as a descriptor, and as a mapping. */
export const DOM0_MEMORY = '/memfd:xenolith-dom0';
/** vCPUs of domain 0 that are threads of its process from its start on; another one is xenstored. */
export const DOM0_VCPUS = 3;
const OF_THREAD: readonly (readonly [string, number])[] = [
  ['pipe:', 2],
  ['anon_inode:[eventpoll]', 1],
  ['anon_inode:[eventfd]', 1],
  [DOM0_MEMORY, 1],
];
/** With an event loop it has another thread that sleeps in its stead. */
const OF_EVENT_LOOP: readonly (readonly [string, number])[] = [
  ['pipe:', 4],
  ['anon_inode:[eventpoll]', 2],
  ['anon_inode:[eventfd]', 2],
  [DOM0_MEMORY, 1],
];
const WITH_EVENT_LOOP: ReadonlySet<string> = new Set(['pvcalls', 'nbd']);
const NOTHING: ReadonlyMap<string, number> = new Map();

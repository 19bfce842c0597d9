// Everything there is of a host, as lists of text: taken before and after, the difference names what was left.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { runPaths, socketTransport, XenstoreClient } from '#pvbus';
import { ToolstackClient } from '../../tools/toolstack-client.ts';
import type { HostRig } from './host-rig.ts';
import { commandLine, eventually } from './processes.ts';

export interface Inventory {
  /** Programs that run. */
  readonly processes: readonly string[];
  /** Descriptors of hypervisor, xenstored and dom0, by what they lead to; with them every memfd somebody holds. */
  readonly descriptors: readonly string[];
  /** Shared memory that is mapped in them. */
  readonly mappings: readonly string[];
  /** The hypervisor's own account: domains, event channels, grants, pools, doorbell pages, timers. */
  readonly hypervisor: readonly string[];
  /** Every path in xenstore. */
  readonly nodes: readonly string[];
  /** What is in the run directory, logs excepted: those are to stay. */
  readonly files: readonly string[];
}

/** As it is now. What ends by itself in a moment, such as a socket, may still be in it: see `settled`. */
export async function takeInventory(host: HostRig, debugKeys = 'qegma'): Promise<Inventory> {
  const processes = host.processes().flatMap(pid => named(pid));
  // By name: a process that was replaced may have a lower number than one that was not.
  const own = processes
    .filter(({ program }) => /^(hypervisor|xenstored|dom0)\.js$/.test(program))
    .sort((a, b) => a.program.localeCompare(b.program));
  const heirs = heirsAmong(processes);
  const late = lateThreads(host, own.find(({ program }) => program === 'dom0.js')?.pid);
  const but = (program: string): ReadonlyMap<string, number> => (program === 'dom0.js' ? late : NOTHING);
  return {
    processes: processes
      .filter(process => !heirs.includes(process))
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
    hypervisor: await hypervisorState(host, debugKeys),
    nodes: await withXenstore(host, async xs => (await nodesBelow(xs, '/')).sort()),
    files: host.files().filter(name => !name.startsWith('log/')),
  };
}

/** The inventory of a host that has come to rest: its processes are known to the hypervisor, every vCPU of dom0 runs, and nothing changes. */
export async function inventoryAtRest(host: HostRig, debugKeys?: string): Promise<Inventory> {
  let last = await takeInventory(host, debugKeys);
  await eventually('the host is at rest', async () => {
    const before = JSON.stringify(last);
    last = await takeInventory(host, debugKeys);
    const attached = last.mappings.includes(`dom0.js: ${DOM0_VCPUS} ${DOM0_MEMORY}`);
    return attached && isWatched(last) && JSON.stringify(last) === before;
  });
  return last;
}
/** The hypervisor has a descriptor of each process it started: a domain's waiting shell is there before that. */
export function isWatched({ processes, descriptors }: Inventory): boolean {
  const started = processes.filter(program => /^(dom0|xenstored|driver-domain)\.js$|^domain-shell\.cjs$/.test(program));
  const watched = descriptors.map(line => /^hypervisor\.js: (\d+) anon_inode:\[pidfd\]$/.exec(line)?.[1]);
  return Number(watched.find(count => count !== undefined) ?? 0) >= started.length;
}
/** vCPUs of domain 0 that are threads of its process from its start on; another one is xenstored. */
const DOM0_VCPUS = 3;

/** The inventory once it equals `expected`, or as it is after `timeoutMs`: for the caller to compare. */
export async function settled(host: HostRig, expected: Inventory, timeoutMs = 60_000): Promise<Inventory> {
  let last = await takeInventory(host);
  const same = async (): Promise<boolean> => {
    last = await takeInventory(host);
    return JSON.stringify(last) === JSON.stringify(expected);
  };
  await eventually('the inventory is what it was', same, timeoutMs).catch(() => {});
  return last;
}

/** What a program is given to load before is none. */
const isProgram = (word: string): boolean => /\.c?js$/.test(word) && !word.endsWith('/code-load.cjs');

function named(pid: number): { pid: number; program: string }[] {
  try {
    // A process that has taken another's place has its words as one.
    const words = readFileSync(`/proc/${pid}/cmdline`, 'latin1').split(/[\0 ]/);
    const isLauncher = /\/(setpriv|unshare)$/.test(words[0] ?? '');
    const program = (isLauncher ? undefined : words.find(isProgram)) ?? words[0] ?? '';
    return program === '' ? [] : [{ pid, program: program.slice(program.lastIndexOf('/') + 1) }];
  } catch {
    return []; // it has ended meanwhile
  }
}

/** Which program waits, and as how many vCPUs. */
const heirOf = (pid: number): string => / \S*\/heir\.js (\S+) /.exec(commandLine(pid))?.[1] ?? '';
const HEIR_VCPUS: Readonly<Record<string, number>> = { dom0: 7, 'driver-domain': 3 };
/** One for each program may wait, or not yet: those are not in an inventory, and others are. */
function heirsAmong<T extends { pid: number; program: string }>(processes: readonly T[]): T[] {
  const first = new Map<string, T>();
  for (const heir of processes.filter(({ program }) => program === 'heir.js')) {
    const of = heirOf(heir.pid);
    if (!first.has(of)) first.set(of, heir);
  }
  return [...first.values()];
}
/** What the hypervisor has of one: a socket for each vCPU, what it prints, and itself. */
function withoutHeirs(descriptors: readonly string[], heirs: readonly { pid: number }[]): string[] {
  const left = [...descriptors];
  const take = (kind: string): void => {
    const at = left.indexOf(kind);
    if (at >= 0) left.splice(at, 1);
  };
  for (const { pid } of heirs) {
    take('anon_inode:[pidfd]');
    for (let n = HEIR_VCPUS[heirOf(pid)] ?? 0; n >= 0; n--) take('socket:');
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
 * A thread that dom0 has started for who needed it stays: that of pvcalls, and that of images that are slow, once a machine that
 * was busy for some tenths of a second has brought it about. What they have belongs to no domain, and is left out.
 */
function lateThreads(host: HostRig, dom0: number | undefined): ReadonlyMap<string, number> {
  if (dom0 === undefined) return NOTHING;
  const slow = hasSlowThread(host) ? OF_SLOW_THREAD : NOTHING;
  const threads = mappingsOf(dom0).filter(mapping => mapping === DOM0_MEMORY).length;
  const others = threads - DOM0_VCPUS - (slow === NOTHING ? 0 : 1);
  if (others <= 0) return slow;
  return new Map([...OF_PVCALLS_THREAD].map(([thing, n]) => [thing, n + (slow.get(thing) ?? 0)]));
}
function hasSlowThread(host: HostRig): boolean {
  const log = host.log();
  return log.lastIndexOf(': its image is slow: it has another thread') > log.lastIndexOf('dom0.js, process ');
}
const NOTHING: ReadonlyMap<string, number> = new Map();
/** As a descriptor, and as a mapping. */
const DOM0_MEMORY = '/memfd:xenolith-dom0';
const OF_SLOW_THREAD: ReadonlyMap<string, number> = new Map([
  ['pipe:', 2],
  ['anon_inode:[eventpoll]', 1],
  ['anon_inode:[eventfd]', 1],
  [DOM0_MEMORY, 1],
]);
/** It has an event loop, and with that a thread that sleeps in its stead. */
const OF_PVCALLS_THREAD: ReadonlyMap<string, number> = new Map([
  ['pipe:', 4],
  ['anon_inode:[eventpoll]', 2],
  ['anon_inode:[eventfd]', 2],
  [DOM0_MEMORY, 1],
]);

/** The dump of `xl debug-keys`, without what changes from one moment to the next. */
async function hypervisorState(host: HostRig, keys: string): Promise<string[]> {
  const passing = /\[[p-][m-]\]|: (in a hypercall.*?|blocked|on line)(?=,)/g;
  const text = await withToolstack(host, async toolstack => {
    await toolstack.call('dmesg', { clear: true });
    await toolstack.call('debugKeys', { keys });
    return (await toolstack.call('dmesg', { clear: true })).text;
  });
  return text.split('\n').map(line => line.replace(/^\(XEN\) /, '').replace(passing, ''));
}

async function withToolstack<T>(host: HostRig, body: (toolstack: ToolstackClient) => Promise<T>): Promise<T> {
  const toolstack = await ToolstackClient.connect(runPaths(host.runDir).toolstackSocket);
  try {
    return await body(toolstack);
  } finally {
    toolstack.close();
  }
}

/** As a program of dom0. */
export async function withXenstore<T>(host: HostRig, body: (xs: XenstoreClient) => Promise<T>): Promise<T> {
  const xs = new XenstoreClient(await socketTransport(runPaths(host.runDir).xenstoredSocket));
  try {
    return await body(xs);
  } finally {
    xs.close();
  }
}
async function nodesBelow(xs: XenstoreClient, path: string): Promise<string[]> {
  const names = await xs.directory(path).catch(() => []); // removed meanwhile
  const below = await Promise.all(names.map(name => nodesBelow(xs, path === '/' ? `/${name}` : `${path}/${name}`)));
  return path === '/' ? below.flat() : [path, ...below.flat()];
}

// What the xenstored rows compare: our daemon, Debian's two, and a control; and the client that asks them all.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { start, type Which, whyNot } from '../support/real-xenstored.ts';
import { pin } from './pin.ts';

/** The client has a CPU of its own; whoever is measured has the other. */
const CLIENT_CPU = 0;
const DAEMON_CPU = 1;

export interface Subject {
  readonly name: string;
  readonly socket: string;
  readonly pid: number;
  stop(): Promise<void>;
}

const ROOT = join(import.meta.dirname, '../..');

async function spawned(name: string, socket: string, args: readonly string[]): Promise<Subject> {
  const child = spawn(process.execPath, args, { cwd: ROOT, stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'exit');
  await Promise.race([once(child.stdout, 'data'), ended]);
  if (child.exitCode !== null) throw new Error(`${name} did not start`);
  const stop = async (): Promise<void> => {
    child.kill('SIGKILL');
    await ended;
    rmSync(socket, { force: true });
  };
  await pin(child.pid!, DAEMON_CPU);
  return { name, socket, pid: child.pid!, stop };
}

/** Our daemon by itself, with an empty store. */
export const ours = (folder: string): Promise<Subject> => {
  const socket = join(folder, 'ours.sock');
  return spawned('ours', socket, ['dist/xenstored.js', '--socket', socket, '--parent', String(process.pid)]);
};
/** What the client and the sockets would allow. */
export const control = (folder: string): Promise<Subject> => {
  const socket = join(folder, 'control.sock');
  return spawned('control', socket, ['--import', 'tsx', join(import.meta.dirname, 'xenstore-null.ts'), socket]);
};
/** One of Debian's daemons, with an empty store; undefined where it cannot run. */
export async function debians(which: Which): Promise<Subject | undefined> {
  if (whyNot(which) !== undefined) return undefined;
  const { socket, pid, stop } = await start(which);
  await pin(pid, DAEMON_CPU);
  return { name: which, socket, pid, stop };
}

/** MiB of memory that are the process's own now. */
export function residentMiB(pid: number): number {
  const [, kB] = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1')) ?? [];
  return Number(kB) / 1024;
}

export interface LoadCommand {
  readonly connections?: number;
  readonly depth?: number;
  readonly ms?: number;
  readonly count?: number;
}

/** The process of xenstore-load.ts. */
export class XenstoreLoad {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  private constructor(child: ChildProcess, lines: Interface) {
    this.#child = child;
    this.#lines = lines[Symbol.asyncIterator]();
  }
  static async start(): Promise<XenstoreLoad> {
    const program = join(import.meta.dirname, 'xenstore-load.ts');
    const child = spawn(process.execPath, ['--import', 'tsx', program], {
      cwd: ROOT,
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const load = new XenstoreLoad(child, createInterface({ input: child.stdout }));
    await load.#answer();
    await pin(child.pid!, CLIENT_CPU);
    return load;
  }
  async #answer(): Promise<Record<string, number>> {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error('the client of the xenstored rows has ended');
    return JSON.parse(value);
  }
  run(subject: Subject, op: string, command: LoadCommand = {}): Promise<Record<string, number>> {
    const all = { op, socket: subject.socket, connections: 1, depth: 1, ms: 0, count: 0, ...command };
    this.#child.stdin!.write(`${JSON.stringify(all)}\n`);
    return this.#answer();
  }
  async stop(): Promise<void> {
    const ended = once(this.#child, 'exit');
    this.#child.stdin!.end();
    await ended;
  }
}

// xl logs: consoles' logs and the host's, from the run directory. The host need not run any more.

import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { runDir, runPaths, XenError } from '#pvbus';
import { type CommandContext, CommandFailure, type RunCommand } from './command.ts';
import { commandLine } from './options.ts';

const POLL_MS = 100;
const CHUNK = 64 << 10;

/** Parts of the host's log by who wrote them, in its second word. */
const SOURCES: Readonly<Record<string, RegExp>> = {
  host: /^/,
  hypervisor: /^\S+ (xen|host): /,
  dom0: /^\S+ dom0: /,
  xenstored: /^\S+ xenstored: /,
};

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, 'fn:', [{ name: 'follow', as: 'f' }], 0);
  if (typeof line === 'number') return line;
  const last = line.value('n');
  if (last !== undefined && !/^[0-9]{1,9}$/.test(last)) {
    context.err(`xl logs: -n ${last}: expected a number of lines`);
    return 2;
  }
  const names = line.args.length === 0 ? ['host'] : line.args;
  const logs: Log[] = [];
  for (const name of names) logs.push(await logOf(name, context));
  const width = Math.max(...logs.map(({ name }) => name.length));
  const print = ({ name, keep }: Log, text: string): void => {
    if (keep.test(text)) context.out(logs.length === 1 ? text : `${name.padEnd(width)} | ${text}`);
  };
  const follow = line.options.has('f');
  for (const log of logs) {
    const lines = log.reader.read(!follow).filter(text => log.keep.test(text));
    for (const text of last === undefined ? lines : lines.slice(Math.max(0, lines.length - Number(last))))
      print(log, text);
  }
  if (!follow) return 0;
  const signal = context.io.interrupted();
  while (!signal.aborted) {
    await sleep(POLL_MS, undefined, { signal }).catch(() => {}); // interrupted: what is there by now comes last
    for (const log of logs) for (const text of log.reader.read(signal.aborted)) print(log, text);
  }
  return 0;
};

interface Log {
  readonly name: string;
  readonly keep: RegExp;
  readonly reader: LogReader;
}

async function logOf(name: string, context: CommandContext): Promise<Log> {
  const paths = runPaths(runDir(context.io.env));
  if (Object.hasOwn(SOURCES, name)) return { name, keep: SOURCES[name]!, reader: LogReader.open(paths.hostLog, name) };
  const domain = /^[0-9]{1,5}$/.test(name) ? await nameOf(Number(name), context) : name;
  return { name: domain, keep: /^/, reader: LogReader.open(paths.consoleLog(domain), domain) };
}

async function nameOf(domid: number, context: CommandContext): Promise<string> {
  const client = await context.connect();
  try {
    return (await client.call('domname', { domid })).name;
  } catch (error) {
    if (!(error instanceof XenError) || !['ESRCH', 'ENOENT'].includes(error.code)) throw error;
    throw new CommandFailure(`xl logs: there is no domain ${domid}`);
  }
}

/** Whole lines of a file that grows, and that another one may take the place of. */
class LogReader {
  readonly #path: string;
  #fd: number;
  #inode: number;
  #rest = Buffer.alloc(0);

  private constructor(path: string, fd: number) {
    this.#path = path;
    this.#fd = fd;
    this.#inode = fstatSync(fd).ino;
  }

  static open(path: string, name: string): LogReader {
    try {
      return new LogReader(path, openSync(path, 'r'));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      throw new CommandFailure(`xl logs: there is no log of ${name} (${path})`);
    }
  }

  /** What has come since; `all`: also a line without its end. */
  read(all: boolean): string[] {
    const parts = [this.#rest, ...this.#chunks()];
    const inode = statSync(this.#path, { throwIfNoEntry: false })?.ino;
    if (inode !== undefined && inode !== this.#inode) {
      // order: what came into the old one up to its end, then the new one.
      parts.push(...this.#chunks());
      closeSync(this.#fd);
      this.#fd = openSync(this.#path, 'r');
      this.#inode = fstatSync(this.#fd).ino;
      parts.push(...this.#chunks());
    }
    const bytes = Buffer.concat(parts);
    const end = all ? bytes.length : bytes.lastIndexOf(10) + 1;
    this.#rest = bytes.subarray(end);
    if (end === 0) return [];
    const lines = bytes.toString('utf8', 0, end).split('\n');
    if (lines.at(-1) === '') lines.pop();
    return lines.map(text => text.replace(/\r+$/, ''));
  }

  #chunks(): Buffer[] {
    const chunks: Buffer[] = [];
    for (;;) {
      const chunk = Buffer.alloc(CHUNK);
      const length = readSync(this.#fd, chunk);
      if (length === 0) return chunks;
      chunks.push(chunk.subarray(0, length));
    }
  }
}

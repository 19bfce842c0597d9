// xl logs: consoles' logs and the host's, from the run directory. The host need not run any more.

import { setTimeout as sleep } from 'node:timers/promises';
import { runDir, runPaths, XenError } from '#pvbus';
import { LogReader } from '../log-reader.ts';
import { type CommandContext, CommandFailure, type RunCommand } from './command.ts';
import { commandLine } from './options.ts';

const POLL_MS = 100;

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
  if (Object.hasOwn(SOURCES, name)) return { name, keep: SOURCES[name]!, reader: openLog(paths.hostLog, name) };
  const domain = /^[0-9]{1,5}$/.test(name) ? await nameOf(Number(name), context) : name;
  return { name: domain, keep: /^/, reader: openLog(paths.consoleLog(domain), domain) };
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

function openLog(path: string, name: string): LogReader {
  const reader = LogReader.open(path);
  if (reader === undefined) throw new CommandFailure(`xl logs: there is no log of ${name} (${path})`);
  return reader;
}

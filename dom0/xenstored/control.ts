// CONTROL: for the people who run the daemon. Commands, their arguments and their words are Xen's, as
// xenstore-control(8) shows them; `docs/xenstore.md` says where they are not.
import { parseDecimal, XenError } from '#pvbus';
import type { Holding } from './accounts.ts';
import type { Connection } from './connection.ts';
import type { ControlFiles } from './control-files.ts';
import { domidOf } from './path.ts';
import { quotaDescription, quotaNames } from './quota.ts';
import type { Server } from './server.ts';
import type { Asked } from './succession.ts';
import { traceSwitches } from './trace.ts';

/** The reply comes when what was asked is done. */
export const LATER = Symbol('later');

/** What is said in reply, as one string. */
type Reply = string | typeof LATER;

interface Context {
  readonly server: Server;
  readonly client: Connection;
  readonly asked: Asked;
}

interface Command {
  readonly usage: string;
  run(context: Context, args: readonly string[]): Reply;
}

const invalid = (why: string): XenError => new XenError('EINVAL', why);

const commands: Readonly<Record<string, Command>> = {
  check: { usage: '', run: check },
  fault: { usage: 'add <json>|remove <name>|show <name>|keep', run: fault },
  log: { usage: '[on|off|+<switch>|-<switch>]', run: log },
  'live-update': { usage: '[-c <cmdline>] [-F] [-t <timeout>] <file>', run: liveUpdate },
  logfile: { usage: '<file>', run: logfile },
  memreport: { usage: '[<file>]', run: memreport },
  print: { usage: '<string>', run: print },
  quota: { usage: '[set <name> <val>|<domid>|max [-r]]', run: quota },
  'quota-soft': { usage: '[set <name> <val>]', run: quotaSoft },
  help: { usage: '', run: help },
};

/** Throws EINVAL for what is no command, and for arguments that it does not take. */
export function control(context: Context, words: readonly string[]): Reply {
  const [name = '', ...args] = words;
  if (!Object.hasOwn(commands, name)) throw invalid(`no control command ${JSON.stringify(name.slice(0, 50))}`);
  return commands[name]!.run(context, args); // just looked up
}

/** Throws EINVAL when there are others than these many. */
function expect(args: readonly string[], least: number, most = least): void {
  if (args.length < least || args.length > most) throw invalid(`${args.length} arguments`);
}

function help(_: Context, args: readonly string[]): Reply {
  expect(args, 0);
  return Object.entries(commands)
    .map(([name, { usage }]) => `${name}\t${usage}\n`)
    .join('');
}

function check({ server }: Context, args: readonly string[]): Reply {
  expect(args, 0);
  const wrong = server.check();
  if (wrong === undefined) return 'OK';
  server.log.error(`check: ${wrong}`);
  return wrong;
}

/** Ours: what `xl fault' of part xenstore becomes. */
function fault({ server }: Context, args: readonly string[]): Reply {
  const [what, about = '', counted] = args;
  if (what === 'counted' && counted !== undefined && server.replaying) {
    server.faults.wasCounted(about, counted);
    return 'OK';
  }
  if (what === 'keep') {
    expect(args, 1);
    server.keepFaultCounts();
    return 'OK';
  }
  expect(args, 2);
  if (what === 'show') return server.recorded(() => JSON.stringify(server.faults.injected(about)));
  if (what === 'add') server.faults.add(about);
  else if (what === 'remove') server.faults.remove(about);
  else throw invalid('fault add JSON, fault remove NAME, fault show NAME, or fault keep');
  server.faultsChanged();
  return 'OK';
}

function print({ server, client }: Context, args: readonly string[]): Reply {
  expect(args, 1);
  server.log.info(`${client.name}: ${args[0]}`);
  return 'OK';
}

// ---- logs ----

function log({ server }: Context, args: readonly string[]): Reply {
  expect(args, 1);
  const [what = ''] = args;
  if (what === 'on' || what === 'off') {
    server.tracing.on = what === 'on';
    return 'OK';
  }
  const about = traceSwitches.find(name => name === what.slice(1));
  if (!about || !/^[+-]/.test(what)) throw invalid(`on, off, or + or - and one of ${traceSwitches.join(' ')}`);
  server.tracing.set(about, what.startsWith('+'));
  return 'OK';
}

function logfile({ server }: Context, args: readonly string[]): Reply {
  expect(args, 1);
  withFile(server, args[0], (files, path) => server.tracing.to(files.log(path)));
  return 'OK';
}

/** Nothing is done when the request is repeated by a daemon that goes on where another ended. */
function withFile(server: Server, path: string | undefined, use: (files: ControlFiles, path: string) => void): void {
  if (server.replaying) return;
  if (!server.files || !path?.startsWith('/')) throw invalid('a file is named by its whole path');
  try {
    use(server.files, path);
  } catch (error) {
    server.log.warn(`${path}: ${error instanceof Error ? error.message : error}`);
    throw invalid(`${path} cannot be written`);
  }
}

// ---- quotas ----

const entry = (name: string, width: number, value: number): string =>
  `${name.padEnd(width)}: ${`${value}`.padStart(8)}`;

function quota({ server }: Context, args: readonly string[]): Reply {
  const [what, name, value] = args;
  if (what === undefined) return settings(server, 'hard');
  if (what === 'set') {
    expect(args, 3);
    return setQuota(server, name === 'memory-soft' ? '' : name, value);
  }
  if (what === 'max') {
    if (args.length > 1 && name !== '-r') throw invalid('quota max, or quota max -r');
    expect(args, 1, 2);
    const text = `Max. seen values of domains:\n${holding(server.accounts.most, 17)}`;
    if (name === '-r') server.accounts.resetMost();
    return text;
  }
  expect(args, 1);
  const id = domidOf(what);
  return `Domain ${id}:\n${holding(server.accounts.of(id, server.clientsOf(id)), 16)}`;
}

function quotaSoft({ server }: Context, args: readonly string[]): Reply {
  const [what, name, value] = args;
  if (what === undefined) return settings(server, 'soft');
  if (what !== 'set') throw invalid('quota-soft, or quota-soft set NAME VALUE');
  expect(args, 3);
  return setQuota(server, name === 'memory' ? 'memory-soft' : '', value);
}

/** Xen: 0, which switches a quota off, can only be had by SET_QUOTA. */
function setQuota(server: Server, name = '', text?: string): Reply {
  const value = parseDecimal(text, 0xffffffff);
  if (!value) throw invalid(`${JSON.stringify(text)} is no value for a quota`);
  server.quotas.set(name, value);
  return 'OK';
}

function settings(server: Server, which: 'hard' | 'soft'): string {
  const lines = quotaNames
    .filter(name => (name === 'memory-soft') === (which === 'soft'))
    .map(name => {
      const shown = name === 'memory-soft' ? 'memory' : name;
      return `${entry(shown, 17, server.quotas.get(name))} ${quotaDescription(name)}\n`;
    });
  return `Quota settings:\n${lines.join('')}`;
}

function holding(held: Holding, width: number): string {
  return Object.entries(held)
    .map(([name, value]) => `${entry(name, width, value)}\n`)
    .join('');
}

// ---- memory ----

function memreport({ server }: Context, args: readonly string[]): Reply {
  expect(args, 0, 1);
  const lines = report(server);
  const [path] = args;
  if (path !== undefined) withFile(server, path, (files, at) => files.write(at, `${lines.join('\n')}\n`));
  else for (const line of lines) server.log.info(`memreport: ${line}`);
  return 'OK';
}

/** Bytes as they are counted against quotas; Node's own view of the process beside them. */
function report(server: Server): string[] {
  const columns = ['nodes', 'watches', 'transactions', 'outstanding', 'memory'] as const;
  const row = (name: string, cells: readonly (string | number)[]): string =>
    name.padEnd(10) + cells.map(cell => String(cell).padStart(13)).join('');
  const lines = [row('domain', columns)];
  for (const id of server.domains.domids()) {
    const held = server.accounts.of(id, server.clientsOf(id));
    lines.push(
      row(
        String(id),
        columns.map(name => held[name]),
      ),
    );
  }
  const { rss, heapUsed, arrayBuffers } = process.memoryUsage();
  lines.push(`nodes of all: ${server.store.tree.root.count + 1}`);
  lines.push(`transactions that could not be committed: ${server.contention.conflicts}`);
  lines.push(`process: ${rss} bytes resident, ${heapUsed} of heap, ${arrayBuffers} of buffers`);
  return lines;
}

// ---- another daemon ----

/**
 * Xen's client first names the program (-f) and its arguments (-c), then says -s, with -t SECONDS and -F. Here it
 * is always this program, as it is on the disk by now, with the arguments of this one.
 */
function liveUpdate({ server, client, asked }: Context, args: readonly string[]): Reply {
  if (!server.liveUpdate) throw invalid('this daemon cannot be replaced');
  // Its answer would come from nothing that the journal has.
  if (server.domains.isRing(client)) throw invalid('a live update is asked for by socket');
  switch (args[0]) {
    case '-a':
      server.liveUpdate.abort();
      return 'OK';
    case '-c':
    case '-f':
      return 'OK';
    case '-s':
      server.liveUpdate.start(client, asked);
      return LATER;
    default:
      throw invalid('live-update -f FILE, -c ARGUMENTS, -s [-t SECONDS] [-F], or -a');
  }
}

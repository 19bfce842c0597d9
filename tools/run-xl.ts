// One call of xl: global options, the command, what its failures look like.

import { messageOf, runDir, runPaths, XenError } from '#pvbus';
import {
  type CommandContext,
  CommandFailure,
  type CommandSpec,
  type GlobalOptions,
  type XlIo,
} from './commands/command.ts';
import { commandHelp, help } from './commands/help.ts';
import { findCommand } from './commands/table.ts';
import { ConfigError } from './config/config-error.ts';
import { readXlConf, type XlConf } from './config/xl-conf.ts';
import { getopt } from './getopt.ts';
import type { ToolstackClient } from './toolstack-client.ts';

/** `argv` without the interpreter and the program. Resolves with the exit code. */
export async function runXl(argv: readonly string[], outer: XlIo): Promise<number> {
  const { found, rest, unsupported } = getopt(argv, 'vftTN', [{ name: 'host', as: 'host', value: true }]);
  const host = found.findLast(({ option }) => option === 'host')?.value;
  const io = host === undefined ? outer : onHost(outer, host);
  const err = (line: string): void => void io.stderr.write(`${line}\n`);
  if (unsupported !== undefined) {
    err('unknown global option');
    return 1;
  }
  const [name, ...args] = rest;
  if (name === undefined) {
    io.stdout.write(help(undefined));
    return 1;
  }
  let conf: XlConf;
  try {
    conf = await readXlConf(io.xlConf, err);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    err(error.message);
    return error.exitCode;
  }
  if (name === 'help') {
    io.stdout.write(help(args[0]));
    return 0;
  }
  const spec = findCommand(name);
  if (spec === undefined) {
    err('command not implemented');
    return 1;
  }
  const count = (option: string): number => found.filter(one => one.option === option).length;
  const global = { verbose: count('v'), dryRun: count('N') > 0, force: count('f') > 0 };
  if (global.dryRun && !spec.dryRun) {
    err('command does not implement -N (dryrun) option');
    return 1;
  }
  return runCommand(spec, args, global, io, conf);
}

/** What the environment says of hosts and xenstores makes way for `--host`. */
function onHost(io: XlIo, host: string): XlIo {
  const { XENOLITH_RUN_DIR: _dir, XENSTORED_PATH: _path, XENSTORED_RUNDIR: _rundir, ...env } = io.env;
  // Not a copy: stdin is made when it is asked for.
  return Object.create(io, { env: { value: { ...env, XENOLITH_HOST: host } } }) as XlIo;
}

/** A command with its context; every failure becomes a line and an exit code. */
export async function runCommand(
  spec: CommandSpec,
  args: readonly string[],
  global: GlobalOptions,
  io: XlIo,
  conf: XlConf,
): Promise<number> {
  const clients: ToolstackClient[] = [];
  const err = (line: string): void => void io.stderr.write(`${line}\n`);
  const context: CommandContext = {
    io,
    global,
    spec,
    conf,
    out: line => void io.stdout.write(`${line}\n`),
    err,
    usage: exitCode => {
      io.stdout.write(commandHelp(spec));
      return exitCode;
    },
    connect: async () => {
      const { ToolstackClient } = await import('./toolstack-client.ts');
      const client = await ToolstackClient.connect(runPaths(runDir(io.env)).toolstackSocket);
      clients.push(client);
      return client;
    },
    complain: error => err(`libxl: error: ${messageOf(error)}`),
  };
  try {
    const { run } = await spec.load();
    return await run(args, context);
  } catch (error) {
    if (error instanceof CommandFailure) err(error.message);
    else if (error instanceof XenError) err(`xl: ${messageOf(error)}`);
    else throw error;
    return error instanceof CommandFailure ? error.exitCode : 1;
  } finally {
    for (const client of clients) client.close();
  }
}

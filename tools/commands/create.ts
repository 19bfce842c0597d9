// xl create

import { type DomainConfig, ERROR_FAIL, runDir, runPaths, type ToolstackEvent, XenError } from '#pvbus';
import { ConsoleConnection } from '../attach-console.ts';
import { maskedConfig } from '../config/cpu-masks.ts';
import { keyPlaces, readConfig, readConfigFile } from '../config/read-config.ts';
import { ConfigError } from '../config/settings.ts';
import { withLine } from '../config/with-line.ts';
import { dryRun } from '../dry-run.ts';
import { followMonitor } from '../follow-monitor.ts';
import { rcOf, type ToolstackClient } from '../toolstack-client.ts';
import { type CommandContext, CommandFailure, type RunCommand } from './command.ts';
import { type CommandLine, commandLine } from './options.ts';

/** Xen: ERROR_INVAL, what xl exits with when it has no config at all. */
const NO_CONFIG = 6;

export const run: RunCommand = async (args, context) => {
  // Xen: a config file may come before the options, which nothing else may.
  const leads = args[0] !== undefined && !args[0].startsWith('-') && !args[0].includes('=');
  const long = [
    { name: 'dryrun', as: 'n' },
    { name: 'quiet', as: 'q' },
    { name: 'defconfig', as: 'f', value: true },
    { name: 'vncviewer', as: 'V' },
    { name: 'vncviewer-autopass', as: 'A' },
    { name: 'ignore-global-affinity-masks', as: 'i' },
  ];
  const line = commandLine(leads ? args.slice(1) : args, context, 'AFVcdef:inpq', long, 0);
  if (typeof line === 'number') return line;
  let file = line.value('f') ?? (leads ? args[0] : undefined);
  const assignments: string[] = [];
  for (const arg of line.args) {
    if (arg.includes('=')) assignments.push(arg);
    else if (file === undefined) file = arg;
    else return context.usage(2);
  }
  if (file === undefined) throw new CommandFailure('Config file not specified and none in save file', NO_CONFIG);
  const { io, conf, err } = context;
  try {
    const content = readConfigFile(file, io.cwd);
    if (!line.options.has('q')) err(`Parsing config from ${file}`);
    const options = { cwd: io.cwd, random: io.random, warn: err, conf };
    if (context.global.dryRun || line.options.has('n')) {
      io.stdout.write(dryRun(content, file, assignments, options));
      return 0;
    }
    const config = readConfig(content, file, assignments, options);
    if (line.options.has('d')) {
      io.stderr.write(dryRun(content, file, assignments, { ...options, warn: () => {} }, config.uuid));
    }
    const at = keyPlaces(content, file, assignments);
    return await createDomain(config, at, line, context);
  } catch (error) {
    if (error instanceof ConfigError) throw new CommandFailure(error.message, error.exitCode);
    throw error;
  }
};

async function createDomain(
  asked: DomainConfig,
  at: (key: string) => string,
  line: CommandLine,
  context: CommandContext,
): Promise<number> {
  const { options } = line;
  const paused = options.has('p');
  const attach = options.has('c');
  const client = await context.connect();
  const config = options.has('i') ? asked : await withinMasks(asked, client, context);
  const onEvent = (event: ToolstackEvent): void => {
    if (event.event !== 'phase' || context.global.verbose === 0) return;
    context.err(`${event.phase} ${event.ms.toFixed(1)} ms`);
  };
  const monitor = !options.has('e');
  let domid: number;
  try {
    ({ domid } = await client.call('create', { config, paused: paused || attach, monitor }, onEvent));
  } catch (error) {
    context.complain(withLine(error, config.source, at));
    if (!(error instanceof XenError) || error.code !== 'ENOMEM') return -rcOf(error);
    // Xen: xl makes room before it has anything made.
    context.err('failed to free memory for the domain');
    return -ERROR_FAIL;
  }
  if (attach) await attachConsole(client, domid, paused, context);
  if (!monitor || !options.has('F')) return 0;
  const { monitorLog } = runPaths(runDir(context.io.env));
  return followMonitor(monitorLog(config.name), client, context.err);
}

async function withinMasks(
  config: DomainConfig,
  client: ToolstackClient,
  context: CommandContext,
): Promise<DomainConfig> {
  const { cpumasks } = context.conf;
  if (cpumasks.length === 0) return config;
  const { nr_cpus } = await client.call('cpupools', {});
  return maskedConfig(config, cpumasks, nr_cpus);
}

/** order: attached before the domain runs, so that its first line is seen. */
async function attachConsole(
  client: ToolstackClient,
  domid: number,
  paused: boolean,
  context: CommandContext,
): Promise<void> {
  try {
    const { path } = await client.call('console', { domid });
    const console = await ConsoleConnection.open(path);
    try {
      if (!paused) await client.call('unpause', { domid });
      await console.run(context.io);
    } finally {
      console.close();
    }
  } catch (error) {
    context.complain(error);
    throw new CommandFailure('Unable to attach console');
  }
}

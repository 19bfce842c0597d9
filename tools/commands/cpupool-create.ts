// xl cpupool-create

import { basename } from 'node:path';
import { type Cpupool, parseCpuRange, SCHEDULER_NAMES, type SchedulerName } from '#pvbus';
import { parseConfig } from '../config/parse.ts';
import { readConfigFile } from '../config/read-config.ts';
import { ConfigError, Settings } from '../config/settings.ts';
import { type CommandContext, CommandFailure, type RunCommand } from './command.ts';
import { commandLine } from './options.ts';

export const run: RunCommand = async (args, context) => {
  const long = [
    { name: 'defconfig', as: 'f', value: true },
    { name: 'dryrun', as: 'n' },
  ];
  const line = commandLine(args, context, 'f:n', long, 0);
  if (typeof line === 'number') return line;
  let file = line.value('f');
  const assignments: string[] = [];
  for (const arg of line.args) {
    if (arg.includes('=')) assignments.push(arg);
    else if (file === undefined) file = arg;
    else return context.usage(2);
  }
  const settings = read(file, assignments, context);
  const client = await context.connect();
  const state = await client.call('cpupools', {});
  const name = settings.text('name') || (file === undefined ? '' : basename(file));
  if (name === '') throw new CommandFailure('Missing cpupool name!');
  if (state.pools.some(pool => pool.name === name)) throw new CommandFailure(`Pool name "${name}" already exists`);
  const scheduler = schedulerOf(settings, state.pools);
  const cpus = cpusOf(settings, state.free, state.nr_cpus);
  context.out(`Using config file "${file ?? 'command line'}"`);
  context.out(`cpupool name:   ${name}`);
  context.out(`scheduler:      ${scheduler}`);
  context.out(`number of cpus: ${cpus.length}`);
  if (line.options.has('n') || context.global.dryRun) return 0;
  try {
    await client.call('createPool', { name, scheduler, cpus });
  } catch (error) {
    context.complain(error);
    throw new CommandFailure('error on creating cpupool');
  }
  return 0;
};

function read(file: string | undefined, assignments: readonly string[], { io, err }: CommandContext): Settings {
  try {
    const content = file === undefined ? Buffer.alloc(0) : readConfigFile(file, io.cwd);
    const text = Buffer.concat([content, Buffer.from(assignments.map(line => `\n${line}\n`).join(''))]);
    const parsed = parseConfig(text, file ?? 'command line');
    if (!parsed.ok) throw new ConfigError(`${parsed.report}Failed to parse config: Invalid argument`);
    return new Settings(parsed, err);
  } catch (error) {
    if (error instanceof ConfigError) throw new CommandFailure(error.message, 1);
    throw error;
  }
}

function schedulerOf(settings: Settings, pools: readonly Cpupool[]): SchedulerName {
  const text = settings.text('sched');
  // Xen: as the rest of the host has it.
  if (text === undefined) return pools[0]!.scheduler;
  const known = SCHEDULER_NAMES.find(name => name === text);
  if (known === undefined) throw new CommandFailure('Unknown scheduler');
  return known;
}

/** One that is free, unless the file says which. */
function cpusOf(settings: Settings, free: readonly number[], nrCpus: number): number[] {
  if (settings.has('nodes')) {
    const nodes = settings.specs('nodes');
    return nodes.flatMap(node => parseCpuRange(`node:${node}`, nrCpus)).filter(cpu => free.includes(cpu));
  }
  const wanted = wantedCpus(settings, nrCpus);
  if (wanted === undefined) {
    if (free.length === 0) throw new CommandFailure('no free cpu found');
    return [free[0]!];
  }
  for (const cpu of wanted) if (!free.includes(cpu)) throw new CommandFailure(`cpu ${cpu} illegal or not free`);
  return wanted;
}
function wantedCpus(settings: Settings, nrCpus: number): number[] | undefined {
  if (!settings.has('cpus')) return undefined;
  const list = Array.isArray(settings.unread().cpus) ? settings.specs('cpus').join(',') : settings.text('cpus');
  return list === undefined ? undefined : parseCpuRange(list, nrCpus);
}

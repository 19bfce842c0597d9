// xl cpupool-list

import type { Cpupool } from '#pvbus';
import { left, right } from '../columns.ts';
import { CommandFailure, type RunCommand } from './command.ts';
import { printJson } from './json-output.ts';
import { commandLine } from './options.ts';

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, 'c', [{ name: 'cpus', as: 'c' }], 0);
  if (typeof line === 'number') return line;
  const client = await context.connect();
  const { pools } = await client.call('cpupools', {});
  const [wanted] = line.args;
  const shown = wanted === undefined ? pools : pools.filter(({ name }) => name === wanted);
  if (wanted !== undefined && shown.length === 0) throw new CommandFailure(`Pool '${wanted}' does not exist`);
  if (line.options.has('json')) {
    return printJson(
      context,
      shown.map(({ id, name, scheduler, cpus, domains }) => ({ id, name, scheduler, cpus, active: true, domains })),
    );
  }
  const cpus = line.options.has('c');
  context.out(`${left('Name', 19)}${cpus ? 'CPU list' : 'CPUs   Sched     Active   Domain count'}`);
  for (const pool of shown) context.out(row(pool, cpus));
  return 0;
};

function row({ name, cpus, scheduler, domains }: Cpupool, list: boolean): string {
  if (list) return `${left(name, 19)}${cpus.join(',')}`;
  return `${left(name, 19)}${right(cpus.length, 3)} ${right(scheduler, 9)}       y       ${right(domains, 4)}`;
}

// xl vcpu-pin

import { cpuRangeText, parseCpuRange } from '#pvbus';
import { ConfigError } from '../config/config-error.ts';
import { masked } from '../config/cpu-masks.ts';
import { CommandFailure, type RunCommand } from './command.ts';
import { findDomain } from './find-domain.ts';
import { commandLine } from './options.ts';

export const run: RunCommand = async (args, context) => {
  const long = [
    { name: 'force', as: 'f' },
    { name: 'ignore-global-affinity-masks', as: 'i' },
  ];
  const line = commandLine(args, context, 'fi', long, 3);
  if (typeof line === 'number') return line;
  const [name, which, hardText, softText = '-'] = line.args as [string, string, string, string?];
  const client = await context.connect();
  const domid = await findDomain(client, name);
  const vcpu = vcpuNumber(which);
  const force = line.options.has('f');
  if (force && vcpu === null) throw new CommandFailure("Error: --force and 'all' as VCPU not allowed.");
  const { nr_cpus } = await client.call('cpupools', {});
  const chosen = mapOf(hardText, nr_cpus);
  const hard = chosen === null || line.options.has('i') ? chosen : maskedMap(chosen, context.conf.cpumasks);
  const soft = mapOf(softText, nr_cpus);
  if (context.global.dryRun) {
    if (hard !== null) context.out(`cpumap: ${cpuRangeText(hard, nr_cpus)}`);
    return 0;
  }
  try {
    await client.call('pinVcpu', { domid, vcpu, hard, soft, force });
  } catch (error) {
    context.complain(error);
    const whose = vcpu === null ? '.' : ` for vcpu \`${vcpu}'.`;
    throw new CommandFailure(`Could not set affinity${whose}`);
  }
  return 0;
};

function maskedMap(cpus: number[], masks: readonly string[]): number[] {
  try {
    return masked(cpus, masks);
  } catch (error) {
    if (error instanceof ConfigError) throw new CommandFailure(error.message, error.exitCode);
    throw error;
  }
}

/** null: all of them. */
function vcpuNumber(text: string): number | null {
  if (text === 'all') return null;
  if (!/^[0-9]{1,4}$/.test(text)) throw new CommandFailure(`Error: Invalid argument ${text} as VCPU.`);
  return Number(text);
}

/** `-` leaves the map as it is. */
const mapOf = (text: string, nrCpus: number): number[] | null => (text === '-' ? null : parseCpuRange(text, nrCpus));

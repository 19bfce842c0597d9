// xl vcpu-set

import { XenError } from '#pvbus';
import { rcOf } from '../toolstack-client.ts';
import { CommandFailure, type RunCommand } from './command.ts';
import { findDomain } from './find-domain.ts';
import { commandLine } from './options.ts';

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, 'i', [{ name: 'ignore-host', as: 'i' }], 2);
  if (typeof line === 'number') return line;
  const [name, text] = line.args as [string, string];
  const client = await context.connect();
  const domid = await findDomain(client, name);
  // Xen: strtol; what follows the digits is not looked at.
  const digits = /^\s*\+?([0-9]+)/.exec(text)?.[1];
  if (digits === undefined) throw new CommandFailure('Error: Invalid argument.');
  const count = Math.min(Number(digits), 0xffff_ffff);
  if (!line.options.has('i')) {
    const [info] = await client.call('list', { domid });
    const { nr_cpus } = await client.call('info', {});
    if (count > (info?.vcpu_online ?? 0) && count > nr_cpus) {
      throw new CommandFailure(
        `You are overcommmitting! You have ${nr_cpus} physical CPUs and want ${count} vCPUs! Aborting, use --ignore-host to continue`,
      );
    }
  }
  try {
    await client.call('setVcpus', { domid, count });
  } catch (error) {
    if (error instanceof XenError && error.code === 'ESRCH')
      throw new CommandFailure(`Domain ${domid} does not exist.`);
    context.complain(error);
    throw new CommandFailure(`libxl_set_vcpuonline failed domid=${domid} max_vcpus=${count}, rc: ${rcOf(error)}`);
  }
  return 0;
};

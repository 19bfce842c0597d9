// xl vcpu-list

import { cpuRangeText, type DomainVcpus, type VcpuRecord } from '#pvbus';
import { left, right, tenths } from '../columns.ts';
import type { RunCommand } from './command.ts';
import { findDomain } from './find-domain.ts';
import { printJson } from './json-output.ts';
import { commandLine } from './options.ts';

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, '', [], 0);
  if (typeof line === 'number') return line;
  const client = await context.connect();
  if (line.options.has('json')) {
    const listed: DomainVcpus[] = [];
    if (line.args.length === 0) listed.push(...(await client.call('vcpus', { domid: null })));
    for (const name of line.args)
      listed.push(...(await client.call('vcpus', { domid: await findDomain(client, name) })));
    return printJson(
      context,
      listed.flatMap(domain => domain.vcpus.map(vcpu => vcpuJson(domain, vcpu))),
    );
  }
  const { nr_cpus } = await client.call('cpupools', {});
  const titles = [left('Name', 32), right('ID', 5), right('VCPU', 5), right('CPU', 5), right('State', 5)];
  context.out([...titles, right('Time(s)', 9), 'Affinity (Hard / Soft)'].join(' '));
  const print = (domains: readonly DomainVcpus[]): void => {
    for (const domain of domains) for (const vcpu of domain.vcpus) context.out(row(domain, vcpu, nr_cpus));
  };
  if (line.args.length === 0) print(await client.call('vcpus', { domid: null }));
  for (const name of line.args) print(await client.call('vcpus', { domid: await findDomain(client, name) }));
  return 0;
};

const vcpuJson = ({ domid, name }: DomainVcpus, vcpu: VcpuRecord) => ({
  ...{ domid, name, vcpu: vcpu.vcpu, online: vcpu.online, cpu: vcpu.online ? vcpu.cpu : null },
  state: vcpu.online ? (vcpu.running ? 'running' : vcpu.blocked ? 'blocked' : 'runnable') : 'offline',
  ...{ cpu_time_ns: vcpu.cpu_time, hard_affinity: vcpu.hard, soft_affinity: vcpu.soft },
});

// Xen: there is no blank between the number of the vCPU and that of its pCPU.
function row({ domid, name }: DomainVcpus, vcpu: VcpuRecord, nrCpus: number): string {
  const who = `${left(name ?? '(null)', 32)} ${right(domid, 5)} ${right(vcpu.vcpu, 5)}`;
  const where = vcpu.online
    ? `${right(vcpu.cpu, 5)} ${right(vcpu.running ? 'r' : '-', 3)}${vcpu.blocked ? 'b' : '-'}- `
    : `${right('-', 5)} ${right('-', 3)}-p `;
  const affinity = `${cpuRangeText(vcpu.hard, nrCpus)} / ${cpuRangeText(vcpu.soft, nrCpus)}`;
  return `${who}${where}${tenths(vcpu.cpu_time / 1e9, 9)}  ${affinity}`;
}

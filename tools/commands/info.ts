// xl info

import { hostname, machine, release, version } from 'node:os';
import type { HostInfo } from '#pvbus';
import { right } from '../columns.ts';
import type { RunCommand } from './command.ts';
import { printJson } from './json-output.ts';
import { commandLine } from './options.ts';

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, 'n', [{ name: 'numa', as: 'n' }], 0);
  if (typeof line === 'number') return line;
  const client = await context.connect();
  const info = await client.call('info', {});
  const field = line.args[0];
  if (line.options.has('json')) return printJson(context, infoJson(info, field, line.options.has('n')));
  for (const [key, value] of infoLines(info)) {
    // Xen: every capability brings a blank of its own; the other keys have one in front.
    const gap = key === 'virt_caps' && value === '' ? '' : ' ';
    if (field === undefined) context.out(`${key.padEnd(23)}:${gap}${value}`);
    else if (key.startsWith(field)) context.out(value);
    if (key === 'free_cpus' && line.options.has('n') && field === undefined) {
      context.io.stdout.write(topology(info));
    }
  }
  return 0;
};

function infoLines(info: HostInfo): (readonly [key: string, value: string])[] {
  const khz = Math.floor(info.cpu_khz);
  const caps = Array.from({ length: 8 }, (_, i) => (info.hw_caps[i] ?? 0).toString(16).padStart(8, '0'));
  return [
    ['host', hostname()],
    ['release', release()],
    ['version', version()],
    ['machine', machine()],
    ['nr_cpus', `${info.nr_cpus}`],
    ['max_cpu_id', `${info.max_cpu_id}`],
    ['nr_nodes', `${info.nr_nodes}`],
    ['cores_per_socket', `${info.cores_per_socket}`],
    ['threads_per_core', `${info.threads_per_core}`],
    ['cpu_mhz', `${Math.floor(khz / 1000)}.${String(khz % 1000).padStart(3, '0')}`],
    ['hw_caps', caps.join(':')],
    ['virt_caps', info.virt_caps.join(' ')],
    ['total_memory', `${info.total_memory}`],
    ['free_memory', `${info.free_memory}`],
    ['sharing_freed_memory', `${info.sharing_freed_memory}`],
    ['sharing_used_memory', `${info.sharing_used_memory}`],
    ['outstanding_claims', `${info.outstanding_claims}`],
    ['free_cpus', `${info.free_cpus}`],
    ['xen_major', `${info.xen_major}`],
    ['xen_minor', `${info.xen_minor}`],
    ['xen_extra', info.xen_extra],
    ['xen_version', `${info.xen_major}.${info.xen_minor}${info.xen_extra}`],
    ['xen_caps', info.xen_caps],
    ['xen_scheduler', info.xen_scheduler],
    ['xen_pagesize', `${info.xen_pagesize}`],
    ['platform_params', `virt_start=0x${info.virt_start.toString(16)}`],
    ['xen_changeset', info.xen_changeset],
    ['xen_commandline', info.xen_commandline],
    ['cc_compiler', info.cc_compiler],
    ['cc_compile_by', info.cc_compile_by],
    ['cc_compile_domain', info.cc_compile_domain],
    ['cc_compile_date', info.cc_compile_date],
    ['build_id', info.build_id],
    ['process_memory', `${info.process_memory}`],
    ['confinement', info.confinement.join(' ') || 'none'],
    ['xend_config_format', '4'],
  ];
}

const NUMBERS =
  /^(nr_cpus|max_cpu_id|nr_nodes|cores_per_socket|threads_per_core|cpu_mhz|.*_memory|outstanding_claims|free_cpus|xen_major|xen_minor|xen_pagesize|xend_config_format)$/;

/** The keys as they are printed; of one field those that begin with it. */
function infoJson(info: HostInfo, field = '', numa: boolean): Record<string, unknown> {
  const entries = infoLines(info).map(([key, value]): [string, unknown] => {
    if (key === 'virt_caps') return [key, info.virt_caps];
    if (key === 'confinement') return [key, info.confinement];
    return [key, NUMBERS.test(key) ? Number(value) : value];
  });
  if (numa) {
    const cpus = Array.from({ length: info.nr_cpus }, (_, n) => ({ cpu: n, ...placeOf(info, n) }));
    const { total_memory: memory, free_memory: free } = info;
    entries.push(['cpu_topology', cpus], ['numa_info', [{ node: 0, memory, free, distances: [10] }]]);
  }
  return Object.fromEntries(entries.filter(([key]) => key.startsWith(field)));
}

function placeOf(info: HostInfo, cpu: number): { core: number; socket: number; node: number } {
  const threads = Math.max(1, info.threads_per_core);
  const cores = Math.max(1, info.cores_per_socket);
  return { core: Math.floor(cpu / threads) % cores, socket: Math.floor(cpu / (threads * cores)), node: 0 };
}

/** One node, whose cpus are numbered core by core. */
function topology(info: HostInfo): string {
  const cpu = (n: number): string => {
    const { core, socket } = placeOf(info, n);
    return `${right(n, 3)}:    ${right(core, 4)}     ${right(socket, 4)}     ${right(0, 4)}\n`;
  };
  const cpus = Array.from({ length: info.nr_cpus }, (_, n) => cpu(n)).join('');
  return (
    `cpu_topology           :\ncpu:    core    socket     node\n${cpus}` +
    'device topology        :\nNo device topology data available\n' +
    'numa_info              :\nnode:    memsize    memfree    distances\n' +
    `${right(0, 4)}:    ${right(info.total_memory, 6)}     ${right(info.free_memory, 6)}      10\n`
  );
}

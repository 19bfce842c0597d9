// xl ps: every domain, or those of a topology, with what a person asks about first.

import { reasonWord, runDir } from '#pvbus';
import { left, right } from '../columns.ts';
import { stateWord } from '../domain-state.ts';
import { type DeviceState, type DomainState, hostState } from '../host-state.ts';
import { escapeText } from '../store/escape.ts';
import type { RunCommand } from './command.ts';
import { domainJson, printJson } from './json-output.ts';
import { loadPlan } from './load-plan.ts';
import { commandLine } from './options.ts';

interface Row {
  readonly name: string | null;
  /** null: the topology has it, the host does not. */
  readonly domain: DomainState | null;
}

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, '', [], 0);
  if (typeof line === 'number') return line;
  if (line.args.length > 1) return context.usage(2);
  const [file] = line.args;
  const plan = file === undefined ? null : loadPlan(file, context);
  const client = await context.connect();
  const domains = await hostState(client, context.io.env, true);
  const names = plan?.steps.flatMap(step => (step.kind === 'domain' ? [step.config.name] : []));
  const rows: Row[] =
    names === undefined
      ? domains.map(domain => ({ name: domain.info.name, domain }))
      : names.map(name => ({ name, domain: domains.find(({ info }) => info.name === name) ?? null }));
  if (line.options.has('json')) {
    return printJson(context, { host: runDir(context.io.env), domains: rows.map(rowJson) });
  }
  for (const text of table(rows)) context.out(text);
  return 0;
};

const percent = (value: number | null): number | null => (value === null ? null : Math.round(value * 10) / 10);

function rowJson({ name, domain }: Row): unknown {
  if (domain === null) return { domid: null, name, state: 'absent', disks: [], vifs: [] };
  const { info, uptimeSeconds, cpuPercent, restarts, devices } = domain;
  const shared = ({ devid, backendDomid, state }: DeviceState) => ({ devid, backend_domid: backendDomid, state });
  const of = (type: DeviceState['type']): DeviceState[] => devices.filter(device => device.type === type);
  return {
    ...domainJson(info),
    ...{ uptime_s: uptimeSeconds, cpu_percent: percent(cpuPercent), restarts },
    disks: of('vbd').map(disk => ({ vdev: disk.name, ...shared(disk), target: disk.target, writable: disk.writable })),
    vifs: of('vif').map(vif => ({ ...shared(vif), mac: vif.mac, bridge: vif.bridge })),
  };
}

const HEADER = ['NAME', 'ID', 'STATE', 'UP', 'MEM', 'VCPUS', 'CPU%', 'RESTARTS', 'DISKS', 'VIFS'];
const NUMERIC = new Set([1, 3, 4, 5, 6, 7]);

function table(rows: readonly Row[]): string[] {
  const cells = [HEADER, ...rows.map(cellsOf)];
  const widths = HEADER.map((_, i) => Math.max(...cells.map(row => row[i]!.length)));
  const place = (text: string, i: number): string =>
    NUMERIC.has(i) ? right(text, widths[i]!) : left(text, widths[i]!);
  return cells.map(row => row.map(place).join('  ').trimEnd());
}

function cellsOf({ name, domain }: Row): string[] {
  const shown = escapeText(name ?? '(null)');
  if (domain === null) return [shown, '-', 'absent', ...HEADER.slice(3).map(() => '-')];
  const { info, uptimeSeconds, cpuPercent, restarts, devices } = domain;
  const word = stateWord(info);
  const state = word === 'shutdown' ? `shutdown (${reasonWord(info.shutdown_reason)})` : word;
  const list = (type: DeviceState['type']): string =>
    devices
      .filter(device => device.type === type)
      .map(device => {
        const what = escapeText(device.type === 'vif' ? `${device.name}@${device.bridge ?? '-'}` : device.name);
        return device.state === 'connected' ? what : `${what}(${device.state})`;
      })
      .join(',') || '-';
  return [
    ...[shown, String(info.domid), state, uptimeSeconds === null ? '-' : duration(uptimeSeconds)],
    ...[`${Math.floor(info.current_kb / 1024)}M`, String(info.vcpu_online)],
    ...[cpuPercent === null ? '-' : cpuPercent.toFixed(1), restarts === null ? '-' : String(restarts)],
    ...[list('vbd'), list('vif')],
  ];
}

/** 12s, 3m04s, 5h09m, 2d03h. */
export function duration(seconds: number): string {
  const two = (value: number): string => String(value).padStart(2, '0');
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m${two(seconds % 60)}s`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)}h${two(Math.floor(seconds / 60) % 60)}m`;
  return `${Math.floor(seconds / 86_400)}d${two(Math.floor(seconds / 3600) % 24)}h`;
}

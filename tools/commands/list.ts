// xl list

import { type DomainConfig, type DomainInfo, XenError } from '#pvbus';
import { left, right, tenths } from '../columns.ts';
import { stateLetters } from '../domain-state.ts';
import { libxlConfig, type ScheduledBy } from '../libxl-json.ts';
import { libxlSxp } from '../libxl-sxp.ts';
import type { ToolstackClient } from '../toolstack-client.ts';
import { type Json, yajl } from '../yajl.ts';
import { CommandFailure, type RunCommand } from './command.ts';
import { findDomain } from './find-domain.ts';
import { domainJson, printJson } from './json-output.ts';
import { commandLine } from './options.ts';

export interface ListColumns {
  readonly verbose?: boolean;
  readonly context?: boolean;
  readonly claims?: boolean;
  readonly cpupool?: boolean;
  readonly numa?: boolean;
}

export const run: RunCommand = async (args, context) => {
  const long = ['long', 'verbose', 'context', 'cpupool', 'numa'];
  const letters = [...'lvZcn'];
  const named = long.map((name, i) => ({ name, as: letters[i]! }));
  const line = commandLine(args, context, 'lvZcn', named, 0);
  if (typeof line === 'number') return line;
  if (line.args.length > 1) return context.usage(1);
  const client = await context.connect();
  const domains = await listDomains(client, line.args[0]);
  const json = line.options.has('json');
  if (line.options.has('l')) {
    const list = await longList(client, domains, context.err);
    const asJson = (): Json =>
      list.map(({ domain, config, shares }) => ({ domid: domain.domid, config: libxlConfig(config, shares) }));
    if (json) return printJson(context, asJson());
    const sxp = context.conf.output_format === 'sxp';
    if (sxp)
      for (const { domain, config } of list) context.io.stdout.write(libxlSxp(domain.domid, domain.uuid, config));
    else context.io.stdout.write(`${yajl(asJson())}\n`);
    return 0;
  }
  if (json) return printJson(context, domains.map(domainJson));
  const columns = {
    verbose: line.options.has('v'),
    context: line.options.has('Z'),
    cpupool: line.options.has('c'),
    numa: line.options.has('n'),
  };
  context.io.stdout.write(domainTable(domains, columns));
  return 0;
};

/** All of them, or the one. */
export async function listDomains(client: ToolstackClient, name: string | undefined): Promise<DomainInfo[]> {
  if (name === undefined) return client.call('list', { domid: null });
  try {
    return await client.call('list', { domid: await findDomain(client, name) });
  } catch (error) {
    if (!(error instanceof XenError) || error.code !== 'ESRCH') throw error;
    throw new CommandFailure(`Error: Domain '${name}' does not exist.`);
  }
}

interface LongListed {
  readonly domain: DomainInfo;
  readonly config: DomainConfig;
  readonly shares: ScheduledBy;
}

async function longList(
  client: ToolstackClient,
  domains: readonly DomainInfo[],
  err: (line: string) => void,
): Promise<LongListed[]> {
  const list: LongListed[] = [];
  const all = await client.call('shares', { domid: domains.length === 1 ? domains[0]!.domid : null });
  for (const domain of domains) {
    const { domid } = domain;
    const config = await client.call('config', { domid });
    const shares = all.find(one => one.domid === domid);
    if (config !== null && shares !== undefined) list.push({ domain, config, shares });
    else if (domid !== 0) err(`libxl: error: Domain ${domid}:Fail to get domain configuration`);
  }
  return list;
}

/** Header and rows, as `xl list` prints them. */
export function domainTable(domains: readonly DomainInfo[], columns: ListColumns = {}): string {
  let header = 'Name                                        ID   Mem VCPUs\tState\tTime(s)';
  if (columns.verbose) header += '   UUID                            Reason-Code\tSecurity Label';
  if (columns.context && !columns.verbose) header += '   Security Label';
  if (columns.claims) header += '  Claimed';
  if (columns.cpupool) header += '         Cpupool';
  if (columns.numa) header += ' NODE Affinity';
  return [header, ...domains.map(domain => row(domain, columns))].map(line => `${line}\n`).join('');
}

function row(domain: DomainInfo, columns: ListColumns): string {
  const name = left(domain.name ?? '(null)', 40);
  const memory = right(Math.floor(domain.current_kb / 1024), 5);
  const vcpus = right(domain.vcpu_online, 5);
  let line = `${name} ${right(domain.domid, 5)} ${memory} ${vcpus}     ${stateLetters(domain)}`;
  line += `  ${tenths(domain.cpu_time / 1e9, 8)}`;
  if (columns.verbose) line += ` ${domain.uuid} ${right(domain.shutdown_reason?.toString(16) ?? '-', 8)}`;
  if (columns.claims) line += ` ${right(Math.floor(domain.outstanding_kb / 1024), 5)}`;
  if (columns.verbose || columns.context) line += ` ${right(domain.ssid_label ?? '-', 16)}`;
  if (columns.cpupool) line += right(domain.cpupool, 16);
  if (columns.numa) line += ' all'; // one node
  return line;
}

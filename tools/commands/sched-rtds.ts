// xl sched-rtds: period, budget and extra time of vCPUs.

import type { DomainShares, RtdsShares } from '#pvbus';
import { left, right } from '../columns.ts';
import { getopt, type LongOption } from '../getopt.ts';
import type { ToolstackClient } from '../toolstack-client.ts';
import { type CommandContext, CommandFailure, type RunCommand } from './command.ts';
import { findDomain } from './find-domain.ts';
import { printJson } from './json-output.ts';
import { wholeNumber } from './number-argument.ts';
import { commandLine } from './options.ts';

const SHORT = 'd:p:b:e:v:c:';
const LONG: readonly LongOption[] = [
  { name: 'domain', as: 'd', value: true },
  { name: 'period', as: 'p', value: true },
  { name: 'budget', as: 'b', value: true },
  { name: 'extratime', as: 'e', value: true },
  { name: 'vcpuid', as: 'v', value: true },
  { name: 'cpupool', as: 'c', value: true },
];

interface Wanted {
  /** null: all of them. */
  readonly vcpu: number | null;
  readonly period: number | null;
  readonly budget: number | null;
  readonly extratime: boolean | null;
}

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, SHORT, LONG, 0);
  if (typeof line === 'number') return line;
  const { options } = line;
  const name = line.value('d');
  const sets = options.has('p') || options.has('b') || options.has('e');
  if (options.has('c') && (name !== undefined || options.has('v') || sets)) {
    throw new CommandFailure('Specifying a cpupool is not allowed with other options.');
  }
  if (name === undefined && sets) throw new CommandFailure('Must specify a domain.');
  const client = await context.connect();
  const perVcpu = options.has('v');
  const json = options.has('json');
  if (name === undefined) return showPools(line.value('c'), perVcpu, json, client, context);
  const domid = await findDomain(client, name);
  if (sets) return set(domid, wantedOf(args), client, context);
  const shares = await client.call('shares', { domid });
  const shown = perVcpu ? only(shares, valuesOf(args, 'v')) : shares;
  if (json) return printJson(context, shown.flatMap(sharesJson));
  print(shown, perVcpu, context);
  return 0;
};

const valuesOf = (args: readonly string[], option: string): string[] =>
  getopt(args, `h${SHORT}`, [...LONG, { name: 'json', as: 'json' }]).found.flatMap(one =>
    one.option === option ? [one.value] : [],
  );

/** Xen: each -v goes with the -p, -b and -e of its turn; without -v they are for the domain. */
function wantedOf(args: readonly string[]): Wanted[] {
  const [vcpus, periods, budgets, extratimes] = ['v', 'p', 'b', 'e'].map(option => valuesOf(args, option)) as [
    string[],
    string[],
    string[],
    string[],
  ];
  const count = Math.max(vcpus.length, periods.length, budgets.length, extratimes.length);
  if (vcpus.length === 0 && count > 1) throw new CommandFailure('Must specify VCPU.');
  for (const list of [periods, budgets, extratimes])
    if (list.length > 0 && list.length !== count) throw new CommandFailure('Missing parameters.');
  if (vcpus.length > 0 && vcpus.length !== count) throw new CommandFailure('Must specify VCPU.');
  return Array.from({ length: count }, (_, i) => ({
    vcpu: vcpuNumber(vcpus[i]),
    period: wholeNumber(periods[i], 'period'),
    budget: wholeNumber(budgets[i], 'budget'),
    extratime: extratimes[i] === undefined ? null : extratime(extratimes[i]!),
  }));
}
function vcpuNumber(text: string | undefined): number | null {
  if (text === undefined || text === 'all') return null;
  if (!/^[0-9]{1,4}$/.test(text)) throw new CommandFailure('Incorrect VCPU IDs.');
  return Number(text);
}
function extratime(text: string): boolean {
  if (text !== '0' && text !== '1') throw new CommandFailure('Invalid extratime.');
  return text === '1';
}

async function set(domid: number, wanted: readonly Wanted[], client: ToolstackClient, context: CommandContext) {
  try {
    for (const one of wanted) await client.call('setRtds', { domid, ...one });
  } catch (error) {
    context.complain(error);
    throw new CommandFailure('libxl_vcpu_sched_params_set failed.');
  }
  return 0;
}

async function showPools(
  wanted: string | undefined,
  perVcpu: boolean,
  json: boolean,
  client: ToolstackClient,
  context: CommandContext,
): Promise<number> {
  const { pools } = await client.call('cpupools', {});
  if (wanted !== undefined && !pools.some(({ name }) => name === wanted)) {
    throw new CommandFailure(`unknown cpupool '${wanted}'`);
  }
  const ours = pools.filter(pool => pool.scheduler === 'rtds' && (wanted === undefined || pool.name === wanted));
  const shares = ours.length === 0 ? [] : await client.call('shares', { domid: null });
  const shown = (name: string): readonly (DomainShares | Numbered)[] => {
    const inside = shares.filter(share => share.pool === name);
    return perVcpu ? only(inside, ['all']) : inside;
  };
  if (json) {
    return printJson(
      context,
      ours.map(({ name }) => ({ cpupool: name, scheduler: 'rtds', domains: shown(name).flatMap(sharesJson) })),
    );
  }
  for (const { name } of ours) {
    context.out(`Cpupool ${name}: sched=RTDS`);
    print(shown(name), perVcpu, context);
  }
  return 0;
}

/** Keeps the vCPUs that were asked for, with their numbers. */
function only(shares: readonly DomainShares[], which: readonly string[]): Numbered[] {
  const all = which.includes('all');
  return shares.map(share => {
    const vcpus = (share.rtds?.vcpus ?? []).map((params, vcpu) => ({ vcpu, params }));
    const missing = which.some(text => text !== 'all' && vcpuNumber(text)! >= vcpus.length);
    if (missing) throw new CommandFailure('libxl_vcpu_sched_params_get failed.');
    return { ...share, chosen: vcpus.filter(({ vcpu }) => all || which.includes(String(vcpu))) };
  });
}
interface Numbered extends DomainShares {
  readonly chosen: readonly { readonly vcpu: number; readonly params: RtdsShares }[];
}

function sharesJson(share: DomainShares | Numbered): Record<string, unknown>[] {
  const { domid, name, pool, rtds } = share;
  if (rtds === null) return [];
  const values = ({ period, budget, extratime }: RtdsShares) => ({ period_us: period, budget_us: budget, extratime });
  const who = { domid, name, cpupool: pool };
  if (!('chosen' in share)) return [{ ...who, ...values(rtds.default) }];
  return [{ ...who, vcpus: share.chosen.map(({ vcpu, params }) => ({ vcpu, ...values(params) })) }];
}

function print(shares: readonly (DomainShares | Numbered)[], perVcpu: boolean, { out }: CommandContext): void {
  const row = (name: string, id: string | number, vcpu: string | number | null, rest: readonly (string | number)[]) =>
    out(
      [left(name, 33), right(id, 4), ...(vcpu === null ? [] : [right(vcpu, 4)])]
        .concat(rest.map((text, i) => right(text, i === 2 ? 10 : 9)))
        .join(' '),
    );
  const values = ({ period, budget, extratime }: RtdsShares) => [period, budget, extratime ? 'yes' : 'no'];
  row('Name', 'ID', perVcpu ? 'VCPU' : null, ['Period', 'Budget', 'Extratime']);
  for (const share of shares) {
    if (share.rtds === null) continue;
    const name = share.name ?? '(null)';
    if (!('chosen' in share)) row(name, share.domid, null, values(share.rtds.default));
    else for (const { vcpu, params } of share.chosen) row(name, share.domid, vcpu, values(params));
  }
}

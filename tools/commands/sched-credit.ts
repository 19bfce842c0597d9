// xl sched-credit and xl sched-credit2: weights and caps of domains, parameters of their cpupools.

import type { Cpupool, DomainShares, PoolParams } from '#pvbus';
import { left, right } from '../columns.ts';
import type { LongOption } from '../getopt.ts';
import type { ToolstackClient } from '../toolstack-client.ts';
import { type CommandContext, CommandFailure, type RunCommand } from './command.ts';
import { findDomain } from './find-domain.ts';
import { printJson } from './json-output.ts';
import { wholeNumber } from './number-argument.ts';
import { type CommandLine, commandLine } from './options.ts';

interface Kind {
  readonly scheduler: 'credit' | 'credit2';
  readonly short: string;
  readonly long: readonly LongOption[];
  /** Letters of the parameters that a pool has. */
  readonly poolOptions: Readonly<Record<string, keyof PoolParams>>;
  line(pool: Cpupool, params: PoolParams): string;
}

const DOMAIN_OPTIONS: readonly LongOption[] = [
  { name: 'domain', as: 'd', value: true },
  { name: 'weight', as: 'w', value: true },
  { name: 'cap', as: 'c', value: true },
  { name: 'schedparam', as: 's' },
  { name: 'ratelimit_us', as: 'r', value: true },
  { name: 'cpupool', as: 'p', value: true },
];
const CREDIT2: Kind = {
  scheduler: 'credit2',
  short: 'd:w:c:p:r:s',
  long: DOMAIN_OPTIONS,
  poolOptions: { r: 'ratelimit_us' },
  line: ({ name }, { ratelimit_us }) => `Cpupool ${name}: ratelimit=${ratelimit_us}us`,
};
const CREDIT: Kind = {
  scheduler: 'credit',
  short: 'd:w:c:p:t:r:m:s',
  long: [
    ...DOMAIN_OPTIONS,
    { name: 'tslice_ms', as: 't', value: true },
    { name: 'migration_delay_us', as: 'm', value: true },
  ],
  poolOptions: { t: 'tslice_ms', r: 'ratelimit_us', m: 'vcpu_migr_delay_us' },
  line: ({ name }, { tslice_ms, ratelimit_us, vcpu_migr_delay_us }) =>
    `Cpupool ${name}: tslice=${tslice_ms}ms ratelimit=${ratelimit_us}us migration-delay=${vcpu_migr_delay_us}us`,
};
const DEFAULT_POOL = 'Pool-0';

export const run: RunCommand = async (args, context) => {
  const kind = context.spec.name === 'sched-credit2' ? CREDIT2 : CREDIT;
  const line = commandLine(args, context, kind.short, kind.long, 0);
  if (typeof line === 'number') return line;
  const { options } = line;
  const setsPool = Object.keys(kind.poolOptions).some(letter => options.has(letter));
  const setsDomain = options.has('w') || options.has('c');
  if ((options.has('p') || options.has('s')) && (options.has('d') || setsDomain)) {
    throw new CommandFailure('Specifying a cpupool or schedparam is not allowed with domain options.');
  }
  if (!options.has('d') && setsDomain) throw new CommandFailure('Must specify a domain.');
  if (!options.has('s') && setsPool) {
    throw new CommandFailure('Must specify schedparam to set schedule parameter values.');
  }
  const client = await context.connect();
  if (options.has('s')) return setsPool ? setPool(kind, line, client, context) : showPools(kind, line, client, context);
  const name = line.value('d');
  if (name === undefined) return showDomains(kind, line, client, context);
  const domid = await findDomain(client, name);
  if (setsDomain) return setDomain(kind, domid, line, client, context);
  const shares = await client.call('shares', { domid });
  if (options.has('json'))
    return printJson(
      context,
      shares.flatMap(share => sharesJson(kind, share)),
    );
  printDomains(kind, shares, context);
  return 0;
};

function sharesJson({ scheduler }: Kind, { domid, name, pool, credit, scheduler: its }: DomainShares) {
  return credit === null || its !== scheduler
    ? []
    : [{ domid, name, cpupool: pool, weight: credit.weight, cap: credit.cap }];
}
const poolJson = ({ poolOptions, scheduler }: Kind, { name, params }: Cpupool) => ({
  ...{ cpupool: name, scheduler },
  ...Object.fromEntries(Object.values(poolOptions).map(key => [key, params?.[key] ?? null])),
});

/** The pools of this scheduler, or the one that was asked for. */
async function poolsOf(kind: Kind, line: CommandLine, client: ToolstackClient): Promise<Cpupool[]> {
  const { pools } = await client.call('cpupools', {});
  const wanted = line.value('p');
  if (wanted !== undefined && !pools.some(({ name }) => name === wanted)) {
    throw new CommandFailure(`unknown cpupool '${wanted}'`);
  }
  return pools.filter(
    ({ name, scheduler }) => scheduler === kind.scheduler && (wanted === undefined || name === wanted),
  );
}

async function showPools(kind: Kind, line: CommandLine, client: ToolstackClient, context: CommandContext) {
  const pools = await poolsOf(kind, line, client);
  if (line.options.has('json'))
    return printJson(
      context,
      pools.map(pool => poolJson(kind, pool)),
    );
  for (const pool of pools) if (pool.params !== null) context.out(kind.line(pool, pool.params));
  return 0;
}

async function showDomains(kind: Kind, line: CommandLine, client: ToolstackClient, context: CommandContext) {
  const pools = await poolsOf(kind, line, client);
  const shares = pools.length === 0 ? [] : await client.call('shares', { domid: null });
  const inPool = (pool: Cpupool): DomainShares[] => shares.filter(share => share.pool === pool.name);
  if (line.options.has('json')) {
    const domains = (pool: Cpupool) => inPool(pool).flatMap(share => sharesJson(kind, share));
    return printJson(
      context,
      pools.map(pool => ({ ...poolJson(kind, pool), domains: domains(pool) })),
    );
  }
  for (const pool of pools) {
    if (pool.params !== null) context.out(kind.line(pool, pool.params));
    printDomains(kind, inPool(pool), context);
  }
  return 0;
}

function printDomains({ scheduler }: Kind, shares: readonly DomainShares[], { out }: CommandContext): void {
  const row = (name: string, id: string | number, weight: string | number, cap: string | number): void =>
    out(`${left(name, 33)} ${right(id, 4)} ${right(weight, 6)} ${right(cap, 4)}`);
  row('Name', 'ID', 'Weight', 'Cap');
  for (const { domid, name, credit, scheduler: its } of shares)
    if (credit !== null && its === scheduler) row(name ?? '(null)', domid, credit.weight, credit.cap);
}

async function setDomain(
  { scheduler }: Kind,
  domid: number,
  line: CommandLine,
  client: ToolstackClient,
  context: CommandContext,
): Promise<number> {
  const weight = wholeNumber(line.value('w'), 'weight');
  const cap = wholeNumber(line.value('c'), 'cap');
  try {
    await client.call('setCredit', { domid, scheduler, weight, cap });
  } catch (error) {
    context.complain(error);
    throw new CommandFailure('libxl_domain_sched_params_set failed.');
  }
  return 0;
}

async function setPool(kind: Kind, line: CommandLine, client: ToolstackClient, context: CommandContext) {
  const wanted = { tslice_ms: null, ratelimit_us: null, vcpu_migr_delay_us: null } as Record<
    keyof PoolParams,
    number | null
  >;
  for (const [letter, name] of Object.entries(kind.poolOptions)) wanted[name] = wholeNumber(line.value(letter), name);
  const { scheduler } = kind;
  try {
    await client.call('setPoolParams', { pool: line.value('p') ?? DEFAULT_POOL, scheduler, ...wanted });
  } catch (error) {
    context.complain(error);
    throw new CommandFailure(`libxl_sched_${scheduler}_params_set failed.`);
  }
  return 0;
}

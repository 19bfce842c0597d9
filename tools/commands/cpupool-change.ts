// xl cpupool-destroy, -rename, -cpu-add, -cpu-remove, -migrate, -numa-split: what changes a cpupool that is there.

import { parseCpuRange, type ToolstackResult } from '#pvbus';
import type { ToolstackClient } from '../toolstack-client.ts';
import { type CommandContext, CommandFailure, type RunCommand } from './command.ts';
import { findDomain } from './find-domain.ts';
import { commandLine } from './options.ts';

type Pools = ToolstackResult<'cpupools'>;
interface Change {
  readonly required: number;
  act(args: readonly string[], client: ToolstackClient, context: CommandContext, pools: Pools): Promise<void>;
}

const CHANGES: Readonly<Record<string, Change>> = {
  'cpupool-destroy': {
    required: 1,
    async act([pool], client, context, pools) {
      check(pools, pool!);
      await orFail(client.call('destroyPool', { pool: pool! }), `Can't destroy cpupool '${pool}'`, context);
    },
  },
  'cpupool-rename': {
    required: 2,
    async act([pool, name], client, context, pools) {
      check(pools, pool!);
      await orFail(client.call('renamePool', { pool: pool!, name: name! }), `Can't rename cpupool '${pool}'`, context);
    },
  },
  'cpupool-cpu-add': {
    required: 2,
    act: (args, client, context, pools) => cpus('addPoolCpu', 'added to', args, client, context, pools),
  },
  'cpupool-cpu-remove': {
    required: 2,
    act: (args, client, context, pools) => cpus('removePoolCpu', 'removed from', args, client, context, pools),
  },
  'cpupool-migrate': {
    required: 2,
    async act([name, pool], client, context, pools) {
      const domid = await findDomain(client, name!);
      check(pools, pool!);
      await orFail(
        client.call('moveToPool', { domid, pool: pool! }),
        `Can't move domain '${name}' to cpupool '${pool}'`,
        context,
      );
    },
  },
  'cpupool-numa-split': {
    required: 0,
    async act() {
      throw new CommandFailure('This host has one NUMA node: there is nothing to split');
    },
  },
};

export const run: RunCommand = async (args, context) => {
  const change = CHANGES[context.spec.name]!;
  const line = commandLine(args, context, '', [], change.required);
  if (typeof line === 'number') return line;
  const client = await context.connect();
  await change.act(line.args, client, context, await client.call('cpupools', {}));
  return 0;
};

function check({ pools }: Pools, wanted: string): void {
  if (!pools.some(({ name }) => name === wanted)) throw new CommandFailure(`unknown cpupool '${wanted}'`);
}

async function cpus(
  op: 'addPoolCpu' | 'removePoolCpu',
  verb: string,
  [pool, range]: readonly string[],
  client: ToolstackClient,
  context: CommandContext,
  pools: Pools,
): Promise<void> {
  check(pools, pool!);
  const failed = `some cpus may not or only partially have been ${verb} '${pool}'`;
  for (const cpu of parseCpuRange(range!, pools.nr_cpus))
    await orFail(client.call(op, { pool: pool!, cpu }), failed, context);
}
async function orFail(done: Promise<null>, words: string, context: CommandContext): Promise<void> {
  try {
    await done;
  } catch (error) {
    context.complain(error);
    throw new CommandFailure(words);
  }
}

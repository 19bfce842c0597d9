// xl fault add

import { readFileSync } from 'node:fs';
import { basename, extname, resolve } from 'node:path';
import { type FaultPlan, XenError } from '#pvbus';
import { planOfWords, readPlan } from '../../faults/read-plan.ts';
import { CommandFailure, type RunCommand } from '../command.ts';
import { commandLine } from '../options.ts';

const LONG = [
  { name: 'plan', as: 'p', value: true },
  { name: 'seed', as: 's', value: true },
];

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, 'p:s:', LONG, 1);
  if (typeof line === 'number') return line;
  const seed = seedOf(line.value('s'));
  const client = await context.connect();
  const [first] = line.args as [string];
  let plan: FaultPlan;
  if (line.args.length === 1 && !first.includes('=')) {
    const found = readPlanFile(first, context.io.cwd);
    plan = { ...found, name: line.value('p') ?? found.name, seed: seed ?? found.seed };
  } else {
    const name = line.value('p') ?? 'xl';
    const taken = new Set((await client.call('faults', {})).flatMap(one => (one.plan === name ? [one.fault] : [])));
    let n = 1;
    while (taken.has(`fault-${n}`)) n++;
    plan = orFail(() => planOfWords(line.args, { name, seed: seed ?? 0, fault: `fault-${n}` }));
  }
  await client.call('addFaults', { plan });
  for (const fault of plan.faults) context.out(`${plan.name}:${fault.name}`);
  return 0;
};

/** Of --seed. */
export function seedOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^[0-9]{1,10}$/.test(text) || Number(text) > 0xffff_ffff)
    throw new CommandFailure(`xl fault: seed ${text}: expected a whole number below 2^32`, 2);
  return Number(text);
}

/** The plan of a file is called as the file is, without what is behind the dot, when it does not say. */
export function readPlanFile(file: string, cwd: string): FaultPlan {
  let text: string;
  try {
    text = readFileSync(resolve(cwd, file), 'utf8');
  } catch (error) {
    throw new CommandFailure(`xl fault: ${file}: ${(error as Error).message}`);
  }
  const name =
    basename(file, extname(file))
      .replaceAll(/[^A-Za-z0-9_-]/g, '-')
      .slice(0, 64) || 'plan';
  return orFail(() => readPlan(text, file, name));
}

function orFail<T>(body: () => T): T {
  try {
    return body();
  } catch (error) {
    if (error instanceof XenError && error.code === 'EINVAL') throw new CommandFailure(error.message, 2);
    throw error;
  }
}

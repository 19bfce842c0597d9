// xl fault list

import type { FaultStatus } from '#pvbus';
import { left, right } from '../../columns.ts';
import type { RunCommand } from '../command.ts';
import { printJson } from '../json-output.ts';
import { commandLine } from '../options.ts';

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, '', [{ name: 'json', as: 'json' }], 0);
  if (typeof line === 'number') return line;
  const client = await context.connect();
  const faults = await client.call('faults', {});
  if (line.options.has('json')) return printJson(context, faults);
  for (const text of faultTable(faults)) context.out(text);
  return 0;
};

export function faultTable(faults: readonly FaultStatus[]): string[] {
  const row = (name: string, seed: string, seen: string, injected: string, state: string, text: string): string =>
    `${left(name, 28)} ${right(seed, 10)} ${right(seen, 8)} ${right(injected, 8)} ${left(state, 5)} ${text}`;
  return [
    row('Plan:Fault', 'Seed', 'Seen', 'Happened', 'State', 'What'),
    ...faults.map(({ plan, fault, seed, seen, injected, state, text }) =>
      row(`${plan}:${fault}`, String(seed), String(seen), String(injected), state, text),
    ),
  ];
}

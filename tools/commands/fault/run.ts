// xl fault run

import { type FaultEvent, faultEventJson, type ToolstackEvent } from '#pvbus';
import { faultEventLine } from '../../faults/fault-event.ts';
import type { RunCommand } from '../command.ts';
import { printJson } from '../json-output.ts';
import { commandLine } from '../options.ts';
import { readPlanFile, seedOf } from './add.ts';
import { faultTable } from './list.ts';

const LONG = [
  { name: 'seed', as: 's', value: true },
  { name: 'json', as: 'json' },
];

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, 's:', LONG, 1);
  if (typeof line === 'number') return line;
  const json = line.options.has('json');
  const { duration, ...found } = readPlanFile(line.args[0]!, context.io.cwd); // required
  const plan = { ...found, seed: seedOf(line.value('s')) ?? found.seed };
  const client = await context.connect();
  const print = (event: FaultEvent): void => {
    if (json) printJson(context, faultEventJson(event));
    else context.out(faultEventLine(event));
  };
  const isOurs = (event: FaultEvent): boolean => event.plan === plan.name || event.what === 'reaction';
  await client.call('subscribe', {}, (event: ToolstackEvent) => {
    if (event.event === 'fault' && isOurs(event)) print(event);
  });
  const interrupted = context.io.interrupted();
  await client.call('runFaults', { plan });
  await over(duration, interrupted);
  const report = await client.call('removeFaults', { plan: plan.name, fault: null });
  if (json) printJson(context, { event: 'report', plan: plan.name, seed: plan.seed, faults: report });
  else for (const text of ['', ...faultTable(report)]) context.out(text);
  return report.every(({ injected }) => injected > 0) ? 0 : 1;
};

function over(ms: number | undefined, interrupted: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    const timer = ms === undefined ? undefined : setTimeout(resolve, ms);
    const end = (): void => {
      clearTimeout(timer);
      resolve();
    };
    interrupted.addEventListener('abort', end, { once: true });
    if (interrupted.aborted) end();
  });
}

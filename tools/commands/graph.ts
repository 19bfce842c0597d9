// xl graph: a host or a topology as a picture.

import { type DomainConfig, XenError } from '#pvbus';
import { mermaid } from '../graph/mermaid.ts';
import { buildGraph, type GraphSource } from '../graph/model.ts';
import { svg } from '../graph/svg.ts';
import { hostState } from '../host-state.ts';
import type { ToolstackClient } from '../toolstack-client.ts';
import type { CommandContext, RunCommand } from './command.ts';
import { printJson } from './json-output.ts';
import { loadPlan } from './load-plan.ts';
import { commandLine } from './options.ts';

export const run: RunCommand = async (args, context) => {
  const long = [{ name: 'format', as: 'format', value: true }];
  // The file may stand before the options as well.
  const [first, ...others] = args;
  const fileFirst = first !== undefined && !first.startsWith('-');
  const line = commandLine(fileFirst ? [...others, first] : args, context, '', long, 0);
  if (typeof line === 'number') return line;
  const format = line.value('format') ?? 'svg';
  if (line.args.length > 1) return context.usage(2);
  if (format !== 'svg' && format !== 'mermaid') {
    context.err(`xl graph: --format ${format}: expected svg or mermaid`);
    return 2;
  }
  const [file] = line.args;
  const plan = file === undefined ? null : loadPlan(file, context);
  const steps = plan?.steps ?? [];
  const graph = buildGraph({
    wanted: plan === null ? null : steps.flatMap(step => (step.kind === 'domain' ? [step.config] : [])),
    bridges: steps.flatMap(step => (step.kind === 'bridge' ? [step.name] : [])),
    live: await liveState(context, plan !== null),
  });
  if (line.options.has('json')) return printJson(context, graph);
  context.io.stdout.write(format === 'svg' ? svg(graph) : mermaid(graph));
  return 0;
};

/** null where no host runs, which a topology can do without. */
async function liveState(context: CommandContext, optional: boolean): Promise<GraphSource['live']> {
  let client: ToolstackClient;
  try {
    client = await context.connect();
  } catch (error) {
    if (!optional || !(error instanceof XenError) || error.code !== 'ENOENT') throw error;
    return null;
  }
  const domains = await hostState(client, context.io.env, false);
  return Promise.all(domains.map(async domain => ({ domain, config: await configOf(client, domain.info.domid) })));
}

/** null also for a domain that has gone meanwhile. */
async function configOf(client: ToolstackClient, domid: number): Promise<DomainConfig | null> {
  try {
    return await client.call('config', { domid });
  } catch (error) {
    if (error instanceof XenError && error.code === 'ESRCH') return null;
    throw error;
  }
}

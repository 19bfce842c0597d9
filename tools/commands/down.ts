// xl down

import { existsSync } from 'node:fs';
import { runDir, runPaths, XenError } from '#pvbus';
import type { ToolstackClient } from '../toolstack-client.ts';
import { ownerOf } from '../topology/host-owner.ts';
import { type Progress, progressOn } from '../topology/progress.ts';
import { endDomains, GRACE_MS } from '../topology/take-down.ts';
import { CommandFailure, type RunCommand } from './command.ts';
import { loadPlan, type Plan } from './load-plan.ts';
import { commandLine } from './options.ts';

const HOST_END_MS = 10_000;

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, 'q', [{ name: 'quiet', as: 'q' }], 1);
  if (typeof line === 'number') return line;
  const plan = loadPlan(line.args[0]!, context);
  const client = await context.connect();
  const progress = progressOn(context.io.stdout, line.options.has('q'));
  const domains = plan.steps.flatMap(step =>
    step.kind === 'domain' ? [{ name: step.config.name, level: step.level }] : [],
  );
  // Those that `xl up' of this file has made, and that are not in it any more.
  const noted = (await client.call('topologies', {})).find(note => note.path === plan.path)?.domains ?? [];
  const infos = await client.call('list', { domid: null });
  for (const { name, uuid } of noted) {
    const left = !domains.some(domain => domain.name === name) && infos.some(one => one.uuid === uuid);
    if (left) domains.push({ name, level: 0 });
  }
  await endDomains(client, domains, progress, GRACE_MS);
  await removeFaults(client, plan);
  await client.call('noteTopology', { path: plan.path, domains: [] });
  const dir = runDir(context.io.env);
  if (ownerOf(dir) === plan.path) await progress.phase('end of the host', () => endHost(client, dir));
  else await deleteBridges(client, plan, progress);
  return 0;
};

async function removeFaults(client: ToolstackClient, { steps }: Plan): Promise<void> {
  for (const step of steps) {
    if (step.kind !== 'faults') continue;
    await client.call('removeFaults', { plan: step.plan.name, fault: null }).catch(error => {
      if (!(error instanceof XenError) || error.code !== 'ENOENT') throw error; // somebody has ended it
    });
  }
}

async function deleteBridges(client: ToolstackClient, { steps }: Plan, progress: Progress): Promise<void> {
  for (const step of steps) {
    if (step.kind !== 'bridge') continue;
    const gone = async (): Promise<string> => {
      try {
        await client.call('deleteBridge', { name: step.name });
        return '';
      } catch (error) {
        // Somebody else's vif is on it, or it was never made.
        if (error instanceof XenError && error.code === 'EBUSY') return 'in use, kept';
        if (error instanceof XenError && error.code === 'ENOENT') return 'gone already';
        throw error;
      }
    };
    await progress.phase(`end of bridge ${step.name}`, gone, how => how);
  }
}

async function endHost(client: ToolstackClient, dir: string): Promise<void> {
  await client.call('shutdownHost', {}).catch((error: unknown) => {
    // The host may be gone before its reply is here.
    if (!(error instanceof XenError) || error.code !== 'EPIPE') throw error;
  });
  const path = runPaths(dir).toolstackSocket;
  const deadline = performance.now() + HOST_END_MS;
  while (existsSync(path) || ownerOf(dir) !== null) {
    if (performance.now() > deadline) throw new CommandFailure(`xl: the host on ${dir} does not end`);
    await new Promise(resolve => setTimeout(resolve, 20));
  }
}

// Takes the steps of a plan, each with its undo.

import { rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { type Cleanup, type ToolstackEvent, XenError } from '#pvbus';
import { withLine } from '../config/with-line.ts';
import type { ToolstackCalls } from '../toolstack-client.ts';
import { type MadeImage, makeImage } from './make-image.ts';
import { type BridgeStep, type DomainStep, describeStep, type FaultsStep, type ImageStep, type Step } from './plan.ts';
import type { Progress } from './progress.ts';
import { endDomains, type RunningDomain } from './take-down.ts';

export interface BringUp {
  readonly client: ToolstackCalls;
  readonly progress: Progress;
  /** Each step adds its undo here; the caller runs them when something goes wrong, and at the end. */
  readonly undo: Cleanup;
  /** Stops between two steps. */
  readonly signal: AbortSignal;
  /** What a guest gets to end by itself when this is undone. */
  readonly graceMs: () => number;
}

/** Images of this run; they outlive the domains, but not a bring-up that failed. */
export async function makeImages(
  steps: readonly Step[],
  { progress, undo, signal }: Pick<BringUp, 'progress' | 'undo' | 'signal'>,
): Promise<void> {
  for (const step of steps) {
    if (step.kind !== 'image') continue;
    signal.throwIfAborted();
    await progress.phase(
      describeStep(step),
      () => makeOne(step, undo),
      result => (result === 'kept' ? 'kept as it is' : ''),
    );
  }
}

async function makeOne(step: ImageStep, undo: Cleanup): Promise<MadeImage> {
  const result = await makeImage(step);
  // An image that took the place of another cannot be taken back; one that is new can.
  if (result === 'made' && !step.recreate) undo.add(`image ${step.shown}`, () => rmSync(step.path, { force: true }));
  return result;
}

/** Resolves with the domains, in the order in which they came. */
export async function bringUp(steps: readonly Step[], run: BringUp): Promise<RunningDomain[]> {
  for (const step of steps) {
    if (step.kind !== 'bridge') continue;
    run.signal.throwIfAborted();
    await run.progress.phase(describeStep(step), () => makeBridge(step, run));
  }
  for (const step of steps) {
    if (step.kind !== 'faults') continue;
    await run.progress.phase(
      describeStep(step),
      () => addFaults(step, run),
      how => how,
    );
  }
  return makeDomains(
    steps.filter(step => step.kind === 'domain'),
    run,
  );
}

/** Enough that no processor waits for a domain that waits for something else. */
const AT_ONCE = 2 * availableParallelism();

/**
 * Several at once, begun in the order of the plan, which is that of their domids: one that has to wait for others holds
 * those behind it. After a failure none begins any more, and those that go on come to their end.
 */
async function makeDomains(steps: readonly DomainStep[], run: BringUp): Promise<RunningDomain[]> {
  const { undo, client, progress, signal } = run;
  const domains: RunningDomain[] = [];
  // One undo for all of them: those of a level go together.
  if (steps.length > 0) undo.add('domains', () => endDomains(client, domains, progress, run.graceMs()));
  const failures: unknown[] = [];
  const going = new Map<string, Promise<void>>();
  const make = async (step: DomainStep): Promise<void> => {
    const { name } = step.config;
    try {
      await progress.phase(
        describeStep(step),
        tell => create(step, run, tell),
        phases => phases,
      );
      domains.push({ name, level: step.level });
    } catch (error) {
      failures.push(error);
    }
    going.delete(name);
  };
  for (const step of steps) {
    await Promise.all(step.after.map(name => going.get(name)));
    while (going.size >= AT_ONCE) await Promise.race(going.values());
    if (failures.length > 0 || signal.aborted) break;
    going.set(step.config.name, make(step));
  }
  await Promise.all(going.values());
  if (failures.length > 0) throw failures[0];
  signal.throwIfAborted();
  return domains;
}

/** A plan that is on already goes on as it is. */
async function addFaults({ plan }: FaultsStep, { client, undo }: BringUp): Promise<string> {
  if ((await client.call('faults', {})).some(status => status.plan === plan.name)) return 'on already';
  await client.call('addFaults', { plan });
  undo.add(`faults of plan ${plan.name}`, async () => {
    await client.call('removeFaults', { plan: plan.name, fault: null }).catch(error => {
      if (!(error instanceof XenError) || error.code !== 'ENOENT') throw error;
    });
  });
  return '';
}

async function makeBridge({ name, mtu, ports }: BridgeStep, { client, undo }: BringUp): Promise<void> {
  await client.call('createBridge', { name, mtu });
  undo.add(`bridge ${name}`, async () => {
    await client.call('deleteBridge', { name }).catch(error => {
      // Somebody else's vif is on it, or it is gone already: then it is not ours to remove.
      if (!(error instanceof XenError) || !['EBUSY', 'ENOENT'].includes(error.code)) throw error;
    });
  });
  for (const port of ports) await client.call('addBridgePort', { bridge: name, port });
}

/** Resolves with its phases and their milliseconds. */
async function create(
  { config, paused, at }: DomainStep,
  { client }: BringUp,
  tell: (text: string) => void,
): Promise<string> {
  const phases: string[] = [];
  const hear = (event: ToolstackEvent): void => {
    if (event.event !== 'phase') return;
    phases.push(`${event.phase} ${event.ms.toFixed(0)}`);
    tell(phases.join(', '));
  };
  try {
    await client.call('create', { config, paused, monitor: true }, hear);
  } catch (error) {
    throw withLine(error, config.source, at);
  }
  return phases.join(', ');
}

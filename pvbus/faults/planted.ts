// A fault as it is handed to the part that it befalls, wherever that runs, and how it is told what has come of it.
import { XenError } from '../errors.ts';
import { planShape } from './check-plan.ts';
import type { Fault } from './fault.ts';
import { Trigger, type TriggerCounts } from './trigger.ts';

/** One fault of a plan that is on. Plain data. */
export interface Planted {
  readonly plan: string;
  readonly seed: number;
  /** When the plan began, monotonic ns. */
  readonly startedNs: number;
  readonly fault: Fault;
  /** Of a part that goes on where another was killed. */
  readonly counts?: TriggerCounts;
}

/** Which fault it is, for people and as the name of a node. */
export const plantedName = ({ plan, fault }: { plan: string; fault: { name: string } }): string =>
  `${plan}@${fault.name}`;

export const triggerOf = ({ fault, seed, startedNs, counts }: Planted): Trigger =>
  new Trigger(fault, seed, startedNs, { seen: counts?.seen ?? 0, injected: counts?.injected ?? 0 });

/** Told by a part: these occurrences were befallen. */
export interface Injected {
  readonly plan: string;
  readonly fault: string;
  readonly seed: number;
  /** How many occurrences there were up to now. */
  readonly counts: TriggerCounts;
  /** Their numbers, at most MAX_OCCURRENCES. */
  readonly occurrences: readonly number[];
  /** What it befell: `vbd 51712 of dom1`. */
  readonly where: string;
  /** The process is to end, or to be stopped for so long, now. */
  readonly process?: { readonly kill: true } | { readonly stop: number };
}
export const MAX_OCCURRENCES = 256;

/** untrusted: `Planted` as a text, from a node that a driver domain may have written. Throws EINVAL. */
export function readPlanted(text: string): Planted {
  let given: Partial<Planted>;
  try {
    given = JSON.parse(text) as Partial<Planted>;
  } catch {
    throw new XenError('EINVAL', 'a planted fault that is no JSON');
  }
  const { plan: name, seed, startedNs, fault, counts } = given ?? {};
  const plan = planShape({ name, seed, faults: [fault] }, 'planted fault');
  const whole = (n: unknown): number => (Number.isSafeInteger(n) && (n as number) >= 0 ? (n as number) : 0);
  return {
    plan: plan.name,
    seed: plan.seed,
    startedNs: Number.isFinite(startedNs) ? (startedNs as number) : 0,
    fault: plan.faults[0]!, // a plan of one fault has one
    counts: { seen: whole(counts?.seen), injected: whole(counts?.injected) },
  };
}

/** What xenstored says of a fault of its requests. */
export interface InjectedRequests extends TriggerCounts {
  /** The last occurrences that were befallen. */
  readonly last: readonly number[];
  /** The last one of them. */
  readonly where: string;
  readonly domid: number;
}

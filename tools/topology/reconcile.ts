// What a topology wants beside what a host has: for each domain what there is to do. Pure but for asking the host.

import { type DomainConfig, type DomainInfo, reasonWord } from '#pvbus';
import type { ToolstackCalls } from '../toolstack-client.ts';
import { type DomainStep, describeStep, type ImageStep, type Step } from './plan.ts';

/** Something of a running domain that can be another way without a restart. */
export interface LiveChange {
  readonly what: 'memory' | 'maxmem' | 'vcpus' | 'cpu_weight' | 'cap';
  readonly from: number;
  readonly to: number;
}

export type DomainAction =
  | { readonly kind: 'make'; readonly step: DomainStep }
  | { readonly kind: 'keep'; readonly step: DomainStep; readonly uuid: string }
  | {
      readonly kind: 'change';
      readonly step: DomainStep;
      readonly uuid: string;
      readonly domid: number;
      readonly changes: readonly LiveChange[];
      /** Keys that need the domain made anew. */
      readonly rest: readonly string[];
    }
  /** It was in the file, and is not any more. */
  | { readonly kind: 'end'; readonly name: string; readonly uuid: string };

export interface Reconciliation {
  readonly domains: readonly DomainAction[];
  /** What there is of the host's. */
  readonly running: ReadonlyMap<string, DomainConfig | null>;
  /** It has been brought up on this host before. */
  readonly known: boolean;
}

export const NOTHING_RUNS = (steps: readonly Step[]): Reconciliation => ({
  domains: domainSteps(steps).map(step => ({ kind: 'make', step })),
  running: new Map(),
  known: false,
});

const domainSteps = (steps: readonly Step[]): DomainStep[] => steps.filter(step => step.kind === 'domain');

/**
 * `twin` is the same topology planned again with other random numbers: what differs between the two is nobody's wish.
 */
export async function reconcile(
  client: ToolstackCalls,
  path: string,
  steps: readonly Step[],
  twin: readonly Step[],
): Promise<Reconciliation> {
  const [infos, shares, notes] = await Promise.all([
    client.call('list', { domid: null }),
    client.call('shares', { domid: null }),
    client.call('topologies', {}),
  ]);
  const running = new Map<string, DomainConfig | null>();
  const byName = new Map<string, DomainInfo>();
  for (const info of infos) {
    if (info.domid === 0 || info.name === null) continue;
    byName.set(info.name, info);
    running.set(info.name, await client.call('config', { domid: info.domid }));
  }
  const domains = domainSteps(steps).map((step, i): DomainAction => {
    const info = byName.get(step.config.name);
    const have = running.get(step.config.name);
    // One that the toolstack has not made is nobody's to change: to make ours says that the name is in use.
    if (info === undefined || have === undefined || have === null) return { kind: 'make', step };
    const { domid, uuid } = info;
    const credit = shares.find(share => share.domid === domid)?.credit ?? null;
    const other = domainSteps(twin)[i]!.config;
    const { changes, rest } = differences(step.config, other, have, credit);
    if (info.shutdown || info.dying) {
      rest.unshift(info.dying ? 'it is dying' : `it has shut down (${reasonWord(info.shutdown_reason)})`);
    }
    if (changes.length + rest.length === 0) return { kind: 'keep', step, uuid };
    return { kind: 'change', step, uuid, domid, changes: info.shutdown || info.dying ? [] : changes, rest };
  });
  const wanted = new Set(domains.map(action => (action.kind === 'end' ? '' : action.step.config.name)));
  const noted = notes.find(note => note.path === path)?.domains ?? [];
  // By uuid: a domain of that name that somebody made since is not ours to end.
  const vanished = noted.filter(({ name, uuid }) => !wanted.has(name) && byName.get(name)?.uuid === uuid);
  const ends = vanished.map(one => ({ kind: 'end', ...one }) as const);
  return { domains: [...domains, ...ends], running, known: noted.length > 0 };
}

/** Compared as numbers below; or who the domain is, and where its config came from. */
const APART = new Set(['name', 'uuid', 'source', 'memory', 'maxmem', 'vcpus', 'maxvcpus', 'cpu_weight', 'cap']);

function differences(
  want: DomainConfig,
  twin: DomainConfig,
  have: DomainConfig,
  credit: { readonly weight: number; readonly cap: number } | null,
): { changes: LiveChange[]; rest: string[] } {
  const changes: LiveChange[] = [];
  const rest: string[] = [];
  const change = (what: LiveChange['what'], from: number, to: number): void => {
    if (from !== to) changes.push({ what, from, to });
  };
  // A ceiling that nobody named is where the domain began: it may stay where it is while there is room below it.
  if (want.maxmem > have.maxmem) rest.push('maxmem');
  else {
    change('memory', have.memory, want.memory);
    if (want.maxmem !== want.memory) change('maxmem', have.maxmem, want.maxmem);
  }
  if (want.maxvcpus > have.maxvcpus || (want.maxvcpus < have.maxvcpus && want.maxvcpus !== want.vcpus)) {
    rest.push('maxvcpus');
  } else change('vcpus', have.vcpus, want.vcpus);
  // What the file does not name stays as somebody has set it.
  if (want.cpu_weight !== null && credit !== null) change('cpu_weight', credit.weight, want.cpu_weight);
  if (want.cap !== null && credit !== null) change('cap', credit.cap, want.cap);
  for (const key of Object.keys(want) as (keyof DomainConfig)[]) {
    if (!APART.has(key) && !alike(want[key], twin[key], have[key])) rest.push(key);
  }
  return { changes, rest };
}

/** Equal but for what is random. */
function alike(want: unknown, twin: unknown, have: unknown): boolean {
  if (typeof want !== 'object' || want === null) return !Object.is(want, twin) || Object.is(want, have);
  if (typeof have !== 'object' || have === null) return false;
  const keys = new Set([...Object.keys(want), ...Object.keys(have)]);
  const at = (of: unknown, key: string): unknown => (of as Record<string, unknown>)[key];
  return [...keys].every(key => alike(at(want, key), at(twin, key), at(have, key)));
}

/** What is there of a change to do, in order. A domain gives up memory before its ceiling comes down. */
export async function changeLive(client: ToolstackCalls, domid: number, changes: readonly LiveChange[]): Promise<void> {
  for (const { what, to } of changes) {
    if (what === 'memory') await client.call('setMemoryTarget', { domid, kib: to * 1024 });
    else if (what === 'maxmem') await client.call('setMaxMemory', { domid, kib: to * 1024 });
    else if (what === 'vcpus') await client.call('setVcpus', { domid, count: to });
  }
  const weight = changes.find(({ what }) => what === 'cpu_weight')?.to ?? null;
  const cap = changes.find(({ what }) => what === 'cap')?.to ?? null;
  if (weight === null && cap === null) return;
  const [shares] = await client.call('shares', { domid });
  if (shares !== undefined) await client.call('setCredit', { domid, scheduler: shares.scheduler, weight, cap });
}

export const describeChanges = (changes: readonly LiveChange[]): string =>
  changes.map(({ what, from, to }) => `${what} ${from} -> ${to}`).join(', ');

/** The lines of `xl up -n`: + comes, ~ changes, ! would have to be made anew, - goes, = stays. */
export function describePlan(
  steps: readonly Step[],
  { domains, known }: Reconciliation,
  has: { readonly newHost: string | null; readonly image: (step: ImageStep) => boolean },
  recreate: boolean,
): string[] {
  const lines = has.newHost === null ? [] : [`+ host on ${has.newHost}`];
  for (const step of steps) {
    if (step.kind === 'image') lines.push(`${has.image(step) ? '=' : '+'} ${describeStep(step)}`);
    if (step.kind === 'bridge' || step.kind === 'faults') lines.push(`${known ? '=' : '+'} ${describeStep(step)}`);
  }
  for (const action of domains) {
    if (action.kind === 'make') lines.push(`+ ${describeStep(action.step)}`);
    if (action.kind === 'keep') lines.push(`= ${describeStep(action.step)}`);
    if (action.kind === 'end') lines.push(`- domain ${action.name}`);
    if (action.kind !== 'change') continue;
    const { step, changes, rest } = action;
    const { name } = step.config;
    if (rest.length > 0 && recreate) lines.push(`± domain ${name}: made anew (${rest.join(', ')})`);
    else {
      if (changes.length > 0) lines.push(`~ domain ${name}: ${describeChanges(changes)}`);
      if (rest.length > 0) lines.push(`! domain ${name}: needs --recreate (${rest.join(', ')})`);
    }
  }
  return lines;
}

// Faults for tests: planted by one call, watched, and taken away again.

import { readFileSync } from 'node:fs';
import { basename, extname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { checkPlan, type DomainInfo, type Fault, type FaultStatus, type HostEvent, XenError } from '#pvbus';
import { readPlan } from '../faults/read-plan.ts';
import type { LastingClient } from './lasting-client.ts';

export interface InjectOptions {
  readonly plan?: string;
  readonly seed?: number;
}

export interface HappenedOptions {
  /** ms */
  readonly within?: number;
}

/** How often the toolstack is asked whether something has happened. */
const LOOK_MS = 20;
const WITHIN_MS = 60_000;
/** It has so long to answer, though the time may be over. */
const LAST_LOOK_MS = 1000;

/** What is asked of a host here. */
export interface WatchedHost {
  readonly runDir: string;
  readonly pid: number;
  domains(): Promise<Pick<DomainInfo, 'name' | 'domid' | 'shutdown' | 'dying'>[]>;
  events(): Promise<HostEvent[]>;
  log(): string;
}

/** The toolstack of each host of this process. */
export const clients = new WeakMap<object, LastingClient>();

let nextPlan = 1;

/** A plan that is on. */
export class Injection implements AsyncDisposable {
  readonly plan: string;
  readonly seed: number;
  readonly #host: Pick<WatchedHost, 'events'>;
  readonly #faults: readonly Fault[];

  constructor(host: Pick<WatchedHost, 'events'>, plan: { name: string; seed: number; faults: readonly Fault[] }) {
    this.#host = host;
    this.plan = plan.name;
    this.seed = plan.seed;
    this.#faults = plan.faults;
  }

  async status(): Promise<FaultStatus[]> {
    const all = await (await clientOf(this.#host).now()).call('faults', {});
    return all.filter(({ plan }) => plan === this.plan);
  }
  /** Resolves when each of its faults, or the one that is named, has happened so often. Throws ETIMEDOUT with what was seen. */
  async happened(times = 1, fault?: string, { within = WITHIN_MS }: HappenedOptions = {}): Promise<void> {
    if (fault !== undefined && !this.#faults.some(({ name }) => name === fault))
      throw new XenError('ENOENT', `there is no fault ${this.plan}:${fault}`);
    const deadline = performance.now() + within;
    let known: FaultStatus[] = [];
    for (;;) {
      // A host whose dom0 is away is asked again.
      const status = await this.#statusBy(deadline).catch((error): FaultStatus[] => {
        if (error instanceof XenError && ['EPIPE', 'ECONNRESET'].includes(error.code)) return [];
        throw error;
      });
      const asked = status.filter(one => fault === undefined || one.fault === fault);
      if (asked.length > 0) known = asked;
      if (asked.length > 0 && asked.every(({ injected }) => injected >= times)) return;
      if (performance.now() >= deadline) throw new XenError('ETIMEDOUT', this.#missed(known, times, within));
      await sleep(LOOK_MS);
    }
  }
  /** None from a dom0 that stands still until then, and for a look's time in any case. */
  async #statusBy(deadline: number): Promise<FaultStatus[]> {
    const over = new AbortController();
    const late = sleep<FaultStatus[]>(Math.max(LAST_LOOK_MS, deadline - performance.now()), [], {
      signal: over.signal,
    });
    try {
      return await Promise.race([this.status(), late]);
    } finally {
      late.catch(() => {}); // nobody waits any more
      over.abort();
    }
  }
  #missed(known: readonly FaultStatus[], times: number, within: number): string {
    if (known.length === 0) return `plan ${this.plan} is not on, and nothing was heard of it in ${within / 1000} s`;
    const late = known.filter(({ injected }) => injected < times);
    const lines = late.map(
      ({ plan, fault, seen, injected, devices }) =>
        `fault ${plan}:${fault} has happened ${injected} times in ${within / 1000} s, ${times} were waited for: ` +
        `seen ${seen}, injected ${injected}${devices === 0 ? '; no such device is there' : ''}`,
    );
    return lines.join('\n');
  }
  /** The events of its faults, oldest first. */
  async events(): Promise<HostEvent[]> {
    return (await this.#host.events()).filter(event => event.event === 'fault' && event.plan === this.plan);
  }
  async remove(): Promise<void> {
    const client = await clientOf(this.#host).now();
    await client.call('removeFaults', { plan: this.plan, fault: null }).catch(error => {
      if (!(error instanceof XenError) || error.code !== 'ENOENT') throw error; // its time is over
    });
  }
  /** Also of a host that has ended. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.remove().catch(() => {});
  }
  get faults(): readonly Fault[] {
    return this.#faults;
  }
}

/** One fault, some, a plan, or the path of a plan's file. Resolves when they are on. */
export async function inject(
  host: Pick<WatchedHost, 'events'>,
  what: object | readonly object[] | string,
  options: InjectOptions = {},
): Promise<Injection> {
  const name = options.plan ?? `test-${nextPlan++}`;
  const plan = typeof what === 'string' ? planOfFile(what) : planOf(what, name);
  const called = { ...plan, name: options.plan ?? plan.name, seed: options.seed ?? plan.seed };
  await (await clientOf(host).now()).call('addFaults', { plan: called });
  return new Injection(host, called);
}

export function clientOf(host: object): LastingClient {
  const client = clients.get(host);
  if (client === undefined) throw new XenError('EINVAL', 'not a host of this library');
  return client;
}

function planOf(what: object | readonly object[], name: string) {
  const isOne = typeof what === 'object' && what !== null && !Array.isArray(what) && !('faults' in what);
  const checked = checkPlan(isOne ? [what] : what, name);
  if ('plan' in checked) return checked.plan;
  const lines = checked.problems
    .map(({ path, message }) => [path.slice(isOne ? 1 : 0).join('.'), message])
    .map(([where, message]) => (where === '' ? message : `${where}: ${message}`));
  throw new XenError('EINVAL', lines.join('\n'));
}
function planOfFile(path: string) {
  const name = basename(path, extname(path))
    .replaceAll(/[^A-Za-z0-9_-]/g, '-')
    .slice(0, 64);
  return readPlan(readFileSync(path, 'utf8'), path, name || 'plan');
}

// What must be so whatever has failed, as far as it can be seen from outside. Numbers are those of docs/faults.md.

import { closeSync, openSync, readSync } from 'node:fs';
import { type FaultEvent, type HostEvent, XenError } from '#pvbus';
import { clientOf, type WatchedHost } from './faults.ts';
import { nodesBelow, type ProcessInventory, processesBelow, processInventory } from './host-inventory.ts';
import { harmOf, type Progress } from './unharmed.ts';
import { withXenstore } from './with-xenstore.ts';

const SECTOR = 512;
/** What becomes so by itself may take so long to. */
export interface InvariantOptions {
  /** ms */
  readonly within?: number;
}

/** How long what ends by itself may take to. */
const SETTLE_MS = 30_000;
const LOOK_MS = 50;
const LOOKS_AT_REST = 4;

interface Written {
  readonly sector: number;
  readonly data: Uint8Array;
}

/** Each invariant, and what is needed to see it. */
export interface Invariants {
  I1: { readonly image: string; readonly acknowledged: Iterable<Written> };
  I2: { readonly image: string; readonly unacknowledged: Iterable<Written & { readonly before: Uint8Array }> };
  I3: { readonly submitted: Iterable<string | number>; readonly completed: Iterable<string | number> };
  I4: { readonly sent: Iterable<Uint8Array>; readonly received: Iterable<Uint8Array> };
  I5: Baseline;
  I7: Record<never, never>;
  I8: { readonly domains: readonly string[]; readonly before?: Progress };
  I9: Record<never, never>;
  I10: { readonly trace: readonly string[] };
}

/** What a host has, to be compared later. */
export interface Baseline {
  readonly [what: string]: readonly string[];
}

/** An invariant does not hold. */
class InvariantError extends Error {
  override readonly name = 'InvariantError';
}

/** Rejects with an InvariantError that begins with the number and says what is not so. */
export async function expectInvariant<N extends keyof Invariants>(
  host: WatchedHost,
  number: N,
  what: Invariants[N],
  { within }: InvariantOptions = {},
): Promise<void> {
  if (!Object.hasOwn(CHECKS, number))
    throw new XenError('EINVAL', `there is no invariant ${number}: ${Object.keys(CHECKS).join(', ')}`);
  const wrong = await CHECKS[number](host, what, within);
  if (wrong !== undefined) throw new InvariantError(`${number}: ${wrong}`);
}

/** What is wrong, or undefined. */
type Check<N extends keyof Invariants> = (
  host: WatchedHost,
  what: Invariants[N],
  within: number | undefined,
) => Promise<string | undefined>;

const CHECKS: { readonly [N in keyof Invariants]: Check<N> } = {
  I1: async (_, { image, acknowledged }) =>
    inImage(image, acknowledged, ({ sector, data }, found) =>
      differs(data, found) ? `sector ${sector} of ${image} is not what was acknowledged` : undefined,
    ),
  I2: async (_, { image, unacknowledged }) =>
    inImage(image, unacknowledged, ({ sector, data, before }, found) => {
      for (let at = 0; at < data.length; at += SECTOR) {
        const part = found.subarray(at, at + SECTOR);
        const isNew = !differs(data.subarray(at, at + SECTOR), part);
        if (!isNew && differs(before.subarray(at, at + SECTOR), part))
          return `sector ${sector + at / SECTOR} of ${image} is neither old nor new`;
      }
      return undefined;
    }),
  async I3(_, { submitted, completed }) {
    const asked = new Set(submitted);
    const done = new Set<string | number>();
    for (const id of completed) {
      if (done.has(id)) return `request ${id} was completed twice`;
      if (!asked.has(id)) return `request ${id} was completed and never submitted`;
      done.add(id);
    }
    return undefined;
  },
  async I4(_, { sent, received }) {
    const known = new Set(Array.from(sent, bytes => Buffer.from(bytes).toString('latin1')));
    let n = 0;
    for (const bytes of received) {
      n++;
      if (!known.has(Buffer.from(bytes).toString('latin1'))) return `packet ${n} was never sent as it was received`;
    }
    return undefined;
  },
  async I5(host, before, within = SETTLE_MS) {
    const deadline = performance.now() + within;
    for (;;) {
      const wrong = difference(before, await baseline(host));
      if (wrong === undefined || performance.now() > deadline) return wrong;
      await new Promise(resolve => setTimeout(resolve, LOOK_MS));
    }
  },
  async I7(host) {
    const said = await withXenstore(host, xs => xs.control('check'));
    return said === 'OK' ? undefined : `xenstored says of its tree: ${said}`;
  },
  I8: (host, { domains, before }, within) => harmOf(host, domains, before, within),
  async I9(host) {
    const events = await host.events();
    for (const { plan, fault, injected } of await (await clientOf(host).now()).call('faults', {})) {
      const told = faultsOf(events).filter(event => event.plan === plan && event.fault === fault);
      const sum = told.reduce((total, { count }) => total + count, 0);
      if (sum < injected) return `fault ${plan}:${fault} has happened ${injected} times, the log has ${sum}`;
    }
    return undefined;
  },
  async I10(host, { trace }) {
    const own = await faultTrace(host);
    const at = Array.from({ length: Math.max(own.length, trace.length) }).findIndex((_, i) => own[i] !== trace[i]);
    return at < 0 ? undefined : `step ${at + 1} is ${own[at] ?? 'missing'}, it was ${trace[at] ?? 'missing'}`;
  },
};

/** What was befallen, in the order of each fault: equal for runs of one plan from one seed over the same work. */
export async function faultTrace(host: Pick<WatchedHost, 'events'>): Promise<string[]> {
  const injected = faultsOf(await host.events()).filter(({ what }) => what === 'injected');
  const lines = injected.flatMap(({ fault, occurrences, text }) => occurrences.map(n => `${fault} ${n} ${text}`));
  const order = new Map<string, string[]>();
  for (const line of lines) {
    const [fault = ''] = line.split(' ', 1);
    order.set(fault, [...(order.get(fault) ?? []), line]);
  }
  return [...order.keys()].sort().flatMap(fault => order.get(fault)!);
}

/** What a host has: processes and what those hold, event channels, grants in use, mappings and pools, and the nodes of its xenstore. */
export async function baseline(host: WatchedHost): Promise<Baseline> {
  const client = await clientOf(host).now();
  await client.call('dmesg', { clear: true });
  await client.call('debugKeys', { keys: 'eg' });
  const { text } = await client.call('dmesg', { clear: true });
  const counts = text.split('\n').flatMap(line => {
    const found = /(dom\d+: (?:\d+ ports|\d+ of \d+ grant frames, .*))$/.exec(line);
    // Frames of the table grow and do not shrink; what counts is what is in use.
    return found ? [found[1]!.replace(/\d+ of \d+ grant frames, /, '')] : [];
  });
  const nodes = await withXenstore(host, xs => nodesBelow(xs, '/local/domain'));
  return { ...(await processesAtRest(host)), hypervisor: counts, nodes };
}

function difference(before: Baseline, after: Baseline): string | undefined {
  for (const [what, lines] of Object.entries(before)) {
    const now = [...(after[what] ?? [])];
    const gone = lines.filter(line => {
      const at = now.indexOf(line);
      if (at >= 0) now.splice(at, 1);
      return at < 0;
    });
    if (gone.length + now.length > 0)
      return `${what}: ${[...gone.map(line => `-${line}`), ...now.map(line => `+${line}`)].slice(0, 8).join(', ')}`;
  }
  return undefined;
}

/** Once it stays the same: a shell for the next domain is a moment in coming. */
async function processesAtRest(host: WatchedHost): Promise<ProcessInventory> {
  const deadline = performance.now() + SETTLE_MS;
  const look = (): ProcessInventory => processInventory(processesBelow(host.pid), host.log());
  let found = look();
  for (let same = 0; same < LOOKS_AT_REST && performance.now() < deadline; ) {
    await new Promise(resolve => setTimeout(resolve, LOOK_MS));
    const now = look();
    same = JSON.stringify(now) === JSON.stringify(found) ? same + 1 : 0;
    found = now;
  }
  return found;
}

function inImage<W extends Written>(
  image: string,
  writes: Iterable<W>,
  look: (write: W, found: Uint8Array) => string | undefined,
): string | undefined {
  const fd = openSync(image, 'r');
  try {
    for (const write of writes) {
      const found = new Uint8Array(write.data.length);
      const n = readSync(fd, found, 0, found.length, write.sector * SECTOR);
      const wrong = n < found.length ? `${image} ends before sector ${write.sector}` : look(write, found);
      if (wrong !== undefined) return wrong;
    }
    return undefined;
  } finally {
    closeSync(fd);
  }
}

const differs = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) !== 0;
const faultsOf = (events: readonly HostEvent[]): FaultEvent[] => events.filter(event => event.event === 'fault');

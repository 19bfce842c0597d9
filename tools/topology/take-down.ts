// Ends domains in the reverse of the order that brought them up: first those that nothing depends on.

import { XenError } from '#pvbus';
import type { ToolstackCalls } from '../toolstack-client.ts';
import type { Progress } from './progress.ts';

export interface RunningDomain {
  readonly name: string;
  /** As in the plan: a domain depends on lower ones only. */
  readonly level: number;
}

/** What a guest gets to end by itself before it is destroyed. */
export const GRACE_MS = 2_000;
/** Each is two requests at times, and a toolstack works on 64 of one tool. */
const AT_ONCE = 24;

/** Each is asked to shut down and destroyed when it does not, or when it has. None is left when this resolves. */
export async function endDomains(
  client: ToolstackCalls,
  domains: readonly RunningDomain[],
  progress: Progress,
  graceMs: number,
): Promise<void> {
  const failures: unknown[] = [];
  const endOne = (domain: RunningDomain): Promise<unknown> =>
    progress
      .phase(
        `end of ${domain.name}`,
        () => endDomain(client, domain, graceMs),
        how => how,
      )
      .catch(error => failures.push(error));
  for (const level of [...new Set(domains.map(domain => domain.level))].sort((a, b) => b - a)) {
    const these = domains.filter(domain => domain.level === level).reverse();
    const end = async (): Promise<void> => {
      for (let domain = these.shift(); domain !== undefined; domain = these.shift()) await endOne(domain);
    };
    await Promise.all(Array.from({ length: AT_ONCE }, end));
  }
  if (failures.length > 0) throw failures[0];
}

async function endDomain(client: ToolstackCalls, { name }: RunningDomain, graceMs: number): Promise<string> {
  // By name: the domain may have rebooted, which gave it another domid.
  const domid = await domidOf(client, name);
  if (domid === null) return 'gone already';
  const polite = graceMs > 0 && (await shutsDown(client, domid, graceMs));
  // It may have gone with its shutdown, or come back from it as another domain.
  for (let last: number | null = domid; last !== null; last = await domidOf(client, name)) {
    await client.call('destroy', { domid: last, force: false }).catch(ignore('ESRCH'));
  }
  return polite ? '' : 'destroyed';
}

async function shutsDown(client: ToolstackCalls, domid: number, graceMs: number): Promise<boolean> {
  try {
    const [info] = await client.call('list', { domid });
    if (info === undefined || info.paused || info.shutdown || info.dying) return false;
  } catch (error) {
    ignore('ESRCH')(error);
    return true;
  }
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>(resolve => {
    timer = setTimeout(() => resolve(false), graceMs);
  });
  const wait = client.call('wait', { domid, until: 'shutdown' }).then(() => true);
  // A guest that does not know the request is no failure: it will be destroyed.
  const asked = client.call('shutdown', { domid }).then(
    () => wait,
    () => false,
  );
  wait.catch(() => {}); // it may go on when nobody waits for it any more
  const result = await Promise.race([asked, late]);
  clearTimeout(timer);
  return result;
}

async function domidOf(client: ToolstackCalls, name: string): Promise<number | null> {
  try {
    return (await client.call('domid', { name })).domid;
  } catch (error) {
    ignore('ENOENT')(error);
    return null;
  }
}

const ignore =
  (code: string) =>
  (error: unknown): void => {
    if (!(error instanceof XenError) || error.code !== code) throw error;
  };

// Which vCPUs are to be up: cpu/N/availability in xenstore, 'online' or 'offline'. Xen: docs/misc/xenstore-paths.
import { type Log, readKey, type XenstoreClient } from '#pvbus';
import type { Processors } from './processors.ts';

/** Follows the nodes from now on; resolves when every vCPU is as they said first. */
export async function watchAvailability(
  xs: XenstoreClient,
  home: string,
  nrVcpus: number,
  processors: Processors,
  log: Log,
): Promise<void> {
  const look = async (id: number): Promise<void> => {
    const word = await readKey(xs, `${home}/cpu/${id}/availability`);
    if (word === 'online' || word === 'offline') processors.want(id, word === 'online');
  };
  const all = () => Promise.all(Array.from({ length: nrVcpus - 1 }, (_, i) => look(i + 1)));
  const changed = (path: string): void => {
    const id = /\/cpu\/(\d+)\/availability$/.exec(path)?.[1];
    const looking = id === undefined ? all() : look(Number(id));
    looking.catch(error => log.warn(`cpu: ${error instanceof Error ? error.message : error}`));
  };
  await Promise.all([xs.watch(`${home}/cpu`, 'cpu', changed), all()]);
  await processors.whenSettled();
}

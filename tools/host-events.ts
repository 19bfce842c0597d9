// All that the toolstack remembers of what happened.
import type { HostEvent } from '#pvbus';
import type { ToolstackCalls } from './toolstack-client.ts';

/** Oldest first. */
export async function hostEvents(client: Pick<ToolstackCalls, 'call'>): Promise<HostEvent[]> {
  const known: HostEvent[] = [];
  for (let from: number | null = 0; from !== null; ) {
    const { events, next }: { events: HostEvent[]; next: number | null } = await client.call('history', { from });
    known.push(...events);
    from = next;
  }
  return known;
}

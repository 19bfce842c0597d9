// What the events say that the host has done by itself.
import { hostEvents } from '../../tools/host-events.ts';
import type { ToolstackClient } from '../../tools/toolstack-client.ts';

/** Texts, oldest first. */
export async function reactions(toolstack: ToolstackClient, what: RegExp): Promise<string[]> {
  const events = await hostEvents(toolstack);
  return events.flatMap(event =>
    event.event === 'fault' && event.what === 'reaction' && what.test(event.text) ? [event.text] : [],
  );
}

// xl events: what happened to domains, and with -f what happens from now on.

import { type DomainEvent, type HostEvent, hostEventJson, reasonWord, type ToolstackEvent } from '#pvbus';
import { faultEventLine } from '../faults/fault-event.ts';
import { hostEvents } from '../host-events.ts';
import { escapeText } from '../store/escape.ts';
import type { RunCommand } from './command.ts';
import { printJson } from './json-output.ts';
import { commandLine } from './options.ts';

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, 'f', [{ name: 'follow', as: 'f' }], 0);
  if (typeof line === 'number') return line;
  const json = line.options.has('json');
  const print = (event: HostEvent): void => {
    if (json) printJson(context, hostEventJson(event));
    else context.out(eventLine(event));
  };
  const client = await context.connect();
  if (!line.options.has('f')) {
    for (const event of await hostEvents(client)) print(event);
    return 0;
  }
  const signal = context.io.interrupted();
  // What comes before the history is here may be in it as well.
  const early: HostEvent[] = [];
  let hear = (event: HostEvent): void => void early.push(event);
  await client.call('subscribe', {}, (event: ToolstackEvent) => {
    if (event.event === 'domain' || event.event === 'fault') hear(event);
  });
  const known = await hostEvents(client);
  const seen = new Set(known.map(event => JSON.stringify(event)));
  for (const event of [...known, ...early.filter(one => !seen.has(JSON.stringify(one)))]) print(event);
  hear = print;
  return new Promise(resolve => {
    signal.addEventListener('abort', () => resolve(0), { once: true });
    if (signal.aborted) resolve(0);
    client.onClose(reason => {
      context.err(`xl: ${reason.message}`);
      resolve(1);
    });
  });
};

const eventLine = (event: HostEvent): string =>
  event.event === 'fault' ? faultEventLine(event) : domainEventLine(event);

function domainEventLine({ at, what, domid, name, reason, exitCode }: DomainEvent): string {
  const why = what === 'shutdown' ? `: ${reasonWord(reason)}` : '';
  const code = exitCode === null ? '' : `, exit code ${exitCode}`;
  return `${new Date(at).toISOString()} ${escapeText(name ?? '(null)')} (${domid}) ${what}${why}${code}`;
}

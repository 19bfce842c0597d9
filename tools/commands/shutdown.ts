// xl shutdown, and xl reboot, which differs in what the guest is asked for.

import type { DomainEnd } from '#pvbus';
import { rcOf, type ToolstackClient } from '../toolstack-client.ts';
import { type CommandContext, CommandFailure, type RunCommand } from './command.ts';
import { findDomain } from './find-domain.ts';
import { commandLine } from './options.ts';

export const run: RunCommand = (args, context) => askGuests(args, context, 'shutdown');

export async function askGuests(
  args: readonly string[],
  context: CommandContext,
  op: 'shutdown' | 'reboot',
): Promise<number> {
  const long = [
    { name: 'all', as: 'a' },
    { name: 'wait', as: 'w' },
  ];
  const line = commandLine(args, context, 'awF', long, 0);
  if (typeof line === 'number') return line;
  const all = line.options.has('a');
  if (!all && line.args.length === 0) throw new CommandFailure('You must specify -a or a domain id.\n');
  const client = await context.connect();
  const domids = all ? await guests(client) : [await findDomain(client, line.args[0]!)];

  // order: each wait is under way before its guest is asked, so that no end is missed.
  const waits = line.count('w');
  const ends = domids.map(domid => ({ domid, ...waitForEnd(client, domid, waits) }));
  let failed = false;
  for (const domid of domids) {
    context.err(`${op === 'shutdown' ? 'Shutting down' : 'Rebooting'} domain ${domid}`);
    try {
      await client.call(op, { domid });
    } catch (error) {
      context.complain(error);
      context.err(`${op} failed (rc=${rcOf(error)})`);
      failed = true;
    }
  }
  if (failed) return 1;
  if (waits > 0) {
    context.err(`Waiting for ${domids.length} domains`);
    await Promise.all(ends.map(end => report(end, context)));
  }
  return 0;
}

async function guests(client: ToolstackClient): Promise<number[]> {
  const domains = await client.call('list', { domid: null });
  return domains.filter(({ domid, dying }) => domid !== 0 && !dying).map(({ domid }) => domid);
}

interface Ends {
  readonly first?: Promise<DomainEnd>;
  readonly gone?: Promise<DomainEnd>;
}

function waitForEnd(client: ToolstackClient, domid: number, waits: number): Ends {
  const wait = (until: 'shutdown' | 'destroyed'): Promise<DomainEnd> => {
    const end = client.call('wait', { domid, until });
    end.catch(() => {}); // whoever awaits it hears of it; nobody may, when asking failed
    return end;
  };
  if (waits === 0) return {};
  return { first: wait('shutdown'), ...(waits > 1 ? { gone: wait('destroyed') } : {}) };
}

async function report({ domid, first, gone }: Ends & { domid: number }, context: CommandContext): Promise<void> {
  const end = await first;
  if (end?.what === 'shutdown') {
    context.err(`Domain ${domid} has been shut down, reason code ${end.reason}`);
    if (gone === undefined) return;
    context.err(`Domain ${domid} continue waiting for death`);
    await gone;
  }
  context.err(`Domain ${domid} has been destroyed`);
}

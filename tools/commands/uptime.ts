// xl uptime

import { readFileSync } from 'node:fs';
import { type DomainInfo, readKey, XenError, type XenstoreClient } from '#pvbus';
import { left, right } from '../columns.ts';
import { withStore } from '../store/connect-store.ts';
import type { ToolstackClient } from '../toolstack-client.ts';
import { CommandFailure, type RunCommand } from './command.ts';
import { findDomain } from './find-domain.ts';
import { printJson } from './json-output.ts';
import { commandLine } from './options.ts';

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, 's', [{ name: 'short', as: 's' }], 0);
  if (typeof line === 'number') return line;
  const short = line.options.has('s');
  const client = await context.connect();
  const domains = await asked(client, line.args);
  const json = line.options.has('json');
  const list: unknown[] = [];
  if (!short && !json) context.out(`${left('Name', 33)} ${right('ID', 4)} Uptime`);
  const now = Date.now();
  await withStore(context.io.env, async store => {
    for (const domain of domains) {
      const seconds = await upFor(store, domain, now);
      if (seconds === undefined) {
        context.err(`libxl: error: Domain ${domain.domid}:Can't get start time of domain`);
        continue;
      }
      const name = domain.name ?? '(null)';
      if (json) list.push({ domid: domain.domid, name: domain.name, uptime_s: seconds });
      else if (short) context.out(` ${clock(now)} up ${duration(seconds, false)}, ${name} (${domain.domid})`);
      else context.out(`${left(name, 33)} ${right(domain.domid, 4)} ${duration(seconds, true)}`);
    }
  });
  return json ? printJson(context, list) : 0;
};

async function asked(client: ToolstackClient, names: readonly string[]): Promise<DomainInfo[]> {
  if (names.length === 0) return client.call('list', { domid: null });
  const found: DomainInfo[] = [];
  for (const name of names) {
    try {
      found.push(...(await client.call('list', { domid: await findDomain(client, name) })));
    } catch (error) {
      if (!(error instanceof XenError) || error.code !== 'ESRCH') throw error;
      throw new CommandFailure(`Error: Domain '${name}' does not exist.`);
    }
  }
  return found;
}

/** Whole seconds; undefined for a domain nobody noted the start of. Domain 0 has been up as long as the machine. */
export async function upFor(
  store: XenstoreClient,
  { domid, uuid }: DomainInfo,
  now: number,
): Promise<number | undefined> {
  if (domid === 0) return Math.floor(Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]));
  const start = await readKey(store, `/vm/${uuid}/start_time`);
  return start === undefined ? undefined : Math.max(0, Math.floor(now / 1000 - Number(start)));
}

const two = (value: number): string => String(value).padStart(2, '0');

/** ` 1:52:37`, `2 days,  3:04:05`; without seconds as uptime(1) has it. */
function duration(seconds: number, exact: boolean): string {
  const days = Math.floor(seconds / 86_400);
  const hours = right(Math.floor(seconds / 3600) % 24, 2);
  const time = `${hours}:${two(Math.floor(seconds / 60) % 60)}${exact ? `:${two(seconds % 60)}` : ''}`;
  if (days === 0) return time;
  return `${days} day${days > 1 ? 's' : ''}, ${time}`;
}

function clock(now: number): string {
  const date = new Date(now);
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(':');
}

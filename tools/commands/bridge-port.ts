// xl bridge-port: ports of a bridge that end in a descriptor of the host.

import { resolve } from 'node:path';
import { type BridgeInfo, resolveBridgePort, XenError } from '#pvbus';
import { left, right } from '../columns.ts';
import { CommandFailure, type RunCommand } from './command.ts';
import { printJson } from './json-output.ts';
import { commandLine } from './options.ts';

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, '', [], 1);
  if (typeof line === 'number') return line;
  const [verb, ...others] = line.args as [string, ...string[]];
  const rest = commandLine(others, context, '', [], 0);
  if (typeof rest === 'number') return rest;
  const [bridge, port] = rest.args;
  const json = line.options.has('json') || rest.options.has('json');
  if (verb === 'list' && port === undefined) {
    const client = await context.connect();
    const bridges = await client.call('bridges', {});
    const wanted = bridge === undefined ? bridges : bridges.filter(({ name }) => name === bridge);
    if (bridge !== undefined && wanted.length === 0)
      throw new CommandFailure(`xl bridge-port: there is no bridge ${bridge}`);
    if (json) return printJson(context, wanted.flatMap(portsJson));
    for (const text of portTable(wanted)) context.out(text);
    return 0;
  }
  if ((verb !== 'add' && verb !== 'remove') || bridge === undefined || port === undefined) return context.usage(2);
  const spec = specOf(port, context.io.cwd);
  const client = await context.connect();
  await client.call(verb === 'add' ? 'addBridgePort' : 'removeBridgePort', { bridge, port: spec });
  return 0;
};

function specOf(port: string, cwd: string): string {
  try {
    return resolveBridgePort(port, path => resolve(cwd, path));
  } catch (error) {
    if (error instanceof XenError) throw new CommandFailure(`xl ${error.message}`, 2);
    throw error;
  }
}

const portsJson = ({ name, ports }: BridgeInfo) => ports.map(port => ({ bridge: name, ...port }));

/** Received and sent are the bridge's. */
export function portTable(bridges: readonly BridgeInfo[]): string[] {
  const row = (bridge: string, state: string, received: string, sent: string, dropped: string, port: string): string =>
    `${left(bridge, 15)} ${left(state, 5)} ${right(received, 10)} ${right(sent, 10)} ${right(dropped, 8)} ${port}`;
  const rows = bridges.flatMap(({ name, ports }) =>
    ports.map(({ port, up, reason, received, sent, dropped }) =>
      row(
        name,
        up ? 'up' : 'down',
        ...([received, sent, dropped].map(String) as [string, string, string]),
        reason === null ? port : `${port}: ${reason}`,
      ),
    ),
  );
  return [row('Bridge', 'State', 'Received', 'Sent', 'Dropped', 'Port'), ...rows];
}

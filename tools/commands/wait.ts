// xl wait: until something is so of a domain.

import { connect } from 'node:net';
import { reasonWord, XenError } from '#pvbus';
import { withStore } from '../store/connect-store.ts';
import type { ToolstackClient } from '../toolstack-client.ts';
import { type CommandContext, CommandFailure, type RunCommand } from './command.ts';
import { guestDevices, stateOf } from './guest-devices.ts';
import { commandLine } from './options.ts';

const TIMED_OUT = 3;
const POLL_MS = 50;
/** A console's text is looked through as far back as this. */
const CONSOLE_CHARS = 1 << 20;

export const run: RunCommand = async (args, context) => {
  const long = [
    { name: 'for', as: 'for', value: true },
    { name: 'timeout', as: 't', value: true },
  ];
  // The domain may stand before the options as well.
  const [first, ...others] = args;
  const domainFirst = first !== undefined && !first.startsWith('-');
  const line = commandLine(domainFirst ? [...others, first] : args, context, 't:', long, 1);
  if (typeof line === 'number') return line;
  if (line.args.length > 1) return context.usage(2);
  const wanted = wantedOf(line.value('for') ?? 'up', context);
  const seconds = line.value('t');
  if (wanted === null || (seconds !== undefined && !/^[0-9]+(\.[0-9]+)?$/.test(seconds))) {
    if (wanted !== null) context.err(`xl wait: --timeout ${seconds}: expected seconds`);
    return 2;
  }
  const over = new AbortController();
  const timer =
    seconds === undefined ? undefined : setTimeout(() => over.abort(), Math.min(Number(seconds) * 1000, 0x7fff_ffff));
  const late = new Promise<'late'>(resolve => over.signal.addEventListener('abort', () => resolve('late')));
  try {
    const client = await context.connect();
    const found = await Promise.race([wanted(client, line.args[0]!, over.signal, context), late]);
    if (found !== 'late') return 0;
    context.err(`xl wait: ${line.args[0]}: not ${line.value('for') ?? 'up'} after ${seconds} s`);
    return TIMED_OUT;
  } finally {
    clearTimeout(timer);
    over.abort();
  }
};

/** Resolves when it is so; throws CommandFailure when it cannot become so any more. */
type Wanted = (client: ToolstackClient, name: string, over: AbortSignal, context: CommandContext) => Promise<unknown>;

function wantedOf(text: string, { err }: CommandContext): Wanted | null {
  if (text === 'up') return untilUp;
  if (text === 'shutdown' || text === 'destroyed') return (client, name) => untilEnd(client, name, text);
  const [, pattern] = /^console=(.*)$/s.exec(text) ?? [];
  try {
    if (pattern !== undefined) {
      const regex = new RegExp(pattern, 'm');
      return (client, name, over) => untilSaid(client, name, regex, over);
    }
    err(`xl wait: --for ${text}: expected up, shutdown, destroyed or console=REGEX`);
  } catch (error) {
    err(`xl wait: --for ${text}: ${error instanceof Error ? error.message : error}`);
  }
  return null;
}

/** null: there is none of this name or number. */
async function domidOf(client: ToolstackClient, name: string): Promise<number | null> {
  try {
    if (!/^[0-9]{1,5}$/.test(name)) return (await client.call('domid', { name })).domid;
    const [info] = await client.call('list', { domid: Number(name) });
    return info?.domid ?? null;
  } catch (error) {
    if (error instanceof XenError && ['ENOENT', 'ESRCH'].includes(error.code)) return null;
    throw error;
  }
}

/** It is there, runs, and its devices are connected. One that is not there yet may come. */
async function untilUp(client: ToolstackClient, name: string, over: AbortSignal, context: CommandContext) {
  await withStore(context.io.env, async store => {
    for (; !over.aborted; await new Promise(resolve => setTimeout(resolve, POLL_MS))) {
      const domid = await domidOf(client, name);
      if (domid === null) continue;
      const [info] = await client.call('list', { domid }).catch(gone);
      if (info === undefined || info.paused || info.dying) continue;
      if (info.shutdown)
        throw new CommandFailure(`xl wait: ${name} has shut down: ${reasonWord(info.shutdown_reason)}`);
      const devices = [...(await guestDevices(store, domid, 'vbd')), ...(await guestDevices(store, domid, 'vif'))];
      const states = await Promise.all(devices.map(stateOf));
      if (states.every(state => state === 'connected')) return;
    }
  });
}

function gone(error: unknown): [] {
  if (error instanceof XenError && error.code === 'ESRCH') return [];
  throw error;
}

async function untilEnd(client: ToolstackClient, name: string, until: 'shutdown' | 'destroyed'): Promise<void> {
  const domid = await domidOf(client, name);
  if (domid !== null) await client.call('wait', { domid, until });
  else if (until === 'shutdown') throw new CommandFailure(`xl wait: there is no domain ${name}`);
}

/** It has said so since it is there, or says it now. */
async function untilSaid(client: ToolstackClient, name: string, regex: RegExp, over: AbortSignal): Promise<void> {
  let domid = await domidOf(client, name);
  for (; domid === null; domid = await domidOf(client, name)) {
    if (over.aborted) return;
    await new Promise(resolve => setTimeout(resolve, POLL_MS));
  }
  const { path } = await client.call('console', { domid });
  const socket = connect({ path });
  over.addEventListener('abort', () => socket.destroy());
  let text = '';
  try {
    socket.setEncoding('utf8');
    for await (const chunk of socket) {
      text = (text + String(chunk).replaceAll('\r', '')).slice(-CONSOLE_CHARS);
      if (regex.test(text)) return;
    }
  } catch (error) {
    if (over.aborted) return;
    throw new CommandFailure(`xl wait: the console of ${name}: ${error instanceof Error ? error.message : error}`);
  } finally {
    socket.destroy();
  }
  if (!over.aborted) throw new CommandFailure(`xl wait: ${name} ended without saying ${regex.source}`);
}

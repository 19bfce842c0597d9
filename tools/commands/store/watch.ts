// xl store watch

import { once } from 'node:events';
import { XenError, type XenstoreClient } from '#pvbus';
import { type Colours, colours, wantsColours } from '../../store/colours.ts';
import { withStore } from '../../store/connect-store.ts';
import { escapeText, escapeValue } from '../../store/escape.ts';
import { about } from '../../store/failure.ts';
import { jsonValue } from '../../store/json-entry.ts';
import { type WatchedEvent, WatchedEvents } from '../../store/watched-events.ts';
import { type CommandContext, CommandFailure, type RunCommand } from '../command.ts';
import { commandLine } from '../options.ts';

/** What is at an event's path by now: a value, no node, or a name that stands for no node. */
type Found = Uint8Array | 'no node' | 'special';

export const run: RunCommand = async (args, context) => {
  const line = commandLine(args, context, 'n:', [{ name: 'json', as: 'json' }], 1);
  if (typeof line === 'number') return line;
  const { stdout, env, interrupted } = context.io;
  const count = countOf(line.value('n'));
  const style = colours(wantsColours(stdout, env));
  const text = line.options.has('json') ? asJson : asText(style);
  const events = new WatchedEvents(() => new Date());
  const signal = interrupted();
  signal.addEventListener('abort', () => events.end(), { once: true });
  await withStore(env, async store => {
    await events.watch(store, line.args);
    for (let printed = 0; printed < count; printed++) {
      const event = await events.next();
      if (event === undefined) return;
      const found = await look(store, event.path);
      if (!stdout.write(text(event, found)) && !signal.aborted) await drained(stdout, signal);
    }
  });
  return 0;
};

function countOf(text: string | undefined): number {
  if (text === undefined) return Number.POSITIVE_INFINITY;
  if (!/^[1-9][0-9]{0,8}$/.test(text)) throw new CommandFailure(`xl store: -n ${text}: not a number of lines`);
  return Number(text);
}

async function look(store: XenstoreClient, path: string): Promise<Found> {
  if (path.startsWith('@')) return 'special';
  try {
    return await store.readBytes(path);
  } catch (error) {
    if (error instanceof XenError && error.code === 'ENOENT') return 'no node';
    return about(path, Promise.reject(error));
  }
}

function asJson({ watch, path, time }: WatchedEvent, found: Found): string {
  const value = found === 'special' ? {} : found === 'no node' ? { value: null } : jsonValue(found);
  return `${JSON.stringify({ time: time.toISOString(), watch, path, ...value })}\n`;
}

const asText =
  ({ dim, leaf, value, missing }: Colours) =>
  ({ path, time }: WatchedEvent, found: Found): string => {
    const head = `${dim(clock(time))} ${leaf(escapeText(path))}`;
    if (found === 'special') return `${head}\n`;
    if (found === 'no node') return `${head} ${missing('no such node')}\n`;
    return `${head}${dim(' = "')}${value(escapeValue(found))}${dim('"')}\n`;
  };

/** 14:02:59.043, as on the wall. */
function clock(time: Date): string {
  const digits = (n: number, width = 2): string => String(n).padStart(width, '0');
  const seconds = [time.getHours(), time.getMinutes(), time.getSeconds()].map(n => digits(n)).join(':');
  return `${seconds}.${digits(time.getMilliseconds(), 3)}`;
}

/** Whoever reads the output holds us up; an interruption need not wait for him. */
async function drained(stdout: CommandContext['io']['stdout'], signal: AbortSignal): Promise<void> {
  await once(stdout, 'drain', { signal }).catch((error: Error) => {
    if (error.name !== 'AbortError') throw error;
  });
}

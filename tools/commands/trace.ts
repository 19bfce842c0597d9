// xl trace

import { closeSync, existsSync, ftruncateSync, openSync, rmSync, writeSync } from 'node:fs';
import { resolve } from 'node:path';
import {
  type ToolstackEvent,
  TRC_ALL,
  TRC_DOM0OP,
  TRC_GEN,
  TRC_GUEST,
  TRC_HVM,
  TRC_HW,
  TRC_MEM,
  TRC_PV,
  TRC_SCHED,
  TRC_SHADOW,
  TRC_XENOLITH_BRIEF,
} from '#pvbus';
import type { ToolstackClient } from '../toolstack-client.ts';
import { Merge } from '../trace/merge.ts';
import { Perfetto } from '../trace/perfetto.ts';
import { Spool } from '../trace/spool.ts';
import { XenFormat } from '../trace/xen-format.ts';
import { CommandFailure, type RunCommand } from './command.ts';
import { commandLine } from './options.ts';

/** Xen: the names of xentrace -e. */
const CLASSES = new Map([
  ['all', TRC_ALL],
  ['gen', TRC_GEN],
  ['sched', TRC_SCHED],
  ['dom0op', TRC_DOM0OP],
  ['hvm', TRC_HVM],
  ['mem', TRC_MEM],
  ['pv', TRC_PV],
  ['shadow', TRC_SHADOW],
  ['hw', TRC_HW],
  ['guest', TRC_GUEST],
]);
const FORMATS = ['perfetto', 'xen'] as const;
/** How long the last records may take to come. */
const LAST_MS = 500;
/** Longer than setTimeout can wait. */
const MAX_SECONDS = 2 ** 31 / 1000;

export const run: RunCommand = async (args, context) => {
  const long = [
    { name: 'format', as: 'F', value: true },
    { name: 'duration', as: 'd', value: true },
  ];
  const line = commandLine(args, context, 'o:e:F:d:', long, 0);
  if (typeof line === 'number') return line;
  const format = FORMATS.find(one => one === (line.value('F') ?? 'perfetto'));
  if (format === undefined) throw new CommandFailure(`there is no format '${line.value('F')}': perfetto or xen`, 2);
  const seconds = durationOf(line.value('d'));
  // Whoever asks for certain events is to have each of them.
  const events = line.value('e');
  const mask = events === undefined ? TRC_ALL | TRC_XENOLITH_BRIEF : maskOf(events);
  const file = line.value('o') ?? (format === 'xen' ? 'trace.bin' : 'trace.json');
  const interrupted = context.io.interrupted();

  const client = await context.connect();
  const path = resolve(context.io.cwd, file);
  const spool = new Spool();
  const isNew = !existsSync(path);
  // order: the file is there before the trace, and emptied after it: one that cannot be written is said at once.
  const fd = openSync(path, 'a');
  try {
    const { since, took } = await record(client, mask, seconds, interrupted, spool);
    ftruncateSync(fd);
    const names = await domainNames(client);
    const merge = new Merge(since);
    const writer = format === 'xen' ? new XenFormat() : new Perfetto(since, names);
    const write = (bytes: Uint8Array): void => {
      for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done);
    };
    write(writer.begin());
    for (const event of spool.events()) write(writer.write(merge.add(event)));
    write(writer.write(merge.rest()));
    write(writer.end());
    context.err(`${merge.records} records in ${(took / 1000).toFixed(1)} s, ${merge.lost} lost: ${file}`);
    if (merge.untold > 0) context.err(`${merge.untold} more events are only counted; -e all records every one`);
    if (merge.bad > 0) context.err(`${merge.bad} more were in a domain's ring but were none`);
    if (format === 'perfetto') context.err('https://ui.perfetto.dev shows it');
    return 0;
  } catch (error) {
    if (isNew) rmSync(path, { force: true });
    throw error;
  } finally {
    spool.close();
    closeSync(fd);
  }
};

/** Trace until the time is over or ^C; ms it took. */
async function record(
  client: ToolstackClient,
  events: number,
  seconds: number | undefined,
  interrupted: AbortSignal,
  spool: Spool,
): Promise<{ since: number; took: number }> {
  const from = performance.now();
  let onEvent = (): void => {};
  const hear = (event: ToolstackEvent): void => {
    if (event.event !== 'trace') return;
    spool.add(event);
    if (event.until !== null) onEvent();
  };
  const { since } = await client.call('trace', { events }, hear);
  await new Promise<void>((done, failed) => {
    const timer = seconds === undefined ? undefined : setTimeout(done, seconds * 1000);
    interrupted.addEventListener('abort', () => done());
    if (interrupted.aborted) done();
    client.onClose(error => {
      clearTimeout(timer);
      failed(error);
    });
  });
  const took = performance.now() - from;
  // What was recorded up to now comes with the round after the next; with none, nothing is recorded any more.
  await new Promise<void>(done => {
    const timer = setTimeout(done, LAST_MS);
    let rounds = 0;
    onEvent = () => {
      if (++rounds < 2) return;
      clearTimeout(timer);
      done();
    };
  });
  return { since, took };
}

async function domainNames(client: ToolstackClient): Promise<Map<number, string>> {
  const list = await client.call('list', { domid: null });
  return new Map(list.flatMap(({ domid, name }) => (name === null ? [] : [[domid, name] as const])));
}

function durationOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const seconds = Number(text);
  if (!(seconds > 0 && seconds < MAX_SECONDS)) throw new CommandFailure(`'${text}' is no time in seconds`, 2);
  return seconds;
}
/** A number as xentrace takes it, or names of classes. */
function maskOf(text: string): number {
  if (/^(0x[0-9a-f]+|[0-9]+)$/i.test(text) && Number(text) <= 0xffffffff) return Number(text);
  let mask = 0;
  for (const name of text.split(',')) {
    const bits = CLASSES.get(name);
    if (bits === undefined)
      throw new CommandFailure(`'${name}' is no class of events: ${[...CLASSES.keys()].join(', ')}`, 2);
    mask |= bits;
  }
  return mask >>> 0;
}

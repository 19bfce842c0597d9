// xl capture

import { closeSync, openSync, writeSync } from 'node:fs';
import { resolve } from 'node:path';
import type { CaptureEvent, ToolstackArgs, ToolstackEvent } from '#pvbus';
import type { ToolstackClient } from '../toolstack-client.ts';
import { CommandFailure, type RunCommand } from './command.ts';
import { findDomain } from './find-domain.ts';
import { commandLine } from './options.ts';

/** Longer than setTimeout can wait. */
const MAX_SECONDS = 2 ** 31 / 1000;
/** Of the file's header: nothing is cut off. */
const SNAPLEN = 262_144;

export const run: RunCommand = async (args, context) => {
  const long = [
    { name: 'bridge', as: 'b' },
    { name: 'count', as: 'c', value: true },
    { name: 'seconds', as: 's', value: true },
  ];
  const line = commandLine(args, context, 'bc:s:', long, 2, 2);
  if (typeof line === 'number') return line;
  const [target, file] = line.args as [string, string];
  const limit = numberOf(line.value('c'), 'number of frames', /^[1-9][0-9]{0,14}$/) ?? null;
  const seconds = numberOf(line.value('s'), 'time in seconds', /^[0-9]+([.][0-9]+)?$/);
  const interrupted = context.io.interrupted();
  const client = await context.connect();
  const what = line.options.has('b') ? { domid: null, handle: null, bridge: target } : await vifOf(client, target);
  const fd = file === '-' ? undefined : opened(resolve(context.io.cwd, file));
  try {
    const write = async (bytes: Uint8Array): Promise<void> => {
      if (fd !== undefined) for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done);
      // What its reader does not take yet is not captured either: the toolstack drops frames then, and counts them.
      else if (!context.io.stdout.write(bytes)) await new Promise(took => context.io.stdout.once('drain', took));
    };
    await write(fileHeader());
    const { frames, dropped } = await record(client, { ...what, limit }, { seconds, interrupted, write });
    context.err(`${frames} frames, ${dropped} dropped: ${file}`);
    return 0;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
};

function opened(path: string): number {
  try {
    return openSync(path, 'w');
  } catch (error) {
    throw new CommandFailure(`xl capture: ${path}: ${(error as NodeJS.ErrnoException).code}`);
  }
}

interface Recording {
  readonly seconds: number | undefined;
  readonly interrupted: AbortSignal;
  readonly write: (bytes: Uint8Array) => Promise<void>;
}

/** Until the limit, the time or ^C. */
async function record(
  client: ToolstackClient,
  args: ToolstackArgs<'capture'>,
  { seconds, interrupted, write }: Recording,
): Promise<{ frames: number; dropped: number }> {
  let frames = 0;
  let dropped = 0;
  let written = Promise.resolve();
  let over = (): void => {};
  let isOver = false;
  const hear = (event: ToolstackEvent): void => {
    if (event.event !== 'capture') return;
    ({ frames, dropped } = { frames: frames + event.frames, dropped: dropped + event.dropped });
    written = written.then(() => write((event as CaptureEvent).records));
    if (!event.over) return;
    isOver = true;
    over();
  };
  const { capture } = await client.call('capture', args, hear);
  let timer: NodeJS.Timeout | undefined;
  await new Promise<void>((done, failed) => {
    over = done;
    if (seconds !== undefined) timer = setTimeout(done, seconds * 1000);
    interrupted.addEventListener('abort', () => done());
    if (interrupted.aborted || isOver) done();
    client.onClose(failed);
  }).finally(() => clearTimeout(timer));
  await client.call('endCapture', { capture });
  await written;
  return { frames, dropped };
}

/** `web`, or `web.1`; a domain whose name ends like that comes first. */
async function vifOf(client: ToolstackClient, target: string) {
  try {
    return { domid: await findDomain(client, target), handle: null, bridge: null };
  } catch (error) {
    const [, name, devid] = /^(.+)[.]([0-9]{1,5})$/s.exec(target) ?? [];
    if (name === undefined) throw error;
    return { domid: await findDomain(client, name), handle: Number(devid), bridge: null };
  }
}

function numberOf(text: string | undefined, what: string, pattern: RegExp): number | undefined {
  if (text === undefined) return undefined;
  const n = Number(text);
  if (!pattern.test(text) || n === 0 || (what.startsWith('time') && n >= MAX_SECONDS))
    throw new CommandFailure(`xl capture: '${text}' is no ${what}`, 2);
  return n;
}

/** pcap, version 2.4, ns, Ethernet. */
function fileHeader(): Uint8Array {
  const view = new DataView(new ArrayBuffer(24));
  view.setUint32(0, 0xa1b23c4d, true);
  view.setUint16(4, 2, true);
  view.setUint16(6, 4, true);
  view.setUint32(16, SNAPLEN, true);
  view.setUint32(20, 1, true);
  return new Uint8Array(view.buffer);
}

// What the rows are held against: the same work done as barely as Node can do it, in the same run.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { type connect, createServer } from 'node:net';
import { join } from 'node:path';
import { execa } from 'execa';
import { Arena, futexWait, futexWake } from '#pvbus';
import { inTime } from './in-time.ts';
import { pin } from './pin.ts';

const ASLEEP = 0;
const SPINNING = 1;

/** Ping-pong over two words between this process and another, through koffi. */
export class PingPong {
  private readonly arena: Arena;
  private readonly child: ChildProcess;

  private constructor(arena: Arena, child: ChildProcess) {
    this.arena = arena;
    this.child = child;
  }
  static async start(): Promise<PingPong> {
    const arena = Arena.create('bench-ping-pong', 4096);
    const peer = join(import.meta.dirname, 'yardstick-peer.ts');
    const child = spawn(process.execPath, ['--import', 'tsx', peer], {
      stdio: ['ignore', 'inherit', 'inherit', arena.fd],
    });
    while (Atomics.load(arena.words, 48) === 0) await new Promise(resolve => setTimeout(resolve, 5));
    return new PingPong(arena, child);
  }
  /** Microseconds a round trip, both ends pinned: the bench on `cpu`, the peer on `peerCpu`. `rounds` at most. */
  async roundTrip(mode: 'asleep' | 'spinning', rounds: number, cpu: number, peerCpu: number): Promise<number> {
    await Promise.all([pin(process.pid, cpu), pin(this.child.pid!, peerCpu)]);
    const { words, address } = this.arena;
    Atomics.store(words, 32, mode === 'asleep' ? ASLEEP : SPINNING);
    futexWake(address);
    let value = Atomics.load(words, 0);
    const us = inTime(rounds, () => {
      Atomics.store(words, 0, ++value);
      if (mode === 'asleep') futexWake(address);
      for (let now = Atomics.load(words, 16); now !== value; now = Atomics.load(words, 16))
        if (mode === 'asleep') futexWait(address + 64, now);
    });
    // The peer sleeps until the next time: what is measured in between may have its CPU to itself.
    Atomics.store(words, 32, ASLEEP);
    await pin(process.pid, undefined);
    return us;
  }
  async stop(): Promise<void> {
    Atomics.store(this.arena.words, 0, -1);
    futexWake(this.arena.address);
    await once(this.child, 'exit');
    this.arena.release();
  }
}

/** Reads a second of 4 KiB at random, from page cache, by a bare fs.readSync loop; `writes` of ten are writes. */
export function readSyncLoop(path: string, bytes: number, count: number, writes = 0): number {
  const fd = openSync(path, 'r+');
  const into = Buffer.alloc(4096);
  const blocks = bytes / 4096;
  const from = performance.now();
  for (let i = 0; i < count; i++) {
    const at = ((i * 7919) % blocks) * 4096;
    if (i % 10 < writes) writeSync(fd, into, 0, 4096, at);
    else readSync(fd, into, 0, 4096, at);
  }
  const perSecond = (count / (performance.now() - from)) * 1000;
  closeSync(fd);
  return perSecond;
}
/** MiB/s of 128 KiB sequential reads or writes of the file's `bytes`, `passes` times, by a bare loop. */
export function sequentialLoop(path: string, bytes: number, passes: number, write: boolean): number {
  const fd = openSync(path, 'r+');
  const buffer = Buffer.alloc(128 << 10);
  const from = performance.now();
  for (let done = 0; done < passes * bytes; done += buffer.length) {
    const at = done % bytes;
    if (write) writeSync(fd, buffer, 0, buffer.length, at);
    else readSync(fd, buffer, 0, buffer.length, at);
  }
  const perSecond = ((passes * bytes) / 2 ** 20 / (performance.now() - from)) * 1000;
  closeSync(fd);
  return perSecond;
}

/** 1500-byte messages a second over a unix socket with net.Socket, between two processes. */
export async function unixSocketMessages(path: string, count: number): Promise<number> {
  const script = `
    const s = require('node:net').connect(${JSON.stringify(path)});
    const m = Buffer.alloc(1500);
    let left = ${count};
    const go = () => { while (left > 0) { left--; if (!s.write(m)) return s.once('drain', go); } s.end(); };
    s.once('connect', go);`;
  const server = createServer();
  server.listen(path);
  await once(server, 'listening');
  const child = spawn(process.execPath, ['-e', script], { stdio: 'inherit' });
  const [socket] = (await once(server, 'connection')) as [ReturnType<typeof connect>];
  let bytes = 0;
  let from = 0;
  socket.on('data', chunk => {
    if (from === 0) from = performance.now();
    bytes += chunk.length;
  });
  await once(socket, 'end');
  const seconds = (performance.now() - from) / 1000;
  await once(child, 'exit');
  server.close();
  return bytes / 1500 / seconds;
}

/** Milliseconds that `node -e 0` takes, from spawn to exit. */
export async function nodeStart(): Promise<number> {
  const from = performance.now();
  await execa(process.execPath, ['-e', '0']);
  return performance.now() - from;
}

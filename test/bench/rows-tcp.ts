// Bytes of one TCP connection from a program in one domU to one in another, over the bridge; and what one costs.
import { writeFileSync } from 'node:fs';
import { connect, type createServer } from 'node:net';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { root } from '../support/host-rig.ts';
import { BenchDomain } from './bench-domain.ts';
import type { BenchHost } from './main.ts';
import type { Row } from './table.ts';

const RUNS = 5;
const MIB = 192;
const CHUNK = 65536;
const ROUND_TRIPS = 3000;

const SERVER = `import { console, net } from 'xenolith';
export default async () => {
  const sink = await net.listen(1), echo = await net.listen(2);
  console.log('{"ready":1}');
  (async () => {
    for await (const connection of echo) (async () => {
      for await (const part of connection) await connection.write(part);
      await connection.close();
    })();
  })();
  for await (const connection of sink) {
    let bytes = 0;
    for await (const part of connection) bytes += part.length;
    await connection.write(String(bytes));
    await connection.close();
  }
};`;
const CLIENT = `import { clock, console, net } from 'xenolith';
const chunk = Uint8Array.from({ length: ${CHUNK} }, (_, i) => i * 31);
export default async () => {
  console.log('{"ready":1}');
  for (let line = await console.readLine(); line !== null; line = await console.readLine()) {
    const [what, count] = line.trim().split(' ');
    const from = clock.now();
    const connection = await net.connect('10.99.0.2', what === 'send' ? 1 : 2);
    if (what === 'send') {
      for (let i = 0; i < Number(count) * 16; i++) await connection.write(chunk);
      await connection.end();
      let text = '';
      for await (const part of connection) text += new TextDecoder().decode(part);
      if (Number(text) !== Number(count) * 1048576) throw new Error(text);
      console.log(JSON.stringify({ value: Number(count) / ((clock.now() - from) / 1000) }));
    } else {
      const byte = new Uint8Array(1);
      for (let i = 0; i < Number(count); i++) { await connection.write(byte); await connection.read(); }
      console.log(JSON.stringify({ value: ((clock.now() - from) * 1000) / Number(count) }));
    }
    await connection.close();
  }
};`;

export async function tcpRows({ rig, folder }: BenchHost): Promise<Row[]> {
  const domain = (name: string, source: string, address: string): Promise<BenchDomain> => {
    const file = join(folder, `${name}.ts`);
    writeFileSync(file, source);
    const lines = [
      `kernel = "${root}/dist/domu-kernel.js"`,
      `ramdisk = "${file}"`,
      'vif = ["bridge=bench0"]',
      `extra = "ip=${address}:::255.255.255.0"`,
    ];
    return BenchDomain.create(rig, folder, name, lines.join('\n'));
  };
  const to = await domain('tcp-server', SERVER, '10.99.0.2');
  const from = await domain('tcp-client', CLIENT, '10.99.0.1');
  const yardstick = await LoopbackPeer.start();
  const bytes = { bare: [] as number[], ours: [] as number[] };
  const trips = { bare: [] as number[], ours: [] as number[] };
  for (let run = 0; run < RUNS; run++) {
    bytes.bare.push(await yardstick.send(MIB));
    bytes.ours.push((await from.run('send', MIB)).value!);
    trips.bare.push(await yardstick.roundTrips(ROUND_TRIPS));
    trips.ours.push((await from.run('ping', ROUND_TRIPS)).value!);
  }
  await yardstick.stop();
  for (const each of [from, to]) {
    each.close();
    await rig.xl('destroy', each.name);
  }
  return [
    { name: 'TCP, domU to domU', unit: 'MiB/s', yardstick: 'node:net, loopback', ...bytes, goal: { atLeast: 0.2 } },
    { name: 'TCP round trip of a byte', unit: 'µs', yardstick: 'node:net, loopback', ...trips, goal: { atMost: 5 } },
  ];
}

/** The same two ends in plain Node, a thread each, over Linux's loopback. */
class LoopbackPeer {
  private readonly worker: Worker;
  private readonly port: number;

  private constructor(worker: Worker, port: number) {
    this.worker = worker;
    this.port = port;
  }
  static async start(): Promise<LoopbackPeer> {
    const worker = new Worker(
      `(${peer})(require('node:net').createServer, require('node:worker_threads').parentPort)`,
      {
        eval: true,
      },
    );
    const port = await new Promise<number>(resolve => {
      worker.once('message', resolve);
    });
    return new LoopbackPeer(worker, port);
  }
  async send(mib: number): Promise<number> {
    const chunk = new Uint8Array(CHUNK);
    const began = performance.now();
    const socket = connect(this.port, '127.0.0.1');
    socket.write('s');
    for (let i = 0; i < mib * 16; i++) {
      if (!socket.write(chunk)) await new Promise(resolve => socket.once('drain', resolve));
    }
    socket.end();
    let text = '';
    for await (const part of socket) text += part;
    if (Number(text) !== mib * 1048576 + 1) throw new Error(`${text} bytes arrived`);
    return mib / ((performance.now() - began) / 1000);
  }
  async roundTrips(count: number): Promise<number> {
    const socket = connect(this.port, '127.0.0.1');
    socket.setNoDelay(true);
    const parts = socket[Symbol.asyncIterator]();
    socket.write('e');
    const began = performance.now();
    for (let i = 0; i < count; i++) {
      socket.write('x');
      await parts.next();
    }
    const each = ((performance.now() - began) * 1000) / count;
    socket.destroy();
    return each;
  }
  async stop(): Promise<void> {
    await this.worker.terminate();
  }
}

function peer(listen: typeof createServer, parent: { postMessage(value: unknown): void }): void {
  const server = listen({ allowHalfOpen: true }, socket => {
    let bytes = 0;
    let echoes = false;
    socket.setNoDelay(true);
    socket.on('error', () => {});
    socket.on('data', data => {
      if (bytes === 0) echoes = data[0] === 101;
      const first = bytes === 0 ? 1 : 0;
      bytes += data.length;
      if (echoes && data.length > first) socket.write(data.subarray(first));
    });
    socket.on('end', () => socket.end(String(bytes)));
  });
  server.listen(0, '127.0.0.1', () => parent.postMessage((server.address() as { port: number }).port));
}

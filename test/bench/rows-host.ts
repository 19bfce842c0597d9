// A domU and the host: TCP over a TAP of a bridge, and HTTP requests by pvcalls and by the vif. Beside Linux's loopback, with
// the same program at the other end.
import { type ChildProcess, execFile, execFileSync, spawn, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { root } from '../support/host-rig.ts';
import { whyNoTap } from '../support/tap.ts';
import { BenchDomain } from './bench-domain.ts';
import type { BenchHost } from './main.ts';
import type { Row } from './table.ts';

const RUNS = 5;
const MIB = 96;
const REQUESTS = 3000;
const LINUX = '10.96.0.1';
const GUEST = '10.96.0.2';
/** Of the loopback's sink and HTTP server, and of pvcalls. */
const PORTS = { sink: 47_801, http: 47_802, pvcalls: 47_803 };
const PEER = fileURLToPath(new URL('host-peer.ts', import.meta.url));

const PROGRAM = `import { clock, console, http, net } from 'xenolith';
const chunk = new Uint8Array(65536);
export default async () => {
  await http.serve(80, () => ({ body: 'ok' }));
  await http.serve(80, () => ({ body: 'ok' }), { on: 'net' });
  const sink = await net.listen(1);
  (async () => {
    for await (const connection of sink) {
      let bytes = 0;
      for await (const part of connection) bytes += part.length;
      await connection.write(String(bytes));
      await connection.close();
    }
  })();
  console.log('{"ready":1}');
  for (let line = await console.readLine(); line !== null; line = await console.readLine()) {
    const mib = Number(line.trim().split(' ')[1]);
    const from = clock.now();
    const connection = await net.connect('${LINUX}', ${PORTS.sink});
    for (let i = 0; i < mib * 16; i++) await connection.write(chunk);
    await connection.end();
    let text = '';
    for await (const part of connection) text += new TextDecoder().decode(part);
    if (Number(text) !== mib * 1048576) throw new Error(text);
    console.log(JSON.stringify({ value: mib / ((clock.now() - from) / 1000) }));
    await connection.close();
  }
};`;

export async function hostRows({ rig, folder }: BenchHost): Promise<Row[] | string> {
  const why = whyNoTap();
  if (why !== undefined) return `host: ${why}`;
  const namespace = `xl-bench-${process.pid}`;
  const tap = `xb${process.pid}`;
  const inside = (...args: string[]): [string, string[]] => ['ip', ['netns', 'exec', namespace, ...args]];
  const node = (...args: string[]): string[] => [
    process.execPath,
    '--import',
    import.meta.resolve('tsx'),
    PEER,
    ...args,
  ];
  const figureOf = async (command: string, args: readonly string[]): Promise<number> =>
    Number((await promisify(execFile)(command, args)).stdout);
  const outside = ([command, ...args]: string[]): Promise<number> => figureOf(command!, args);
  const servers: ChildProcess[] = [];
  const serve = async (command: string, args: readonly string[]): Promise<void> => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    servers.push(child);
    await new Promise(resolve => child.stdout.once('data', resolve));
  };
  const file = join(folder, 'host-peer-guest.ts');
  writeFileSync(file, PROGRAM);
  const lines = [
    `kernel = "${root}/dist/domu-kernel.js"`,
    `ramdisk = "${file}"`,
    'vif = ["bridge=bench1"]',
    `pvcalls = ["listen=${PORTS.pvcalls}:80"]`,
    `extra = "ip=${GUEST}:::255.255.255.0"`,
  ];
  const guest = await BenchDomain.create(rig, folder, 'host-peer', lines.join('\n'));
  const added = await rig.xl('bridge-port', 'add', 'bench1', `tap:${tap}`);
  if (added.exitCode !== 0) throw new Error(added.stderr);
  const ip = (...args: string[]): unknown => execFileSync('ip', args, { stdio: 'pipe' });
  const rows = Object.fromEntries(
    ['sent', 'taken', 'byVif', 'byPvcalls'].map(name => [name, { bare: [] as number[], ours: [] as number[] }]),
  ) as Record<'sent' | 'taken' | 'byVif' | 'byPvcalls', { bare: number[]; ours: number[] }>;
  try {
    ip('netns', 'add', namespace);
    ip('link', 'set', tap, 'netns', namespace);
    ip('-n', namespace, 'addr', 'add', `${LINUX}/24`, 'dev', tap);
    ip('-n', namespace, 'link', 'set', tap, 'up');
    await serve(...inside(...node('sink', LINUX, String(PORTS.sink))));
    for (const what of ['sink', 'http'] as const) {
      const [command, ...args] = node(what, '127.0.0.1', String(PORTS[what]));
      await serve(command!, args);
    }
    for (let run = 0; run < RUNS; run++) {
      const stream = await outside(node('send', '127.0.0.1', String(PORTS.sink), String(MIB)));
      rows.sent.bare.push(stream);
      rows.sent.ours.push((await guest.run('send', MIB)).value!);
      rows.taken.bare.push(stream);
      rows.taken.ours.push(await figureOf(...inside(...node('send', GUEST, '1', String(MIB)))));
      const requests = await outside(node('load', '127.0.0.1', String(PORTS.http), String(REQUESTS)));
      rows.byVif.bare.push(requests);
      rows.byVif.ours.push(await figureOf(...inside(...node('load', GUEST, '80', String(REQUESTS)))));
      rows.byPvcalls.bare.push(requests);
      rows.byPvcalls.ours.push(await outside(node('load', '127.0.0.1', String(PORTS.pvcalls), String(REQUESTS))));
    }
  } finally {
    for (const server of servers) server.kill('SIGKILL');
    guest.close();
    await rig.xl('destroy', guest.name);
    await rig.xl('bridge-port', 'remove', 'bench1', `tap:${tap}`);
    spawnSync('ip', ['netns', 'delete', namespace]);
  }
  const stream = { unit: 'MiB/s', yardstick: 'node:net, loopback', goal: { atLeast: 0.1 } };
  const requests = { unit: '/s', yardstick: 'node:http, loopback', goal: { atLeast: 0.2 } };
  return [
    { name: 'TCP, domU to Linux over a TAP', ...stream, ...rows.sent },
    { name: 'TCP, Linux to domU over a TAP', ...stream, ...rows.taken },
    { name: 'HTTP requests, host to domU by vif', ...requests, ...rows.byVif },
    { name: 'HTTP requests, host to domU by pvcalls', ...requests, ...rows.byPvcalls },
  ];
}

// A vbd over NBD: the same server on the same file, asked by a guest and by QEMU's own client; and fio's usual mix, beside the
// same on the host's file.
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { eventually } from '../support/processes.ts';
import { BenchDomain } from './bench-domain.ts';
import type { BenchHost } from './main.ts';
import type { Row } from './table.ts';
import { readSyncLoop, sequentialLoop } from './yardsticks.ts';

const RUNS = 5;
const MIB = 64;
const READS = 20_000;
const PASSES = 4;
const WRITES_OF_TEN = 3;
const CHUNK = 128 << 10;

export async function nbdRows({ rig, folder }: BenchHost): Promise<Row[] | string> {
  if (!existsSync('/usr/bin/qemu-nbd') || !existsSync('/usr/bin/qemu-img')) return 'nbd: qemu-utils is not installed';
  const image = join(folder, 'nbd.img');
  const socket = join(folder, 'nbd.sock');
  writeFileSync(image, '');
  truncateSync(image, MIB << 20);
  sequentialLoop(image, MIB << 20, 1, true);
  const args = ['--socket', socket, '--persistent', '--shared', '4', '--format', 'raw', image];
  const server = spawn('qemu-nbd', args, { stdio: 'ignore' });
  try {
    await eventually('qemu-nbd listens', () => existsSync(socket));
    const config = `kernel = "${folder}/devices.js"\ndisk = ["vdev=xvda,access=w,target=nbd:unix:${socket}"]`;
    const domain = await BenchDomain.create(rig, folder, 'nbd', config);
    const deep = { bare: [] as number[], ours: [] as number[] };
    const mixed = { bare: [] as number[], ours: [] as number[] };
    const read = { bare: [] as number[], ours: [] as number[] };
    const write = { bare: [] as number[], ours: [] as number[] };
    await domain.run('read', 32, READS, MIB);
    for (let run = 0; run < RUNS; run++) {
      deep.bare.push(READS / qemuBench(socket, READS, 4096, 32, false));
      deep.ours.push((await domain.run('read', 32, READS, MIB)).perSecond!);
      mixed.bare.push(readSyncLoop(image, MIB << 20, READS, WRITES_OF_TEN));
      mixed.ours.push((await domain.run('read', 32, READS, MIB, WRITES_OF_TEN)).perSecond!);
      const count = (PASSES * MIB * (1 << 20)) / CHUNK;
      read.bare.push((PASSES * MIB) / qemuBench(socket, count, CHUNK, 2, false));
      read.ours.push((await domain.run('sequential', 0, MIB, PASSES)).mibPerSecond!);
      write.bare.push((PASSES * MIB) / qemuBench(socket, count, CHUNK, 2, true));
      write.ours.push((await domain.run('sequential', 1, MIB, PASSES)).mibPerSecond!);
    }
    domain.close();
    await rig.xl('destroy', domain.name);
    return [
      { name: 'nbd 4 KiB read, depth 32', unit: '/s', yardstick: 'qemu-img bench', ...deep, goal: { atLeast: 0.5 } },
      {
        name: 'nbd 4 KiB, 3 of 10 writes, depth 32',
        unit: '/s',
        yardstick: 'the same loop on the file',
        ...mixed,
        goal: { atLeast: 0.05 },
      },
      { name: 'nbd 128 KiB read', unit: 'MiB/s', yardstick: 'qemu-img bench', ...read, goal: { atLeast: 0.5 } },
      { name: 'nbd 128 KiB write', unit: 'MiB/s', yardstick: 'qemu-img bench', ...write, goal: { atLeast: 0.35 } },
    ];
  } finally {
    server.kill('SIGKILL');
  }
}

/** Seconds that `count` requests took QEMU's own client, over the whole image again and again. */
function qemuBench(socket: string, count: number, size: number, depth: number, write: boolean): number {
  const options = ['-f', 'raw', '-c', String(count), '-s', String(size), '-d', String(depth), ...(write ? ['-w'] : [])];
  const said = execFileSync('qemu-img', ['bench', ...options, `nbd+unix:///?socket=${socket}`], { encoding: 'utf8' });
  const seconds = /Run completed in ([0-9.]+) seconds/.exec(said)?.[1];
  if (seconds === undefined) throw new Error(`qemu-img bench said ${said}`);
  return Number(seconds);
}

// A vbd on a raw file in page cache.

import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { BenchDomain } from './bench-domain.ts';
import type { BenchHost } from './main.ts';
import type { Row } from './table.ts';
import { readSyncLoop, sequentialLoop } from './yardsticks.ts';

const RUNS = 7;
const MIB = 64;
const READS = 300_000;
/** Of the mixed row, as fio's jobs often have it. */
const WRITES_OF_TEN = 3;
/** The image is gone through so often for one value. */
const PASSES = 16;

export async function diskRows({ rig, folder, pingPong }: BenchHost): Promise<Row[]> {
  const image = join(folder, 'bench.img');
  writeFileSync(image, '');
  truncateSync(image, MIB << 20);
  sequentialLoop(image, MIB << 20, 1, true);
  const config = `kernel = "${folder}/devices.js"\ndisk = ["${image},raw,xvda,w"]`;
  const domain = await BenchDomain.create(rig, folder, 'disk', config);

  const deep = { bare: [] as number[], ours: [] as number[] };
  const mixed = { bare: [] as number[], ours: [] as number[] };
  const single = { bare: [] as number[], ours: [] as number[] };
  const read = { bare: [] as number[], ours: [] as number[] };
  const write = { bare: [] as number[], ours: [] as number[] };
  await domain.run('read', 32, READS, MIB);
  for (let run = 0; run < RUNS; run++) {
    const bare = readSyncLoop(image, MIB << 20, READS);
    deep.bare.push(bare);
    deep.ours.push((await domain.run('read', 32, READS, MIB)).perSecond!);
    mixed.bare.push(readSyncLoop(image, MIB << 20, READS / 3, WRITES_OF_TEN));
    mixed.ours.push((await domain.run('read', 32, READS / 3, MIB, WRITES_OF_TEN)).perSecond!);
    // What one read may cost: a bare futex round trip and three bare reads.
    const futex = await pingPong.roundTrip('asleep', 5000, 0, 1);
    single.bare.push(futex + 3e6 / bare);
    single.ours.push(1e6 / (await domain.run('read', 1, READS / 10, MIB)).perSecond!);
    read.bare.push(sequentialLoop(image, MIB << 20, PASSES, false));
    read.ours.push((await domain.run('sequential', 0, MIB, PASSES)).mibPerSecond!);
    write.bare.push(sequentialLoop(image, MIB << 20, PASSES, true));
    write.ours.push((await domain.run('sequential', 1, MIB, PASSES)).mibPerSecond!);
  }
  domain.close();
  await rig.xl('destroy', domain.name);
  return [
    { name: 'vbd 4 KiB read, depth 32', unit: '/s', yardstick: 'readSync loop', ...deep, goal: { atLeast: 0.8 } },
    {
      name: 'vbd 4 KiB, 3 of 10 writes, depth 32',
      unit: '/s',
      yardstick: 'the same loop',
      ...mixed,
      goal: { atLeast: 0.6 },
    },
    { name: 'vbd 4 KiB read, depth 1', unit: 'µs', yardstick: 'futex + 3 reads', ...single, goal: { atMost: 1 } },
    { name: 'vbd 128 KiB read', unit: 'MiB/s', yardstick: 'readSync loop', ...read, goal: { atLeast: 0.7 } },
    { name: 'vbd 128 KiB write', unit: 'MiB/s', yardstick: 'writeSync loop', ...write, goal: { atLeast: 0.7 } },
  ];
}

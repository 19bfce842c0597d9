// Files of a FAT volume on a vbd whose image is in page cache, beside the same calls of Node on the host: in a tmpfs where
// nothing is promised, and in the file system that the image is in where an fsync has to mean it.
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdtempSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { formattedDisk } from '../support/fatfs.ts';
import { dist } from '../support/host-rig.ts';
import { BenchDomain } from './bench-domain.ts';
import { type Files, JOBS } from './file-jobs.ts';
import type { BenchHost } from './main.ts';
import type { Row } from './table.ts';

const RUNS = 5;
const FILES = 500;
const SYNCED = 100;
const MIX = 5000;
const MIB = 64;
const TMPFS = '/dev/shm';

export async function fileRows({ rig, folder }: BenchHost): Promise<Row[]> {
  const image = join(folder, 'files.img');
  writeFileSync(image, formattedDisk(MIB << 20).bytes);
  const program = fileURLToPath(new URL('file-guest.ts', import.meta.url));
  const config = [
    `kernel = "${dist('domu-kernel.js')}"`,
    `ramdisk = "${program}"`,
    'cmdline = "root=/dev/xvda"',
    `disk = ["${image},raw,xvda,w"]`,
  ];
  const domain = await BenchDomain.create(rig, folder, 'files', config.join('\n'));
  const memory = mkdtempSync(join(existsSync(TMPFS) ? TMPFS : folder, 'xenolith-bench-'));
  const disk = mkdtempSync(join(folder, 'files-'));
  const found = new Map<string, { bare: number[]; ours: number[] }>();
  const plan = [
    ...['create', 'stat', 'rename', 'remove'].map(job => ({ job, count: FILES, host: memory })),
    { job: 'synced', count: SYNCED, host: disk },
    { job: 'mix', count: MIX, host: disk },
  ];
  try {
    await domain.run('fill', 1);
    JOBS.fill?.(hostFiles(disk), 1);
    for (let run = -1; run < RUNS; run++) {
      for (const { job, count, host } of plan) {
        const from = performance.now();
        JOBS[job]?.(hostFiles(host), count);
        const bare = (count * 1000) / (performance.now() - from);
        const ours = (await domain.run(job, count)).perSecond;
        if (ours === undefined) throw new Error(`${job}: no answer`);
        if (run < 0) continue;
        const values = found.get(job) ?? { bare: [], ours: [] };
        found.set(job, values);
        values.bare.push(bare);
        values.ours.push(ours);
      }
    }
  } finally {
    domain.close();
    await rig.xl('destroy', domain.name);
    for (const path of [memory, disk]) rmSync(path, { recursive: true, force: true });
  }
  const row = (job: string, name: string, yardstick: string, atLeast: number): Row => ({
    ...{ name, unit: '/s', yardstick, goal: { atLeast } },
    ...(found.get(job) ?? { bare: [], ours: [] }),
  });
  return [
    row('create', 'files on FAT: create', 'the host in a tmpfs', 0.1),
    row('stat', 'files on FAT: stat', 'the host in a tmpfs', 0.5),
    row('rename', 'files on FAT: rename', 'the host in a tmpfs', 0.01),
    row('remove', 'files on FAT: remove', 'the host in a tmpfs', 0.05),
    row('synced', 'files on FAT: 4 KiB, fsync, remove', "the host, the image's file system", 0.3),
    row('mix', 'files on FAT: 4 KiB, 70 % reads, fsync', "the host, the image's file system", 0.2),
  ];
}

function hostFiles(folder: string): Files {
  const at = (name: string): string => join(folder, name);
  return {
    write(name, bytes, sync) {
      const fd = openSync(at(name), 'w');
      writeSync(fd, bytes);
      if (sync) fsyncSync(fd);
      closeSync(fd);
    },
    stat: name => statSync(at(name)),
    rename: (from, to) => renameSync(at(from), at(to)),
    remove: name => unlinkSync(at(name)),
    open(name) {
      const fd = openSync(at(name), 'r+');
      return {
        read: (into, position) => readSync(fd, into, 0, into.length, position),
        write: (from, position) => writeSync(fd, from, 0, from.length, position),
        sync: () => fsyncSync(fd),
        close: () => closeSync(fd),
      };
    },
  };
}

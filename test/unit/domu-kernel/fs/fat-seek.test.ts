// Long files that are read and written anywhere: FatFs is taken to a cluster nearby, and it must be the right one.
import { expect, it } from 'vitest';
import { FatCore } from '../../../../domu-kernel/fs/fat-core.ts';
import { FA_CREATE_NEW, FA_READ, FA_WRITE, FatHandle } from '../../../../domu-kernel/fs/fat-handle.ts';
import type { Vnode } from '../../../../domu-kernel/fs/file-system.ts';
import { emptyFat, fatFsModule, mounted, mountOptions } from '../../../support/fatfs.ts';
import { seededRandom } from '../../../support/random.ts';

const CLUSTER = 512;
const MOST = 600 * CLUSTER;

class Twin {
  readonly file: Vnode;
  private readonly bytes = new Uint8Array(MOST);
  size = 0;
  constructor(file: Vnode) {
    this.file = file;
  }
  write(position: number, data: Uint8Array): void {
    expect(this.file.write(position, data)).toBe(data.length);
    this.bytes.set(data, position);
    this.size = Math.max(this.size, position + data.length);
  }
  truncate(size: number): void {
    this.file.truncate(size);
    this.bytes.fill(0, Math.min(size, this.size));
    this.size = size;
  }
  check(position: number, length: number, file = this.file): void {
    const into = new Uint8Array(length);
    const got = file.read(position, into);
    expect(got).toBe(Math.max(0, Math.min(length, this.size - position)));
    expect(Buffer.compare(into.subarray(0, got), this.bytes.subarray(position, position + got))).toBe(0);
  }
}

it.each([12, 16, 32] as const)('two files of FAT%i in pieces hold what was written, wherever it was', bits => {
  const { random } = seededRandom();
  const below = (n: number): number => Math.floor(random() * n);
  const disk = emptyFat(bits);
  const volume = mounted(disk);
  const twins = ['one', 'two'].map(name => new Twin(volume.root.create(name, 'file')));
  // In turns: neither has two clusters that lie side by side.
  for (let n = 0; n < 400; n++) for (const twin of twins) twin.write(twin.size, new Uint8Array(CLUSTER).fill(n + 1));
  for (let n = 0; n < 2000; n++) {
    const twin = twins[below(2)]!;
    const act = random();
    if (act < 0.5) twin.check(below(twin.size + 1), below(3 * CLUSTER));
    else if (act < 0.93) {
      const position = below(Math.min(twin.size + CLUSTER, MOST - 2 * CLUSTER));
      twin.write(position, new Uint8Array(below(2 * CLUSTER)).fill(n));
    } else if (act < 0.97) twin.truncate(below(MOST));
    else twin.file.sync(false);
  }
  for (const twin of twins) {
    twin.check(0, MOST);
    twin.file.release();
  }
  volume.close();
  const again = mounted(disk);
  for (const [i, name] of ['one', 'two'].entries()) twins[i]!.check(0, MOST, again.root.lookup(name)!);
});

it('finds the end of a long file without following all of it each time', () => {
  const disk = emptyFat(16);
  const core = new FatCore(fatFsModule, disk, mountOptions.wallMs);
  core.mount();
  const [file, other] = ['long', 'other'].map(name => {
    const handle = FatHandle.open(core, 'open', name, FA_READ | FA_WRITE | FA_CREATE_NEW);
    if (typeof handle === 'number') throw new Error(`FRESULT ${handle}`);
    return handle;
  });
  if (!file || !other) throw new Error('not opened');
  const page = new Uint8Array(CLUSTER);
  for (let n = 0; n < 3000; n++) for (const each of [file, other]) each.write('write', n * CLUSTER, page);
  const readsOf = (position: number): number => {
    const before = disk.reads;
    file.read('read', position, page);
    return disk.reads - before;
  };
  readsOf(2999 * CLUSTER);
  readsOf(0);
  // 6000 clusters are in 24 sectors of the table.
  expect(readsOf(2999 * CLUSTER)).toBeLessThanOrEqual(3);
});

import { describe, expect, it } from 'vitest';
import { Gather } from '../../../../domu-kernel/drivers/blkfront/gather.ts';
import { PageCache } from '../../../../domu-kernel/fs/page-cache.ts';
import type { SectorDevice } from '../../../../domu-kernel/fs/sector-device.ts';
import { MemoryDisk } from '../../../support/memory-disk.ts';
import { seededRandom } from '../../../support/random.ts';

const sector = (value: number, count = 1): Uint8Array => new Uint8Array(512 * count).fill(value);

/** What reaches the disk, in its order. */
function watched(disk: MemoryDisk): { device: SectorDevice; told: string[] } {
  const told: string[] = [];
  const device: SectorDevice = {
    name: disk.name,
    sectorSize: 512,
    sectors: disk.sectors,
    readOnly: false,
    read: (at, into) => {
      told.push(`read ${at}+${into.length / 512}`);
      disk.read(at, into);
    },
    write: (at, from) => {
      told.push(`write ${at}+${from.length / 512}`);
      disk.write(at, from);
    },
    writeAll: pieces => {
      for (const gather = new Gather(pieces); !gather.isEmpty; ) {
        const { sector, length } = gather;
        const bytes = new Uint8Array(length);
        gather.take(bytes, length);
        device.write(sector, bytes);
      }
    },
    flush: () => {
      told.push('flush');
      disk.flush();
    },
  };
  return { device, told };
}

describe('a page cache', () => {
  it('reads ahead of who goes on reading, more each time, and not of who does not', () => {
    const { device, told } = watched(new MemoryDisk(4 << 20));
    const cache = new PageCache(device);
    for (let at = 0; at < 512; at += 8) cache.read(at, sector(0, 8));
    expect(told).toEqual(['read 0+8', 'read 8+72', 'read 80+136', 'read 216+264', 'read 480+264']);
    told.length = 0;
    for (const at of [4000, 2000, 6000]) cache.read(at, sector(0));
    expect(told).toEqual(['read 4000+8', 'read 2000+8', 'read 6000+8']);
    told.length = 0;
    cache.read(8190, sector(0, 2));
    cache.read(100, sector(0, 8));
    expect(told).toEqual(['read 8184+8']);
  });

  it('writes neighbours at once, and tables before directories', () => {
    const { device, told } = watched(new MemoryDisk(1 << 20));
    const cache = new PageCache(device);
    cache.write(300, sector(1), 'directory');
    cache.write(10, sector(2), 'table');
    for (const at of [103, 100, 102, 101]) cache.write(at, sector(3));
    cache.write(101, sector(4));
    expect(told).toEqual([]);
    cache.flush();
    expect(told).toEqual(['write 100+4', 'write 10+1', 'flush', 'write 300+1', 'flush']);
    told.length = 0;
    cache.flush();
    expect(told).toEqual(['flush']);
  });

  it('writes a cleared directory cluster before the FAT leads to it', () => {
    const { device, told } = watched(new MemoryDisk(1 << 20));
    const cache = new PageCache(device);
    cache.write(10, sector(2), 'table');
    cache.write(200, sector(0, 4), 'fresh');
    cache.write(200, sector(5), 'directory');
    cache.flush();
    expect(told).toEqual(['write 200+4', 'flush', 'write 10+1', 'flush']);
  });

  it('keeps the order of names where that is asked for', () => {
    const { device, told } = watched(new MemoryDisk(1 << 20));
    const cache = new PageCache(device);
    cache.inOrder(() => {
      cache.write(300, sector(1), 'directory');
      cache.write(300, sector(2), 'directory');
      cache.write(301, sector(3), 'directory');
    });
    expect(told).toEqual(['write 300+1', 'flush', 'write 301+1', 'flush']);
    told.length = 0;
    cache.inOrder(() => cache.write(301, sector(4), 'directory'));
    cache.flush(true);
    expect(told).toEqual(['flush']);
    cache.flush();
    expect(told.slice(1)).toEqual(['write 301+1', 'flush']);
  });

  it('has a bound on what waits, which what files hold goes over first', () => {
    const { device, told } = watched(new MemoryDisk(8 << 20));
    const cache = new PageCache(device, 1 << 20);
    cache.write(9, sector(1), 'table');
    for (let at = 1000; at < 1000 + 63 * 8; at += 8) cache.write(at, sector(1, 8));
    expect(told).toEqual([]);
    cache.write(5000, sector(1));
    expect(told).toEqual(['write 1000+504', 'write 5000+1']);
    cache.flush();
    expect(told.slice(2)).toEqual(['write 9+1', 'flush']);
  });

  it('tries again what the disk did not take', () => {
    const disk = new MemoryDisk(1 << 20);
    const cache = new PageCache(disk);
    cache.write(5, sector(7));
    disk.fault = () => {
      throw new Error('no');
    };
    expect(() => cache.flush()).toThrow('no');
    expect(cache.isDirty).toBe(true);
    disk.fault = undefined;
    cache.flush();
    expect(disk.medium[5 * 512]).toBe(7);
    expect(cache.isDirty).toBe(false);
  });

  it('is the disk, whatever is read and written', () => {
    const { seed, random } = seededRandom();
    const pick = (n: number): number => Math.floor(random() * n);
    const disk = new MemoryDisk(3 << 20);
    const cache = new PageCache(disk, 1 << 18);
    const model = new Uint8Array(3 << 20);
    const kinds = ['data', 'data', 'fresh', 'table', 'directory'] as const;
    for (let i = 0; i < 3000; i++) {
      const count = 1 + pick(40);
      const at = pick(disk.sectors - count);
      if (random() < 0.5) {
        const bytes = sector(pick(256), count);
        cache.write(at, bytes, kinds[pick(5)]);
        model.set(bytes, at * 512);
      } else {
        const into = sector(0, count);
        cache.read(at, into);
        if (Buffer.compare(into, model.subarray(at * 512, (at + count) * 512)) !== 0)
          throw new Error(`seed ${seed}, ${i}`);
      }
      if (random() < 0.01) cache.flush();
    }
    cache.flush();
    expect(Buffer.compare(disk.medium, model)).toBe(0);
  });

  it('reads what is there, also when a read failed before, and when all that it has is waiting for a disk that fails', () => {
    const disk = new MemoryDisk(4 << 20);
    for (let at = 0; at < disk.sectors; at++) disk.bytes.fill(1 + (at % 251), at * 512, (at + 1) * 512);
    const cache = new PageCache(disk, 1 << 18);
    const expectRead = (at: number, count: number): void => {
      const into = sector(0, count);
      cache.read(at, into);
      expect(Buffer.compare(into, disk.bytes.subarray(at * 512, (at + count) * 512)), `${count} at ${at}`).toBe(0);
    };
    for (let at = 0; at < 2000; at += 16) expectRead(at, 1);
    disk.fault = () => {
      throw new Error('no');
    };
    for (const count of [1, 40]) expect(() => cache.read(3000, sector(0, count))).toThrow('no');
    let failed = 0;
    for (let at = 4000; at < 5000; at += 8) {
      try {
        cache.write(at, sector(0), 'table');
      } catch {
        failed++;
      }
    }
    expect(failed).toBeGreaterThan(64);
    disk.fault = undefined;
    for (const [at, count] of [
      [3000, 1],
      [3008, 40],
      [100, 200],
    ] as const)
      expectRead(at, count);
    cache.flush();
    const into = sector(0, 1000);
    cache.read(4000, into);
    expect(into.filter((_, i) => i % 4096 === 0)).toEqual(new Uint8Array(125));
    expect(into[512]).toBe(1 + (4001 % 251));
  });
});

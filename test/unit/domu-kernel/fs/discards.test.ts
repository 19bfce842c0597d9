import { describe, expect, it } from 'vitest';
import { Discards, type SpaceUnits } from '../../../../domu-kernel/fs/discards.ts';
import { FatVolume } from '../../../../domu-kernel/fs/fat-volume.ts';
import type { Volume } from '../../../../domu-kernel/fs/volume.ts';
import { XenError } from '../../../../pvbus/errors.ts';
import { emptyExt4, LAYOUTS, type Layout, mountedExt4, whyNoExt4 } from '../../../support/ext4.ts';
import { emptyFat, filesOn, mounted, mountOptions } from '../../../support/fatfs.ts';
import { MemoryDisk } from '../../../support/memory-disk.ts';

const UNITS = 1024;

/** Units of 1 KiB from sector 6 on, of which these are in use. */
function space(used: ReadonlySet<number>): SpaceUnits {
  return { origin: 6, sectors: 2, first: 0, end: UNITS, look: () => unit => !used.has(unit) };
}
/** What is told to the disk, in sectors. */
function toldOf(disk: MemoryDisk): [number, number][] {
  const told: [number, number][] = [];
  const discard = disk.discard.bind(disk);
  disk.discard = (sector, count) => {
    told.push([sector, count]);
    discard(sector, count);
  };
  return told;
}

describe('what became free', () => {
  it('goes to the disk in multiples of its granularity, with what was free around it', () => {
    const disk = new MemoryDisk(4 << 20);
    const told = toldOf(disk);
    const discards = Discards.of(disk, space(new Set([100, 140])))!;
    discards.add(120, 2);
    discards.send();
    // From unit 101 on, and not beyond the 64 KiB that it is in.
    expect(told).toEqual([[208, 48]]);
    expect(discards.any).toBe(false);
  });
  it('and is used again by then is left alone', () => {
    const disk = new MemoryDisk(4 << 20);
    const told = toldOf(disk);
    const used = new Set(Array.from({ length: UNITS }, (_, unit) => unit).filter(unit => unit < 400 || unit >= 500));
    const discards = Discards.of(disk, space(used))!;
    discards.add(400, 100);
    for (let unit = 440; unit < 460; unit++) used.add(unit);
    discards.send();
    expect(told).toEqual([
      [808, 72],
      [928, 72],
    ]);
  });
  it('in many places of the same 64 KiB is one request, in many of others as many as are asked for', () => {
    const disk = new MemoryDisk(4 << 20);
    const told = toldOf(disk);
    const discards = Discards.of(disk, space(new Set()))!;
    for (let unit = 0; unit < 60; unit += 4) discards.add(unit);
    for (let unit = 200; unit < UNITS; unit += 100) discards.add(unit);
    discards.send(2);
    expect(told).toHaveLength(2);
    expect(discards.any).toBe(true);
    discards.send();
    expect(told.length).toBeGreaterThan(8);
    expect(discards.any).toBe(false);
  });
  it.each([
    ['as one piece', new Set<number>()],
    ['in many pieces', new Set(Array.from({ length: UNITS / 8 }, (_, i) => 8 * i))],
  ])('%s is said once to a disk that refuses, and costs nobody anything', (_, used) => {
    const disk = new MemoryDisk(4 << 20);
    const lines: string[] = [];
    const discards = Discards.of(disk, space(used), line => lines.push(line))!;
    disk.fault = () => {
      throw new XenError('EOPNOTSUPP', 'discard xvda: the disk says so');
    };
    for (const unit of [0, 500]) {
      discards.add(unit, 64);
      discards.send();
    }
    expect(lines).toEqual(['xvda: free space is not given back any more: discard xvda: the disk says so']);
    expect(discards.any).toBe(false);
  });
  it('is nothing to a disk that takes no discards, or is not written to', () => {
    const disk = new MemoryDisk(4 << 20);
    disk.discardGranularity = 0;
    expect(Discards.of(disk, space(new Set()))).toBeUndefined();
    const readOnly = new MemoryDisk(4 << 20);
    readOnly.readOnly = true;
    expect(Discards.of(readOnly, space(new Set()))).toBeUndefined();
  });
});

const contents = (length: number): Uint8Array => new Uint8Array(length).map((_, i) => 1 + (i % 97));

describe('a volume that was written and emptied', () => {
  it.each([12, 16, 32] as const)('of FAT%d gives back what its files had, and keeps the others', bits => {
    const disk = emptyFat(bits);
    const volume = mounted(disk);
    const files = filesOn(volume);
    files.mkdir('some');
    files.writeFile('kept', contents(100_000));
    for (let n = 0; n < 8; n++) files.writeFile(`some/number ${n}`, contents(70_001));
    files.writeFile('longer', contents(200_000));
    volume.settle();
    expect(disk.discarded).toBe(0);
    for (let n = 0; n < 8; n++) files.remove(`some/number ${n}`);
    volume.sync();
    // Nobody waits for it who waits for his own.
    expect(disk.discarded).toBe(0);
    volume.settle();
    const ofFiles = 8 * 70_000;
    expect(disk.discarded).toBeGreaterThan(ofFiles - 8 * 4096);
    files.truncate('longer', 50_000);
    volume.settle();
    expect(disk.discarded).toBeGreaterThan(ofFiles + 150_000 - 9 * 4096);
    files.writeFile('again', contents(300_000));
    volume.close();
    const later = filesOn(mounted(disk));
    expect(Buffer.compare(later.readFile('kept'), contents(100_000))).toBe(0);
    expect(Buffer.compare(later.readFile('longer'), contents(50_000))).toBe(0);
    expect(Buffer.compare(later.readFile('again'), contents(300_000))).toBe(0);
  });
  it('of FAT says so again until all of it is told', () => {
    const disk = emptyFat(32);
    const due: Volume[] = [];
    const volume = FatVolume.mount(disk, { ...mountOptions, onDirty: which => due.push(which) });
    const files = filesOn(volume);
    // Every other one stays, further apart than what is taken together.
    for (let n = 0; n < 200; n++) files.writeFile(`f${n}`, contents(66_000));
    due.pop()?.writeBack();
    for (let n = 0; n < 200; n += 2) files.remove(`f${n}`);
    let turns = 0;
    for (let next = due.pop(); next; next = due.pop()) {
      next.writeBack();
      turns++;
    }
    expect(turns).toBe(2);
    expect(disk.discarded).toBeGreaterThan(100 * (66_000 - 8192));
  });
  it.skipIf(whyNoExt4).each(Object.keys(LAYOUTS) as Layout[])('of %s does so too', layout => {
    const disk = emptyExt4(layout);
    const volume = mountedExt4(disk);
    const files = filesOn(volume);
    files.writeFile('kept', contents(100_000));
    for (let n = 0; n < 8; n++) files.writeFile(`number ${n}`, contents(70_001));
    volume.settle();
    expect(disk.discarded).toBe(0);
    for (let n = 0; n < 8; n++) files.remove(`number ${n}`);
    volume.settle();
    expect(disk.discarded).toBeGreaterThan(8 * (70_000 - 4096));
    files.writeFile('again', contents(300_000));
    volume.close();
    const later = filesOn(mountedExt4(disk));
    expect(Buffer.compare(later.readFile('kept'), contents(100_000))).toBe(0);
    expect(Buffer.compare(later.readFile('again'), contents(300_000))).toBe(0);
  });
});

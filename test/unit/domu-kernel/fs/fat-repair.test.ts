// What a mount makes of a volume that nobody left in order. Power cuts at every moment: power-cuts.test.ts.
import { describe, expect, it } from 'vitest';
import { FatVolume } from '../../../../domu-kernel/fs/fat-volume.ts';
import { PowerCutDisk } from '../../../reliability/power-cut-disk.ts';
import { emptyFat, type FatBits, filesOn, mounted, mountOptions } from '../../../support/fatfs.ts';
import { MemoryDisk } from '../../../support/memory-disk.ts';

const bytes = (s: string): Uint8Array => new TextEncoder().encode(s);
const text = (b: Uint8Array): string => new TextDecoder().decode(b);
const filled = (length: number, value: number): Buffer => Buffer.alloc(length, value);
const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;
const names = (volume: FatVolume, path = '/'): string[] =>
  filesOn(volume)
    .list(path)
    .map(e => e.name);
const STATE = { 12: 0x25, 16: 0x25, 32: 0x41 } as const;
const isMarked = (disk: Uint8Array, bits: FatBits): boolean => disk[STATE[bits]] === 1;

function mountedWithLog(image: Uint8Array): { volume: FatVolume; said: string[] } {
  const said: string[] = [];
  const volume = FatVolume.mount(new MemoryDisk(image), { ...mountOptions, log: line => said.push(line) });
  return { volume, said };
}
/** Of a file with a short name in the root, where its directory entry is. */
const entryOf = (image: Uint8Array, shortName: string): number =>
  Buffer.from(image.buffer).indexOf(shortName.padEnd(11), 0, 'latin1');
/** The image after its power was cut at each moment from `first` on. */
function* cuts(disk: PowerCutDisk, first: number): Generator<Uint8Array> {
  for (let moment = first; moment <= disk.moments; moment++) yield disk.cut(moment, () => true);
}

describe('a FAT volume', () => {
  it.each([12, 16, 32] as const)(
    'FAT%d is marked on the medium while it changes, and not after it was closed',
    bits => {
      const disk = emptyFat(bits);
      const marks: boolean[] = [];
      const volume = mounted(disk);
      filesOn(volume).writeFile('f', bytes(''));
      disk.fault = op => {
        if (op === 'write') marks.push(isMarked(disk.medium, bits));
      };
      volume.sync();
      // The first write is the mark.
      expect(marks.shift()).toBe(false);
      expect(marks.length).toBeGreaterThan(0);
      expect(marks).not.toContain(false);
      volume.close();
      expect(isMarked(disk.medium, bits)).toBe(false);
      expect(mountedWithLog(disk.medium.slice()).said).toEqual([]);
      expect(filesOn(volume).exists('f')).toBe(true);
      volume.sync();
      expect(isMarked(disk.medium, bits)).toBe(false);
      filesOn(volume).writeFile('f', bytes('y'), true);
      expect(isMarked(disk.medium, bits)).toBe(true);
      const { volume: next, said } = mountedWithLog(disk.medium.slice());
      expect(said).toEqual(['fat on xvda: not unmounted when it was last used; nothing to repair']);
      expect(text(filesOn(next).readFile('f'))).toBe('y');
    },
  );

  it('stays marked while a file without a name is in use', () => {
    const disk = emptyFat(12);
    const volume = mounted(disk);
    const file = volume.root.create('f', 'file');
    file.write(0, bytes('x'));
    volume.root.unlink('f');
    volume.settle();
    expect(isMarked(disk.medium, 12)).toBe(true);
    const { said } = mountedWithLog(disk.medium.slice());
    expect(said).toEqual([
      expect.stringMatching(/repaired: 1 file without a name is gone, 1 cluster .* is free again$/),
    ]);
    file.release();
    volume.settle();
    expect(isMarked(disk.medium, 12)).toBe(false);
  });

  it('whose file was being renamed has it under one of its names, and under the new one if that was replaced', () => {
    const image = emptyFat(16).bytes;
    const before = mounted(new MemoryDisk(image));
    // Directories of their own: the two names are in different sectors.
    for (const path of ['a', 'b']) filesOn(before).mkdir(path);
    filesOn(before).writeFile('a/a file with a long name', bytes('moved'));
    filesOn(before).writeFile('a/config.new', bytes('new'));
    filesOn(before).writeFile('b/config', bytes('old'));
    before.close();
    const disk = new PowerCutDisk(image);
    const volume = FatVolume.mount(disk, mountOptions);
    const [a, b] = [volume.root.lookup('a'), volume.root.lookup('b')];
    if (!a || !b) throw new Error('not there');
    a.rename('config.new', b, 'config');
    a.rename('a file with a long name', b, 'and another name');
    let doubles = 0;
    for (const image of cuts(disk, 0)) {
      const { volume: next, said } = mountedWithLog(image);
      if (said.some(line => line.includes(' as well'))) doubles++;
      const found = text(filesOn(next).readFile('b/config'));
      expect(['old', 'new']).toContain(found);
      if (found === 'new') expect(filesOn(next).exists('a/config.new')).toBe(false);
      const moved = ['a/a file with a long name', 'b/and another name'].filter(name => filesOn(next).exists(name));
      expect(moved.map(name => text(filesOn(next).readFile(name)))).toEqual(['moved']);
    }
    expect(doubles).toBeGreaterThan(1);
  });

  it('whose directory was being moved has it in one place, with that as its parent', () => {
    const image = emptyFat(16).bytes;
    const before = mounted(new MemoryDisk(image));
    filesOn(before).mkdir('from/dir', true);
    filesOn(before).mkdir('to');
    filesOn(before).writeFile('from/dir/f', bytes('x'));
    before.close();
    const disk = new PowerCutDisk(image);
    const volume = FatVolume.mount(disk, mountOptions);
    filesOn(volume).rename('from/dir', 'to/dir');
    volume.sync();
    for (const cut of cuts(disk, 0)) {
      const next = mounted(new MemoryDisk(cut));
      const places = ['from', 'to'].filter(path => filesOn(next).exists(`${path}/dir`));
      expect(places.length).toBe(1);
      expect(text(filesOn(next).readFile(`${places[0]}/dir/f`))).toBe('x');
      // Moved once more, it has to find its way.
      filesOn(next).rename(`${places[0]}/dir`, 'dir');
      next.close();
      expect(text(filesOn(mounted(new MemoryDisk(cut))).readFile('dir/f'))).toBe('x');
    }
  });

  it('gives what was behind the end of a file to others when the medium has the new end, not before', () => {
    const disk = emptyFat(12);
    const volume = mounted(disk);
    filesOn(volume).writeFile('f', new Uint8Array(900_000).fill(1), true);
    const before = volume.space().free;
    filesOn(volume).truncate('f', 1000);
    // There is room for this only where the file was.
    filesOn(volume).writeFile('g', new Uint8Array(800_000).fill(2));
    const { volume: next } = mountedWithLog(disk.medium.slice());
    const old = filesOn(next).readFile('f');
    expect(same(old, filled(old.length, 1))).toBe(true);
    filesOn(volume).truncate('f', 600);
    filesOn(volume).appendFile('f', new Uint8Array(5000).fill(3));
    volume.close();
    expect(same(filesOn(volume).readFile('f'), Buffer.concat([filled(600, 1), filled(5000, 3)]))).toBe(true);
    expect(same(filesOn(volume).readFile('g'), filled(800_000, 2))).toBe(true);
    filesOn(volume).truncate('g', 700_000);
    filesOn(volume).remove('g');
    filesOn(volume).truncate('f', 100);
    filesOn(volume).truncate('f', 0);
    filesOn(volume).remove('f');
    expect(volume.space().free).toBeGreaterThan(before + 899_000);
    expect(mountedWithLog(disk.bytes.slice()).said.join()).not.toContain('read-only');
  });

  it('that is cut off in the middle of its repair is repaired by the next mount', () => {
    const image = emptyFat(16).bytes;
    const first = new PowerCutDisk(image);
    const volume = FatVolume.mount(first, mountOptions);
    for (let i = 0; i < 12; i++)
      filesOn(volume).writeFile(`a long name, number ${i}`, new Uint8Array(3000).fill(i), true);
    const file = volume.root.lookup('a long name, number 3');
    volume.root.unlink('a long name, number 3');
    for (let i = 6; i < 9; i++)
      filesOn(volume).writeFile(`a long name, number ${i}`, new Uint8Array(9000).fill(i), true);
    volume.sync();
    file?.release();
    const broken = first.cut(first.moments, () => true);
    const second = new PowerCutDisk(broken);
    FatVolume.mount(second, mountOptions);
    expect(second.moments).toBeGreaterThan(3);
    let n = 0;
    for (let moment = 0; moment <= second.moments; moment++) {
      const again = second.cut(moment, () => n++ % 2 === 0);
      const { volume: next } = mountedWithLog(again);
      expect(next.readOnly).toBe(false);
      expect(names(next).length).toBe(11);
      expect(same(filesOn(next).readFile('a long name, number 7'), filled(9000, 7))).toBe(true);
    }
  });

  it('with damage that no guest leaves is read-only, said why, and not written to', () => {
    const disk = emptyFat(16);
    const volume = mounted(disk);
    filesOn(volume).writeFile('A', new Uint8Array(5000).fill(1));
    filesOn(volume).writeFile('B', new Uint8Array(5000).fill(2));
    volume.sync();
    const damaged = disk.medium.slice();
    const view = new DataView(damaged.buffer);
    const a = entryOf(damaged, 'A');
    const b = entryOf(damaged, 'B');
    // B begins where A is in the middle.
    view.setUint16(b + 26, view.getUint16(a + 26, true) + 1, true);
    const before = damaged.slice();
    const { volume: next, said } = mountedWithLog(damaged);
    expect(next.readOnly).toBe(true);
    expect(said).toEqual([expect.stringMatching(/read-only, since '\/[AB]' .*: it needs fsck\.vfat$/)]);
    expect(same(filesOn(next).readFile('A'), filled(5000, 1))).toBe(true);
    expect(() => filesOn(next).writeFile('C', bytes('x'))).toThrow(/read-only/);
    next.close();
    expect(Buffer.compare(damaged, before)).toBe(0);
  });

  it('that is read-only is not repaired', () => {
    const disk = emptyFat(12);
    filesOn(mounted(disk)).writeFile('f', bytes('x'), true);
    const next = new MemoryDisk(disk.medium.slice());
    next.readOnly = true;
    const said: string[] = [];
    const volume = FatVolume.mount(next, { ...mountOptions, log: line => said.push(line) });
    expect(said).toEqual([expect.stringMatching(/read-only, so not repaired$/)]);
    expect(text(filesOn(volume).readFile('f'))).toBe('x');
    expect(next.writes).toBe(0);
  });
});

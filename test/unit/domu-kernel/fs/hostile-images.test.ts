// untrusted: a disk image may be anything. Whatever it is, a call ends, throws a XenError at worst, and
// touches nothing beyond the disk (MemoryDisk fails the test if it does).
import { describe, expect, it } from 'vitest';
import { FatVolume } from '../../../../domu-kernel/fs/fat-volume.ts';
import { mountFirst } from '../../../../domu-kernel/fs/find-volume.ts';
import { checkVolume } from '../../../../domu-kernel/fs/volume-check.ts';
import { XenError } from '../../../../pvbus/errors.ts';
import { filesOn, formattedDisk, mounted, mountOptions } from '../../../support/fatfs.ts';
import { MemoryDisk } from '../../../support/memory-disk.ts';

function random(seed: number): (n: number) => number {
  let state = seed >>> 0;
  return n => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
}
function populated(): MemoryDisk {
  const disk = formattedDisk(1 << 20);
  const volume = mounted(disk);
  filesOn(volume).mkdir('dir/deeper', true);
  for (let i = 0; i < 8; i++)
    filesOn(volume).writeFile(`dir/a long file name ${i}.txt`, new Uint8Array(i * 3000).fill(i));
  filesOn(volume).writeFile('dir/deeper/x', new Uint8Array(100));
  volume.sync();
  return disk;
}
/** Everything a program may do, on whatever is there. */
function exercise(disk: MemoryDisk): void {
  const attempt = (act: () => void): void => {
    try {
      act();
    } catch (error) {
      if (!(error instanceof XenError)) throw error;
    }
  };
  attempt(() => {
    const volume = mounted(disk);
    for (const path of ['/', 'dir', 'dir/deeper', 'dir/a long file name 3.txt']) {
      attempt(() => filesOn(volume).list(path));
      attempt(() => filesOn(volume).stat(path));
    }
    attempt(() => filesOn(volume).readFile('dir/a long file name 7.txt'));
    attempt(() => filesOn(volume).appendFile('dir/a long file name 5.txt', new Uint8Array(5000)));
    attempt(() => filesOn(volume).writeFile('new', new Uint8Array(20_000)));
    attempt(() => filesOn(volume).remove('dir/a long file name 6.txt'));
    attempt(() => filesOn(volume).rename('dir/a long file name 4.txt', 'moved'));
    attempt(() => filesOn(volume).truncate('dir/a long file name 7.txt', 10));
    attempt(() => filesOn(volume).mkdir('dir/another'));
    attempt(() => filesOn(volume).remove('dir/deeper'));
    attempt(() => volume.space());
    attempt(() => volume.label());
  });
}

describe('a hostile image', () => {
  it('with random bytes anywhere does no harm', () => {
    const original = populated().bytes;
    for (let seed = 1; seed <= 60; seed++) {
      const next = random(seed);
      const disk = new MemoryDisk(original.slice());
      for (let i = 0; i < 1 + next(40); i++) {
        // Mostly where it matters: boot sector, tables, directories.
        const at = next(4) === 0 ? next(disk.bytes.length) : next(80 * 512);
        disk.bytes[at] = next(256);
      }
      exercise(disk);
    }
  });

  it('of nothing but random bytes behind a sound boot sector does no harm', () => {
    const original = populated().bytes;
    for (let seed = 100; seed < 115; seed++) {
      const next = random(seed);
      const disk = new MemoryDisk(original.slice());
      for (let at = 512; at < 120 * 512; at++) disk.bytes[at] = next(256);
      exercise(disk);
    }
  });

  it('whose tables lead in circles ends every call, and costs a bounded number of reads', () => {
    const disk = populated();
    // Every cluster of FAT12 points at cluster 2 or 3.
    for (const fat of [1, 1 + disk.bytes[22]! + disk.bytes[23]! * 256]) {
      for (let at = fat * 512 + 3; at < (fat + 3) * 512; at += 3) disk.bytes.set([0x02, 0x30, 0x00], at);
    }
    exercise(disk);
    expect(disk.reads).toBeLessThan(2_000_000);
  });

  it('of every value in each byte of the boot sector is mounted or refused with a reason', () => {
    const original = populated().bytes;
    for (let at = 11; at < 62; at++) {
      for (const value of [0, 1, 2, 3, 0x7f, 0x80, 0xfe, 0xff]) {
        const disk = new MemoryDisk(original.slice());
        disk.bytes[at] = value;
        try {
          filesOn(mounted(disk)).list('/');
        } catch (error) {
          expect(error).toBeInstanceOf(XenError);
          expect((error as XenError).message).toMatch(/xvda|list/);
        }
      }
    }
  });

  it('larger than its disk, or with another sector size, is refused before FatFs sees it', () => {
    const original = populated().bytes;
    const change = (edit: (view: DataView) => void): string => {
      const disk = new MemoryDisk(original.slice());
      edit(new DataView(disk.bytes.buffer));
      try {
        checkVolume(disk);
      } catch (error) {
        return (error as XenError).message;
      }
      return 'accepted';
    };
    expect(change(() => {})).toBe('accepted');
    expect(change(v => v.setUint16(19, 60_000, true))).toMatch(/claims 60000 sectors, the device has 2048/);
    expect(change(v => v.setUint16(11, 4096, true))).toMatch(/sectors are 4096 bytes/);
    expect(change(v => v.setUint8(13, 3))).toMatch(/3 sectors in a cluster/);
    expect(change(v => v.setUint8(16, 9))).toMatch(/9 allocation tables/);
    expect(change(v => v.setUint16(22, 2000, true))).toMatch(/no room for data/);
    expect(change(v => v.setUint16(510, 0, true))).toMatch(/no boot sector/);
    expect(checkVolume.bind(undefined, new MemoryDisk(0))).toThrow(/empty/);
  });

  it('with a partition table is mounted from its first FAT partition, which must fit the disk', () => {
    const inner = populated().bytes;
    const disk = new MemoryDisk(inner.length + 64 * 512);
    disk.bytes.set(inner, 63 * 512);
    const view = new DataView(disk.bytes.buffer);
    view.setUint8(446 + 4, 6);
    view.setUint32(446 + 8, 63, true);
    view.setUint32(446 + 12, inner.length / 512, true);
    view.setUint16(510, 0xaa55, true);
    const mount = (): FatVolume =>
      mountFirst(
        disk,
        ({ device }) => FatVolume.mount(device, mountOptions),
        () => {},
      );
    const files = filesOn(mount());
    expect(files.list('dir').length).toBe(9);
    view.setUint32(446 + 12, 0xffffffff, true);
    expect(mount).toThrow(/ends beyond the device/);
  });
});

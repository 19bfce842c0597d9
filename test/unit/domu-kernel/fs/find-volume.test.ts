import { expect, it } from 'vitest';
import { FatVolume } from '../../../../domu-kernel/fs/fat-volume.ts';
import { type FoundVolume, mountFirst } from '../../../../domu-kernel/fs/find-volume.ts';
import { whatIsOn } from '../../../../domu-kernel/fs/signatures.ts';
import { XenError } from '../../../../pvbus/errors.ts';
import { formattedDisk, mountOptions } from '../../../support/fatfs.ts';
import { MemoryDisk } from '../../../support/memory-disk.ts';
import { seededRandom } from '../../../support/random.ts';

const findVolume = (disk: MemoryDisk): FoundVolume =>
  mountFirst(
    disk,
    found => found,
    () => {},
  );

/** Empty but for this. */
function holding(at: number, text: string): MemoryDisk {
  const disk = new MemoryDisk(1 << 20);
  disk.bytes.set(Buffer.from(text, 'latin1'), at < 0 ? disk.bytes.length + at : at);
  return disk;
}
/** An MBR that says that all is GPT, and a header with one entry. */
function gpt(entry: (view: DataView, header: DataView) => void): MemoryDisk {
  const disk = holding(512, 'EFI PART');
  const view = new DataView(disk.bytes.buffer);
  view.setUint16(510, 0xaa55, true);
  view.setUint8(446 + 4, 0xee);
  const header = new DataView(disk.bytes.buffer, 512);
  header.setUint32(72, 2, true);
  header.setUint32(80, 128, true);
  header.setUint32(84, 128, true);
  const first = new DataView(disk.bytes.buffer, 1024);
  first.setUint32(0, 1, true);
  first.setUint32(32, 64, true);
  first.setUint32(40, 127, true);
  entry(first, header);
  return disk;
}

it.each([
  [0, 'QFI\xfb', /qcow2 image, whose disk has to say so \(xl run --disk FILE,qcow2\)/],
  [-512, 'conectix', /vhd image/],
  [0, 'KDMV', /vmdk image.*qemu-img convert/],
  [0, 'vhdxfile', /vhdx image/],
  [32769, 'CD001', /ISO 9660/],
  [0, 'hsqs', /squashfs/],
  [4086, 'SWAPSPACE2', /swap space/],
  [512, 'LABELONE', /LVM/],
  [0, 'LUKS\xba\xbe', /LUKS/],
  [0, '\x1f\x8b', /what gzip has compressed/],
] as const)('a disk without a volume that has at %i what it is, is called that', (at, text, says) => {
  expect(() => findVolume(holding(at, text))).toThrow(says);
});

it('NTFS, whose boot sector looks like FAT, is called NTFS', () => {
  const disk = holding(0, '\xeb\x52\x90NTFS    \0\x02\x08');
  disk.bytes.set([0x55, 0xaa], 510);
  expect(() => findVolume(disk)).toThrow('xvda: no FAT or ext4 volume: it holds NTFS');
});

it('a FAT volume is found whatever its files hold', () => {
  const disk = formattedDisk(1 << 20);
  disk.bytes.set(Buffer.from('CD001'), 32769);
  expect(findVolume(disk)).toEqual({ type: 'fat', device: disk });
});

/** An MBR whose first partition is a FAT volume. */
function mbr(...others: [start: number, sectors: number][]): MemoryDisk {
  const disk = new MemoryDisk(2 << 20);
  disk.bytes.set(formattedDisk(1 << 20).bytes, 1 << 20);
  const view = new DataView(disk.bytes.buffer);
  view.setUint16(510, 0xaa55, true);
  for (const [i, [start, sectors]] of [[2048, 2048] as const, ...others].entries()) {
    view.setUint8(446 + 16 * i + 4, 0x0c);
    view.setUint32(446 + 16 * i + 8, start, true);
    view.setUint32(446 + 16 * i + 12, sectors, true);
  }
  return disk;
}
it('a partition is found before one that ends beyond the disk', () => {
  expect(findVolume(mbr([3000, 99_999]))).toMatchObject({ type: 'fat', device: { name: 'xvda1' } });
});

it.each<[string, (view: DataView) => void, string]>([
  ['has nonsense in its boot sector', view => view.setUint8(BAD + 13, 3), 'xvda2: not a usable FAT volume: 3 sectors'],
  [
    'has a file system without a driver',
    view => view.setUint16(BAD + 1024 + 0x38, 0xef53, true),
    'xvda2: no driver here',
  ],
  ['ends beyond the disk', view => view.setUint32(446 + 16 + 12, 99_999, true), 'xvda2 ends beyond the device'],
])('a volume is mounted although a partition before it %s, which a line says', (_, damage, says) => {
  const disk = new MemoryDisk(4 << 20);
  const volume = formattedDisk(1 << 20).bytes;
  disk.bytes.set(volume, GOOD);
  disk.bytes.set(volume, BAD);
  const view = new DataView(disk.bytes.buffer);
  view.setUint16(510, 0xaa55, true);
  for (const [i, start] of [1024, BAD / 512, GOOD / 512].entries()) {
    view.setUint8(446 + 16 * i + 4, 0x0c);
    view.setUint32(446 + 16 * i + 8, start, true);
    view.setUint32(446 + 16 * i + 12, i === 0 ? 8 : 2048, true);
  }
  damage(view);
  const lines: string[] = [];
  const mounted = mountFirst(disk, mountFat, line => lines.push(line));
  expect(mounted.name).toBe('fat on xvda3');
  expect(lines).toEqual([expect.stringMatching(`^${says}.*: xvda3 is used$`)]);
  // What is wrong is said as well where there is no other.
  view.setUint8(446 + 32 + 4, 0);
  expect(() => mountFirst(disk, mountFat, () => {})).toThrow(says);
});

it.each(['EIO', 'ENOMEM'])('a partition whose volume cannot be mounted for %s is not passed over for another', code => {
  const disk = mbr([0, 0], [2048, 2048]);
  const lines: string[] = [];
  const once = new XenError(code, 'xvda1: not now');
  disk.fault = (_, sector) => {
    if (sector < 2048 || sector > 2056) return;
    disk.fault = undefined;
    throw once;
  };
  expect(() => mountFirst(disk, mountFat, line => lines.push(line))).toThrow(once);
  expect(lines).toEqual([]);
  expect(mountFirst(disk, mountFat, line => lines.push(line)).name).toBe('fat on xvda1');
});
it('one whose volume is damaged with EIO, not by the disk, is passed over', () => {
  const disk = mbr([0, 0], [2048, 2048]);
  const lines: string[] = [];
  const mounted = mountFirst(
    disk,
    found => {
      if (found.device.name === 'xvda1') throw new XenError('EIO', 'xvda1: the volume is damaged');
      return mountFat(found);
    },
    line => lines.push(line),
  );
  expect(mounted.name).toBe('fat on xvda3');
  expect(lines).toEqual(['xvda1: the volume is damaged: xvda3 is used']);
});
const BAD = 1 << 20;
const GOOD = 2 << 20;
function mountFat({ type, device }: FoundVolume): FatVolume {
  if (type === 'ext4') throw new XenError('ENOSYS', `${device.name}: no driver here`);
  return FatVolume.mount(device, mountOptions);
}

it('a partition is found on a disk that was btrfs, swap space or of LVM before it had a table', () => {
  for (const [at, text] of [
    [512, 'LABELONE'],
    [4086, 'SWAPSPACE2'],
    [65600, '_BHRfS_M'],
  ] as const) {
    const disk = mbr();
    disk.bytes.set(Buffer.from(text), at);
    expect(findVolume(disk)).toMatchObject({ type: 'fat', device: { name: 'xvda1' } });
  }
});
it('an ISO image, which may have a table too, is called that', () => {
  const disk = mbr();
  disk.bytes.set(Buffer.from('CD001'), 32769);
  expect(() => findVolume(disk)).toThrow('it holds ISO 9660');
});

it.each<[string, (view: DataView, header: DataView) => void, RegExp]>([
  ['ends before it begins', view => view.setUint32(40, 2, true), /neither a boot sector/],
  ['begins where no disk is', view => view.setUint32(36, 0xffffffff, true), /neither a boot sector/],
  ['ends beyond the disk', view => view.setUint32(40, 99_999, true), /xvda1 ends beyond the device/],
  ['is one of four billion', (_, header) => header.setUint32(80, 0xffffffff, true), /no FAT or ext4 volume in its/],
  ['is larger than the disk', (_, header) => header.setUint32(84, 0xffffffff, true), /neither a boot sector/],
  ['is where the disk ends', (_, header) => header.setUint32(76, 1, true), /neither a boot sector/],
])('a GPT whose entry %s is borne', (_, change, says) => {
  expect(() => findVolume(gpt(change))).toThrow(says);
});

it('a disk of anything is a volume or not, and nothing else', () => {
  const { random } = seededRandom();
  for (let n = 0; n < 300; n++) {
    const disk = gpt(() => {});
    for (let i = 0; i < 20; i++) disk.bytes[Math.floor(random() * 2048)] = Math.floor(random() * 256);
    try {
      findVolume(disk);
      whatIsOn(disk);
    } catch (error) {
      expect(error).toBeInstanceOf(XenError);
    }
  }
});

// Which of the file systems is on a disk, and where on it.
import { XenError } from '#pvbus';
import { isExt4 } from './ext4/ext4-super.ts';
import { Partition, partitionsOf } from './partitions.ts';
import type { SectorDevice } from './sector-device.ts';
import { whatIsOn } from './signatures.ts';
import { isFat } from './volume-check.ts';

export interface FoundVolume {
  readonly type: 'fat' | 'ext4';
  /** The disk, or a partition. */
  readonly device: SectorDevice;
}

/**
 * What `mount` makes of the disk's volume, or of the first in its partitions that it takes; `log` hears what is wrong with
 * those before it. Throws EINVAL, saying what is there, for a disk without one, and what `mount` throws where it takes none.
 */
export function mountFirst<V>(disk: SectorDevice, mount: (found: FoundVolume) => V, log: (line: string) => void): V {
  if (disk.sectors < 1 || disk.sectorSize < 512) throw new XenError('EINVAL', `${disk.name}: the disk is empty`);
  const whole = volumeOn(disk);
  if (whole) return mount(whole);
  const none = `${disk.name}: no FAT or ext4 volume`;
  const seen = whatIsOn(disk);
  const extents = !seen || seen.outlives ? partitionsOf(disk) : [];
  const damaged: XenError[] = [];
  const others: string[] = [];
  for (const extent of extents) {
    let partition: Partition | undefined;
    try {
      partition = new Partition(disk, extent);
      const found = volumeOn(partition);
      if (found) {
        const volume = mount(found);
        for (const { message } of damaged) log(`${message}: ${found.device.name} is used`);
        return volume;
      }
      const other = whatIsOn(partition);
      if (other) others.push(`${partition.name}: ${other.what}`);
    } catch (error) {
      // What is wrong with the disk or here says nothing of the partition: no other is written to in its place.
      if (!(error instanceof XenError) || partition?.failed || error.code === 'ENOMEM') throw error;
      damaged.push(error);
    }
  }
  const [first] = damaged;
  if (first) throw new XenError(first.code, [...damaged.map(({ message }) => message), ...others].join('; '), first);
  if (extents.length > 0)
    throw new XenError('EINVAL', `${none} in its partitions${others.length > 0 ? `; ${others.join('; ')}` : ''}`);
  throw new XenError('EINVAL', `${none}: it holds ${seen?.what ?? 'neither a boot sector nor a partition table'}`);
}
function volumeOn(device: SectorDevice): FoundVolume | undefined {
  if (isExt4(device)) return { type: 'ext4', device };
  return isFat(device) ? { type: 'fat', device } : undefined;
}

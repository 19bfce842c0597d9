// Which of the file systems is on a disk, and where on it.
import { XenError } from '#pvbus';
import { isExt4 } from './ext4/ext4-super.ts';
import { partitionsOf } from './partitions.ts';
import type { SectorDevice } from './sector-device.ts';
import { whatIsOn } from './signatures.ts';
import { isFat } from './volume-check.ts';

export interface FoundVolume {
  readonly type: 'fat' | 'ext4';
  /** The disk, or the first partition that has one. */
  readonly device: SectorDevice;
}

/** Throws EINVAL, saying what is there, for a disk without one. */
export function findVolume(disk: SectorDevice): FoundVolume {
  if (disk.sectors < 1 || disk.sectorSize < 512) throw new XenError('EINVAL', `${disk.name}: the disk is empty`);
  const whole = volumeOn(disk);
  if (whole) return whole;
  const none = `${disk.name}: no FAT or ext4 volume`;
  const seen = whatIsOn(disk);
  const partitions = !seen || seen.outlives ? partitionsOf(disk) : [];
  let any = false;
  const others: string[] = [];
  for (const partition of partitions) {
    any = true;
    const found = volumeOn(partition);
    if (found) return found;
    const other = whatIsOn(partition);
    if (other) others.push(`${partition.name}: ${other.what}`);
  }
  if (any)
    throw new XenError('EINVAL', `${none} in its partitions${others.length > 0 ? `; ${others.join('; ')}` : ''}`);
  throw new XenError('EINVAL', `${none}: it holds ${seen?.what ?? 'neither a boot sector nor a partition table'}`);
}
function volumeOn(device: SectorDevice): FoundVolume | undefined {
  if (isExt4(device)) return { type: 'ext4', device };
  return isFat(device) ? { type: 'fat', device } : undefined;
}

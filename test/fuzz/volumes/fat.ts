// Damaged FAT volumes.
import { emptyFat, type FatBits, formattedDisk, mounted } from '../../support/fatfs.ts';
import { type Kind, volumes } from './damaged.ts';

const fat = (bits: FatBits, described: number): Kind => ({ image: () => emptyFat(bits), described, mount: mounted });
export const fatVolumes = volumes({
  FAT12: fat(12, 40 * 512),
  'FAT12 of larger clusters': { image: () => formattedDisk(1 << 20), described: 80 * 512, mount: mounted },
  FAT16: fat(16, 120 * 512),
});

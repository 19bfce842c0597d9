// untrusted: a disk image may be anything. What a boot sector claims is compared with the device before
// FatFs computes with it.
import { XenError } from '#pvbus';
import type { SectorDevice } from './sector-device.ts';

export interface FatGeometry {
  readonly sectors: number;
  readonly sectorsPerCluster: number;
  readonly clusters: number;
  readonly bits: 12 | 16 | 32;
  /** Sectors of the device from here on. */
  readonly tables: { readonly start: number; readonly each: number; readonly count: number };
  /** FAT32's is a chain of clusters. */
  readonly rootDirectory: { readonly start: number; readonly sectors: number } | { readonly cluster: number };
  /** Of cluster 2. */
  readonly dataStart: number;
}

const refuse = (device: SectorDevice, why: string): XenError =>
  new XenError('EINVAL', `${device.name}: not a usable FAT volume: ${why}`);

const isPowerOfTwo = (n: number): boolean => n > 0 && (n & (n - 1)) === 0;

/** A jump instruction and the 0x55AA mark: how FAT boot sectors begin and end, and partition tables do not. */
function looksLikeBootSector(sector: DataView): boolean {
  const jump = sector.getUint8(0);
  return (jump === 0xeb || jump === 0xe9 || jump === 0xe8) && sector.getUint16(510, true) === 0xaa55;
}

function readSector(device: SectorDevice, n: number): DataView {
  const bytes = new Uint8Array(device.sectorSize);
  device.read(n, bytes);
  return new DataView(bytes.buffer);
}

/** It says that it is FAT. NTFS and exFAT have no allocation tables where that has them. */
export function isFat(device: SectorDevice): boolean {
  const boot = readSector(device, 0);
  return looksLikeBootSector(boot) && boot.getUint16(11, true) !== 0 && boot.getUint8(16) !== 0;
}

/** Throws EINVAL, saying what is wrong, for a volume that does not fit the device or itself. */
export function checkVolume(device: SectorDevice): FatGeometry {
  if (device.sectors < 1 || device.sectorSize < 512) throw refuse(device, 'the disk is empty');
  const boot = readSector(device, 0);
  if (!looksLikeBootSector(boot)) throw refuse(device, 'no boot sector');
  const bytesPerSector = boot.getUint16(11, true);
  if (bytesPerSector !== device.sectorSize) {
    throw refuse(device, `its sectors are ${bytesPerSector} bytes, the device's ${device.sectorSize}`);
  }
  const sectorsPerCluster = boot.getUint8(13);
  const reserved = boot.getUint16(14, true);
  const fats = boot.getUint8(16);
  const rootEntries = boot.getUint16(17, true);
  const sectors = boot.getUint16(19, true) || boot.getUint32(32, true);
  const fatSectors = boot.getUint16(22, true) || boot.getUint32(36, true);
  if (!isPowerOfTwo(sectorsPerCluster)) throw refuse(device, `${sectorsPerCluster} sectors in a cluster`);
  if (reserved === 0) throw refuse(device, 'no reserved sectors');
  if (fats !== 1 && fats !== 2) throw refuse(device, `${fats} allocation tables`);
  if (sectors > device.sectors) throw refuse(device, `it claims ${sectors} sectors, the device has ${device.sectors}`);
  const rootSectors = Math.ceil((rootEntries * 32) / bytesPerSector);
  const overhead = reserved + fats * fatSectors + rootSectors;
  if (fatSectors === 0 || overhead >= sectors) throw refuse(device, `its tables leave no room for data`);
  const clusters = Math.floor((sectors - overhead) / sectorsPerCluster);
  const bits = clusters < 4085 ? 12 : clusters < 65525 ? 16 : 32;
  if (fatSectors * bytesPerSector * 8 < (clusters + 2) * bits)
    throw refuse(device, 'its allocation table is too short');
  const root = boot.getUint32(44, true);
  if (bits === 32) {
    if (root < 2 || root >= clusters + 2) throw refuse(device, `its root directory is at cluster ${root}`);
  } else if (rootEntries === 0) throw refuse(device, 'no root directory');
  const tables = { start: reserved, each: fatSectors, count: fats };
  const rootStart = tables.start + fats * fatSectors;
  const rootDirectory = bits === 32 ? { cluster: root } : { start: rootStart, sectors: rootSectors };
  const dataStart = rootStart + rootSectors;
  return { sectors, sectorsPerCluster, clusters, bits, tables, rootDirectory, dataStart };
}

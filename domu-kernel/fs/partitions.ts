// The partitions of a disk, by an MBR or a GPT. untrusted: the tables may say anything.
import { XenError } from '#pvbus';
import type { Piece } from '../block-device.ts';
import { type SectorDevice, type WriteKind, writePieces } from './sector-device.ts';

const MBR = { entries: 446, each: 16, type: 4, start: 8, length: 12, mark: 510 } as const;
const IS_GPT = 0xee;
const GPT = { entries: 72, count: 80, each: 84, start: 32, last: 40 } as const;
const GPT_MARK = 'EFI PART';
const MAX_GPT_ENTRIES = 128;
const MAX_GPT_ENTRY = 4096;

export interface Extent {
  /** As Linux counts them: xvda1. */
  readonly number: number;
  readonly start: number;
  readonly sectors: number;
}

/** Some sectors of a disk as one. */
export class Partition implements SectorDevice {
  readonly name: string;
  readonly sectors: number;
  private readonly device: SectorDevice;
  private readonly start: number;
  /** Where multiples of what a discard takes are not the disk's, none is taken. */
  readonly discardGranularity: number;
  /** The device has failed: that says nothing of what is here. */
  failed = false;

  /** Throws EINVAL when it is not on the device. */
  constructor(device: SectorDevice, { number, start, sectors }: Extent) {
    this.device = device;
    this.name = `${device.name}${number}`;
    if (sectors > device.sectors - start) throw new XenError('EINVAL', `${this.name} ends beyond the device`);
    this.start = start;
    this.sectors = sectors;
    const { discardGranularity = 0, sectorSize } = device;
    this.discardGranularity = (start * sectorSize) % (discardGranularity || 1) === 0 ? discardGranularity : 0;
  }
  get sectorSize(): number {
    return this.device.sectorSize;
  }
  get readOnly(): boolean {
    return this.device.readOnly;
  }
  read(sector: number, into: Uint8Array): void {
    const at = this.at(sector, into.length / this.sectorSize);
    try {
      this.device.read(at, into);
    } catch (error) {
      this.failed = true;
      throw error;
    }
  }
  write(sector: number, from: Uint8Array, kind?: WriteKind): void {
    const at = this.at(sector, from.length / this.sectorSize);
    try {
      this.device.write(at, from, kind);
    } catch (error) {
      this.failed = true;
      throw error;
    }
  }
  writeAll(pieces: readonly Piece[]): void {
    const { device, sectorSize } = this;
    const moved = pieces.map(({ sector, bytes }) => ({ sector: this.at(sector, bytes.length / sectorSize), bytes }));
    try {
      writePieces(device, moved);
    } catch (error) {
      this.failed = true;
      throw error;
    }
  }
  flush(): void {
    try {
      this.device.flush();
    } catch (error) {
      this.failed = true;
      throw error;
    }
  }
  discard(sector: number, count: number): void {
    this.device.discard?.(this.at(sector, count), count);
  }
  private at(sector: number, count: number): number {
    if (sector < 0 || sector + count > this.sectors)
      throw new XenError('EINVAL', `${this.name}: sectors ${sector}+${count} of ${this.sectors}`);
    return this.start + sector;
  }
}

/** None where there is no table, and none of an extended partition. They may end beyond the device. */
export function partitionsOf(device: SectorDevice): Extent[] {
  const first = readSectors(device, 0, 1);
  if (first.getUint16(MBR.mark, true) !== 0xaa55) return [];
  const begins = ({ start, sectors }: Extent): boolean => start >= 1 && sectors >= 1 && start < device.sectors;
  const extents: Extent[] = [];
  for (let i = 0; i < 4; i++) {
    const at = MBR.entries + i * MBR.each;
    const type = first.getUint8(at + MBR.type);
    if (type === IS_GPT) return gptExtents(device).filter(begins);
    const start = first.getUint32(at + MBR.start, true);
    const sectors = first.getUint32(at + MBR.length, true);
    if (type !== 0) extents.push({ number: i + 1, start, sectors });
  }
  return extents.filter(begins);
}
function gptExtents(device: SectorDevice): Extent[] {
  if (device.sectors < 3) return [];
  const header = readSectors(device, 1, 1);
  if (Buffer.from(header.buffer, 0, GPT_MARK.length).toString('latin1') !== GPT_MARK) return [];
  const table = u64(header, GPT.entries);
  const count = Math.min(header.getUint32(GPT.count, true), MAX_GPT_ENTRIES);
  const each = header.getUint32(GPT.each, true);
  const length = Math.ceil((count * each) / device.sectorSize);
  if (each < 128 || each > MAX_GPT_ENTRY || table + length > device.sectors) return [];
  const entries = readSectors(device, table, length);
  const extents: Extent[] = [];
  for (let i = 0; i < count; i++) {
    const at = i * each;
    // Its type: 0 is none.
    if (u64(entries, at) === 0 && u64(entries, at + 8) === 0) continue;
    const start = u64(entries, at + GPT.start);
    extents.push({ number: i + 1, start, sectors: u64(entries, at + GPT.last) - start + 1 });
  }
  return extents;
}
function readSectors(device: SectorDevice, sector: number, count: number): DataView {
  const bytes = new Uint8Array(count * device.sectorSize);
  device.read(sector, bytes);
  return new DataView(bytes.buffer);
}
/** Not beyond what a number holds, or larger than any disk. */
const u64 = (view: DataView, at: number): number => view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;

// The file allocation table of a volume, cluster by cluster, beside FatFs: for repairs before that has the volume.
import type { SectorDevice } from './sector-device.ts';
import type { FatGeometry } from './volume-check.ts';

export const FREE = 0;
/** FAT32 keeps four bits of an entry for others. */
const MASKS = { 12: 0xfff, 16: 0xffff, 32: 0x0fffffff } as const;
/** Sectors compared with one call of the disk. */
const STRIDE = 64;

export class FatTable {
  private readonly device: SectorDevice;
  private readonly geometry: FatGeometry;
  private readonly mask: number;
  private readonly held: Uint8Array;
  private readonly view: DataView;
  private heldSector = -1;
  private changed = false;

  constructor(device: SectorDevice, geometry: FatGeometry) {
    this.device = device;
    this.geometry = geometry;
    this.mask = MASKS[geometry.bits];
    this.held = new Uint8Array(device.sectorSize);
    this.view = new DataView(this.held.buffer);
  }

  /** A number that a chain can go on with. */
  has(cluster: number): boolean {
    return cluster >= 2 && cluster < this.geometry.clusters + 2;
  }
  isEnd(value: number): boolean {
    return value >= (this.mask & ~7);
  }
  isBad(value: number): boolean {
    return value === (this.mask & ~8);
  }
  get end(): number {
    return this.mask;
  }
  /** Of FAT12: its entry is in two sectors, so it may be half of one write and half of another. */
  isTorn(cluster: number): boolean {
    const { sectorSize } = this.device;
    return this.geometry.bits === 12 && (cluster + (cluster >> 1)) % sectorSize === sectorSize - 1;
  }

  get(cluster: number): number {
    const { bits } = this.geometry;
    if (bits === 16) return this.view.getUint16(this.hold(cluster * 2), true);
    if (bits === 32) return this.view.getUint32(this.hold(cluster * 4), true) & this.mask;
    const at = cluster + (cluster >> 1);
    const low = this.view.getUint8(this.hold(at));
    const both = low | (this.view.getUint8(this.hold(at + 1)) << 8);
    return cluster & 1 ? both >> 4 : both & 0xfff;
  }
  set(cluster: number, value: number): void {
    const { bits } = this.geometry;
    if (bits === 16) this.view.setUint16(this.hold(cluster * 2), value, true);
    else if (bits === 32) {
      const at = this.hold(cluster * 4);
      this.view.setUint32(at, ((this.view.getUint32(at, true) & ~this.mask) | value) >>> 0, true);
    } else {
      const at = cluster + (cluster >> 1);
      const odd = (cluster & 1) !== 0;
      const low = this.hold(at);
      this.held[low] = odd ? (this.view.getUint8(low) & 0x0f) | ((value & 0x0f) << 4) : value & 0xff;
      this.changed = true;
      const high = this.hold(at + 1);
      this.held[high] = odd ? value >> 4 : (this.view.getUint8(high) & 0xf0) | (value >> 8);
    }
    this.changed = true;
  }
  /** What was set is with the device. */
  settle(): void {
    if (this.changed) this.device.write(this.heldSector, this.held, 'table');
    this.changed = false;
  }
  /** The second copy is as the first, which FatFs goes by. */
  mirror(): void {
    this.settle();
    const { device, geometry } = this;
    const { start, each, count } = geometry.tables;
    if (count !== 2) return;
    for (let done = 0; done < each; done += STRIDE) {
      const first = new Uint8Array(Math.min(STRIDE, each - done) * device.sectorSize);
      const second = new Uint8Array(first.length);
      device.read(start + done, first);
      device.read(start + each + done, second);
      if (Buffer.compare(first, second) !== 0) device.write(start + each + done, first, 'table');
    }
  }

  /** Where in `held` this byte of the table is. */
  private hold(byte: number): number {
    const { sectorSize } = this.device;
    const sector = this.geometry.tables.start + Math.floor(byte / sectorSize);
    if (sector !== this.heldSector) {
      this.settle();
      this.device.read(sector, this.held);
      this.heldSector = sector;
    }
    return byte % sectorSize;
  }
}

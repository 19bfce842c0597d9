// Whether a volume was left in order: bit 0 of a byte of its boot sector, as Linux and fsck.vfat have it, for FAT12 too.
// It is set on the medium before anything of the volume's structure changes, and cleared when all of that is there.
import type { SectorDevice, WriteKind } from './sector-device.ts';
import type { FatGeometry } from './volume-check.ts';

const STATE = { 12: 0x25, 16: 0x25, 32: 0x41 } as const;
const DIRTY = 1;

/** The device for who changes the volume. */
export class MarkedDevice implements SectorDevice {
  readonly name: string;
  readonly sectorSize: number;
  readonly sectors: number;
  readonly readOnly: boolean;
  private readonly device: SectorDevice;
  private readonly boot: Uint8Array;
  private readonly at: number;

  constructor(device: SectorDevice, { bits }: FatGeometry) {
    this.device = device;
    this.name = device.name;
    this.sectorSize = device.sectorSize;
    this.sectors = device.sectors;
    this.readOnly = device.readOnly;
    this.at = STATE[bits];
    this.boot = new Uint8Array(device.sectorSize);
    device.read(0, this.boot);
  }

  get isDirty(): boolean {
    return ((this.boot[this.at] ?? 0) & DIRTY) !== 0;
  }
  /** All else is on the medium. It is with a flush. */
  markClean(): void {
    this.mark(false, 'directory');
  }
  private mark(dirty: boolean, kind: WriteKind): void {
    const state = this.boot[this.at] ?? 0;
    this.boot[this.at] = dirty ? state | DIRTY : state & ~DIRTY;
    this.device.write(0, this.boot, kind);
  }

  read(sector: number, into: Uint8Array): void {
    this.device.read(sector, into);
  }
  held(sector: number): Uint8Array | undefined {
    return this.device.held?.(sector);
  }
  write(sector: number, from: Uint8Array, kind: WriteKind = 'data'): void {
    // order: of what a flush writes, 'fresh' is on the medium before tables and directories change.
    if (kind !== 'data' && !this.isDirty) this.mark(true, 'fresh');
    this.device.write(sector, from, kind);
  }
  flush(): void {
    this.device.flush();
  }
}

// What a file system asks of a disk. Every call returns when the disk answered, or throws a XenError.
import { XenError } from '#pvbus';
import type { Piece } from '../block-device.ts';

/** What of a file system is in a sector: a cache writes one before the other. 'fresh': a directory's cluster, cleared. */
export type WriteKind = 'data' | 'fresh' | 'table' | 'directory';

export interface SectorDevice {
  /** For messages: 'xvda'. */
  readonly name: string;
  /** Bytes; what a transfer must be a multiple of. */
  readonly sectorSize: number;
  readonly sectors: number;
  readonly readOnly: boolean;
  /** Fills `into` from `sector` on. */
  read(sector: number, into: Uint8Array): void;
  /** The sector where it is in memory, to be looked at only; undefined: it has to be read. */
  held?(sector: number): Uint8Array | undefined;
  write(sector: number, from: Uint8Array, kind?: WriteKind): void;
  /** As `write` of each, in any order; absent: they are to be written one by one. */
  writeAll?(pieces: readonly Piece[]): void;
  /** Everything written before is on the medium when this returns. */
  flush(): void;
  /** Bytes: what of a discard is not a multiple of them has no effect. Absent or 0: it takes none. */
  readonly discardGranularity?: number;
  /** These sectors are not needed any more. */
  discard?(sector: number, count: number): void;
}

/** Together, where the device can. */
export function writePieces(device: SectorDevice, pieces: readonly Piece[]): void {
  if (device.writeAll) device.writeAll(pieces);
  else for (const { sector, bytes } of pieces) device.write(sector, bytes);
}

/** A device that is not to be written to, whatever it could. */
export class ReadOnlyDevice implements SectorDevice {
  readonly readOnly = true;
  private readonly device: SectorDevice;

  constructor(device: SectorDevice) {
    this.device = device;
  }
  get name(): string {
    return this.device.name;
  }
  get sectorSize(): number {
    return this.device.sectorSize;
  }
  get sectors(): number {
    return this.device.sectors;
  }
  read(sector: number, into: Uint8Array): void {
    this.device.read(sector, into);
  }
  write(): void {
    throw new XenError('EROFS', `${this.name}: mounted read-only`);
  }
  flush(): void {}
}

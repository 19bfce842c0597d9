// A disk that remembers everything it was told, so that its power can be cut afterwards at any moment.
import type { SectorDevice } from '../../domu-kernel/fs/sector-device.ts';

const SECTOR = 512;

/** undefined: a flush. */
type Told = { readonly sector: number; readonly bytes: Uint8Array } | undefined;

export class PowerCutDisk implements SectorDevice {
  readonly name = 'xvda';
  readonly sectorSize = SECTOR;
  readonly sectors: number;
  readonly readOnly = false;
  readonly discardGranularity = SECTOR;
  /** How many sectors. */
  discarded = 0;
  private readonly before: Uint8Array;
  private readonly now: Uint8Array;
  private readonly told: Told[] = [];

  /** Sectors that arrive together or not at all, where they are written together. */
  private readonly atomic: number;

  constructor(image: Uint8Array, atomic = 1) {
    this.atomic = atomic;
    this.before = image;
    this.now = image.slice();
    this.sectors = image.length / SECTOR;
  }
  /** How many writes and flushes there were: cuts lie between them. */
  get moments(): number {
    return this.told.length;
  }
  read(sector: number, into: Uint8Array): void {
    into.set(this.now.subarray(sector * SECTOR, sector * SECTOR + into.length));
  }
  write(sector: number, from: Uint8Array): void {
    if (sector + from.length / SECTOR > this.sectors) throw new Error('beyond the disk');
    this.now.set(from, sector * SECTOR);
    this.told.push({ sector, bytes: from.slice() });
  }
  /** As NBD has it: something is there afterwards, and nobody knows what. */
  discard(sector: number, count: number): void {
    this.discarded += count;
    this.write(sector, new Uint8Array(count * SECTOR).fill(0xdd));
  }
  flush(): void {
    this.told.push(undefined);
  }

  /**
   * What is on it when power goes after the first `moment` of those: all that was flushed, and of each sector written since
   * what `keeps` says, decided for every write of it, or of the block that it is in.
   */
  cut(moment: number, keeps: () => boolean): Uint8Array {
    const image = this.before.slice();
    let flushed = -1;
    for (let i = 0; i < moment; i++) if (this.told[i] === undefined) flushed = i;
    for (let i = 0; i < moment; i++) {
      const write = this.told[i];
      if (!write) continue;
      let arrives = false;
      for (let at = 0; at < write.bytes.length; at += SECTOR) {
        if (at === 0 || (write.sector + at / SECTOR) % this.atomic === 0) arrives = i <= flushed || keeps();
        if (!arrives) continue;
        image.set(write.bytes.subarray(at, at + SECTOR), write.sector * SECTOR + at);
      }
    }
    return image;
  }
}

// A disk's write cache that loses what was not flushed: with the process, or when it is told to. What it does not keep is
// on the image at once, whatever was written before it: so at any moment the image is what a loss of power would leave,
// which nothing has to notice. LazyFS does the same for file systems.
import type { DiskImage } from './disk-image.ts';
import { SECTOR_SIZE } from './request.ts';

/** Above this, the cache is written through, as a real one would be. */
const MAX_SECTORS = (64 << 20) / SECTOR_SIZE;

export class WriteCache {
  readonly #image: DiskImage;
  readonly #sectors = new Map<number, Uint8Array>();

  constructor(image: DiskImage) {
    this.#image = image;
  }

  /**
   * `at` and `length` are of whole sectors, but for the last one of a write that was torn. `keeps`: whether a sector may be
   * lost.
   */
  write(from: Uint8Array, offset: number, length: number, at: number, keeps: (sector: number) => boolean): void {
    for (let n = 0; n < length; n += SECTOR_SIZE) {
      const bytes = Math.min(SECTOR_SIZE, length - n);
      const sector = (at + n) / SECTOR_SIZE;
      if (!keeps(sector)) {
        this.#sectors.delete(sector);
        this.#image.write(from, offset + n, bytes, at + n);
        continue;
      }
      const whole = this.#sectors.get(sector) ?? this.#old(sector, bytes);
      whole.set(from.subarray(offset + n, offset + n + bytes));
      this.#sectors.set(sector, whole);
    }
    if (this.#sectors.size > MAX_SECTORS) this.writeThrough();
  }
  #old(sector: number, needed: number): Uint8Array {
    const old = new Uint8Array(SECTOR_SIZE);
    if (needed < SECTOR_SIZE) this.#image.read(old, 0, SECTOR_SIZE, sector * SECTOR_SIZE);
    return old;
  }

  /** Over what was read from the image. */
  over(into: Uint8Array, offset: number, length: number, at: number): void {
    if (this.#sectors.size === 0) return;
    for (let n = 0; n < length; n += SECTOR_SIZE) {
      const newer = this.#sectors.get((at + n) / SECTOR_SIZE);
      if (newer) into.set(newer.subarray(0, Math.min(SECTOR_SIZE, length - n)), offset + n);
    }
  }

  /** The image has something newer there. */
  forget(at: number, length: number): void {
    if (this.#sectors.size === 0) return;
    for (let n = 0; n < length; n += SECTOR_SIZE) this.#sectors.delete((at + n) / SECTOR_SIZE);
  }
  lose(): void {
    this.#sectors.clear();
  }
  writeThrough(): void {
    for (const [sector, bytes] of this.#sectors) this.#image.write(bytes, 0, SECTOR_SIZE, sector * SECTOR_SIZE);
    this.#sectors.clear();
  }
}

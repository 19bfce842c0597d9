// A disk in memory, for file systems under test: counts what reaches it, and fails where it is told to.
import type { SectorDevice } from '../../domu-kernel/fs/sector-device.ts';
import { XenError } from '../../pvbus/errors.ts';

const ANYTHING = 0xdd;

export class MemoryDisk implements SectorDevice {
  readonly name = 'xvda';
  readonly sectorSize: number;
  readonly sectors: number;
  /** 0: it takes no discards. */
  discardGranularity = 4096;
  readOnly = false;
  /** What a reader sees. */
  readonly bytes: Uint8Array;
  /** What was flushed: what is left after power is cut. */
  readonly medium: Uint8Array;
  reads = 0;
  writes = 0;
  flushes = 0;
  /** Bytes. */
  discarded = 0;
  /** Called before each operation; a throw is the disk's answer. */
  fault: ((op: 'read' | 'write' | 'flush' | 'discard', sector: number) => void) | undefined;

  constructor(bytes: number | Uint8Array, sectorSize = 512) {
    this.sectorSize = sectorSize;
    this.bytes = typeof bytes === 'number' ? new Uint8Array(bytes) : bytes;
    this.medium = this.bytes.slice();
    this.sectors = Math.floor(this.bytes.length / sectorSize);
  }
  read(sector: number, into: Uint8Array): void {
    this.reads++;
    this.fault?.('read', sector);
    const at = this.range(sector, into.length);
    into.set(this.bytes.subarray(at, at + into.length));
  }
  write(sector: number, from: Uint8Array): void {
    this.writes++;
    this.fault?.('write', sector);
    if (this.readOnly) throw new XenError('EROFS', 'xvda: the disk is read-only');
    this.bytes.set(from, this.range(sector, from.length));
  }
  flush(): void {
    this.flushes++;
    this.fault?.('flush', 0);
    this.medium.set(this.bytes);
  }
  /** What was there is anything afterwards, at once. */
  discard(sector: number, count: number): void {
    const length = count * this.sectorSize;
    const at = this.range(sector, length);
    if (at % this.discardGranularity !== 0 || length % this.discardGranularity !== 0)
      throw new Error('a broken discard');
    this.fault?.('discard', sector);
    this.discarded += length;
    this.bytes.fill(ANYTHING, at, at + length);
    this.medium.fill(ANYTHING, at, at + length);
  }
  private range(sector: number, length: number): number {
    if (!Number.isInteger(sector) || sector < 0 || length % this.sectorSize !== 0) throw new Error('a broken request');
    if (sector * this.sectorSize + length > this.bytes.length) throw new Error('a request beyond the disk');
    return sector * this.sectorSize;
  }
}

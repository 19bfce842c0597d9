// The disks of a simulated host: what was written is in a cache until it is flushed, and survives the death of a
// process, but not a power cut.
import { XenError } from '#pvbus';
import type { DiskImage } from '../../dom0/backends/blkback/disk-image.ts';
import type { ImageFiles } from '../../dom0/backends/blkback/image-files.ts';
import type { Draw } from './draw.ts';
import type { SimProcess } from './sim-process.ts';

export const SECTOR = 512;
export type DiskOp = 'read' | 'write' | 'flush';

export class SimDisk {
  readonly number: number;
  readonly sizeBytes: number;
  /** What a reader sees. */
  readonly cache: Uint8Array;
  /** What is left when power is cut. */
  readonly medium: Uint8Array;
  readonly #dirty = new Set<number>();
  /** How many of the next calls of each kind fail. */
  readonly failing: Record<DiskOp, number> = { read: 0, write: 0, flush: 0 };
  /** A flush has failed at some time. */
  flushFailed = false;
  onFault: () => void = () => {};

  constructor(number: number, sectors: number) {
    this.number = number;
    this.sizeBytes = sectors * SECTOR;
    this.cache = new Uint8Array(this.sizeBytes);
    this.medium = new Uint8Array(this.sizeBytes);
  }

  /** As a process has it open. `torn`: how many sectors of a call reach the cache when the process dies in it. */
  image(process: SimProcess, torn: (sectors: number) => number): DiskImage {
    const put = (from: Uint8Array, offset: number, length: number, at: number): void => {
      this.cache.set(from.subarray(offset, offset + length), at);
      for (let sector = at / SECTOR; sector < (at + length) / SECTOR; sector++) this.#dirty.add(sector);
    };
    return {
      sizeBytes: this.sizeBytes,
      read: (into, offset, length, at) => {
        process.call();
        this.#mayFail('read');
        into.set(this.cache.subarray(at, at + length), offset);
      },
      write: (from, offset, length, at) => {
        const some = (): void => put(from, offset, SECTOR * torn(length / SECTOR), at);
        process.call(some);
        if (this.failing.write > 0) some();
        this.#mayFail('write');
        put(from, offset, length, at);
      },
      flush: () => {
        process.call();
        this.#mayFail('flush');
        for (const sector of this.#dirty) this.#persist(sector);
        this.#dirty.clear();
      },
      discard: () => {
        throw new XenError('EOPNOTSUPP', 'a disk without discard');
      },
    };
  }
  #mayFail(op: DiskOp): void {
    if (this.failing[op] === 0) return;
    this.failing[op]--;
    if (op === 'flush') this.flushFailed = true;
    this.onFault();
    throw new XenError('EIO', `disk ${this.number}: a ${op} that was to fail`);
  }
  #persist(sector: number): void {
    this.medium.set(this.cache.subarray(sector * SECTOR, (sector + 1) * SECTOR), sector * SECTOR);
  }

  /** Of what was not flushed, each sector is there or not. */
  powerCut(draw: Draw): void {
    for (const sector of this.#dirty) if (draw.oneIn(2)) this.#persist(sector);
    this.#dirty.clear();
    this.cache.set(this.medium);
  }
}

/** Disks as files: `/disk/<number>`. */
export function diskFiles(process: SimProcess, disks: readonly SimDisk[]): ImageFiles {
  return {
    open(path) {
      process.call();
      const disk = disks[Number(path.slice('/disk/'.length))];
      if (!disk) throw new XenError('ENOENT', path);
      return { fd: disk.number, sizeBytes: disk.sizeBytes, identity: path };
    },
    discardGranularity: () => 0,
    sizeOf: fd => disks[fd]!.sizeBytes,
    close() {},
  };
}

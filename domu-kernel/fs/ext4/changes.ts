// The blocks of a volume as its driver has them: what changed since the last commit is here alone, until all of it is
// committed in one step. What files hold goes to the page cache at once, but for blocks whose old content may be wanted yet.
import type { PageCache } from '../page-cache.ts';

export class BlockChanges {
  readonly blockSize: number;
  /** By their numbers. */
  readonly blocks = new Map<number, Uint8Array>();
  private readonly cache: PageCache;
  private readonly perBlock: number;
  /** Given back since the last commit: until that, the medium has files that they belong to. */
  private readonly freed = new Set<number>();
  /** Blocks that a recovery would write: what is put into them has to come after that. */
  private readonly isLogged: (block: number) => boolean;

  /** What a commit gives free. */
  onFreed: ((block: number, count: number) => void) | undefined;

  constructor(cache: PageCache, blockSize: number, isLogged: (block: number) => boolean) {
    this.cache = cache;
    this.blockSize = blockSize;
    this.perBlock = blockSize / cache.sectorSize;
    this.isLogged = isLogged;
  }

  read(offset: number, into: Uint8Array): void {
    this.eachBlock(offset, into, (block, at, part) => {
      const held = this.blocks.get(block);
      if (held) part.set(held.subarray(at, at + part.length));
      else this.readSectors(block * this.blockSize + at, part);
    });
  }
  /** Of the driver's own: part of the next commit. */
  write(offset: number, from: Uint8Array): void {
    this.eachBlock(offset, from, (block, at, part) => {
      const held = this.blocks.get(block);
      if (held) {
        held.set(part, at);
        return;
      }
      const bytes = this.committed(block);
      // The driver writes a good deal that is as it was.
      if (Buffer.compare(bytes.subarray(at, at + part.length), part) === 0) return;
      bytes.set(part, at);
      this.blocks.set(block, bytes);
    });
  }
  /** What a file holds. */
  writeData(offset: number, from: Uint8Array): void {
    this.eachBlock(offset, from, (block, at, part) => {
      if (this.blocks.has(block) || this.freed.has(block) || this.isLogged(block)) {
        const bytes = this.blocks.get(block) ?? this.committed(block);
        bytes.set(part, at);
        this.blocks.set(block, bytes);
      } else this.writeSectors(block * this.blockSize + at, part);
    });
  }
  free(block: number, count: number): void {
    this.onFreed?.(block, count);
    for (let i = 0; i < count; i++) this.freed.add(block + i);
  }
  /** As of the last commit. */
  committed(block: number): Uint8Array {
    const bytes = new Uint8Array(this.blockSize);
    this.cache.read(block * this.perBlock, bytes);
    return bytes;
  }
  /** All that is here is on the medium, or sure to get there: it goes to its places whenever there is time. */
  settled(): void {
    for (const [block, bytes] of this.blocks) this.cache.write(block * this.perBlock, bytes);
    this.drop();
  }
  /** As if nothing had changed since the last commit. */
  drop(): void {
    this.blocks.clear();
    this.freed.clear();
  }

  private eachBlock(
    offset: number,
    bytes: Uint8Array,
    act: (block: number, at: number, part: Uint8Array) => void,
  ): void {
    const { blockSize } = this;
    for (let done = 0; done < bytes.length; ) {
      const block = Math.floor((offset + done) / blockSize);
      const at = (offset + done) % blockSize;
      const take = Math.min(blockSize - at, bytes.length - done);
      act(block, at, bytes.subarray(done, done + take));
      done += take;
    }
  }
  private readSectors(offset: number, into: Uint8Array): void {
    const { sectorSize } = this.cache;
    if (offset % sectorSize === 0 && into.length % sectorSize === 0) {
      this.cache.read(offset / sectorSize, into);
      return;
    }
    const [first, bytes] = this.around(offset, into.length);
    into.set(bytes.subarray(offset - first * sectorSize, offset - first * sectorSize + into.length));
  }
  private writeSectors(offset: number, from: Uint8Array): void {
    const { sectorSize } = this.cache;
    if (offset % sectorSize === 0 && from.length % sectorSize === 0) {
      this.cache.write(offset / sectorSize, from);
      return;
    }
    const [first, bytes] = this.around(offset, from.length);
    bytes.set(from, offset - first * sectorSize);
    this.cache.write(first, bytes);
  }
  /** The whole sectors that these bytes are in. */
  private around(offset: number, length: number): [first: number, bytes: Uint8Array] {
    const { sectorSize } = this.cache;
    const first = Math.floor(offset / sectorSize);
    const bytes = new Uint8Array((Math.ceil((offset + length) / sectorSize) - first) * sectorSize);
    this.cache.read(first, bytes);
    return [first, bytes];
  }
}

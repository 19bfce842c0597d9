// A peer's pool as a grantee sees it: mapped whole, looked at in parts. The engine counts a view as this
// process's own memory and collects garbage accordingly; a pool is large, and little of it is in use.
import { PAGE_SIZE, POOL_SIZE } from './abi/xenolith.ts';
import { mapPrivateOver, mapShared, unmap, viewOf } from './linux.ts';
import { type Page, pageAt } from './page.ts';

/** Pages that lie in one part can be used as one. */
const PART_SIZE = 2 << 20;

// A range may be unmapped only when no view can reach it any more: when its buffer was collected.
const addressSpace = new FinalizationRegistry<number>(address => unmap(address, PART_SIZE));

interface PoolPart {
  readonly bytes: Uint8Array;
  readonly pages: (Page | undefined)[];
}

export class PoolView {
  private readonly address: number;
  private readonly parts: (PoolPart | undefined)[] = [];
  private released = false;

  /** The descriptor is still the caller's. */
  constructor(fd: number) {
    this.address = mapShared(fd, POOL_SIZE);
  }
  /** The page at byte `offset` of the pool, and the part it lies in with its offset there. */
  at(offset: number): { page: Page; part: Uint8Array; offset: number } {
    const { bytes, pages } = this.part(Math.floor(offset / PART_SIZE));
    const within = offset % PART_SIZE;
    let page = pages[within / PAGE_SIZE];
    if (!page) {
      page = pageAt(bytes.buffer, within);
      pages[within / PAGE_SIZE] = page;
    }
    return { page, part: bytes, offset: within };
  }
  private part(n: number): PoolPart {
    let part = this.parts[n];
    if (!part) {
      if (this.released) throw new Error('a page of a pool that is gone');
      const buffer = viewOf(this.address + n * PART_SIZE, PART_SIZE);
      part = { bytes: new Uint8Array(buffer), pages: [] };
      this.parts[n] = part;
    }
    return part;
  }
  /** Let go of the memory. Views stay valid and read zeros. */
  release(): void {
    // Once only: afterwards somebody else's memory may lie at these addresses.
    if (this.released) return;
    this.released = true;
    for (let n = 0; n < POOL_SIZE / PART_SIZE; n++) {
      const address = this.address + n * PART_SIZE;
      const part = this.parts[n];
      if (part === undefined) unmap(address, PART_SIZE);
      else {
        mapPrivateOver(address, PART_SIZE);
        addressSpace.register(part.bytes.buffer, address);
      }
    }
  }
}

// Where parts of other domains' memory appear in a control domain, one domain at a time. The window is made
// once and mapped over and over: views of fresh mappings would be counted as this process's own memory by
// the engine, which then collects garbage at every domain that is built.
import { writeSync } from 'node:fs';
import { type DomainLayout, PAGE_SIZE } from './abi/xenolith.ts';
import { closeFd, mapPrivate, mapPrivateOver, mapSharedOver, viewOf } from './linux.ts';

/** Another domain's whole memory, without what its pools lay over it, as map_foreign has brought it. */
export interface ForeignMemory {
  /** The receiver's to close. */
  readonly fd: number;
  readonly layout: DomainLayout;
}

/** Frames of the domain that is looked at. */
export interface ForeignFrames {
  readonly layout: DomainLayout;
  /** `count` frames from `first`. The memory is the domain's until the look is over; then it is nobody's. */
  frames(first: number, count: number): { readonly bytes: Uint8Array; readonly view: DataView };
  /** Put `bytes` at a guest address: for many frames nobody has touched, a third of what it takes through a view. */
  write(address: number, bytes: Uint8Array): void;
}

export class ForeignWindow {
  #address = 0;
  #buffer = new ArrayBuffer(0);
  #used = 0;

  /** `frames`: how many `body` will look at in all, at most. */
  look<T>({ fd, layout }: ForeignMemory, frames: number, body: (foreign: ForeignFrames) => T): T {
    try {
      this.#reserve(frames * PAGE_SIZE);
      return body({
        layout,
        frames: (first, count) => this.#map(fd, layout, first, count),
        write: (address, bytes) => writeAll(fd, layout, address, bytes),
      });
    } finally {
      // order: private pages first, so that what was seen of the domain keeps none of its memory.
      if (this.#used > 0) mapPrivateOver(this.#address, this.#used);
      this.#used = 0;
      closeFd(fd);
    }
  }

  #reserve(bytes: number): void {
    if (bytes <= this.#buffer.byteLength) return;
    // The smaller one is left to its views; it only ever doubles, so all of them together are no more than this one.
    const size = Math.max(bytes, 2 * this.#buffer.byteLength);
    this.#address = mapPrivate(size);
    this.#buffer = viewOf(this.#address, size);
  }
  #map(
    fd: number,
    layout: DomainLayout,
    first: number,
    count: number,
  ): { readonly bytes: Uint8Array; readonly view: DataView } {
    const at = this.#used;
    const bytes = count * PAGE_SIZE;
    if (at + bytes > this.#buffer.byteLength || first + count > layout.frames) {
      throw new Error(`${count} frames from ${first} of ${layout.frames} do not fit the window`);
    }
    mapSharedOver(this.#address + at, fd, bytes, first * PAGE_SIZE);
    this.#used += bytes;
    return { bytes: new Uint8Array(this.#buffer, at, bytes), view: new DataView(this.#buffer, at, bytes) };
  }
}

function writeAll(fd: number, layout: DomainLayout, address: number, bytes: Uint8Array): void {
  // The file's size is sealed, yet a write that begins beyond it would fail for a reason that says less.
  if (address + bytes.length > layout.frames * PAGE_SIZE) {
    throw new Error(`${bytes.length} bytes at ${address} are not in a domain of ${layout.frames} frames`);
  }
  for (let done = 0; done < bytes.length; ) {
    done += writeSync(fd, bytes, done, bytes.length - done, address + done);
  }
}

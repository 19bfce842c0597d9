// How pages come to be shared between processes: sealed memfds, mapped whole, with parts of one
// mapped over frames of another. The only file that knows.

import { domainLayout, PAGE_SIZE } from './abi/xenolith.ts';
import { XenError } from './errors.ts';
import {
  closeFd,
  createSealedMemory,
  dupFd,
  mapPrivate,
  mapPrivateOver,
  mapShared,
  mapSharedOver,
  punchHole,
  unmap,
  viewOf,
} from './linux.ts';
import { type Page, pageAt } from './page.ts';
import { takeReservedView } from './view-reserve.ts';

// A range may be unmapped only when no view can reach it any more: when its buffer was collected.
const addressSpace = new FinalizationRegistry<{ address: number; size: number }>(({ address, size }) =>
  unmap(address, size),
);

interface Mapped {
  readonly address: number;
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
  readonly view: DataView;
}

const mappedAt = (address: number, buffer: ArrayBuffer, offset: number, size: number): Mapped => ({
  address,
  bytes: new Uint8Array(buffer, offset, size),
  words: new Int32Array(buffer, offset, size / 4),
  view: new DataView(buffer, offset, size),
});

/** So many pages has a domain at most where a view is of `viewBytes` at most: with what else lies in its memory they are one. */
export const mostDomainPages = (viewBytes: number, maxVcpus: number): number =>
  Math.floor(viewBytes / PAGE_SIZE) - domainLayout(0, maxVcpus).frames;

/** Memory of a fixed size that several processes map. Views are made once and kept. */
export class Arena {
  readonly size: number;
  private file: number;
  private mapped: Mapped | undefined;
  private released = false;
  private readonly pages = new Map<number, Page>();

  private constructor(fd: number, size: number) {
    this.file = fd;
    this.size = size;
  }
  /** Make the views, if they are not there yet. Throws SystemCallError when there is no address space left. */
  private map(): Mapped {
    const { size } = this;
    const place = this.released ? undefined : takeReservedView(size);
    let buffer: ArrayBuffer;
    let address: number;
    if (place !== undefined) {
      ({ buffer, address } = place);
      mapSharedOver(address, this.file, size, 0);
    } else {
      address = this.released ? mapPrivate(size) : mapShared(this.file, size);
      buffer = viewOf(address, size);
      addressSpace.register(buffer, { address, size });
    }
    this.mapped = mappedAt(address, buffer, place?.offset ?? 0, size);
    return this.mapped;
  }
  get address(): number {
    return (this.mapped ?? this.map()).address;
  }
  get bytes(): Uint8Array {
    return (this.mapped ?? this.map()).bytes;
  }
  get words(): Int32Array {
    return (this.mapped ?? this.map()).words;
  }
  get view(): DataView {
    return (this.mapped ?? this.map()).view;
  }

  /** New zeroed memory of `size` bytes; nobody can resize it. */
  static create(name: string, size: number): Arena {
    const arena = Arena.createUnseen(name, size);
    arena.map();
    return arena;
  }
  /** Memory someone else made. The descriptor is the arena's from here on. */
  static adopt(fd: number, size: number): Arena {
    if (fd < 0) throw new XenError('EMFILE', 'no descriptor was left for memory that was sent');
    const arena = Arena.adoptUnseen(fd, size);
    arena.map();
    return arena;
  }
  /**
   * The same, mapped only if it is ever looked at: for memory that is merely handed on or laid over frames.
   * The engine counts views as this process's own memory, and collects garbage accordingly.
   */
  static createUnseen(name: string, size: number): Arena {
    return new Arena(createSealedMemory(name, size), size);
  }
  static adoptUnseen(fd: number, size: number): Arena {
    return new Arena(fd, size);
  }
  /** Memory that another thread of this process has mapped at `address`, and keeps mapped: what it overlays shows here. */
  static sharing(address: number, size: number): Arena {
    const arena = new Arena(-1, size);
    arena.mapped = mappedAt(address, viewOf(address, size), 0, size);
    return arena;
  }
  /** The descriptor to hand to another process; -1 once closed. */
  get fd(): number {
    return this.file;
  }
  /** A second mapping of the same memory, as another process would have. */
  again(): Arena {
    return Arena.adopt(dupFd(this.file), this.size);
  }
  /** Views of one page, made at the first call and kept. */
  page(n: number): Page {
    let page = this.pages.get(n);
    if (!page) {
      const { buffer, byteOffset } = this.bytes;
      page = pageAt(buffer, byteOffset + n * PAGE_SIZE);
      this.pages.set(n, page);
    }
    return page;
  }
  /** Frames [page, page + count) become frames of `source`: every view of this arena sees them at once. */
  overlay(page: number, source: Arena, sourcePage: number, count: number): void {
    mapSharedOver(this.address + page * PAGE_SIZE, source.fd, count * PAGE_SIZE, sourcePage * PAGE_SIZE);
  }
  /** Undo `overlay`: the arena's own frames are back. */
  restore(page: number, count: number): void {
    mapSharedOver(this.address + page * PAGE_SIZE, this.file, count * PAGE_SIZE, page * PAGE_SIZE);
  }
  /** Give the memory of these frames back; they read as zero for everybody who maps them. */
  discard(page: number, count: number): void {
    punchHole(this.file, page * PAGE_SIZE, count * PAGE_SIZE);
  }
  /** The descriptor is not needed again: the mapping lives on, `overlay` onto others does not. */
  closeFile(): void {
    if (!this.released && !this.mapped) this.map();
    if (this.file >= 0) closeFd(this.file);
    this.file = -1;
  }
  /** Let go of the memory. Views stay valid and read zeros. */
  release(): void {
    this.released = true;
    this.closeFile();
    if (this.mapped) mapPrivateOver(this.mapped.address, this.size);
  }
}

// What is kept of a disk, and what is not on it yet. Writes are collected and reach the disk in an order in which a guest
// that ends at any moment leaves a FAT volume behind that can be repaired without losing what a sync has promised.

import type { Piece } from '../block-device.ts';
import type { CacheFrames, Keeper } from './cache-frames.ts';
import { type SectorDevice, type WriteKind, writePieces } from './sector-device.ts';

const PAGE = 4096;
/** Pages fetched ahead of a reader that goes on where it was: twice as many each time. */
const AHEAD_MIN = 4;
const AHEAD_MAX = 32;
/** Bytes the disk is asked for with one call. */
const RUN = 256 << 10;
/** Of the cache, what may be waiting to be written. */
const DIRTY_SHARE = 4;

/** A bit for each of its sectors in every mask. A sector is dirty as one kind. */
class Page {
  readonly bytes = new Uint8Array(PAGE);
  /** Its sectors, those that were asked for. */
  readonly views: Uint8Array[] = [];
  valid = 0;
  touched = false;
  readonly dirty: Record<WriteKind, number> = { data: 0, fresh: 0, table: 0, directory: 0 };

  get dirtyMask(): number {
    const { data, fresh, table, directory } = this.dirty;
    return data | fresh | table | directory;
  }
}

export class PageCache implements SectorDevice, Keeper {
  readonly name: string;
  readonly sectorSize: number;
  readonly sectors: number;
  readonly readOnly: boolean;
  private readonly device: SectorDevice;
  private readonly perPage: number;
  /** Pages that are its own, and those that it has as long as nobody else wants them. */
  private readonly own: number;
  private borrowed = 0;
  private readonly more: CacheFrames | undefined;
  private readonly pages = new Map<number, Page>();
  private readonly dirtyPages = new Map<number, Page>();
  /** Written to the disk, which has not been told to keep them yet. */
  private readonly unflushed = new Set<WriteKind>();
  private keepsOrder = false;
  /** `inOrder` could not have it all in one sector. */
  private twoSteps = false;
  private expected = -1;
  private ahead = AHEAD_MIN;

  constructor(device: SectorDevice, bytes = 1 << 20, more?: CacheFrames) {
    this.device = device;
    this.name = device.name;
    this.sectorSize = device.sectorSize;
    this.sectors = device.sectors;
    this.readOnly = device.readOnly;
    this.perPage = Math.max(1, PAGE / device.sectorSize);
    this.own = Math.max(2 * AHEAD_MAX, Math.floor(bytes / PAGE));
    this.more = more;
  }
  private get capacity(): number {
    return this.own + this.borrowed;
  }

  get isDirty(): boolean {
    return this.dirtyPages.size > 0;
  }

  /** What is dirty stays. */
  get spare(): number {
    return Math.min(this.borrowed, Math.max(0, this.capacity - this.dirtyPages.size));
  }
  shrink(pages: number): void {
    this.borrowed -= pages;
    this.makeRoom(0);
  }

  read(sector: number, into: Uint8Array): void {
    const count = into.length / this.sectorSize;
    for (let done = 0; done < count; ) {
      const at = sector + done;
      const n = Math.floor(at / this.perPage);
      const from = at % this.perPage;
      const take = Math.min(count - done, this.perPage - from);
      const page = this.valid(n, maskOf(from, take), Math.ceil((from + count - done) / this.perPage));
      const start = from * this.sectorSize;
      into.set(page.bytes.subarray(start, start + take * this.sectorSize), done * this.sectorSize);
      done += take;
    }
  }

  held(sector: number): Uint8Array | undefined {
    const page = this.pages.get(Math.floor(sector / this.perPage));
    const at = sector % this.perPage;
    if (page === undefined || (page.valid & (1 << at)) === 0) return undefined;
    page.touched = true;
    page.views[at] ??= page.bytes.subarray(at * this.sectorSize, (at + 1) * this.sectorSize);
    return page.views[at];
  }

  write(sector: number, from: Uint8Array, kind: WriteKind = 'data'): void {
    if (this.keepsOrder && kind === 'directory' && this.otherDirectoryIsDirty(sector)) {
      this.flush();
      this.twoSteps = true;
    }
    const count = from.length / this.sectorSize;
    for (let done = 0; done < count; ) {
      const at = sector + done;
      const n = Math.floor(at / this.perPage);
      const offset = at % this.perPage;
      const take = Math.min(count - done, this.perPage - offset);
      const page = this.pages.get(n) ?? this.add(n);
      page.bytes.set(from.subarray(done * this.sectorSize, (done + take) * this.sectorSize), offset * this.sectorSize);
      const mask = maskOf(offset, take);
      page.valid |= mask;
      mark(page, mask, kind);
      this.dirtyPages.set(n, page);
      done += take;
    }
    if (this.dirtyPages.size <= this.own / DIRTY_SHARE) return;
    // What files hold may be written whenever there is time; all else has its place in the order.
    this.writeOut('data');
    if (this.dirtyPages.size > this.own / DIRTY_SHARE) this.flush();
  }

  /**
   * Everything written is on the medium when this returns, or, with `dataOnly`, all but directories.
   *
   * order: clusters of directories are cleared before the FAT leads to them, or what they held before would be names. The
   * FAT leads to clusters before directory entries do, or two files would have them.
   */
  flush(dataOnly = false): void {
    this.writeOut('fresh');
    this.writeOut('data');
    if (this.unflushed.has('fresh')) this.barrier();
    this.writeOut('table');
    if (!dataOnly) {
      if (this.unflushed.has('table') && this.has('directory')) this.barrier();
      this.writeOut('directory');
    }
    this.barrier();
  }

  /** After a flush, when the FAT has nothing new but clusters that became free: it reaches the disk, whenever that keeps it. */
  writeTables(): void {
    this.writeOut('table');
  }
  /** Directory sectors that `act` writes are on the medium in its order, and, where they are several, when this returns. */
  inOrder<T>(act: () => T): T {
    this.keepsOrder = true;
    this.twoSteps = false;
    try {
      const result = act();
      // A file has two names between the steps: that is to be short.
      if (this.twoSteps) this.flush();
      return result;
    } finally {
      this.keepsOrder = false;
    }
  }

  private barrier(): void {
    this.device.flush();
    this.unflushed.clear();
  }
  private has(kind: WriteKind): boolean {
    for (const page of this.dirtyPages.values()) if (page.dirty[kind] !== 0) return true;
    return false;
  }
  private otherDirectoryIsDirty(sector: number): boolean {
    const own = Math.floor(sector / this.perPage);
    for (const [n, page] of this.dirtyPages) {
      const except = n === own ? maskOf(sector % this.perPage, 1) : 0;
      if ((page.dirty.directory & ~except) !== 0) return true;
    }
    return false;
  }

  /** What fails stays dirty, and is tried again with the next flush. */
  private writeOut(kind: WriteKind): void {
    const { perPage, sectorSize } = this;
    const numbers = [...this.dirtyPages].filter(([, page]) => page.dirty[kind] !== 0).map(([n]) => n);
    if (numbers.length === 0) return;
    numbers.sort((a, b) => a - b);
    const pieces: Piece[] = [];
    const written: (() => void)[] = [];
    for (const n of numbers) {
      const page = this.dirtyPages.get(n);
      if (!page) continue;
      const mask = page.dirty[kind];
      for (let first = 0; first < perPage; ) {
        if ((mask & (1 << first)) === 0) {
          first++;
          continue;
        }
        let end = first;
        while (end < perPage && (mask & (1 << end)) !== 0) end++;
        pieces.push({ sector: n * perPage + first, bytes: page.bytes.subarray(first * sectorSize, end * sectorSize) });
        first = end;
      }
      written.push(() => this.clean(n, page, kind, mask));
    }
    writePieces(this.device, pieces);
    this.unflushed.add(kind);
    for (const done of written) done();
  }
  private clean(n: number, page: Page, kind: WriteKind, bits: number): void {
    page.dirty[kind] &= ~bits;
    if (page.dirtyMask === 0) this.dirtyPages.delete(n);
  }

  /** The page, with these sectors in it. `wanted`: pages from here on that the reader asks for now. */
  private valid(n: number, mask: number, wanted: number): Page {
    const held = this.pages.get(n);
    if (held && (held.valid & mask) === mask) {
      held.touched = true;
      return held;
    }
    const last = Math.ceil(this.sectors / this.perPage);
    if (n === this.expected) this.ahead = Math.min(2 * this.ahead, AHEAD_MAX);
    else this.ahead = AHEAD_MIN;
    // The first miss of all may be anywhere; one that follows another goes on.
    const most = Math.min(n === this.expected ? wanted + this.ahead : wanted, RUN / PAGE, last - n);
    let count = 1;
    if (!held) while (count < most && !this.pages.has(n + count)) count++;
    this.expected = n + count;
    return this.fetch(n, count);
  }
  /** The first of them. */
  private fetch(first: number, count: number): Page {
    const { perPage, sectorSize } = this;
    const sector = first * perPage;
    const wanted = this.pages.get(first) ?? this.add(first);
    wanted.touched = true;
    if (count === 1 && wanted.valid === 0 && sector + perPage <= this.sectors) {
      this.device.read(sector, wanted.bytes);
      wanted.valid = maskOf(0, perPage);
      return wanted;
    }
    const bytes = new Uint8Array(Math.min(count * perPage, this.sectors - sector) * sectorSize);
    this.device.read(sector, bytes);
    for (let i = 0; i < count; i++) {
      const page = i === 0 ? wanted : (this.pages.get(first + i) ?? this.add(first + i, wanted));
      const there = Math.min(perPage, this.sectors - (first + i) * perPage);
      for (let s = 0; s < there; s++) {
        // invariant: a sector that is valid may be newer than the disk's.
        if ((page.valid & (1 << s)) !== 0) continue;
        const at = (i * perPage + s) * sectorSize;
        page.bytes.set(bytes.subarray(at, at + sectorSize), s * sectorSize);
      }
      page.valid |= maskOf(0, there);
    }
    return wanted;
  }
  /** Not in the place of `kept`. */
  private add(n: number, kept?: Page): Page {
    if (this.pages.size >= this.capacity) this.borrowed += this.more?.grow(this) ?? 0;
    const page = this.makeRoom(1, kept) ?? new Page();
    page.valid = 0;
    this.pages.set(n, page);
    return page;
  }
  /** Who was used since the last time round is passed over once, what is dirty always. Returns one that went. */
  private makeRoom(pages: number, kept?: Page): Page | undefined {
    const { capacity } = this;
    let tries = 2 * this.pages.size;
    let gone: Page | undefined;
    for (const [n, page] of this.pages) {
      if (this.pages.size + pages <= capacity || tries-- === 0) return gone;
      this.pages.delete(n);
      if (!page.touched && page.dirtyMask === 0 && page !== kept) {
        gone = page;
        continue;
      }
      page.touched = false;
      this.pages.set(n, page);
    }
    return gone;
  }
}

const maskOf = (first: number, count: number): number => ((1 << count) - 1) << first;

function mark(page: Page, mask: number, kind: WriteKind): void {
  const { dirty } = page;
  // What goes into a directory's cluster that was just cleared is part of the clearing.
  const fresh = kind === 'directory' ? dirty.fresh & mask : 0;
  for (const other of ['data', 'fresh', 'table', 'directory'] as const) dirty[other] &= ~mask;
  dirty[kind] |= mask & ~fresh;
  dirty.fresh |= fresh;
}

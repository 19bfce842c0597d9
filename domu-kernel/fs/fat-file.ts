// A file of a FAT volume that is in use: what it holds.
import { XenError } from '#pvbus';
import { findEntry } from './fat-entries.ts';
import { type EntryPlace, FA_READ, FA_WRITE, FatHandle } from './fat-handle.ts';
import { FatNode, stepped } from './fat-node.ts';
import { checkRange } from './file-system.ts';

const MAX_FILE = 0xffffffff;

export class FatFile extends FatNode {
  private handle: FatHandle | undefined;
  private durableSize: number | undefined;
  private durableCluster: number | undefined;

  override get size(): number {
    return this.handle?.size ?? super.size;
  }

  override read(offset: number, into: Uint8Array): number {
    const what = `read ${this.path}`;
    checkRange(what, offset, 0, Number.MAX_SAFE_INTEGER);
    return this.fs.enter(what, () => (offset < this.size ? this.opened(what).read(what, offset, into) : 0));
  }
  override write(offset: number, from: Uint8Array): number {
    const what = `write ${this.path}`;
    checkRange(what, offset, from.length, MAX_FILE);
    if (from.length === 0) return 0;
    return this.fs.enter(what, () => {
      const handle = this.writable(what);
      let done = handle.write(what, offset, from);
      // What was removed last may still hold clusters.
      if (done < from.length && this.fs.reclaim()) done += handle.write(what, offset + done, from.subarray(done));
      if (done === 0) throw new XenError('ENOSPC', `${what}: the volume is full`);
      this.changed();
      return done;
    });
  }
  override truncate(size: number): void {
    const what = `truncate ${this.path}`;
    checkRange(what, size, 0, MAX_FILE);
    this.fs.enter(what, () => {
      const handle = this.writable(what);
      if (size === 0) {
        this.fs.freed.cutNever(this);
        this.fs.freed.add(handle.takeChain());
      } else if (size < handle.size) {
        handle.shorten(what, size);
        this.fs.freed.cutLater(this);
      } else if (size > handle.size) this.lengthen(what, handle, size);
      this.changed();
    });
  }

  // ---- for the volume and directories; the volume is entered ----

  /** What it was made with. */
  opensWith(handle: FatHandle): void {
    this.handle = handle;
  }
  /** The cluster that is to be its last; undefined when it has none here. */
  lastCluster(what: string): number | undefined {
    return this.handle?.lastCluster(what);
  }
  /** Its chain ends where it does: the medium has its size. */
  cut(what: string): void {
    this.handle?.cut(what);
  }
  override flush(what: string): void {
    if (this.handle?.modified) this.handle.sync(what, this.mtimeMs);
  }
  /** Everything of it is on the medium. */
  override settled(): void {
    if (!this.handle) return;
    this.durableSize = this.handle.size;
    this.durableCluster = this.handle.firstCluster;
  }
  /** What leads to its data is on the medium as it is now, but for the time. */
  get entryIsDurable(): boolean {
    return this.handle?.size === this.durableSize && this.handle?.firstCluster === this.durableCluster;
  }
  override moveTo(place: EntryPlace): void {
    if (this.handle) this.handle.place = place;
  }
  override move(what: string, from: string, to: string): void {
    super.move(what, from, to);
    if (this.handle) this.handle.place = findEntry(this.fs.core, what, to, false);
  }
  dropIfUnused(): void {
    // Who opens it meanwhile has to find it as it is here.
    if (this.removed || !this.fs.freed.isShortened(this)) this.drop();
  }
  protected override syncEntry(what: string): void {
    this.handle?.sync(what, this.mtimeMs);
  }
  protected override discard(): void {
    this.handle?.discard();
    this.handle = undefined;
    this.fs.freed.cutNever(this);
  }
  protected override close(what: string): void {
    const { handle } = this;
    this.handle = undefined;
    this.fs.freed.cutNever(this);
    handle?.close(what, this.mtimeMs);
  }

  private opened(what: string): FatHandle {
    if (this.handle) return this.handle;
    const { fs } = this;
    const mode = fs.readOnly || this.isReadOnly ? FA_READ : FA_READ | FA_WRITE;
    const handle = FatHandle.open(fs.core, what, this.path, mode);
    if (typeof handle === 'number') throw fs.core.error(what, handle);
    this.handle = handle;
    return handle;
  }
  private writable(what: string): FatHandle {
    this.fs.checkWritable(what);
    if (this.isReadOnly) throw new XenError('EACCES', `${what}: the file is read-only`);
    return this.opened(what);
  }
  private lengthen(what: string, handle: FatHandle, size: number): void {
    const { fs } = this;
    const before = handle.size;
    const last = Uint8Array.of(0);
    if (handle.write(what, size - 1, last) === 1) return;
    if (fs.reclaim() && handle.write(what, size - 1, last) === 1) return;
    if (handle.size > before) handle.truncate(what, before);
    throw new XenError('ENOSPC', `${what}: the volume is full`);
  }
  private changed(): void {
    this.mtimeMs = stepped(this.fs.wallMs());
    this.unsynced();
    this.fs.touch();
  }
}

// FatFs' own object of an open file. There is one for a file, however many have it open: FatFs keeps the end of the file
// and the place of its directory entry in it.
import { type FatCore, TRANSFER } from './fat-core.ts';
import { FR_OK } from './fat-errors.ts';

// FIL of FatFs 0.15, without exFAT: FFOBJID first, then the file's own fields, then a sector.
const FIL = {
  fs: 0,
  id: 4,
  sclust: 8,
  objsize: 12,
  flag: 16,
  err: 17,
  fptr: 20,
  clust: 24,
  sect: 28,
  dir_sect: 32,
  dir_ptr: 36,
} as const;
const FA_MODIFIED = 0x40;
const FA_DIRTY = 0x80;

export const FA_READ = 1;
export const FA_WRITE = 2;
export const FA_CREATE_NEW = 4;

/** Clusters between two marks. */
const STRIDE = 64;
const ZEROS = new Uint8Array(TRANSFER);

/** Where a directory entry is: its sector, and the byte in that. */
export interface EntryPlace {
  readonly sector: number;
  readonly offset: number;
}

export class FatHandle {
  private readonly core: FatCore;
  private readonly pointer: number;
  /** The cluster with the index 0, STRIDE, 2 * STRIDE, ... of the chain, as far as it is known. */
  private readonly marks: number[] = [];

  private constructor(core: FatCore, pointer: number) {
    this.core = core;
    this.pointer = pointer;
  }

  /** An FRESULT where it cannot be opened. */
  static open(core: FatCore, what: string, path: string, mode: number): FatHandle | number {
    const pointer = core.alloc(core.x.sizeof_FIL());
    const result = core.enter(what, () => core.x.f_open(pointer, core.putString(core.path, path), mode));
    if (result === FR_OK) return new FatHandle(core, pointer);
    core.x.free(pointer);
    return result;
  }
  /** Frees a chain of clusters that no directory entry leads to. */
  static freeChain(core: FatCore, cluster: number): void {
    const pointer = core.alloc(core.x.sizeof_FIL());
    try {
      const made = new FatHandle(core, pointer);
      const [fs, id] = core.mountId;
      made.put('fs', fs);
      core.view.setUint16(pointer + FIL.id, id, true);
      made.put('sclust', cluster);
      made.put('objsize', 1);
      core.view.setUint16(pointer + FIL.flag, FA_WRITE, true);
      core.call('free clusters', () => core.x.f_truncate(pointer));
    } finally {
      core.x.free(pointer);
    }
  }

  get size(): number {
    return this.take('objsize');
  }
  get firstCluster(): number {
    return this.take('sclust');
  }
  /** Of the file's directory entry. */
  get place(): EntryPlace {
    return { sector: this.take('dir_sect'), offset: this.take('dir_ptr') - this.core.window };
  }
  set place({ sector, offset }: EntryPlace) {
    this.put('dir_sect', sector);
    this.put('dir_ptr', this.core.window + offset);
  }
  /** Its directory entry, or its last sector, is newer here than on the disk. */
  get modified(): boolean {
    return (this.core.view.getUint8(this.pointer + FIL.flag) & (FA_MODIFIED | FA_DIRTY)) !== 0;
  }

  read(what: string, position: number, into: Uint8Array): number {
    const { core } = this;
    // FatFs would make the file longer to get there.
    const wanted = Math.min(into.length, Math.max(0, this.size - position));
    let done = 0;
    if (wanted > 0) this.seek(what, position);
    while (done < wanted) {
      const part = Math.min(TRANSFER, wanted - done);
      this.call(what, () => core.x.f_read(this.pointer, core.buffer, part, core.count));
      const got = core.view.getUint32(core.count, true);
      into.set(core.bytes.subarray(core.buffer, core.buffer + got), done);
      done += got;
      if (got < part) break;
    }
    return done;
  }
  /** How many bytes there was room for. A gap before `position` becomes zeros, or, without room for it, 0 is returned. */
  write(what: string, position: number, data: Uint8Array): number {
    const before = this.size;
    for (let end = before; end < position; end = this.size) {
      const part = Math.min(TRANSFER, position - end);
      if (this.put_(what, end, ZEROS.subarray(0, part)) === part) continue;
      this.truncate(what, before);
      return 0;
    }
    return this.put_(what, position, data);
  }
  /** Not longer. The chain stays as it is, and the file may grow into it again. */
  shorten(what: string, size: number): void {
    this.seek(what, size);
    this.put('objsize', size);
    this.flag(FA_MODIFIED);
  }
  /** That its last byte is in. */
  lastCluster(what: string): number {
    this.seek(what, this.size);
    return this.take('clust');
  }
  /** The rest of the chain is free afterwards. */
  cut(what: string): void {
    const { view } = this.core;
    const flags = view.getUint8(this.pointer + FIL.flag);
    const { size } = this;
    this.seek(what, size);
    // FatFs cuts where the file would go on.
    this.put('objsize', size + 1);
    try {
      this.call(what, () => this.core.x.f_truncate(this.pointer));
    } finally {
      this.keepMarks(size);
      this.put('objsize', size);
      if ((flags & FA_MODIFIED) === 0) this.flag(0, FA_MODIFIED);
    }
  }
  /** Not longer. The rest of the chain is free afterwards: only of what the medium does not know yet. */
  truncate(what: string, size: number): void {
    this.seek(what, size);
    this.keepMarks(size);
    this.call(what, () => this.core.x.f_truncate(this.pointer));
  }
  /** Empty from now on; its chain, which is returned, stays allocated. 0: it had none. */
  takeChain(): number {
    const chain = this.firstCluster;
    this.keepMarks(0);
    for (const field of ['sclust', 'objsize', 'fptr', 'clust', 'sect'] as const) this.put(field, 0);
    this.flag(FA_MODIFIED, FA_DIRTY);
    return chain;
  }
  /** FatFs has given everything of the file to the device, and of the FAT. `dateMs`: when it was written to. */
  sync(what: string, dateMs: number | undefined): void {
    this.dated(dateMs, () => this.call(what, () => this.core.x.f_sync(this.pointer)));
  }
  close(what: string, dateMs: number | undefined): void {
    try {
      this.dated(dateMs, () => this.call(what, () => this.core.x.f_close(this.pointer)));
    } finally {
      this.core.x.free(this.pointer);
    }
  }
  /** Nothing of it is written any more. */
  discard(): void {
    this.core.x.free(this.pointer);
  }

  private put_(what: string, position: number, data: Uint8Array): number {
    const { core } = this;
    this.seek(what, position);
    let done = 0;
    while (done < data.length) {
      const part = data.subarray(done, done + TRANSFER);
      core.bytes.set(part, core.buffer);
      this.call(what, () => core.x.f_write(this.pointer, core.buffer, part.length, core.count));
      const put = core.view.getUint32(core.count, true);
      done += put;
      if (put < part.length) break;
    }
    return done;
  }
  /** Not beyond the end. */
  private seek(what: string, position: number): void {
    this.approach(what, position);
    this.step(what, position);
  }
  /** FatFs follows a chain from the cluster where it is, or from the first one: it is taken to a nearer one. */
  private approach(what: string, position: number): void {
    const { core, marks } = this;
    const { clusterBytes } = core;
    const index = (at: number): number => Math.floor((at - 1) / clusterBytes);
    const target = index(position);
    const wanted = Math.floor((target - 1) / STRIDE);
    if (wanted < 1) return;
    const now = index(this.take('fptr'));
    if (now >= wanted * STRIDE && now <= target) return;
    const known = Math.min(wanted, marks.length - 1);
    if (known >= 0) this.jump(known * STRIDE, marks[known]!);
    for (let mark = known + 1; mark <= wanted; mark++) {
      this.step(what, (mark * STRIDE + 1) * clusterBytes);
      marks.push(this.take('clust'));
    }
  }
  /** To the end of a cluster of the chain. */
  private jump(index: number, cluster: number): void {
    this.put('fptr', (index + 1) * this.core.clusterBytes);
    this.put('clust', cluster);
  }
  private step(what: string, position: number): void {
    this.call(what, () => this.core.x.ffw_f_lseek(this.pointer, position, 0));
  }
  /** The chain ends with `size` bytes. */
  private keepMarks(size: number): void {
    const clusters = Math.ceil(size / this.core.clusterBytes);
    this.marks.length = Math.min(this.marks.length, Math.ceil(clusters / STRIDE));
  }
  /** FatFs gives up a file after an error of the disk; the next call may succeed. */
  private call(what: string, call: () => number): void {
    this.core.view.setUint8(this.pointer + FIL.err, 0);
    this.core.call(what, call);
  }
  private dated(dateMs: number | undefined, act: () => void): void {
    this.core.dateMs = dateMs;
    try {
      act();
    } finally {
      this.core.dateMs = undefined;
    }
  }
  private flag(set: number, clear = 0): void {
    const { view } = this.core;
    const at = this.pointer + FIL.flag;
    view.setUint8(at, (view.getUint8(at) & ~clear) | set);
  }
  private take(field: keyof typeof FIL): number {
    return this.core.view.getUint32(this.pointer + FIL[field], true);
  }
  private put(field: keyof typeof FIL, value: number): void {
    this.core.view.setUint32(this.pointer + FIL[field], value, true);
  }
}

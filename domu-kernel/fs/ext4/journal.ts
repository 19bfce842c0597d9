// The journal of a volume, in the layout that Linux and e2fsck know (JBD2, version 2, without features): what one commit
// changes is in it, with a flush before its last block and one after, before any of it is written to its place.
//
// One commit follows the other in the log. What was committed goes to its places whenever there is time; when the log is
// full, or the volume is to say that it is in order, that is waited for.
import { XenError } from '#pvbus';
import type { PageCache } from '../page-cache.ts';
import type { SectorDevice } from '../sector-device.ts';

const MAGIC = 0xc03b3998;
const DESCRIPTOR = 1;
const COMMIT = 2;
const SUPER_V2 = 4;
const HEADER = 12;
const TAG = 8;
const UUID = 16;
const ESCAPED = 1;
const SAME_UUID = 2;
const LAST_TAG = 8;
/** Bytes the disk is given with one call. */
const REQUEST = 256 << 10;
const superAt = {
  blockSize: 12,
  maxLength: 16,
  first: 20,
  sequence: 24,
  start: 28,
  error: 32,
  compat: 36,
  incompat: 40,
  roCompat: 44,
  uuid: 48,
} as const;

/** What the driver does for its journal. */
export interface JournalVolume {
  readonly name: string;
  readonly blockSize: number;
  readonly blocks: number;
  /** The superblock says from now on that the journal matters, or that it does not; in the cache, not flushed. */
  mark(inJournal: boolean): void;
}

export class Journal {
  private readonly volume: JournalVolume;
  private readonly cache: PageCache;
  private readonly device: SectorDevice;
  /** Of each block of the log its place. */
  private readonly places: readonly number[];
  private readonly super_: Uint8Array;
  private readonly view: DataView;
  private readonly first: number;
  private readonly length: number;
  private sequence: number;
  private head: number;
  /** The superblock says that the journal matters. */
  private active = false;
  private readonly live = new Set<number>();

  /** Throws EINVAL when it is not what it should be. `places`: what its inode says. */
  constructor(volume: JournalVolume, cache: PageCache, device: SectorDevice, places: readonly number[]) {
    this.volume = volume;
    this.cache = cache;
    this.device = device;
    this.places = places;
    this.super_ = new Uint8Array(volume.blockSize);
    this.view = new DataView(this.super_.buffer);
    const fail = (why: string): never => {
      throw new XenError('EINVAL', `${volume.name}: its journal ${why}`);
    };
    // untrusted: a volume may say anything of its journal.
    if (places.some(block => block === 0 || block >= volume.blocks)) fail('has holes');
    if (new Set(places).size !== places.length) fail('has blocks twice');
    if (places.length === 0) fail('is empty');
    cache.read(this.sector(0), this.super_);
    const word = (at: number): number => this.view.getUint32(at);
    if (word(0) !== MAGIC || word(4) !== SUPER_V2) fail('has no superblock that is known');
    if (word(superAt.blockSize) !== volume.blockSize) fail('has blocks of another size');
    this.length = word(superAt.maxLength);
    this.first = word(superAt.first);
    if (this.length > places.length || this.first < 1 || this.length - this.first < 64)
      fail('has a length that cannot be');
    this.sequence = word(superAt.sequence);
    this.head = this.first;
  }

  /** How many blocks one commit may have, if it is to be one. */
  get capacity(): number {
    const log = this.length - this.first;
    return log - 2 - Math.ceil(log / this.perDescriptor);
  }
  /** A recovery would write it. */
  has(block: number): boolean {
    return this.live.has(block);
  }
  get isEmpty(): boolean {
    return !this.active;
  }

  // ---- recovery ----

  /** What is to be written where, of commits that were not all in their places. Throws EINVAL for another's. */
  recovered(): Map<number, Uint8Array> {
    const found = new Map<number, Uint8Array>();
    const start = this.view.getUint32(superAt.start);
    if (start === 0) return found;
    // What Linux wrote has what it alone takes back again: revoked blocks, checksums, other tags.
    if ([superAt.compat, superAt.incompat, superAt.roCompat].some(at => this.view.getUint32(at) !== 0)) {
      throw new XenError('EINVAL', `${this.volume.name}: it needs its journal recovered, as e2fsck -p or Linux does`);
    }
    let at = start;
    for (let sequence = this.sequence; at >= this.first && at < this.length; sequence = (sequence + 1) >>> 0) {
      const commit = this.readCommit(at, sequence);
      if (!commit) break;
      for (const [block, bytes] of commit.blocks) found.set(block, bytes);
      at = commit.end;
      this.sequence = (sequence + 1) >>> 0;
    }
    return found;
  }
  private readCommit(
    begin: number,
    sequence: number,
  ): { readonly blocks: Map<number, Uint8Array>; readonly end: number } | undefined {
    const blocks = new Map<number, Uint8Array>();
    let at = begin;
    while (at < this.length) {
      const bytes = this.read(at++);
      const view = new DataView(bytes.buffer);
      if (view.getUint32(0) !== MAGIC || view.getUint32(8) !== sequence) return undefined;
      const kind = view.getUint32(4);
      if (kind === COMMIT) return { blocks, end: at };
      if (kind !== DESCRIPTOR) return undefined;
      for (let tag = HEADER; tag + TAG <= bytes.length; ) {
        const block = view.getUint32(tag);
        const flags = view.getUint16(tag + 6);
        if (at >= this.length || block >= this.volume.blocks) return undefined;
        const copy = this.read(at++);
        if ((flags & ESCAPED) !== 0) new DataView(copy.buffer).setUint32(0, MAGIC);
        blocks.set(block, copy);
        tag += (flags & SAME_UUID) !== 0 ? TAG : TAG + UUID;
        if ((flags & LAST_TAG) !== 0) break;
      }
    }
    return undefined;
  }
  private read(at: number): Uint8Array {
    const bytes = new Uint8Array(this.volume.blockSize);
    this.device.read(this.sector(at), bytes);
    return bytes;
  }

  // ---- commits ----

  /** All of it is what a recovery finds when this returns, and what was written to the cache before is on the medium. */
  commit(changes: ReadonlyMap<number, Uint8Array>): void {
    // A commit that the log cannot hold is several, which no call of a program comes to.
    let part = new Map<number, Uint8Array>();
    for (const [block, bytes] of changes) {
      part.set(block, bytes);
      if (part.size < this.capacity) continue;
      this.commitOne(part);
      part = new Map();
    }
    if (part.size > 0) this.commitOne(part);
  }
  private commitOne(changes: ReadonlyMap<number, Uint8Array>): void {
    const need = changes.size + Math.ceil(changes.size / this.perDescriptor) + 1;
    this.activate();
    if (this.head + need > this.length) this.startOver();
    const at = this.writeLog(changes);
    // order: what the commit says, and what files hold that it leads to, before the block that makes it one.
    this.cache.flush();
    const end = new Uint8Array(this.volume.blockSize);
    this.putHeader(new DataView(end.buffer), COMMIT);
    this.device.write(this.sector(at), end);
    this.device.flush();
    this.head = at + 1;
    this.sequence = (this.sequence + 1) >>> 0;
    for (const block of changes.keys()) this.live.add(block);
  }
  /** Everything is in its place, and the superblock says so. */
  settle(): void {
    if (!this.active) return;
    this.cache.flush();
    this.live.clear();
    this.writeSuper(0);
    this.device.flush();
    this.volume.mark(false);
    this.cache.flush();
    this.active = false;
  }

  /** What it held is in its places, and this is on the medium. */
  forget(): void {
    this.active = true;
    this.settle();
  }

  private activate(): void {
    if (this.active) return;
    // order: a journal that has something in it while the superblock does not say so is a complaint of e2fsck's.
    this.volume.mark(true);
    this.cache.flush();
    this.active = true;
    this.head = this.first;
    this.writeSuper(this.first);
  }
  /** order: what is in the log is in its place, and the log is said to begin anew, before any of it is written over. */
  private startOver(): void {
    this.cache.flush();
    this.live.clear();
    this.head = this.first;
    this.writeSuper(this.first);
    this.device.flush();
  }
  private writeSuper(start: number): void {
    const { view } = this;
    view.setUint32(superAt.sequence, this.sequence);
    view.setUint32(superAt.start, start);
    view.setUint32(superAt.error, 0);
    for (const at of [superAt.compat, superAt.incompat, superAt.roCompat]) view.setUint32(at, 0);
    this.device.write(this.sector(0), this.super_);
  }
  /** Descriptors and copies; where the block comes that ends the commit. */
  private writeLog(changes: ReadonlyMap<number, Uint8Array>): number {
    const { blockSize } = this.volume;
    const entries = [...changes];
    const log: Uint8Array[] = [];
    for (let from = 0; from < entries.length; from += this.perDescriptor) {
      const group = entries.slice(from, from + this.perDescriptor);
      const descriptor = new Uint8Array(blockSize);
      const view = new DataView(descriptor.buffer);
      this.putHeader(view, DESCRIPTOR);
      log.push(descriptor);
      let tag = HEADER;
      group.forEach(([block, bytes], i) => {
        const isEscaped = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0) === MAGIC;
        const last = i === group.length - 1 ? LAST_TAG : 0;
        view.setUint32(tag, block);
        view.setUint16(tag + 6, last | (i > 0 ? SAME_UUID : 0) | (isEscaped ? ESCAPED : 0));
        tag += TAG;
        if (i === 0) {
          descriptor.set(this.super_.subarray(superAt.uuid, superAt.uuid + UUID), tag);
          tag += UUID;
        }
        const copy = isEscaped ? bytes.slice() : bytes;
        if (isEscaped) copy.fill(0, 0, 4);
        log.push(copy);
      });
    }
    for (let done = 0; done < log.length; ) {
      const place = this.places[this.head + done]!; // there was room
      let count = 1;
      const most = Math.min(log.length - done, REQUEST / blockSize);
      while (count < most && this.places[this.head + done + count] === place + count) count++;
      this.device.write(this.sector(this.head + done), Buffer.concat(log.slice(done, done + count)));
      done += count;
    }
    return this.head + log.length;
  }
  private putHeader(view: DataView, kind: number): void {
    view.setUint32(0, MAGIC);
    view.setUint32(4, kind);
    view.setUint32(8, this.sequence);
  }
  private get perDescriptor(): number {
    return Math.floor((this.volume.blockSize - HEADER - UUID) / TAG);
  }
  private sector(at: number): number {
    return (this.places[at]! * this.volume.blockSize) / this.device.sectorSize; // within its length
  }
}

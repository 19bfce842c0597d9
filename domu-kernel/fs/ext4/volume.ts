// An ext4 volume (ext2 and ext3 as well) as a file system of vnodes.
import { XenError } from '#pvbus';
import { Discards } from '../discards.ts';
import { PageCache } from '../page-cache.ts';
import { ReadOnlyDevice, type SectorDevice } from '../sector-device.ts';
import { failureOf, Volume } from '../volume.ts';
import type { VolumeOptions } from '../volume-options.ts';
import { BlockChanges } from './changes.ts';
import { Ext4Core, type Ext4Library, HOLE } from './core.ts';
import { readSuper } from './ext4-super.ts';
import { Journal } from './journal.ts';
import { Ext4Node } from './node.ts';

export interface Ext4Options extends VolumeOptions {
  readonly wallNs: () => bigint;
}

const ROOT_INODE = 2;
const IN_ORDER = 1;
const IN_JOURNAL = 2;
const SUPER_AT = 1024;
const SUPER_BYTES = 1024;
/** Free blocks that files do not get: inode.c's KEPT_BLOCKS. */
const KEPT_BLOCKS = 16;
/** Bytes of one commit that are collected, where the journal has room for them. */
const MAX_CHANGES = 4 << 20;
/** What a call may say and leave the volume as it was. */
const HARMLESS = new Set(['ENOSPC', 'ENOENT', 'EFBIG', 'EMLINK', 'ENOTEMPTY', 'ENAMETOOLONG']);

export class Ext4Volume extends Volume<Ext4Node> {
  readonly root: Ext4Node;
  readonly core: Ext4Core;
  readonly blocks: BlockChanges;
  readonly wallNs: () => bigint;
  private readonly cache: PageCache;
  private readonly journal: Journal | undefined;
  private readonly writable: boolean;
  /** Why nothing may be written any more. */
  private broken: XenError | undefined;
  /** Without a journal: the superblock says that the volume is in use. */
  private marked = false;
  /** Something of the driver's own has changed since the last commit. */
  private changed = false;
  private readonly maxChanges: number;
  private readonly labelled: string;

  private constructor(
    device: SectorDevice,
    cache: PageCache,
    core: Ext4Core,
    blocks: BlockChanges,
    options: Ext4Options,
    journal: Journal | undefined,
    label: string,
  ) {
    const units = {
      ...{ origin: 0, sectors: blocks.blockSize / device.sectorSize, first: 1, end: core.x.blocks() },
      look: () => (block: number) => core.x.is_free(block) === 1,
    };
    const discards = Discards.of(device, units, options.log);
    super(`ext4 on ${device.name}`, discards, options);
    blocks.onFreed = discards && ((block, count) => discards.add(block, count));
    this.labelled = label;
    this.writable = !device.readOnly;
    this.cache = cache;
    this.core = core;
    this.blocks = blocks;
    this.journal = journal;
    this.wallNs = options.wallNs;
    this.maxChanges = Math.min(MAX_CHANGES / blocks.blockSize, (journal?.capacity ?? Number.MAX_SAFE_INTEGER) / 2);
    this.root = this.nodeOf(ROOT_INODE, 'directory').hold();
    this.used(-1);
  }

  /** Throws EINVAL for what is no volume, or one that is not mounted; a damaged one is read-only. */
  static mount(device: SectorDevice, options: Ext4Options): Ext4Volume {
    const name = `ext4 on ${device.name}`;
    const found = readSuper(device);
    if (found.needsRecovery) Ext4Volume.recover(name, device, options);
    const { damage } = found;
    if (damage !== undefined && !device.readOnly) {
      options.log?.(`${name}: read-only, since ${damage}`);
      const volume = Ext4Volume.open(name, new ReadOnlyDevice(device), found, options);
      volume.whyReadOnly = damage;
      return volume;
    }
    return Ext4Volume.open(name, device, found, options);
  }
  private static open(
    name: string,
    device: SectorDevice,
    found: ReturnType<typeof readSuper>,
    options: Ext4Options,
  ): Ext4Volume {
    const cache = new PageCache(device, options.cacheBytes, options.cacheFrames);
    let journal: Journal | undefined;
    const blocks = new BlockChanges(cache, found.blockSize, block => journal?.has(block) ?? false);
    const count = Math.floor((device.sectors * device.sectorSize) / found.blockSize);
    const core = new Ext4Core(options.module, { name, blocks: count }, blocks, options.wallNs);
    core.call(`mount ${name}`, x => x.mount(device.readOnly ? 0 : 1));
    core.setClock();
    if (found.hasJournal && !device.readOnly) {
      const about = {
        name,
        blockSize: found.blockSize,
        blocks: core.x.blocks(),
        mark: (inJournal: boolean) => volume.mark(inJournal),
      };
      journal = new Journal(about, cache, device, placesOf(core, about));
    }
    const volume: Ext4Volume = new Ext4Volume(device, cache, core, blocks, options, journal, found.label);
    if (!device.readOnly) volume.dropOrphans();
    return volume;
  }
  /** Of a journal that a guest of ours has left. */
  private static recover(name: string, device: SectorDevice, options: Ext4Options): void {
    const found = readSuper(device);
    const cache = new PageCache(device);
    const blocks = new BlockChanges(cache, found.blockSize, () => false);
    const core = new Ext4Core(options.module, { name, blocks: device.sectors }, blocks, options.wallNs);
    core.call(`mount ${name}`, x => x.mount(0));
    const mark = (inJournal: boolean): void => markSuper(core, cache, IN_ORDER | (inJournal ? IN_JOURNAL : 0));
    const about = { name, blockSize: found.blockSize, blocks: core.x.blocks(), mark };
    const journal = new Journal(about, cache, device, placesOf(core, about));
    const changes = journal.recovered();
    if (device.readOnly) throw new XenError('EINVAL', `${name}: it needs its journal recovered, and is read-only`);
    const perBlock = found.blockSize / device.sectorSize;
    for (const [block, bytes] of changes) cache.write(block * perBlock, bytes);
    cache.flush();
    journal.forget();
    options.log?.(`${name}: not unmounted when it was last used; its journal is recovered, ${changes.size} blocks`);
  }

  // ---- the file system ----

  get readOnly(): boolean {
    return !this.writable || this.broken !== undefined;
  }
  protected syncWhole(what: string): void {
    this.syncAll(what);
  }
  protected markInOrder(): void {
    if (this.journal) this.journal.settle();
    else if (this.marked) {
      this.mark(false);
      this.cache.flush();
    }
  }
  space(): { free: number; total: number } {
    const { x } = this.core;
    const { blockSize } = this.blocks;
    return this.enter(`space of ${this.name}`, () => ({
      free: Math.max(0, x.free_blocks() - KEPT_BLOCKS) * blockSize,
      total: x.blocks() * blockSize,
    }));
  }
  label(): string {
    return this.labelled;
  }
  protected override callEnded(): void {
    if (this.blocks.blocks.size > this.maxChanges && !this.readOnly) {
      this.enterLater(`commit of ${this.name}`, () => this.commit('commit'));
    }
    super.callEnded();
  }
  protected get isDirty(): boolean {
    if (this.readOnly) return false;
    return (
      this.changed ||
      this.marked ||
      this.cache.isDirty ||
      this.journal?.isEmpty === false ||
      this.discards?.any === true
    );
  }

  // ---- for the nodes; the volume is entered ----

  /** A call that changes the volume. What goes wrong in the middle of it leaves the volume as the last commit had it. */
  change(what: string, call: (x: Ext4Library) => number): void {
    this.checkWritable(what);
    this.core.setClock();
    this.changed = true;
    try {
      this.core.call(what, call);
    } catch (error) {
      if (!(error instanceof XenError) || !HARMLESS.has(error.code) || this.core.isDead) this.giveUp(what, error);
      throw error;
    }
  }
  checkWritable(what: string): void {
    if (this.broken) throw new XenError('EROFS', `${what}: ${this.broken.message}`, this.broken);
    if (!this.writable) throw new XenError('EROFS', `${what}: the file system is read-only`);
  }
  private giveUp(what: string, cause: unknown): void {
    this.broken ??= new XenError('EROFS', `${this.name} is read-only since something failed: ${what}`, cause);
  }
  nodeOf(ino: number, type: Ext4Node['type']): Ext4Node {
    let node = this.nodes.get(ino);
    if (!node) {
      node = new Ext4Node(this, type, ino);
      this.nodes.set(ino, node);
    }
    return node;
  }
  known(ino: number): Ext4Node | undefined {
    return this.nodes.get(ino);
  }
  /** True when `directory` is in the one with inode `ino`, however deep. */
  isBeneath(what: string, directory: Ext4Node, ino: number): boolean {
    let at = directory;
    // untrusted: a volume whose directories lead in a circle.
    for (let depth = 0; at.ino !== ROOT_INODE && depth < 1 << 16; depth++) {
      const parent = at.parentOf(what);
      if (parent === ino) return true;
      at = this.nodes.get(parent) ?? new Ext4Node(this, 'directory', parent);
    }
    return false;
  }
  /** Nobody has a name for it, and nobody uses it. */
  free(what: string, ino: number): void {
    this.written.forget(ino);
    do {
      this.change(what, x => x.release(ino));
      this.commitIfLarge(what);
    } while (this.core.x.is_more() === 1);
  }
  shorten(what: string, ino: number, size: number): void {
    do {
      this.change(what, x => x.shorten(ino, size));
      this.commitIfLarge(what);
    } while (this.core.x.is_more() === 1);
  }
  /** Between two steps of a call that are each whole. */
  private commitIfLarge(what: string): void {
    if (this.blocks.blocks.size > this.maxChanges) this.commit(what);
  }
  /** With `only`, that file's data: its times need not be. */
  syncAll(what: string, only?: Ext4Node): void {
    if (this.readOnly) {
      if (this.broken) throw new XenError('EIO', `${what}: ${this.broken.message}`, this.broken);
      return;
    }
    try {
      for (const node of this.nodes.values()) if (node !== only) node.flushTimes(what);
      this.commit(what);
    } catch (error) {
      this.written.failed(failureOf(what, error));
      throw error;
    }
    this.written.settled();
  }
  private commit(what: string): void {
    const { blocks, cache, journal, core } = this;
    this.checkWritable(what);
    core.call(what, x => x.flush());
    if (blocks.blocks.size === 0) {
      cache.flush();
    } else if (journal) {
      journal.commit(blocks.blocks);
      blocks.settled();
    } else {
      if (!this.marked) this.mark(true);
      // order: what files hold before what leads to it.
      cache.flush();
      blocks.settled();
      cache.flush();
    }
    this.changed = false;
  }
  /** The superblock says that the volume is in use: with a journal, that this matters; without one, that nothing is sure. */
  private mark(inUse: boolean): void {
    const marks = this.journal ? IN_ORDER | (inUse ? IN_JOURNAL : 0) : inUse ? 0 : IN_ORDER;
    markSuper(this.core, this.cache, marks);
    const held = this.blocks.blocks.get(Math.floor(SUPER_AT / this.blocks.blockSize));
    if (held) {
      const at = SUPER_AT % this.blocks.blockSize;
      markBytes(this.core, held.subarray(at, at + SUPER_BYTES), marks);
    }
    if (!this.journal) this.marked = inUse;
  }
  /** What files a killed guest had open without a name. */
  private dropOrphans(): void {
    const what = `orphans of ${this.name}`;
    this.enter(what, () => {
      for (let n = 0; n < 1 << 20; n++) {
        const ino = this.core.x.orphan();
        if (ino === 0) return;
        this.free(what, ino);
        // untrusted: a list that does not become shorter.
        if (this.core.x.orphan() === ino) throw new XenError('EIO', `${what}: the list is damaged: it needs e2fsck`);
      }
    });
  }
}

function markSuper(core: Ext4Core, cache: PageCache, marks: number): void {
  const first = Math.floor(SUPER_AT / cache.sectorSize);
  const bytes = new Uint8Array((Math.ceil((SUPER_AT + SUPER_BYTES) / cache.sectorSize) - first) * cache.sectorSize);
  cache.read(first, bytes);
  const at = SUPER_AT - first * cache.sectorSize;
  markBytes(core, bytes.subarray(at, at + SUPER_BYTES), marks);
  cache.write(first, bytes);
}
function markBytes(core: Ext4Core, bytes: Uint8Array, marks: number): void {
  const at = core.block(bytes);
  core.call(`mark ${core.name}`, x => x.mark(at, marks));
  bytes.set(core.bytes(at, SUPER_BYTES));
}

/** Where the journal's blocks are. */
function placesOf(core: Ext4Core, { name, blocks }: { name: string; blocks: number }): number[] {
  const what = `journal of ${name}`;
  const ino = core.x.journal_inode();
  core.call(what, x => x.attributes_of(ino));
  const size = core.doubles(core.x.attributes_at(), 2)[1] ?? 0;
  const count = Math.min(Math.floor(size / core.x.block_size()), blocks);
  const places: number[] = [];
  while (places.length < count) {
    core.call(what, x => x.map(ino, places.length, count - places.length));
    const runs = core.runs();
    for (const run of runs) for (let i = 0; i < run.count; i++) places.push(run.kind === HOLE ? 0 : run.block + i);
    if (runs.length === 0) break;
  }
  return places;
}

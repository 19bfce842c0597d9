// A FAT12, FAT16 or FAT32 volume as a file system of vnodes.
import { XenError } from '#pvbus';
import { Discards, type SpaceUnits } from './discards.ts';
import { FatCore } from './fat-core.ts';
import { FatDirectory } from './fat-directory.ts';
import { FR_DENIED, FR_NO_FILE, FR_NO_PATH, FR_OK } from './fat-errors.ts';
import type { FatFile } from './fat-file.ts';
import { formatVolume } from './fat-format.ts';
import type { FatInfo } from './fat-info.ts';
import type { FatNode } from './fat-node.ts';
import { HIDDEN, repairVolume } from './fat-repair.ts';
import { FatTable, FREE } from './fat-table.ts';
import { FreedClusters } from './freed-clusters.ts';
import { PageCache } from './page-cache.ts';
import { ReadOnlyDevice, type SectorDevice } from './sector-device.ts';
import { failureOf, Volume } from './volume.ts';
import { checkVolume, type FatGeometry } from './volume-check.ts';
import type { VolumeOptions } from './volume-options.ts';
import { MarkedDevice } from './volume-state.ts';

export interface MountOptions extends VolumeOptions {
  /** What time it is, for the dates of files. */
  readonly wallMs: () => number;
}

const ROOT: FatInfo = { name: '/', size: 0, isDirectory: true, isReadOnly: false, modified: new Date(0) };

export class FatVolume extends Volume<FatNode> {
  readonly readOnly: boolean;
  readonly geometry: FatGeometry;
  readonly root: FatDirectory;
  readonly core: FatCore;
  readonly wallMs: () => number;
  private readonly cache: PageCache;
  private readonly state: MarkedDevice;
  /** A file has something that the cache has not got yet. */
  private touched = false;
  private nextHidden = 1;
  readonly freed: FreedClusters;
  /** Files in use that have no name. */
  private hidden = 0;
  /** Clusters are free since the last flush. */
  private wasFreed = false;

  private constructor(
    device: SectorDevice,
    core: FatCore,
    state: MarkedDevice,
    cache: PageCache,
    geometry: FatGeometry,
    options: MountOptions,
  ) {
    super(`fat on ${core.device.name}`, Discards.of(device, clustersOf(state, geometry), options.log), options);
    this.core = core;
    this.freed = new FreedClusters(core, geometry, this.discards);
    this.state = state;
    this.cache = cache;
    this.geometry = geometry;
    this.wallMs = options.wallMs;
    this.readOnly = core.device.readOnly;
    this.root = new FatDirectory(this, undefined, ROOT).hold();
    this.used(-1);
  }

  /**
   * Throws EINVAL when what is there is not a FAT volume, or one that does not fit the device. One that a guest had when
   * it ended is repaired first; it is read-only if that cannot be.
   */
  static mount(device: SectorDevice, options: MountOptions): FatVolume {
    const geometry = checkVolume(device);
    const cache = new PageCache(device, options.cacheBytes, options.cacheFrames);
    const state = new MarkedDevice(cache, geometry);
    const damage = state.isDirty ? FatVolume.repair(state, cache, geometry, options) : undefined;
    if (damage !== undefined) {
      const volume = FatVolume.mount(new ReadOnlyDevice(device), { ...options, log: () => {} });
      volume.whyReadOnly = damage;
      return volume;
    }
    const core = new FatCore(options.module, state, options.wallMs);
    core.mount();
    return new FatVolume(device, core, state, cache, geometry, options);
  }
  /** Why it must not be written to, if that is so. */
  private static repair(
    state: MarkedDevice,
    cache: PageCache,
    geometry: FatGeometry,
    options: MountOptions,
  ): string | undefined {
    const say = (what: string): void =>
      options.log?.(`fat on ${state.name}: not unmounted when it was last used; ${what}`);
    if (state.readOnly) {
      say('read-only, so not repaired');
      return undefined;
    }
    const { damage, done } = repairVolume(state, geometry);
    if (damage !== undefined) {
      const why = `${damage}: it needs fsck.vfat`;
      say(`read-only, since ${why}`);
      return why;
    }
    cache.flush();
    state.markClean();
    cache.flush();
    say(done.length > 0 ? `repaired: ${done.join(', ')}` : 'nothing to repair');
    return undefined;
  }

  /** Make an empty volume over the whole device; what was there is lost. */
  static format(device: SectorDevice, { module, wallMs }: MountOptions, label = ''): void {
    formatVolume(device, module, wallMs, label);
  }

  // ---- the file system ----

  protected syncWhole(what: string): void {
    this.syncAll(what);
    if (this.wasFreed) this.cache.flush();
    this.wasFreed = false;
  }
  protected markInOrder(): void {
    if (!this.canBeClean) return;
    this.state.markClean();
    this.cache.flush();
  }
  protected get isDirty(): boolean {
    return this.touched || this.cache.isDirty || this.freed.any || this.canBeClean || (this.discards?.any ?? false);
  }
  /** Files that have no name any more would be taken for ones that nobody wants. */
  private get canBeClean(): boolean {
    return this.state.isDirty && !this.readOnly && this.hidden === 0;
  }
  space(): { free: number; total: number } {
    const what = `free space of ${this.name}`;
    return this.enter(what, () => {
      const { core } = this;
      this.reclaim();
      const cluster = this.geometry.sectorsPerCluster * core.device.sectorSize;
      core.call(what, () => core.x.f_getfree(core.putString(core.path, ''), core.count, core.info));
      return { free: core.view.getUint32(core.count, true) * cluster, total: this.geometry.clusters * cluster };
    });
  }
  label(): string {
    return this.enter('label', () => {
      const { core } = this;
      core.call('label', () => core.x.f_getlabel(core.putString(core.path, ''), core.info, 0));
      return core.getString(core.info, 24);
    });
  }

  // ---- for the nodes; the volume is entered ----

  checkWritable(what: string): void {
    if (this.readOnly) throw new XenError('EROFS', `${what}: the file system is read-only`);
  }
  touch(): void {
    this.touched = true;
  }
  /** Of the names that `act` changes the new ones are on the medium before the old ones go. */
  inOrder<T>(act: () => T): T {
    return this.cache.inOrder(act);
  }

  /** Of a name in a directory, when nothing else has it. */
  inoOf(parent: number, name: string): number {
    let low = 0x811c9dc5 ^ parent;
    let high = 0x9dc5811c ^ (parent / 2 ** 20);
    for (let i = 0; i < name.length; i++) {
      low = Math.imul(low ^ name.charCodeAt(i), 0x01000193);
      high = Math.imul(high ^ name.charCodeAt(i), 0x85ebca6b);
    }
    return (low >>> 0) + ((high >>> 0) % 2 ** 20) * 2 ** 32;
  }
  freeIno(parent: number, name: string): number {
    let ino = this.inoOf(parent, name);
    while (this.nodes.has(ino)) ino++;
    return ino;
  }
  came(node: FatNode): void {
    this.nodes.set(node.ino, node);
  }
  isHidden(directory: FatDirectory, name: string): boolean {
    return directory === this.root && name.startsWith(HIDDEN);
  }
  /** A file in use has no name any more; or, with -1, is not in use any more. */
  hides(more: 1 | -1): void {
    this.hidden += more;
  }
  /** A path at which there is nothing. */
  hiddenPath(): string {
    for (;;) {
      const path = `/${HIDDEN}${this.nextHidden++}`;
      if (!this.exists_('look for a free name', path)) return path;
    }
  }
  exists_(what: string, path: string): boolean {
    const { core } = this;
    const result = core.enter(what, () => core.x.f_stat(core.putString(core.path, path), core.info));
    if (result === FR_OK) return true;
    if (result === FR_NO_FILE || result === FR_NO_PATH) return false;
    throw core.error(what, result);
  }
  move(what: string, from: string, to: string): void {
    const { core } = this;
    const rename = (): number =>
      core.enter(what, () => core.x.f_rename(core.putString(core.path, from), core.putString(core.secondPath, to)));
    let result = rename();
    if (result === FR_DENIED && this.reclaim()) result = rename();
    if (result === FR_DENIED) throw new XenError('ENOSPC', `${what}: the volume or the directory is full`);
    if (result !== FR_OK) throw core.error(what, result);
  }
  /** True when there are clusters free now that were not. */
  reclaim(): boolean {
    if (!this.freed.any) return false;
    this.syncAll('reclaim space');
    return true;
  }
  syncAll(what: string, only?: FatFile): void {
    try {
      for (const node of this.nodes.values()) node.flush(what);
      this.core.settle();
      this.cache.flush(only?.entryIsDurable ?? false);
    } catch (error) {
      this.written.failed(failureOf(what, error));
      throw error;
    }
    if (only?.entryIsDurable) return;
    this.touched = false;
    this.written.settled();
    for (const node of this.nodes.values()) node.settled();
    this.freePending(what);
  }
  private freePending(what: string): void {
    if (!this.freed.any) return;
    const shortened = this.freed.release(what);
    this.core.settle();
    this.cache.writeTables();
    this.wasFreed = true;
    for (const node of shortened) node.dropIfUnused();
  }
}

function clustersOf(device: SectorDevice, geometry: FatGeometry): SpaceUnits {
  const { dataStart, sectorsPerCluster, clusters } = geometry;
  return {
    origin: dataStart - 2 * sectorsPerCluster,
    ...{ sectors: sectorsPerCluster, first: 2, end: clusters + 2 },
    look() {
      const table = new FatTable(device, geometry);
      return cluster => table.get(cluster) === FREE;
    },
  };
}

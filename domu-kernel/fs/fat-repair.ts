// What a guest that ended in the middle left of a FAT volume is put in order: clusters that no file has, a file with its
// old and its new name, parts of long names, a chain that is longer than its file. What the order of the page cache's
// writes does not explain is left to people: then nothing is changed.

import { clusterAt, DELETED, REPLACEMENTS_MOD, readSlots, SLOT, type SlotEntry } from './fat-slots.ts';
import { FatTable, FREE } from './fat-table.ts';
import type { SectorDevice } from './sector-device.ts';
import type { FatGeometry } from './volume-check.ts';

/** In the root: files that were unlinked while somebody had them open. */
export const HIDDEN = '.xenolith-removed-';
/** FAT's own bound on a directory. */
const MAX_DIRECTORY_BYTES = 2 << 20;
/** untrusted: what is looked through at most. */
const MAX_ENTRIES = 1 << 20;
const MAX_CLUSTERS = 1 << 26;
const MAX_DEPTH = 200;
/** What FAT32 keeps beside its boot sector. */
const FSInfo = { signature: 484, signatureIs: 0x61417272, free_count: 488, next_free: 492 } as const;
const UNKNOWN = 0xffffffff;
const DOT = 0x2e;
/** Bytes of an entry's first cluster. */
const CLUSTER: readonly (readonly [byte: number, shift: number])[] = [
  [26, 0],
  [27, 8],
  [20, 16],
  [21, 24],
];

/** Said in one line. */
const MAX_NAMED = 3;

export interface Repaired {
  /** Why nothing was changed. */
  readonly damage?: string;
  /** In words, what was. */
  readonly done: readonly string[];
}

interface Directory {
  readonly path: string;
  readonly depth: number;
  /** 0: the root of FAT12 and FAT16, which has no clusters. */
  readonly cluster: number;
  /** What its '..' is to lead to. */
  readonly parent: number;
  /** Where it is, once it was read. */
  sectors: readonly number[];
}
/** One of two that lead to the same. */
interface Name {
  readonly directory: Directory;
  readonly entry: SlotEntry;
}
class Damage extends Error {}

/** Of a volume that nobody has mounted. What was changed is with the device, and not flushed. Throws what that throws. */
export function repairVolume(device: SectorDevice, geometry: FatGeometry): Repaired {
  try {
    const repair = new Repair(device, geometry);
    repair.examine();
    return { done: repair.apply() };
  } catch (error) {
    if (error instanceof Damage) return { damage: error.message, done: [] };
    throw error;
  }
}

class Repair {
  private readonly device: SectorDevice;
  private readonly geometry: FatGeometry;
  private readonly table: FatTable;
  private readonly clusterBytes: number;
  private readonly wide: boolean;
  /** Clusters that a name leads to, and those of them that a name leads to first. */
  private readonly used: Bits;
  private readonly starts: Bits;
  private readonly directories: Directory[] = [];
  private entries = 0;
  private readonly doubled = new Set<number>();
  // What is to be done: bytes of directories, by sector, and ends of chains.
  private readonly changes = new Map<number, Map<number, number>>();
  private readonly cuts: number[] = [];
  private readonly seconds: string[] = [];
  private removed = 0;
  private orphans = 0;

  constructor(device: SectorDevice, geometry: FatGeometry) {
    this.device = device;
    this.geometry = geometry;
    this.table = new FatTable(device, geometry);
    this.wide = geometry.bits === 32;
    this.clusterBytes = geometry.sectorsPerCluster * device.sectorSize;
    if (geometry.clusters > MAX_CLUSTERS) throw new Damage('it is too large to be looked through');
    this.used = new Bits(geometry.clusters + 2);
    this.starts = new Bits(geometry.clusters + 2);
  }

  /** Reads only. */
  examine(): void {
    const { rootDirectory } = this.geometry;
    const cluster = 'cluster' in rootDirectory ? rootDirectory.cluster : 0;
    if (cluster !== 0) this.used.take(cluster);
    const next: Directory[] = [{ path: '', depth: 0, cluster, parent: 0, sectors: [] }];
    // Whose chain is known only when it is known what all others have.
    const unsure: Directory[] = [];
    for (;;) {
      const sure = next.pop();
      const directory = sure ?? unsure.pop();
      if (!directory) break;
      if (this.read(directory, sure === undefined)) next.push(...this.look(directory));
      else unsure.push(directory);
    }
    for (const names of this.namesOfDoubled().values()) this.chooseOne(names);
  }

  /** Finds the directory's sectors. False: it has to wait. `settled`: all others have been read. */
  private read(directory: Directory, settled: boolean): boolean {
    const { rootDirectory, sectorsPerCluster, dataStart } = this.geometry;
    if (directory.cluster === 0 && 'start' in rootDirectory) {
      directory.sectors = Array.from({ length: rootDirectory.sectors }, (_, i) => rootDirectory.start + i);
      return true;
    }
    const { table } = this;
    const sectors: number[] = [];
    const chain = new Set<number>();
    for (let cluster = directory.cluster; ; ) {
      chain.add(cluster);
      const start = dataStart + (cluster - 2) * sectorsPerCluster;
      for (let i = 0; i < sectorsPerCluster; i++) sectors.push(start + i);
      const next = table.get(cluster);
      if (table.isEnd(next)) break;
      if (this.hasEnd(start)) {
        // The FAT was written before the names that are to come there, or those are gone.
        this.cuts.push(cluster);
        break;
      }
      const isTorn = table.isTorn(cluster);
      if (isTorn && !settled) return false;
      const isOwn = table.has(next) && table.get(next) !== FREE && !this.used.has(next) && !chain.has(next);
      if (!isOwn) {
        if (!isTorn && !(table.has(next) && table.get(next) === FREE)) {
          throw new Damage(`the directory ${shown(directory.path)} goes on at cluster ${next}`);
        }
        this.cuts.push(cluster);
        break;
      }
      if (chain.size * this.clusterBytes >= MAX_DIRECTORY_BYTES) {
        throw new Damage(`the directory ${shown(directory.path)} has no end`);
      }
      cluster = next;
    }
    for (const cluster of chain) this.used.take(cluster);
    directory.sectors = sectors;
    return true;
  }
  private hasEnd(firstSector: number): boolean {
    const bytes = new Uint8Array(this.clusterBytes);
    this.device.read(firstSector, bytes);
    for (let at = 0; at < bytes.length; at += SLOT) if (bytes[at] === 0) return true;
    return false;
  }
  private bytesOf({ sectors }: Directory): Uint8Array {
    const { sectorSize } = this.device;
    const bytes = new Uint8Array(sectors.length * sectorSize);
    for (const [i, sector] of sectors.entries()) {
      this.device.read(sector, bytes.subarray(i * sectorSize, (i + 1) * sectorSize));
    }
    return bytes;
  }

  /** What is in it; the directories among that are still to be read. */
  private look(directory: Directory): Directory[] {
    this.directories.push(directory);
    const bytes = this.bytesOf(directory);
    const { entries, orphans, end } = readSlots(bytes, this.wide);
    for (let at = end * SLOT; at < bytes.length; at++) if (bytes[at] !== 0) this.put(directory, at, 0);
    this.orphans += orphans.length;
    for (const slot of orphans) this.put(directory, slot * SLOT, DELETED);
    if (directory.depth > 0) this.lookAtParent(directory, bytes);
    const inner: Directory[] = [];
    for (const entry of entries) {
      if (++this.entries > MAX_ENTRIES) throw new Damage('it has too many files to be looked through');
      if (directory.depth === 0 && entry.name.startsWith(HIDDEN)) {
        this.remove({ directory, entry });
        this.removed++;
      } else if (this.begins(directory, entry)) {
        if (entry.isDirectory) inner.push(this.innerOf(directory, entry));
        else this.lookAtFile(directory, entry);
      }
    }
    return inner;
  }
  /** A directory that is moved has the name of its new place before it knows its new parent. */
  private lookAtParent(directory: Directory, bytes: Uint8Array): void {
    if (bytes[SLOT] !== DOT || bytes[SLOT + 1] !== DOT) return;
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    if (clusterAt(view, SLOT, this.wide) !== directory.parent) this.putCluster(directory, 1, directory.parent);
  }
  private innerOf({ path, depth, cluster }: Directory, entry: SlotEntry): Directory {
    if (depth === MAX_DEPTH) throw new Damage('its directories have no end');
    const parent = depth === 0 ? 0 : cluster;
    return { path: `${path}/${entry.name}`, depth: depth + 1, cluster: entry.cluster, parent, sectors: [] };
  }
  /** True when it is the first name that leads there. */
  private begins(directory: Directory, { name, isDirectory, cluster, size, slot }: SlotEntry): boolean {
    const path = shown(`${directory.path}/${name}`);
    if (!isDirectory && size === 0) {
      // Its first clusters reach the disk before its size does.
      if (cluster !== 0) this.putCluster(directory, slot, 0);
      return false;
    }
    if (!this.table.has(cluster)) throw new Damage(`${path} begins at cluster ${cluster}`);
    if (this.used.take(cluster)) {
      this.starts.take(cluster);
      return true;
    }
    if (!this.starts.has(cluster)) throw new Damage(`${path} begins in the middle of another file`);
    this.doubled.add(cluster);
    return false;
  }
  private lookAtFile(directory: Directory, { name, cluster: first, size }: SlotEntry): void {
    const { table } = this;
    const path = shown(`${directory.path}/${name}`);
    let cluster = first;
    for (let left = Math.ceil(size / this.clusterBytes) - 1; left > 0; left--) {
      const next = table.get(cluster);
      if (!table.has(next)) throw new Damage(`${path} is shorter than its size`);
      if (!this.used.take(next)) throw new Damage(`${path} has a cluster that another file has`);
      cluster = next;
    }
    if (!table.isEnd(table.get(cluster))) this.cuts.push(cluster);
  }

  private namesOfDoubled(): Map<number, Name[]> {
    const found = new Map<number, Name[]>();
    if (this.doubled.size === 0) return found;
    for (const directory of this.directories) {
      for (const entry of readSlots(this.bytesOf(directory), this.wide).entries) {
        if (!this.doubled.has(entry.cluster) || (directory.depth === 0 && entry.name.startsWith(HIDDEN))) continue;
        if (!entry.isDirectory && entry.size === 0) continue;
        const names = found.get(entry.cluster);
        if (names) names.push({ directory, entry });
        else found.set(entry.cluster, [{ directory, entry }]);
      }
    }
    return found;
  }
  /** A guest ended in the middle of a rename: the new name was there, the old one not gone yet. */
  private chooseOne(names: readonly Name[]): void {
    const [a, b] = names;
    if (!a || !b) return;
    const pathOf = ({ directory, entry }: Name): string => shown(`${directory.path}/${entry.name}`);
    if (names.length > 2 || a.entry.isDirectory !== b.entry.isDirectory || a.entry.size !== b.entry.size) {
      throw new Damage(`${pathOf(a)} and ${pathOf(b)} are one file`);
    }
    const old = isOlder(a.entry, b.entry) ? a : b;
    this.remove(old);
    this.seconds.push(`${pathOf(old)} was ${pathOf(old === a ? b : a)} as well`);
  }
  private remove({ directory, entry }: Name): void {
    for (const slot of [entry.slot, ...entry.longSlots]) this.put(directory, slot * SLOT, DELETED);
  }

  private putCluster(directory: Directory, slot: number, cluster: number): void {
    const at = slot * SLOT;
    for (const [byte, shift] of CLUSTER) this.put(directory, at + byte, (cluster >>> shift) & 255);
  }
  private put({ sectors }: Directory, at: number, byte: number): void {
    const { sectorSize } = this.device;
    const sector = sectors[Math.floor(at / sectorSize)];
    if (sector === undefined) return;
    const changes = this.changes.get(sector) ?? new Map<number, number>();
    this.changes.set(sector, changes.set(at % sectorSize, byte));
  }

  // ---- what is written ----

  /** What was done, in words. */
  apply(): string[] {
    const { device, table } = this;
    for (const [sector, changes] of this.changes) {
      const bytes = new Uint8Array(device.sectorSize);
      device.read(sector, bytes);
      for (const [at, byte] of changes) bytes[at] = byte;
      device.write(sector, bytes, 'directory');
    }
    for (const cluster of this.cuts) table.set(cluster, table.end);
    const freed = this.freeLost();
    table.mirror();
    const done = this.seconds.slice(0, MAX_NAMED);
    const tell = (count: number, one: string, many: string): void => {
      if (count > 0) done.push(count === 1 ? `1 ${one}` : `${count} ${many}`);
    };
    tell(this.seconds.length - done.length, 'more file had two names', 'more files had two names');
    tell(this.removed, 'file without a name is gone', 'files without names are gone');
    tell(this.orphans, 'part of a name is gone', 'parts of names are gone');
    tell(freed, 'cluster that no file had is free again', 'clusters that no file had are free again');
    return done;
  }
  private freeLost(): number {
    const { table, geometry } = this;
    let freed = 0;
    let free = 0;
    for (let cluster = 2; cluster < geometry.clusters + 2; cluster++) {
      const value = table.get(cluster);
      if (value !== FREE && (table.isBad(value) || this.used.has(cluster))) continue;
      free++;
      if (value === FREE) continue;
      table.set(cluster, FREE);
      freed++;
    }
    table.settle();
    if (geometry.bits === 32) this.putFreeCount(free);
    return freed;
  }
  private putFreeCount(free: number): void {
    const sector = 1;
    const bytes = new Uint8Array(this.device.sectorSize);
    this.device.read(sector, bytes);
    const view = new DataView(bytes.buffer);
    if (view.getUint32(FSInfo.signature, true) !== FSInfo.signatureIs) return;
    view.setUint32(FSInfo.free_count, free, true);
    view.setUint32(FSInfo.next_free, UNKNOWN, true);
    this.device.write(sector, bytes, 'table');
  }
}

/** Which of the names of one file is to go. */
function isOlder(a: SlotEntry, b: SlotEntry): boolean {
  const after = (entry: SlotEntry): number => (entry.replacements + 1) % REPLACEMENTS_MOD;
  if (after(a) === b.replacements) return true;
  if (after(b) === a.replacements) return false;
  // Of a name that is in two sectors the long half may be gone.
  const isHalf = ({ longSlots, name }: SlotEntry): boolean => longSlots.length === 0 && name.includes('~');
  return isHalf(a) && !isHalf(b);
}
/** untrusted: names are whatever is on the disk. */
const shown = (path: string): string => `'${path.replace(/[\p{C}']/gu, '?').slice(0, 80)}'`;

class Bits {
  private readonly bytes: Uint8Array;
  constructor(count: number) {
    this.bytes = new Uint8Array((count >>> 3) + 1);
  }
  has(n: number): boolean {
    return ((this.bytes[n >>> 3] ?? 0) & (1 << (n & 7))) !== 0;
  }
  /** False: it was taken. */
  take(n: number): boolean {
    if (this.has(n)) return false;
    this.bytes[n >>> 3] = (this.bytes[n >>> 3] ?? 0) | (1 << (n & 7));
    return true;
  }
}

// Directory entries of FAT, changed in ways that FatFs has no calls for: a file that is replaced by another in one
// write, a name that is removed while the clusters it led to stay allocated for a while.
import { XenError } from '#pvbus';
import type { FatCore } from './fat-core.ts';
import { type EntryPlace, FA_READ, FatHandle } from './fat-handle.ts';
import { clusterAt, DELETED, SLOT as ENTRY, REPLACEMENTS, REPLACEMENTS_MOD } from './fat-slots.ts';

const ATTRIBUTES = 11;
const LONG_NAME = 0x0f;
const DIRECTORY = 0x10;
const ARCHIVE = 0x20;
/** Bytes of an entry that belong to the file and not to its name. */
const OF_THE_FILE: readonly (readonly [from: number, to: number])[] = [
  [11, 12],
  [13, 32],
];

export interface Found extends EntryPlace {
  /** Where its chain begins; 0: it has none. */
  readonly cluster: number;
}

/** The entry that a path's last name has. It exists. */
export function findEntry(core: FatCore, what: string, path: string, isDirectory: boolean): Found {
  if (!isDirectory) {
    const handle = FatHandle.open(core, what, path, FA_READ);
    if (typeof handle === 'number') throw core.error(what, handle);
    const { place, firstCluster } = handle;
    handle.discard();
    return { ...place, cluster: firstCluster };
  }
  const cluster = firstClusterOf(core, what, path);
  core.call(what, () => core.x.f_stat(core.putString(core.path, path), core.info));
  // f_stat leaves the window at the sector in which it found the name; a directory's first cluster is its own.
  const { view, window } = core;
  for (let offset = 0; offset < core.device.sectorSize; offset += ENTRY) {
    const at = window + offset;
    const attributes = view.getUint8(at + ATTRIBUTES);
    if (view.getUint8(at) === 0) break;
    if (view.getUint8(at) === DELETED || (attributes & LONG_NAME) === LONG_NAME || !(attributes & DIRECTORY)) continue;
    if (clusterAt(view, at, true) === cluster) return { sector: core.windowSector, offset, cluster };
  }
  throw new XenError('EIO', `${what}: the volume is damaged`);
}

/** The name is gone; the chain it led to, which is returned, stays allocated. */
export function removeEntry(core: FatCore, what: string, path: string, isDirectory: boolean): number {
  const { sector, offset, cluster } = findEntry(core, what, path, isDirectory);
  changeSector(core, sector, bytes => {
    bytes[offset + ATTRIBUTES] = ARCHIVE;
    setCluster(bytes, offset, 0);
    bytes.fill(0, offset + 28, offset + 32);
  });
  core.call(what, () => core.x.f_unlink(core.putString(core.path, path)));
  return cluster;
}

/**
 * `target` leads to the file of `source`, and that name is gone. In between both have it: what is counted says to a repair
 * which is the new one, should the guest end then. The chain that `target` led to stays allocated.
 */
export function replaceFile(core: FatCore, what: string, path: string, target: EntryPlace, source: EntryPlace): void {
  const old = entryAt(core, target).slice();
  const file = entryAt(core, source).slice();
  try {
    putFile(core, target, replaced(file));
    removeEntry(core, what, path, false);
  } catch (error) {
    putFile(core, source, file);
    putFile(core, target, old);
    throw error;
  }
}
/** Each name leads to the other's file. order: `first` is given to the device before `second`. */
export function swapFiles(core: FatCore, first: EntryPlace, second: EntryPlace): void {
  const a = entryAt(core, first).slice();
  const b = replaced(entryAt(core, second));
  if (first.sector === second.sector) {
    changeSector(core, first.sector, bytes => {
      copyFile(b, bytes, first.offset);
      copyFile(a, bytes, second.offset);
    });
    return;
  }
  putFile(core, first, b);
  putFile(core, second, a);
}
function putFile(core: FatCore, { sector, offset }: EntryPlace, from: Uint8Array): void {
  changeSector(core, sector, bytes => copyFile(from, bytes, offset));
}
function copyFile(entry: Uint8Array, bytes: Uint8Array, offset: number): void {
  for (const [start, end] of OF_THE_FILE) bytes.set(entry.subarray(start, end), offset + start);
}
function replaced(entry: Uint8Array): Uint8Array {
  const after = entry.slice();
  after[REPLACEMENTS] = ((entry[REPLACEMENTS] ?? 0) + 1) % REPLACEMENTS_MOD;
  return after;
}

/** A sector as it is now, be it in FatFs' window or on the device, and back to both. */
export function changeSector(core: FatCore, sector: number, change: (bytes: Uint8Array) => void): void {
  const bytes = sectorNow(core, sector);
  change(bytes);
  if (core.windowSector === sector) core.bytes.set(bytes, core.window);
  core.put(sector, bytes, true);
}
function sectorNow(core: FatCore, sector: number): Uint8Array {
  const { window, device } = core;
  if (core.windowSector === sector) return core.bytes.slice(window, window + device.sectorSize);
  const bytes = new Uint8Array(device.sectorSize);
  device.read(sector, bytes);
  return bytes;
}
function entryAt(core: FatCore, { sector, offset }: EntryPlace): Uint8Array {
  return sectorNow(core, sector).subarray(offset, offset + ENTRY);
}

function firstClusterOf(core: FatCore, what: string, path: string): number {
  const dir = core.alloc(core.x.sizeof_DIR());
  try {
    core.call(what, () => core.x.f_opendir(dir, core.putString(core.path, path)));
    return core.view.getUint32(dir + 8, true); // FFOBJID.sclust
  } finally {
    core.x.free(dir);
  }
}
function setCluster(bytes: Uint8Array, at: number, cluster: number): void {
  bytes[at + 26] = cluster & 255;
  bytes[at + 27] = (cluster >> 8) & 255;
  bytes[at + 20] = (cluster >> 16) & 255;
  bytes[at + 21] = (cluster >>> 24) & 255;
}

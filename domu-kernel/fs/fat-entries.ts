// Directory entries of FAT, changed in ways that FatFs has no calls for: a file that is replaced by another in one
// write, a name that is removed while the clusters it led to stay allocated for a while.
import { XenError } from '#pvbus';
import type { FatCore } from './fat-core.ts';
import { type EntryPlace, FA_READ, FatHandle } from './fat-handle.ts';

const ENTRY = 32;
const DELETED = 0xe5;
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
    if (clusterAt(view, at) === cluster) return { sector: core.windowSector, offset, cluster };
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

/** Each name leads to the other's file. order: `first` is given to the device before `second`. */
export function swapFiles(core: FatCore, first: EntryPlace, second: EntryPlace): void {
  const a = entryAt(core, first);
  const b = entryAt(core, second);
  const put = (place: EntryPlace, from: Uint8Array): void =>
    changeSector(core, place.sector, bytes => {
      for (const [start, end] of OF_THE_FILE) bytes.set(from.subarray(start, end), place.offset + start);
    });
  if (first.sector === second.sector) {
    changeSector(core, first.sector, bytes => {
      for (const [start, end] of OF_THE_FILE) {
        bytes.set(b.subarray(start, end), first.offset + start);
        bytes.set(a.subarray(start, end), second.offset + start);
      }
    });
    return;
  }
  put(first, b);
  put(second, a);
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
const clusterAt = (view: DataView, at: number): number =>
  view.getUint16(at + 26, true) + view.getUint16(at + 20, true) * 65536;
function setCluster(bytes: Uint8Array, at: number, cluster: number): void {
  bytes[at + 26] = cluster & 255;
  bytes[at + 27] = (cluster >> 8) & 255;
  bytes[at + 20] = (cluster >> 16) & 255;
  bytes[at + 21] = (cluster >>> 24) & 255;
}

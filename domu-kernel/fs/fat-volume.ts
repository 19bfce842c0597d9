// A FAT12, FAT16 or FAT32 volume: paths to files and directories.
import { XenError } from '#pvbus';
import { FatCore, type WasmModule } from './fat-core.ts';
import { FR_DENIED, FR_EXIST, FR_NO_FILE, FR_NO_PATH, FR_OK } from './fat-errors.ts';
import { FatFile, fileIdentity } from './fat-file.ts';
import { fatPath } from './fat-path.ts';
import { SectorCache } from './sector-cache.ts';
import type { SectorDevice } from './sector-device.ts';
import { checkVolume, type FatGeometry } from './volume-check.ts';

export interface FatInfo {
  readonly name: string;
  /** Bytes; 0 for a directory. */
  readonly size: number;
  readonly isDirectory: boolean;
  readonly isReadOnly: boolean;
  readonly modified: Date;
}
export type OpenMode = 'r' | 'r+' | 'w' | 'a';

export interface MountOptions {
  /** FatFs, compiled. */
  readonly module: WasmModule;
  /** What time it is, for the dates of files. */
  readonly wallMs: () => number;
}

const FA_READ = 1;
const FA_WRITE = 2;
const FA_OPEN_ALWAYS = 16;
const MODES: Readonly<Record<OpenMode, number>> = {
  r: FA_READ,
  'r+': FA_READ | FA_WRITE,
  // Emptied after the check that nobody else has it open, not by f_open.
  w: FA_READ | FA_WRITE | FA_OPEN_ALWAYS,
  a: FA_READ | FA_WRITE | FA_OPEN_ALWAYS,
};
const AM_RDO = 1;
const AM_DIR = 16;
const FM_ANY = 7;
const FM_SFD = 8;
/** FAT's own bound on a directory is 2 MiB of 32-byte entries. */
const MAX_ENTRIES = 65536;
const MAX_NAME = 256;

interface OpenState {
  readers: number;
  writers: number;
}

export class FatVolume {
  readonly geometry: FatGeometry;
  private readonly core: FatCore;
  private readonly open_ = new Map<string, OpenState>();

  private constructor(core: FatCore, geometry: FatGeometry) {
    this.core = core;
    this.geometry = geometry;
  }

  /** Throws EINVAL when what is there is not a FAT volume, or one that does not fit the device. */
  static mount(device: SectorDevice, { module, wallMs }: MountOptions): FatVolume {
    const geometry = checkVolume(device);
    const core = new FatCore(module, new SectorCache(device), wallMs);
    const fs = core.alloc(core.x.sizeof_FATFS());
    core.call(`mount ${device.name}`, () => core.x.f_mount(fs, core.putString(core.path, ''), 1));
    return new FatVolume(core, geometry);
  }

  /** Make an empty volume over the whole device; what was there is lost. */
  static format(device: SectorDevice, { module, wallMs }: MountOptions, label = ''): void {
    const core = new FatCore(module, device, wallMs);
    core.call(`format ${device.name}`, () => {
      const options = core.alloc(16);
      core.view.setUint8(options, FM_ANY | FM_SFD);
      core.view.setUint8(options + 1, 2);
      return core.x.f_mkfs(core.putString(core.path, ''), options, core.buffer, 65536);
    });
    if (label !== '') {
      const fs = core.alloc(core.x.sizeof_FATFS());
      core.call(`mount ${device.name}`, () => core.x.f_mount(fs, core.putString(core.path, ''), 1));
      core.call(`label ${device.name}`, () => core.x.f_setlabel(core.putString(core.path, label)));
      labelBootSectors(device, label);
    }
    device.flush();
  }

  // ---- whole files ----

  readFile(path: string): Uint8Array {
    return this.withFile(path, 'r', file => {
      const bytes = new Uint8Array(file.size);
      const got = file.read(bytes);
      return got === bytes.length ? bytes : bytes.subarray(0, got);
    });
  }
  /** The file holds exactly `data` afterwards. */
  writeFile(path: string, data: Uint8Array, sync = false): void {
    this.withFile(path, 'w', file => {
      file.write(data);
      if (sync) file.sync();
    });
  }
  /** All of `data` is at the end of the file afterwards, or, when this throws ENOSPC, none of it. */
  appendFile(path: string, data: Uint8Array, sync = false): void {
    this.withFile(path, 'a', file => {
      const before = file.size;
      try {
        file.write(data, before);
      } catch (error) {
        if (error instanceof XenError && error.code === 'ENOSPC') file.truncate(before);
        throw error;
      }
      if (sync) file.sync();
    });
  }
  truncate(path: string, size: number): void {
    this.withFile(path, 'r+', file => file.truncate(size));
  }

  // ---- open files ----

  /** A file may be open many times for reading, or once for writing: EBUSY. */
  open(path: string, mode: OpenMode): FatFile {
    const { core } = this;
    const where = fatPath(path);
    const what = `open ${where}`;
    if (where === '/') throw new XenError('EISDIR', `${what}: it is a directory`);
    const pointer = core.alloc(core.x.sizeof_FIL());
    const result = core.enter(what, () => core.x.f_open(pointer, core.putString(core.path, where), MODES[mode]));
    if (result !== FR_OK) {
      core.x.free(pointer);
      throw this.explain(what, where, result);
    }
    const identity = fileIdentity(core, pointer);
    const state = this.open_.get(identity) ?? { readers: 0, writers: 0 };
    const writing = mode !== 'r';
    if (state.writers > 0 || (writing && state.readers > 0)) {
      core.enter(what, () => core.x.f_close(pointer));
      core.x.free(pointer);
      throw new XenError('EBUSY', `${what}: the file is open already`);
    }
    if (writing) state.writers++;
    else state.readers++;
    this.open_.set(identity, state);
    const file = new FatFile(core, pointer, where, writing, () => {
      if (writing) state.writers--;
      else state.readers--;
      if (state.readers + state.writers === 0) this.open_.delete(identity);
    });
    try {
      if (mode === 'w') file.truncate(0);
      if (mode === 'a') file.position = file.size;
      return file;
    } catch (error) {
      file.close();
      throw error;
    }
  }

  private withFile<T>(path: string, mode: OpenMode, use: (file: FatFile) => T): T {
    const file = this.open(path, mode);
    let result: T;
    try {
      result = use(file);
    } catch (error) {
      try {
        file.close();
      } catch {
        // The first failure is the one to report.
      }
      throw error;
    }
    file.close();
    return result;
  }

  // ---- names ----

  stat(path: string): FatInfo {
    const where = fatPath(path);
    if (where === '/') return { name: '/', size: 0, isDirectory: true, isReadOnly: false, modified: new Date(0) };
    const { core } = this;
    core.call(`stat ${where}`, () => core.x.f_stat(core.putString(core.path, where), core.info));
    return this.info();
  }
  exists(path: string): boolean {
    try {
      this.stat(path);
      return true;
    } catch (error) {
      if (error instanceof XenError && error.code === 'ENOENT') return false;
      throw error;
    }
  }
  /** What is in a directory, in the disk's order. */
  list(path = '/'): FatInfo[] {
    const { core } = this;
    const where = fatPath(path);
    const what = `list ${where}`;
    const dir = core.alloc(core.x.sizeof_DIR());
    try {
      const result = core.enter(what, () => core.x.f_opendir(dir, core.putString(core.path, where)));
      if (result !== FR_OK) throw this.explain(what, where, result, 'ENOTDIR');
      const entries: FatInfo[] = [];
      for (;;) {
        core.call(what, () => core.x.f_readdir(dir, core.info));
        const entry = this.info();
        if (entry.name === '') return entries;
        entries.push(entry);
        if (entries.length > MAX_ENTRIES) throw new XenError('EIO', `${what}: the directory has no end`);
      }
    } finally {
      core.x.free(dir);
    }
  }
  /** With `recursive`, missing parents are made too and an existing directory is no error. */
  mkdir(path: string, recursive = false): void {
    const where = fatPath(path);
    const names = recursive ? where.split('/').slice(1) : [];
    if (!recursive) this.mkdirOne(where);
    for (let depth = 1; depth <= names.length; depth++) {
      const parent = `/${names.slice(0, depth).join('/')}`;
      if (!this.exists(parent)) this.mkdirOne(parent);
      else if (!this.stat(parent).isDirectory) throw new XenError('ENOTDIR', `mkdir ${where}: ${parent} is a file`);
    }
  }
  private mkdirOne(where: string): void {
    const { core } = this;
    const what = `mkdir ${where}`;
    if (where === '/') throw new XenError('EEXIST', `${what}: it exists already`);
    const result = core.enter(what, () => core.x.f_mkdir(core.putString(core.path, where)));
    if (result === FR_DENIED) throw new XenError('ENOSPC', `${what}: the volume or the directory is full`);
    if (result !== FR_OK) throw core.error(what, result);
  }
  /** A file, or an empty directory. */
  remove(path: string): void {
    const { core } = this;
    const where = fatPath(path);
    const what = `remove ${where}`;
    this.checkNotOpen(what, where);
    const result = core.enter(what, () => core.x.f_unlink(core.putString(core.path, where)));
    if (result !== FR_OK) throw this.explain(what, where, result, 'ENOTEMPTY');
  }
  /** EEXIST when `to` exists. */
  rename(from: string, to: string): void {
    const { core } = this;
    const source = fatPath(from);
    const target = fatPath(to);
    const what = `rename ${source} to ${target}`;
    this.checkNotOpen(what, source);
    // FatFs would link a directory below itself, out of anybody's reach.
    if (this.longNames(target).startsWith(`${this.longNames(source)}/`)) {
      throw new XenError('EINVAL', `${what}: into itself`);
    }
    const result = core.enter(what, () =>
      core.x.f_rename(core.putString(core.path, source), core.putString(core.secondPath, target)),
    );
    if (result === FR_DENIED) throw new XenError('ENOSPC', `${what}: the volume or the directory is full`);
    if (result !== FR_OK) throw this.explain(what, source, result);
  }

  // ---- the volume ----

  /** Everything written so far is on the medium when this returns. Open files: FatFile.sync. */
  sync(): void {
    this.core.device.flush();
  }
  /** Bytes. */
  space(): { free: number; total: number } {
    const { core } = this;
    const cluster = this.geometry.sectorsPerCluster * core.device.sectorSize;
    core.call(`free space of ${core.device.name}`, () =>
      core.x.f_getfree(core.putString(core.path, ''), core.count, core.info),
    );
    return { free: core.view.getUint32(core.count, true) * cluster, total: this.geometry.clusters * cluster };
  }
  label(): string {
    const { core } = this;
    core.call('label', () => core.x.f_getlabel(core.putString(core.path, ''), core.info, 0));
    return core.getString(core.info, 24);
  }

  /** The same text for every spelling of the same path: long names, lower case. */
  private longNames(where: string): string {
    const { core } = this;
    const names = where.split('/').slice(1);
    const long = names.map((name, i) => {
      const prefix = `/${names.slice(0, i + 1).join('/')}`;
      const found = core.enter('stat', () => core.x.f_stat(core.putString(core.path, prefix), core.info)) === FR_OK;
      return found ? this.info().name : name;
    });
    return `/${long.join('/')}`.toLowerCase();
  }

  private info(): FatInfo {
    const { core } = this;
    const { info, view } = core;
    const date = view.getUint16(info + 4, true);
    const time = view.getUint16(info + 6, true);
    const attributes = view.getUint8(info + core.x.offset_FILINFO_fattrib());
    const isDirectory = (attributes & AM_DIR) !== 0;
    return {
      name: core.getString(info + core.x.offset_FILINFO_fname(), MAX_NAME),
      size: isDirectory ? 0 : view.getUint32(info, true),
      isDirectory,
      isReadOnly: (attributes & AM_RDO) !== 0,
      modified: new Date(
        Date.UTC(1980 + (date >> 9), ((date >> 5) & 15) - 1, date & 31, time >> 11, (time >> 5) & 63, (time & 31) * 2),
      ),
    };
  }

  /** Several causes share an FRESULT; look which it was. `denied`: what FR_DENIED means otherwise. */
  private explain(what: string, where: string, result: number, denied?: string): XenError {
    const { core } = this;
    if (result !== FR_DENIED && result !== FR_NO_FILE && result !== FR_NO_PATH && result !== FR_EXIST) {
      return core.error(what, result);
    }
    const found = core.enter(what, () => core.x.f_stat(core.putString(core.path, where), core.info)) === FR_OK;
    if (found && result !== FR_EXIST) {
      const { isDirectory, isReadOnly } = this.info();
      if (denied === 'ENOTDIR' && !isDirectory) return new XenError('ENOTDIR', `${what}: it is a file`);
      if (denied === 'ENOTEMPTY' && isDirectory)
        return new XenError('ENOTEMPTY', `${what}: the directory is not empty`);
      if (isReadOnly) return new XenError('EACCES', `${what}: the file is read-only`);
      if (isDirectory) return new XenError('EISDIR', `${what}: it is a directory`);
    }
    if (result === FR_DENIED) return new XenError('ENOSPC', `${what}: the volume or the directory is full`);
    return core.error(what, result);
  }

  private checkNotOpen(what: string, where: string): void {
    if (where === '/') throw new XenError('EBUSY', `${what}: it is the root`);
    if (this.open_.size === 0) return;
    const { core } = this;
    const pointer = core.alloc(core.x.sizeof_FIL());
    try {
      if (core.enter(what, () => core.x.f_open(pointer, core.putString(core.path, where), FA_READ)) !== FR_OK) return;
      const identity = fileIdentity(core, pointer);
      core.enter(what, () => core.x.f_close(pointer));
      if (this.open_.has(identity)) throw new XenError('EBUSY', `${what}: the file is open`);
    } finally {
      core.x.free(pointer);
    }
  }
}

/** FatFs keeps a label in the root directory only; other FAT tools want it in the boot sector as well. */
function labelBootSectors(device: SectorDevice, label: string): void {
  const boot = new Uint8Array(device.sectorSize);
  device.read(0, boot);
  const view = new DataView(boot.buffer);
  const isFat32 = view.getUint16(22, true) === 0;
  const text = new TextEncoder().encode(label.toUpperCase().padEnd(11).slice(0, 11));
  const backup = isFat32 ? view.getUint16(50, true) : 0;
  for (const sector of backup > 0 ? [0, backup] : [0]) {
    device.read(sector, boot);
    boot.set(text.subarray(0, 11), isFat32 ? 71 : 43);
    device.write(sector, boot);
  }
}

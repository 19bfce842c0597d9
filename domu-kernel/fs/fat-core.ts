// FatFs (the C library, as WebAssembly) on a SectorDevice: memory, strings, and the six functions it imports.
import { XenError } from '#pvbus';
import { type WasmMemory, type WasmModule, WebAssemblyEngine } from '../process/web-assembly.ts';
import { FR_OK, fatError } from './fat-errors.ts';
import type { SectorDevice, WriteKind } from './sector-device.ts';

/** The exports used here; pointers are numbers. Results are FRESULTs unless the name says otherwise. */
export interface FatFs {
  malloc(size: number): number;
  free(pointer: number): void;
  f_mkfs(path: number, options: number, work: number, length: number): number;
  f_mount(fs: number, path: number, now: number): number;
  f_open(file: number, path: number, mode: number): number;
  f_read(file: number, into: number, length: number, done: number): number;
  f_write(file: number, from: number, length: number, done: number): number;
  f_close(file: number): number;
  f_sync(file: number): number;
  f_truncate(file: number): number;
  f_opendir(dir: number, path: number): number;
  f_closedir(dir: number): number;
  f_readdir(dir: number, info: number): number;
  f_stat(path: number, info: number): number;
  f_unlink(path: number): number;
  f_rename(from: number, to: number): number;
  f_mkdir(path: number): number;
  f_utime(path: number, info: number): number;
  ff_wtoupper(unit: number): number;
  f_getfree(path: number, clusters: number, fs: number): number;
  f_getlabel(path: number, label: number, serial: number): number;
  f_setlabel(label: number): number;
  ffw_f_lseek(file: number, low: number, high: number): number;
  ffw_f_size_low(file: number): number;
  sizeof_FATFS(): number;
  sizeof_FIL(): number;
  sizeof_DIR(): number;
  sizeof_FILINFO(): number;
  offset_FILINFO_fattrib(): number;
  offset_FILINFO_altname(): number;
  offset_FILINFO_fname(): number;
}

const STA_PROTECT = 4;
const RES_OK = 0;
const RES_ERROR = 1;
const RES_WRPRT = 2;
const RES_PARERR = 4;
const CTRL_SYNC = 0;
const GET_SECTOR_COUNT = 1;
const GET_SECTOR_SIZE = 2;
const GET_BLOCK_SIZE = 3;
const WASM_PAGES = { initial: 16, maximum: 64 };

// FATFS of FatFs 0.15, without exFAT; 568 bytes, which FatCore checks.
const FATFS = {
  size: 568,
  n_fats: 3,
  wflag: 4,
  fsi_flag: 5,
  id: 6,
  csize: 10,
  last_clst: 16,
  free_clst: 20,
  fsize: 32,
  winsect: 36,
  volbase: 40,
  fatbase: 44,
  database: 52,
  win: 56,
} as const;
const FSINFO_CHANGED = 1;
const FSInfo = { free_count: 488, next_free: 492 } as const;

/** Bytes moved per call of FatFs. */
export const TRANSFER = 65536;
export const MAX_PATH_BYTES = 4096;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export function compileFatFs(bytes: Uint8Array): WasmModule {
  return new WebAssemblyEngine.Module(bytes);
}

/** FAT's packed local time; we keep UTC: the date in the upper half. */
export function fatTime(ms: number): number {
  const t = new Date(ms);
  const year = Math.min(Math.max(t.getUTCFullYear(), 1980), 2107) - 1980;
  const date = (year << 25) | ((t.getUTCMonth() + 1) << 21) | (t.getUTCDate() << 16);
  return (date | (t.getUTCHours() << 11) | (t.getUTCMinutes() << 5) | (t.getUTCSeconds() >> 1)) >>> 0;
}

/** One instance of FatFs for one device. */
export class FatCore {
  readonly x: FatFs;
  readonly device: SectorDevice;
  /** What dates are given to directory entries that FatFs writes now, where that is not the time it is. */
  dateMs: number | undefined;
  /** Scratch in FatFs' memory, allocated once. */
  readonly path: number;
  readonly secondPath: number;
  readonly info: number;
  readonly buffer: number;
  readonly count: number;
  /** FATFS, the volume, and the sector that FatFs works on, once it is mounted. */
  private fs = 0;
  private readonly memory: WasmMemory;
  private bytesNow: Uint8Array;
  private viewNow: DataView;
  private deviceError: unknown;
  /** Why this instance may not be entered again. */
  private dead: XenError | undefined;
  private budget = 0;
  private readonly budgetPerCall: number;

  /** `wallMs`: what time the guest has. */
  constructor(module: WasmModule, device: SectorDevice, wallMs: () => number) {
    this.device = device;
    this.memory = new WebAssemblyEngine.Memory(WASM_PAGES);
    this.bytesNow = new Uint8Array(this.memory.buffer);
    this.viewNow = new DataView(this.memory.buffer);
    // untrusted: a hostile image can make a walk long, never endless. No honest call touches more than
    // every sector twice, and a directory that has the largest size FAT allows.
    this.budgetPerCall = 2 * device.sectors + 65536;
    const instance = new WebAssemblyEngine.Instance(module, { env: { memory: this.memory, ...this.imports(wallMs) } });
    this.x = instance.exports as unknown as FatFs; // what ff.wasm exports; its version is pinned
    if (this.x.sizeof_FATFS() !== FATFS.size) throw new Error('not the FatFs that the offsets were taken from');
    this.path = this.alloc(MAX_PATH_BYTES + 1);
    this.secondPath = this.alloc(MAX_PATH_BYTES + 1);
    this.info = this.alloc(this.x.sizeof_FILINFO());
    this.buffer = this.alloc(TRANSFER);
    this.count = this.alloc(4);
  }

  get bytes(): Uint8Array {
    this.refresh();
    return this.bytesNow;
  }
  get view(): DataView {
    this.refresh();
    return this.viewNow;
  }
  // FatFs' memory may have grown, which leaves older views empty. To ask the memory itself costs more than all else here.
  private refresh(): void {
    if (this.bytesNow.length !== 0) return;
    this.bytesNow = new Uint8Array(this.memory.buffer);
    this.viewNow = new DataView(this.memory.buffer);
  }

  mount(): void {
    this.fs = this.alloc(this.x.sizeof_FATFS());
    this.call(`mount ${this.device.name}`, () => this.x.f_mount(this.fs, this.putString(this.path, ''), 1));
  }
  get clusterBytes(): number {
    return this.view.getUint16(this.fs + FATFS.csize, true) * this.device.sectorSize;
  }
  /** Address of FatFs' copy of the sector `windowSector`. */
  get window(): number {
    return this.fs + FATFS.win;
  }
  get windowSector(): number {
    return this.view.getUint32(this.fs + FATFS.winsect, true);
  }
  /** What FatFs wants to find in an open file: the volume and its mount. */
  get mountId(): readonly [fs: number, id: number] {
    return [this.fs, this.view.getUint16(this.fs + FATFS.id, true)];
  }
  /** FatFs keeps none of its tables back from the device any more; f_sync of a file would do as much. */
  settle(): void {
    const { view, fs, device, window } = this;
    const field = (at: number): number => view.getUint32(fs + at, true);
    if (view.getUint8(fs + FATFS.wflag) !== 0) {
      const bytes = this.bytes.subarray(window, window + device.sectorSize);
      const sector = field(FATFS.winsect);
      this.put(sector, bytes, true);
      const inTable = sector - field(FATFS.fatbase) < field(FATFS.fsize) && sector >= field(FATFS.fatbase);
      if (inTable && view.getUint8(fs + FATFS.n_fats) === 2) this.put(sector + field(FATFS.fsize), bytes, true);
      view.setUint8(fs + FATFS.wflag, 0);
    }
    if (view.getUint8(fs + FATFS.fsi_flag) !== FSINFO_CHANGED) return;
    const sector = field(FATFS.volbase) + 1;
    const info = new Uint8Array(device.sectorSize);
    device.read(sector, info);
    const infoView = new DataView(info.buffer);
    infoView.setUint32(FSInfo.free_count, field(FATFS.free_clst), true);
    infoView.setUint32(FSInfo.next_free, field(FATFS.last_clst), true);
    device.write(sector, info, 'table');
    view.setUint8(fs + FATFS.fsi_flag, 0);
  }

  /** To the device, said what it is. `isWindow`: it is a sector of the volume's tables or of a directory. */
  put(sector: number, bytes: Uint8Array, isWindow: boolean): void {
    this.device.write(sector, bytes, this.kindOf(sector, bytes, isWindow, false));
  }
  private kindOf(sector: number, bytes: Uint8Array, isWindow: boolean, isTransfer: boolean): WriteKind {
    if (this.fs === 0 || isTransfer) return 'data';
    const field = (at: number): number => this.view.getUint32(this.fs + at, true);
    const fats = this.view.getUint8(this.fs + FATFS.n_fats);
    if (sector < field(FATFS.fatbase) + fats * field(FATFS.fsize)) return 'table';
    if (sector < field(FATFS.database)) return 'directory';
    // No directory has a sector of zeros but one that was just made; what else is zeros may as well count as that.
    if (bytes.every(byte => byte === 0)) return 'fresh';
    return isWindow ? 'directory' : 'data';
  }

  /** Zeroed memory inside FatFs. */
  alloc(size: number): number {
    const pointer = this.x.malloc(size);
    if (pointer === 0) throw new XenError('ENOMEM', `${this.device.name}: the file system's memory is used up`);
    this.bytes.fill(0, pointer, pointer + size);
    return pointer;
  }

  putString(pointer: number, text: string): number {
    const { written } = encoder.encodeInto(text, this.bytes.subarray(pointer, pointer + MAX_PATH_BYTES));
    this.bytes[pointer + written] = 0;
    return pointer;
  }
  getString(pointer: number, room: number): string {
    const bytes = this.bytes.subarray(pointer, pointer + room);
    const end = bytes.indexOf(0);
    return decoder.decode(end < 0 ? bytes : bytes.subarray(0, end));
  }

  /** One call into FatFs; its FRESULT. Throws EIO when FatFs itself cannot be trusted any more. */
  enter(what: string, call: () => number): number {
    if (this.dead) throw new XenError('EIO', `${what}: the file system was given up`, this.dead);
    this.deviceError = undefined;
    this.budget = this.budgetPerCall;
    try {
      return call();
    } catch (error) {
      this.dead = new XenError('EIO', `${what}: ${error instanceof Error ? error.message : error}`, error);
      throw this.dead;
    }
  }
  /** As `enter`; anything but FR_OK throws. */
  call(what: string, call: () => number): void {
    const result = this.enter(what, call);
    if (result !== FR_OK) throw this.error(what, result);
  }
  error(what: string, result: number): XenError {
    const [code, reason] = fatError(result);
    if (this.deviceError instanceof XenError) {
      const { message } = this.deviceError;
      return new XenError(this.deviceError.code, `${what}: ${message}`, this.deviceError);
    }
    return new XenError(code, `${what}: ${reason}`, this.deviceError);
  }

  private imports(wallMs: () => number): object {
    const { device } = this;
    const status = (): number => (device.readOnly ? STA_PROTECT : 0);
    const transfer = (pointer: number, sector: number, count: number, move: (part: Uint8Array) => void): number => {
      this.budget -= count;
      if (this.budget < 0) throw new XenError('EIO', `${device.name}: the volume's tables lead in circles`);
      if (sector + count > device.sectors) return RES_PARERR;
      try {
        move(this.bytes.subarray(pointer, pointer + count * device.sectorSize));
        return RES_OK;
      } catch (error) {
        this.deviceError = error;
        return RES_ERROR;
      }
    };
    return {
      disk_initialize: status,
      disk_status: status,
      ffw_disk_read: (_drive: number, pointer: number, low: number, high: number, count: number) => {
        const sector = (low >>> 0) + (high >>> 0) * 2 ** 32;
        // A name is looked for in every sector of its directory.
        const held = count === 1 && this.budget > 0 ? device.held?.(sector) : undefined;
        if (held === undefined) return transfer(pointer, sector, count >>> 0, part => device.read(sector, part));
        this.budget--;
        this.bytes.set(held, pointer);
        return RES_OK;
      },
      ffw_disk_write: (_drive: number, pointer: number, low: number, high: number, count: number) => {
        const sector = (low >>> 0) + (high >>> 0) * 2 ** 32;
        if (device.readOnly) return RES_WRPRT;
        const isTransfer = pointer >= this.buffer && pointer < this.buffer + TRANSFER;
        return transfer(pointer, sector, count >>> 0, part =>
          device.write(sector, part, this.kindOf(sector, part, pointer === this.window, isTransfer)),
        );
      },
      disk_ioctl: (_drive: number, command: number, pointer: number) => {
        if (command === GET_SECTOR_COUNT) this.view.setUint32(pointer, Math.min(device.sectors, 0xffffffff), true);
        else if (command === GET_SECTOR_SIZE) this.view.setUint16(pointer, device.sectorSize, true);
        else if (command === GET_BLOCK_SIZE) this.view.setUint32(pointer, 1, true);
        // Writes are on their way already; who wants them on the medium says so: FatVolume.sync.
        else if (command !== CTRL_SYNC) return RES_PARERR;
        return RES_OK;
      },
      get_fattime: () => fatTime(this.dateMs ?? wallMs()),
    };
  }
}

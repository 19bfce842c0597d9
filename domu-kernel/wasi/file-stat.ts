// What stat says: filestat and filetype of api.h, for everything a descriptor or a path leads to; and times as set.
import { type Clock, XenError } from '#pvbus';
import type { Attributes, FileSystem, FileType, Times, Vnode } from '../fs/file-system.ts';
import type { OpenFile } from '../process/open-file.ts';
import {
  FILETYPE_CHARACTER_DEVICE,
  FILETYPE_DIRECTORY,
  FILETYPE_REGULAR_FILE,
  FILETYPE_SOCKET_STREAM,
  FILETYPE_SYMBOLIC_LINK,
  FILETYPE_UNKNOWN,
  FSTFLAGS_ATIM,
  FSTFLAGS_ATIM_NOW,
  FSTFLAGS_MTIM,
  FSTFLAGS_MTIM_NOW,
  type Layouts,
} from './abi.ts';
import { realtimeNs } from './clock.ts';
import { u64 } from './memory.ts';
import { OpenDatagrams } from './open-socket.ts';
import { OpenDiskFile, OpenVnode } from './open-vnode.ts';

export const FILETYPE_OF: Readonly<Record<FileType, number>> = {
  file: FILETYPE_REGULAR_FILE,
  directory: FILETYPE_DIRECTORY,
  symlink: FILETYPE_SYMBOLIC_LINK,
  character: FILETYPE_CHARACTER_DEVICE,
};
const FILETYPE_OF_OPEN: Readonly<Record<OpenFile['kind'], number>> = {
  file: FILETYPE_REGULAR_FILE,
  directory: FILETYPE_DIRECTORY,
  // api.h has no name for a pipe.
  pipe: FILETYPE_UNKNOWN,
  terminal: FILETYPE_CHARACTER_DEVICE,
  device: FILETYPE_CHARACTER_DEVICE,
  socket: FILETYPE_SOCKET_STREAM,
};
export function filetypeOf(file: OpenFile): number {
  if (file instanceof OpenDatagrams) return file.filetype;
  return file instanceof OpenDiskFile ? FILETYPE_OF[file.vnode.type] : FILETYPE_OF_OPEN[file.kind];
}

const devices = new WeakMap<FileSystem, number>();
let lastDevice = 0;
/** A number for each file system, from 1: `dev` and `ino` together name a file. */
function deviceOf(fs: FileSystem): number {
  let device = devices.get(fs);
  if (device === undefined) {
    device = ++lastDevice;
    devices.set(fs, device);
  }
  return device;
}

const NOTHING: Omit<Attributes, 'type'> = { ino: 0, size: 0, nlink: 1, atimeNs: 0n, mtimeNs: 0n, ctimeNs: 0n };

type Filestat = Layouts['filestat'];

/** A `filestat` at `base`, which is checked. */
export function storeFilestat(view: DataView, base: number, vnode: Vnode, layout: Filestat): void {
  const attributes = vnode.attributes();
  store(view, base, deviceOf(vnode.fs), FILETYPE_OF[attributes.type], attributes, layout);
}
/** Of what is open: device 0 has everything that is in no file system. */
export function storeOpenFilestat(view: DataView, base: number, file: OpenFile, layout: Filestat): void {
  if (file instanceof OpenVnode) storeFilestat(view, base, file.vnode, layout);
  else store(view, base, 0, filetypeOf(file), NOTHING, layout);
}
function store(
  view: DataView,
  base: number,
  dev: number,
  filetype: number,
  of: Omit<Attributes, 'type'>,
  { at, fields, size }: Filestat,
): void {
  for (let i = 0; i < size; i += 8) view.setBigUint64(base + i, 0n, true);
  view.setBigUint64(base + at.dev, BigInt(dev), true);
  view.setBigUint64(base + at.ino, BigInt(of.ino), true);
  view.setUint8(base + at.filetype, filetype);
  if (fields.nlink === 'u64') view.setBigUint64(base + at.nlink, BigInt(of.nlink), true);
  else view.setUint32(base + at.nlink, of.nlink, true);
  view.setBigUint64(base + at.size, BigInt(of.size), true);
  view.setBigUint64(base + at.atim, of.atimeNs, true);
  view.setBigUint64(base + at.mtim, of.mtimeNs, true);
  view.setBigUint64(base + at.ctim, of.ctimeNs, true);
}

/** From the arguments of the two calls that set times. EINVAL for a time that is to be both given and now. */
export function timesOf(clock: Clock, atim: bigint, mtim: bigint, flags: number): Times {
  const known = FSTFLAGS_ATIM | FSTFLAGS_ATIM_NOW | FSTFLAGS_MTIM | FSTFLAGS_MTIM_NOW;
  const both = (given: number, now: number): boolean => (flags & given) !== 0 && (flags & now) !== 0;
  if (flags & ~known || both(FSTFLAGS_ATIM, FSTFLAGS_ATIM_NOW) || both(FSTFLAGS_MTIM, FSTFLAGS_MTIM_NOW)) {
    throw new XenError('EINVAL', `times with flags ${flags}`);
  }
  const one = (given: number, now: number, time: bigint): bigint | undefined =>
    flags & given ? u64(time) : flags & now ? realtimeNs(clock) : undefined;
  const atimeNs = one(FSTFLAGS_ATIM, FSTFLAGS_ATIM_NOW, atim);
  const mtimeNs = one(FSTFLAGS_MTIM, FSTFLAGS_MTIM_NOW, mtim);
  return { ...(atimeNs !== undefined && { atimeNs }), ...(mtimeNs !== undefined && { mtimeNs }) };
}

// A disk image from its description: sparse, made beside its final place and moved there whole.

import {
  closeSync,
  ftruncateSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import type { FatFsDisk } from 'fatfs-wasm';
import { messageOf, XenError } from '#pvbus';
import { type ImageStep, sizeText } from './plan.ts';

/** A FAT image is put together in memory. */
const MAX_FAT_BYTES = 2 ** 31;
const CHUNK = 64 << 10;

export type MadeImage = 'made' | 'kept';

/** An image that is there is kept, whatever is in it, unless the topology says `recreate`. */
export async function makeImage(image: ImageStep): Promise<MadeImage> {
  if (!image.recreate && exists(image.path)) return 'kept';
  const draft = `${image.path}.${process.pid}.tmp`;
  try {
    const content = image.format === 'fat' ? await fatImage(image) : null;
    const fd = openSync(draft, 'wx', 0o644);
    try {
      ftruncateSync(fd, image.size);
      if (content !== null) writeSparse(fd, content);
    } finally {
      closeSync(fd);
    }
    renameSync(draft, image.path);
    return 'made';
  } catch (error) {
    rmSync(draft, { force: true });
    if (error instanceof XenError) throw error;
    throw new XenError(
      (error as NodeJS.ErrnoException).code ?? 'EIO',
      `image ${image.shown}: ${messageOf(error)}`,
      error,
    );
  }
}

function exists(path: string): boolean {
  const info = statSync(path, { throwIfNoEntry: false });
  if (info !== undefined && !info.isFile() && !info.isBlockDevice()) {
    throw new XenError('EEXIST', `image ${path}: it is there, and is no file`);
  }
  return info !== undefined;
}

function writeSparse(fd: number, content: Uint8Array): void {
  const zero = Buffer.alloc(CHUNK);
  for (let at = 0; at < content.length; at += CHUNK) {
    const chunk = content.subarray(at, at + CHUNK);
    if (zero.compare(chunk, 0, chunk.length, 0, chunk.length) !== 0) writeSync(fd, chunk, 0, chunk.length, at);
  }
}

async function fatImage(image: ImageStep): Promise<Uint8Array> {
  if (image.size > MAX_FAT_BYTES) {
    throw new XenError('EFBIG', `image ${image.shown}: a FAT image may have ${sizeText(MAX_FAT_BYTES)} at most`);
  }
  const { FatFsDisk, FatFsFormat } = await import('fatfs-wasm');
  const content = new Uint8Array(image.size);
  const disk = await FatFsDisk.create(content);
  try {
    // No partition table: the volume is the disk, which is what a guest mounts and mtools read.
    disk.mkfs({ fmt: FatFsFormat.FAT | FatFsFormat.FAT32 | FatFsFormat.SFD, nFat: 2 });
  } catch (error) {
    throw new XenError('EINVAL', `image ${image.shown}: ${sizeText(image.size)} cannot hold a FAT`, error);
  }
  disk.mount();
  if (image.label !== undefined) disk.setLabel(image.label);
  const writer = new FatWriter(disk, image.shown);
  for (const [directory, sources] of Object.entries(image.files)) {
    for (const source of sources) writer.copy(source, directory);
  }
  disk.unmount();
  if (image.label !== undefined) labelBootSectors(content, image.label.toUpperCase());
  return content;
}

// Offsets in a FAT boot sector: size of a FAT in 16 bits (0 on FAT32), where FAT32's second copy of the boot
// sector is, and the labels of the two kinds, each behind an extended boot signature.
const BPB_FATSz16 = 22;
const BPB_BkBootSec = 50;
const BS_VolLab = 43;
const BS_VolLab32 = 71;

/** FatFs writes the label into the root directory only; fsck.vfat wants it in the boot sector as well. */
function labelBootSectors(content: Uint8Array, label: string): void {
  const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
  const fat32 = view.getUint16(BPB_FATSz16, true) === 0;
  const sectors = fat32 ? [0, view.getUint16(BPB_BkBootSec, true)] : [0];
  for (const sector of sectors) {
    content.set(Buffer.from(label.padEnd(11), 'latin1'), sector * 512 + (fat32 ? BS_VolLab32 : BS_VolLab));
  }
}

class FatWriter {
  readonly #disk: FatFsDisk;
  readonly #image: string;
  readonly #directories = new Set(['']);

  constructor(disk: FatFsDisk, image: string) {
    this.#disk = disk;
    this.#image = image;
  }

  /** What is in a host directory goes into `to`; a file goes into `to` under its name, or as `to` if that names one. */
  copy(source: string, to: string): void {
    const path = normal(to);
    const info = this.#stat(source);
    if (info.isDirectory()) this.#copyDirectory(source, path);
    else if (to.endsWith('/') || path === '') this.#copyFile(source, `${path}/${basename(source)}`, info.mtime);
    else this.#copyFile(source, path, info.mtime);
  }

  #stat(source: string): ReturnType<typeof statSync> & object {
    try {
      return statSync(source);
    } catch (error) {
      throw new XenError('ENOENT', `image ${this.#image}: ${source} does not exist`, error);
    }
  }

  #copyDirectory(source: string, to: string): void {
    this.#makeDirectory(to);
    for (const name of readdirSync(source).sort()) {
      const entry = join(source, name);
      const info = this.#stat(entry);
      if (info.isDirectory()) this.#copyDirectory(entry, `${to}/${name}`);
      else this.#copyFile(entry, `${to}/${name}`, info.mtime);
    }
  }

  #makeDirectory(path: string): void {
    if (this.#directories.has(path)) return;
    this.#makeDirectory(path.slice(0, path.lastIndexOf('/')));
    this.#disk.mkdir(path);
    this.#setTime(path, new Date());
    this.#directories.add(path);
  }

  #copyFile(source: string, path: string, mtime: Date): void {
    this.#makeDirectory(path.slice(0, path.lastIndexOf('/')));
    const content = readFileSync(source);
    try {
      const file = this.#disk.open(path, OPEN_FOR_WRITING);
      try {
        for (let at = 0; at < content.length; at += CHUNK) {
          const chunk = content.subarray(at, at + CHUNK);
          if (file.write(chunk) < chunk.length) {
            throw new XenError('ENOSPC', `image ${this.#image} is full: ${source} does not fit`);
          }
        }
      } finally {
        file.close();
      }
      this.#setTime(path, mtime);
    } catch (error) {
      if (error instanceof XenError) throw error;
      throw new XenError('EIO', `image ${this.#image}: ${path}: ${messageOf(error)}`, error);
    }
  }

  #setTime(path: string, time: Date): void {
    // fatfs-wasm asks for the day of the week where FAT has the day of the month.
    this.#disk.utime(path, Object.assign(new Date(time), { getDay: () => time.getDate() }));
  }
}

const WRITE = 0x02;
const CREATE_ALWAYS = 0x08;
const OPEN_FOR_WRITING = WRITE | CREATE_ALWAYS;

/** `/a/b` for `a//b/`, '' for the root. */
const normal = (path: string): string => {
  const parts = path.split('/').filter(part => part !== '' && part !== '.');
  return parts.length === 0 ? '' : `/${parts.join('/')}`;
};

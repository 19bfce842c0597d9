// What every file system of a guest gives: FAT, tmpfs, an archive in memory, a folder of the host.
import { XenError } from '#pvbus';
import type { WaitQueue } from '../wait-queue.ts';
import type { WriteErrors } from './write-errors.ts';

export type FileType = 'file' | 'directory' | 'symlink' | 'character';

export interface Attributes {
  /** Of this file system alone; the same for as long as the file is there. */
  readonly ino: number;
  readonly type: FileType;
  /** Bytes. */
  readonly size: number;
  readonly nlink: number;
  /** Nanoseconds since 1970. A file system that keeps fewer says what it keeps. */
  readonly atimeNs: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  /** Nobody may write to it. */
  readonly isReadOnly?: boolean;
}

export interface DirectoryEntry {
  readonly name: string;
  readonly ino: number;
  readonly type: FileType;
}

export interface Times {
  readonly atimeNs?: bigint;
  readonly mtimeNs?: bigint;
}

/**
 * A file, directory or symlink that is in use, from `lookup`, `create`, `symlink` or `hold` until `release`, each of the
 * one for one of the other. Who asks for what is in use already gets the same object. It goes on under another name after a
 * rename, and without one after its last unlink.
 *
 * Every call returns when it is done and throws a XenError otherwise: ENOENT, EEXIST, ENOTDIR, EISDIR, ENOTEMPTY, ENOSPC,
 * EIO, EROFS, ENAMETOOLONG, EINVAL for a name that cannot be, EPERM for what this kind of file system never does; or
 * FileSystemBusy, having done nothing. Names are single ones: never empty, '.', '..', or with a '/'.
 */
export interface Vnode {
  readonly fs: FileSystem;
  readonly type: FileType;
  /** Its name as it is kept, where it has one only and is found by others too. */
  readonly spelling?: string;
  attributes(): Attributes;
  setTimes(times: Times): void;

  // Of a directory.
  /** undefined: there is nothing of that name. */
  lookup(name: string): Vnode | undefined;
  create(name: string, type: 'file' | 'directory'): Vnode;
  symlink(name: string, target: string): Vnode;
  /** Another name, here, of a file of this file system. */
  link(name: string, file: Vnode): void;
  /** Of anything but a directory; who has it open keeps it. */
  unlink(name: string): void;
  rmdir(name: string): void;
  /** As rename(2): what `to` names in `directory` is replaced. EXDEV across file systems. */
  rename(name: string, directory: Vnode, to: string): void;
  /** Without '.' and '..'. */
  entries(): readonly DirectoryEntry[];

  // Of a symlink.
  readlink(): string;

  // Of a file.
  /** How many bytes there were, fewer than `into` holds at the end only. */
  read(offset: number, into: Uint8Array): number;
  /** All of it, or, where the file system is full, the first so many; ENOSPC when that is none. */
  write(offset: number, from: Uint8Array): number;
  /** What is added reads as zeros. */
  truncate(size: number): void;
  /** On the medium when this returns; with `dataOnly` as fdatasync(2). */
  sync(dataOnly: boolean): void;
  /** What was written and failed later, for each who has it open to be told (Hearer). None: a write that returns is done. */
  readonly writeErrors?: WriteErrors;

  /** In use once more. */
  hold(): this;
  release(): void;
}

export interface FileSystem {
  /** For messages: 'fat on xvda', 'tmpfs'. */
  readonly name: string;
  readonly readOnly: boolean;
  /** Why, where nobody had asked for it. */
  readonly whyReadOnly?: string | undefined;
  /** Always in use. */
  readonly root: Vnode;
  /** Something besides the root is in use, or the root by others. */
  readonly inUse: boolean;
  /** All of it on the medium when this returns. */
  sync(): void;
  /** Bytes. */
  space(): { readonly free: number; readonly total: number };
  /** The end: nothing is in use, and nothing is called any more. */
  close(): void;
}

/** A call of another process is under way in this file system and waits for its disk. Try again when `idle` wakes. */
export class FileSystemBusy extends XenError {
  readonly idle: WaitQueue;
  constructor(what: string, idle: WaitQueue) {
    super('EAGAIN', `${what}: another call is under way`);
    this.idle = idle;
  }
}

export const MAX_NAME_BYTES = 255;

/** The name, if a file can have it. */
export function checkedName(name: string): string {
  if (name === '' || name === '.' || name === '..') throw new XenError('EINVAL', `'${name}' is no name of a file`);
  if (/[/\0]/.test(name)) throw new XenError('EINVAL', `'${name}' is no name of a file`);
  if (name.length > MAX_NAME_BYTES || Buffer.byteLength(name) > MAX_NAME_BYTES) {
    throw new XenError('ENAMETOOLONG', `'${name.slice(0, 40)}…' is longer than ${MAX_NAME_BYTES} bytes`);
  }
  return name;
}

/** Offset and length of a transfer as a program gave them. */
export function checkRange(what: string, offset: number, length: number, maxSize: number): void {
  if (!Number.isSafeInteger(offset) || offset < 0) throw new XenError('EINVAL', `${what}: offset ${offset}`);
  if (offset + length > maxSize) throw new XenError('EFBIG', `${what}: a file ends at ${maxSize} bytes`);
}

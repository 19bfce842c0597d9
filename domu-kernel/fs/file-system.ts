// What every file system of a guest gives: FAT, tmpfs, an archive in memory, a folder of the host.

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
 * A file, directory or symlink that is in use, from `lookup`, `create` or `symlink` until `release`. It goes on under
 * another name after a rename, and without one after its last unlink.
 *
 * Every call returns when it is done and throws a XenError otherwise: ENOENT, EEXIST, ENOTDIR, EISDIR, ENOTEMPTY, ENOSPC,
 * EIO, EROFS, ENAMETOOLONG, EINVAL for a name that cannot be, EPERM for what this kind of file system never does. Names are
 * single ones: never empty, '.', '..', or with a '/'.
 */
export interface Vnode {
  readonly fs: FileSystem;
  readonly type: FileType;
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
  /** Without '.' and '..'; those there all the time of a walk come once each. */
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

  release(): void;
}

export interface FileSystem {
  /** For messages: 'fat on xvda', 'tmpfs'. */
  readonly name: string;
  readonly readOnly: boolean;
  /** Always in use. */
  readonly root: Vnode;
  /** All of it on the medium when this returns. */
  sync(): void;
  /** Bytes. */
  space(): { readonly free: number; readonly total: number };
}

// A file, directory or device of a file system that is open: what several descriptors, of several processes, may share.
import { XenError } from '#pvbus';
import { type DescriptorOf, DeviceNode } from '../fs/dev-fs.ts';
import type { DirectoryEntry, Vnode } from '../fs/file-system.ts';
import { Hearer } from '../fs/write-errors.ts';
import type { OpenFile } from '../process/open-file.ts';
import { FDFLAGS_APPEND, FDFLAGS_DSYNC, FDFLAGS_RSYNC, FDFLAGS_SYNC } from './abi.ts';

/** The flags that are the open file's; NONBLOCK is the descriptor's, since nothing here makes anybody wait. */
export const FILE_FLAGS = FDFLAGS_APPEND | FDFLAGS_DSYNC | FDFLAGS_RSYNC | FDFLAGS_SYNC;

export abstract class OpenVnode {
  readonly vnode: Vnode;
  /** FILE_FLAGS of api.h's fdflags. */
  flags = 0;
  readonly queue = undefined;
  private readonly hearer: Hearer;
  private references = 1;

  /** `vnode` is in use by this from here on, until the last release. */
  constructor(vnode: Vnode) {
    this.vnode = vnode;
    this.hearer = new Hearer(vnode.writeErrors);
  }
  /** With `dataOnly` as fdatasync(2). */
  sync(dataOnly: boolean): void {
    this.hearer.sync(() => this.vnode.sync(dataOnly));
  }
  retain(): void {
    this.references++;
  }
  release(): void {
    if (--this.references === 0) this.vnode.release();
  }
  hungUp(): boolean {
    return false;
  }
}

export class OpenDiskFile extends OpenVnode implements OpenFile {
  readonly kind = 'file';
  /** Where the next read or write begins. */
  offset = 0;

  constructor(vnode: Vnode, flags = 0) {
    super(vnode);
    this.flags = flags & FILE_FLAGS;
  }
  read(into: Uint8Array): number {
    const n = this.vnode.read(this.offset, into);
    this.offset += n;
    return n;
  }
  /** Without what SYNC and DSYNC ask for: that is `syncAsFlagged`. */
  write(from: Uint8Array): number {
    const offset = this.flags & FDFLAGS_APPEND ? this.size() : this.offset;
    const n = this.vnode.write(offset, from);
    this.offset = offset + n;
    return n;
  }
  /** After a write. */
  syncAsFlagged(): void {
    if (this.flags & FDFLAGS_SYNC) this.sync(false);
    else if (this.flags & FDFLAGS_DSYNC) this.sync(true);
  }
  size(): number {
    return this.vnode.attributes().size;
  }
  readable(): number {
    return Math.max(0, this.size() - this.offset);
  }
  writable(): number {
    return 65536;
  }
}

export class OpenDirectory extends OpenVnode implements OpenFile {
  readonly kind = 'directory';
  /**
   * As the walk that is under way found it: a cookie is an index of this, so that what is created, removed or renamed
   * meanwhile makes nothing else come twice or be left out. A walk from the beginning looks anew.
   */
  private walked: readonly DirectoryEntry[] | undefined;

  entriesFrom(cookie: number): readonly DirectoryEntry[] {
    if (cookie === 0) this.walked = undefined;
    this.walked ??= this.vnode.entries();
    return this.walked;
  }
  read(): number {
    throw new XenError('EISDIR', 'read of a directory');
  }
  write(): number {
    throw new XenError('EISDIR', 'write to a directory');
  }
  readable(): number {
    return 1;
  }
  writable(): number {
    return 1;
  }
}

export class OpenDevice extends OpenVnode implements OpenFile {
  readonly kind = 'device';

  read(into: Uint8Array): number {
    return this.vnode.read(0, into);
  }
  write(from: Uint8Array): number {
    return this.vnode.write(0, from);
  }
  readable(): number {
    return 1;
  }
  writable(): number {
    return 65536;
  }
}

const none: DescriptorOf = fd => {
  throw new XenError('EBADF', `descriptor ${fd} of nobody`);
};

/**
 * An OpenFile for what is there; `flags` as in FILE_FLAGS, `own` are the descriptors of who opens it. Takes over the use of
 * `vnode`, unless it throws.
 */
export function openVnode(vnode: Vnode, flags = 0, own = none): OpenFile {
  if (vnode.type === 'directory') return new OpenDirectory(vnode);
  if (!(vnode instanceof DeviceNode)) return new OpenDiskFile(vnode, flags);
  const file = vnode.standsFor(own);
  if (!file) return new OpenDevice(vnode);
  file.retain();
  vnode.release();
  return file;
}

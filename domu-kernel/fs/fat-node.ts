// A file or directory of a FAT volume that is in use. FAT has no inodes: what a file is, is its name. So there is one
// FatNode for a name that is in use, and names that change are told to it.
import { XenError } from '#pvbus';
import { fatTime } from './fat-core.ts';
import type { FatDirectory } from './fat-directory.ts';
import { removeEntry } from './fat-entries.ts';
import type { EntryPlace } from './fat-handle.ts';
import type { FatInfo } from './fat-info.ts';
import type { FatVolume } from './fat-volume.ts';
import type { Attributes, DirectoryEntry, Times, Vnode } from './file-system.ts';
import { VolumeNode } from './volume-node.ts';

/** FAT keeps the time of the last change in steps of two seconds, and no others that FatFs would show. */
const TIME_STEP_MS = 2000;
const NS_PER_MS = 1_000_000n;

export abstract class FatNode extends VolumeNode<FatVolume> implements Vnode {
  protected parent: FatDirectory | undefined;
  protected mtimeMs: number;
  protected readonly isReadOnly: boolean;
  /** Where a file is that was unlinked while in use. */
  protected hiddenPath: string | undefined;
  private readonly knownSize: number;
  private name: string;

  constructor(fs: FatVolume, parent: FatDirectory | undefined, info: FatInfo) {
    super(fs, info.isDirectory ? 'directory' : 'file', fs.freeIno(parent?.ino ?? 0, info.name));
    fs.came(this);
    this.parent = parent;
    this.name = info.name;
    this.knownSize = info.size;
    this.mtimeMs = info.modified.getTime();
    this.isReadOnly = info.isReadOnly;
  }

  get spelling(): string {
    return this.name;
  }
  protected get title(): string {
    return this.path;
  }
  get path(): string {
    if (this.hiddenPath !== undefined) return this.hiddenPath;
    if (!this.parent) return '/';
    return this.parent.childPath(this.name);
  }
  get size(): number {
    return this.knownSize;
  }
  /** What a directory's listing says of it lags behind. */
  get info(): FatInfo {
    const { name, size, isReadOnly } = this;
    return { name, size, isDirectory: this.type === 'directory', isReadOnly, modified: new Date(this.mtimeMs) };
  }

  attributes(): Attributes {
    const ns = BigInt(this.mtimeMs) * NS_PER_MS;
    const nlink = this.removed ? 0 : 1;
    const { ino, type, size, isReadOnly } = this;
    return { ino, type, size, nlink, atimeNs: ns, mtimeNs: ns, ctimeNs: ns, isReadOnly };
  }
  setTimes({ mtimeNs }: Times): void {
    const what = `set times of ${this.path}`;
    this.fs.checkWritable(what);
    if (mtimeNs === undefined || !this.parent) return;
    this.fs.enter(what, () => {
      this.syncEntry(what);
      const ms = Number(mtimeNs / NS_PER_MS);
      const packed = fatTime(ms);
      const { core } = this.fs;
      core.view.setUint16(core.info + 4, packed >>> 16, true);
      core.view.setUint16(core.info + 6, packed & 0xffff, true);
      if (!this.removed || this.hiddenPath) {
        core.call(what, () => core.x.f_utime(core.putString(core.path, this.path), core.info));
      }
      this.mtimeMs = stepped(ms);
    });
  }

  // ---- what is of directories or of files alone ----

  lookup(name: string): FatNode | undefined {
    throw new XenError('ENOTDIR', `lookup of ${name}: it is no directory`);
  }
  create(name: string, _type: 'file' | 'directory'): FatNode {
    throw new XenError('ENOTDIR', `create ${name}: it is no directory`);
  }
  symlink(name: string): never {
    throw new XenError('EPERM', `symlink ${name}: FAT has no symlinks`);
  }
  link(name: string): never {
    throw new XenError('EPERM', `link ${name}: FAT has one name for a file`);
  }
  unlink(name: string): void {
    throw new XenError('ENOTDIR', `unlink ${name}: it is no directory`);
  }
  rmdir(name: string): void {
    throw new XenError('ENOTDIR', `rmdir ${name}: it is no directory`);
  }
  rename(name: string, _directory: Vnode, to: string): void {
    throw new XenError('ENOTDIR', `rename ${name} to ${to}: it is no directory`);
  }
  entries(): readonly DirectoryEntry[] {
    throw new XenError('ENOTDIR', `list ${this.path}: it is no directory`);
  }
  readlink(): never {
    throw new XenError('EINVAL', 'readlink: it is no symlink');
  }
  read(_offset: number, _into: Uint8Array): number {
    throw new XenError('EISDIR', `read ${this.path}: it is a directory`);
  }
  write(_offset: number, _from: Uint8Array): number {
    throw new XenError('EISDIR', `write ${this.path}: it is a directory`);
  }
  truncate(_size: number): void {
    throw new XenError('EISDIR', `truncate ${this.path}: it is a directory`);
  }

  // ---- for the volume and directories; the volume is entered ----

  // What a directory has is on its way already: here is nothing to do for one.
  /** Its directory entry, if that is another now, is on its way. */
  flush(_what: string): void {}
  /** Everything of it is on the medium. */
  settled(): void {}
  /** Where its directory entry is from now on. */
  moveTo(_place: EntryPlace): void {}
  protected syncEntry(_what: string): void {}
  /** Nothing of it is written any more. */
  protected discard(): void {}
  protected close(_what: string): void {}
  /** By others than processes too. */
  protected get isNeeded(): boolean {
    return this.inUse;
  }

  drop(): void {
    if (this.isNeeded || !this.parent) return;
    const { fs, parent } = this;
    const what = `close ${this.path}`;
    parent.left(this);
    this.parent = undefined;
    fs.gone(this);
    if (this.removed) fs.written.forget(this.ino);
    else fs.written.move(this.ino, fs.inoOf(parent.ino, this.name));
    try {
      this.close(what);
      if (this.hiddenPath !== undefined) {
        fs.freed.add(removeEntry(fs.core, what, this.hiddenPath, false));
        fs.hides(-1);
      }
    } finally {
      parent.dropIfUnused();
    }
  }
  /** Nobody has it in use, and its name is gone with all it led to. */
  forget(): void {
    this.removed = true;
    this.discard();
    this.drop();
  }
  /** Still there for who has it open; nobody else finds it. `path`: where it is now. */
  hide(what: string, path: string): void {
    const { fs } = this;
    const hidden = fs.hiddenPath();
    this.move(what, path, hidden);
    this.parent?.lost(this.name);
    this.hiddenPath = hidden;
    this.removed = true;
    fs.hides(1);
  }
  /** The directory entry, and what is known of its place. */
  move(what: string, from: string, to: string): void {
    this.fs.move(what, from, to);
  }
  take(parent: FatDirectory, name: string): void {
    const before = this.parent;
    this.parent = parent;
    this.name = name;
    if (before !== parent) before?.dropIfUnused();
  }
}

export const stepped = (ms: number): number => ms - (ms % TIME_STEP_MS);

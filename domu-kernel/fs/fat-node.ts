// A file or directory of a FAT volume that is in use. FAT has no inodes: what a file is, is its name. So there is one
// FatNode for a name that is in use, and names that change are told to it.
import { XenError } from '#pvbus';
import { fatTime } from './fat-core.ts';
import { findEntry, removeEntry, replaceFile, swapFiles } from './fat-entries.ts';
import { FR_DENIED, FR_EXIST, FR_OK } from './fat-errors.ts';
import { FA_CREATE_NEW, FA_READ, FA_WRITE, FatHandle } from './fat-handle.ts';
import type { FatInfo } from './fat-info.ts';
import { FatNames } from './fat-names.ts';
import { checkFatName, isFatName } from './fat-path.ts';
import type { FatVolume } from './fat-volume.ts';
import { type Attributes, checkRange, type DirectoryEntry, type Times, type Vnode } from './file-system.ts';
import { VolumeNode } from './volume-node.ts';

const MAX_FILE = 0xffffffff;
/** FAT keeps the time of the last change in steps of two seconds, and no others that FatFs would show. */
const TIME_STEP_MS = 2000;
const NS_PER_MS = 1_000_000n;

export class FatNode extends VolumeNode<FatVolume> implements Vnode {
  private parent: FatNode | undefined;
  private name: string;
  /** Where a file is that was unlinked while in use. */
  private hiddenPath: string | undefined;
  /** Children in use, by their names on the disk. */
  private readonly children = new Map<string, FatNode>();
  private names: FatNames | undefined;
  private handle: FatHandle | undefined;
  private durableSize: number | undefined;
  private durableCluster: number | undefined;
  private knownSize: number;
  private mtimeMs: number;
  private readonly isReadOnly: boolean;

  constructor(fs: FatVolume, parent: FatNode | undefined, info: FatInfo) {
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
    return this.handle?.size ?? this.knownSize;
  }
  /** What a directory's listing says of it lags behind. */
  get info(): FatInfo {
    const { name, size, isReadOnly } = this;
    return { name, size, isDirectory: this.type === 'directory', isReadOnly, modified: new Date(this.mtimeMs) };
  }
  get modified(): boolean {
    return this.handle?.modified ?? false;
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
      this.handle?.sync(what, this.mtimeMs);
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

  // ---- a directory ----

  lookup(name: string): FatNode | undefined {
    const what = `lookup of ${name}`;
    this.checkDirectory(what);
    if (this.removed || !isFatName(name)) return undefined;
    return this.fs.enter(what, () => this.find(what, name)?.hold());
  }
  create(name: string, type: 'file' | 'directory'): FatNode {
    const what = `create ${name}`;
    this.checkLive(what);
    checkFatName(what, name);
    return this.fs.enter(what, () => {
      if (this.fs.isHidden(this, name)) throw new XenError('EINVAL', `${what}: the name is the file system's own`);
      const path = this.childPath(name);
      return type === 'file' ? this.createFile(what, name, path) : this.createDirectory(what, name, path);
    });
  }
  symlink(name: string): never {
    throw new XenError('EPERM', `symlink ${name}: FAT has no symlinks`);
  }
  link(name: string): never {
    throw new XenError('EPERM', `link ${name}: FAT has one name for a file`);
  }
  unlink(name: string): void {
    const what = `unlink ${name}`;
    this.checkDirectory(what);
    this.fs.enter(what, () => {
      const found = this.removable(what, name);
      if (found.isDirectory) throw new XenError('EISDIR', `${what}: it is a directory`);
      const node = this.children.get(found.name);
      if (node?.inUse) node.hide(what, this.childPath(found.name));
      else this.removeChild(what, found);
    });
  }
  rmdir(name: string): void {
    const what = `rmdir ${name}`;
    this.checkDirectory(what);
    this.fs.enter(what, () => {
      const found = this.removable(what, name);
      this.checkRemovable(what, found);
      this.removeChild(what, found);
    });
  }
  rename(name: string, directory: Vnode, to: string): void {
    const what = `rename ${name} to ${to}`;
    this.checkDirectory(what);
    if (!(directory instanceof FatNode) || directory.fs !== this.fs) {
      throw new XenError('EXDEV', `${what}: another file system`);
    }
    directory.checkLive(what);
    checkFatName(what, to);
    this.fs.enter(what, () => this.renameWithin(what, name, directory, to));
  }
  entries(): readonly DirectoryEntry[] {
    const what = `list ${this.path}`;
    this.checkDirectory(what);
    if (this.removed) return [];
    return this.fs.enter(what, () =>
      this.list(what).map(({ name, isDirectory }) => ({
        name,
        ino: this.children.get(name)?.ino ?? this.fs.inoOf(this.ino, name),
        type: isDirectory ? 'directory' : 'file',
      })),
    );
  }
  readlink(): never {
    throw new XenError('EINVAL', 'readlink: it is no symlink');
  }

  // ---- a file ----

  read(offset: number, into: Uint8Array): number {
    const what = this.checkFile('read');
    checkRange(what, offset, 0, Number.MAX_SAFE_INTEGER);
    return this.fs.enter(what, () => (offset < this.size ? this.opened(what).read(what, offset, into) : 0));
  }
  write(offset: number, from: Uint8Array): number {
    const what = this.checkFile('write');
    checkRange(what, offset, from.length, MAX_FILE);
    if (from.length === 0) return 0;
    return this.fs.enter(what, () => {
      const handle = this.writable(what);
      let done = handle.write(what, offset, from);
      // What was removed last may still hold clusters.
      if (done < from.length && this.fs.reclaim()) done += handle.write(what, offset + done, from.subarray(done));
      if (done === 0) throw new XenError('ENOSPC', `${what}: the volume is full`);
      this.changed();
      return done;
    });
  }
  truncate(size: number): void {
    const what = this.checkFile('truncate');
    checkRange(what, size, 0, MAX_FILE);
    this.fs.enter(what, () => {
      const handle = this.writable(what);
      if (size === 0) {
        this.fs.freed.cutNever(this);
        this.fs.freed.add(handle.takeChain());
      } else if (size < handle.size) {
        handle.shorten(what, size);
        this.fs.freed.cutLater(this);
      } else if (size > handle.size) this.lengthen(what, handle, size);
      this.changed();
    });
  }
  // ---- for the volume, which is entered ----

  /** The child that is there by this or another spelling, not in use yet. */
  find(what: string, name: string): FatNode | undefined {
    const info = this.infoOf(what, name);
    if (!info) return undefined;
    const held = this.children.get(info.name);
    if (held) return held;
    const node = new FatNode(this.fs, this, info);
    this.children.set(info.name, node);
    return node;
  }
  /** What is in a directory, in the disk's order. */
  list(what: string): FatInfo[] {
    const infos = this.namesNow(what).list();
    return infos
      .filter(({ name }) => !this.fs.isHidden(this, name))
      .map(info => this.children.get(info.name)?.info ?? info);
  }
  /** Its chain ends where it does: the medium has its size. */
  cut(what: string): void {
    this.handle?.cut(what);
  }
  flush(what: string): void {
    if (this.handle?.modified) this.handle.sync(what, this.mtimeMs);
  }
  /** Everything of it is on the medium. */
  settled(): void {
    if (!this.handle) return;
    this.durableSize = this.handle.size;
    this.durableCluster = this.handle.firstCluster;
  }
  /** What leads to its data is on the medium as it is now, but for the time. */
  get entryIsDurable(): boolean {
    return this.handle?.size === this.durableSize && this.handle?.firstCluster === this.durableCluster;
  }
  /** A directory stays for a while: its names need not be read again. */
  dropIfUnused(): void {
    if (this.inUse || this.children.size > 0 || !this.parent) return;
    if (this.type === 'directory' && !this.removed) this.fs.keep(this);
    // Who opens it meanwhile has to find it as it is here.
    else if (this.removed || !this.fs.freed.isShortened(this)) this.drop();
  }
  drop(): void {
    if (this.inUse || this.children.size > 0 || !this.parent) return;
    const { fs, parent, handle } = this;
    const what = `close ${this.path}`;
    if (parent.children.get(this.name) === this) {
      parent.children.delete(this.name);
      parent.names?.put(this.info);
    }
    this.parent = undefined;
    fs.gone(this);
    if (this.removed) fs.written.forget(this.ino);
    else fs.written.move(this.ino, fs.inoOf(parent.ino, this.name));
    this.handle = undefined;
    try {
      handle?.close(what, this.mtimeMs);
      if (this.hiddenPath !== undefined) {
        fs.freed.cutNever(this);
        fs.freed.add(removeEntry(fs.core, what, this.hiddenPath, false));
        fs.hides(-1);
      }
    } finally {
      parent.dropIfUnused();
    }
  }

  private namesNow(what: string): FatNames {
    this.names ??= FatNames.read(this.fs.core, what, this.path);
    return this.names;
  }
  /** As the directory has it. */
  private infoOf(what: string, name: string): FatInfo | undefined {
    if (this.fs.isHidden(this, name)) return undefined;
    const names = this.namesNow(what);
    const info = names.get(name);
    if (info || !names.mayBe(name) || !this.fs.exists_(what, this.childPath(name))) return info;
    this.names = undefined;
    return this.namesNow(what).get(name);
  }
  private childPath(name: string): string {
    return this.parent || this.hiddenPath ? `${this.path}/${name}` : `/${name}`;
  }
  private existing(what: string, name: string): FatInfo {
    const found = !this.removed && isFatName(name) ? this.infoOf(what, name) : undefined;
    if (!found) throw new XenError('ENOENT', `${what}: no such file`);
    return found;
  }
  private removable(what: string, name: string): FatInfo {
    const found = this.existing(what, name);
    this.fs.checkWritable(what);
    return found;
  }
  private createFile(what: string, name: string, path: string): FatNode {
    const { fs } = this;
    const mode = FA_READ | FA_WRITE | FA_CREATE_NEW;
    let handle = FatHandle.open(fs.core, what, path, mode);
    if (handle === FR_DENIED && fs.reclaim()) handle = FatHandle.open(fs.core, what, path, mode);
    if (typeof handle === 'number') throw this.notMade(what, handle);
    const node = this.made(what, name, false);
    node.handle = handle;
    return node;
  }
  private createDirectory(what: string, name: string, path: string): FatNode {
    const { fs } = this;
    const { core } = fs;
    const make = (): number => core.enter(what, () => core.x.f_mkdir(core.putString(core.path, path)));
    let result = make();
    if (result === FR_DENIED && fs.reclaim()) result = make();
    if (result !== FR_OK) throw this.notMade(what, result);
    return this.made(what, name, true);
  }
  private made(what: string, name: string, isDirectory: boolean): FatNode {
    const modified = new Date(stepped(this.fs.wallMs()));
    this.names?.put({ name: nameOnDisk(name), size: 0, isDirectory, isReadOnly: false, modified });
    const node = this.find(what, name);
    if (!node) throw new XenError('EIO', `${what}: the volume is damaged`);
    this.fs.touch();
    return node.hold();
  }
  private notMade(what: string, result: number): XenError {
    if (result === FR_EXIST) return new XenError('EEXIST', `${what}: it exists already`);
    if (result === FR_DENIED) return new XenError('ENOSPC', `${what}: the volume or the directory is full`);
    return this.fs.core.error(what, result);
  }
  private checkRemovable(what: string, found: FatInfo): void {
    if (!found.isDirectory) throw new XenError('ENOTDIR', `${what}: it is no directory`);
    const node = this.find(what, found.name);
    if (!node) throw new XenError('EIO', `${what}: the volume is damaged`);
    const { length } = node.list(what);
    node.dropIfUnused();
    if (length > 0) throw new XenError('ENOTEMPTY', `${what}: the directory is not empty`);
  }
  /** An empty directory, or a file that nobody has open. */
  private removeChild(what: string, { name, isDirectory }: FatInfo): void {
    const { fs } = this;
    fs.freed.add(removeEntry(fs.core, what, this.childPath(name), isDirectory));
    fs.touch();
    this.names?.delete(name);
    const node = this.children.get(name);
    if (!node) {
      fs.written.forget(fs.inoOf(this.ino, name));
      return;
    }
    this.children.delete(name);
    node.forget();
  }
  /** Nobody has it in use, and its name is gone with all it led to. */
  private forget(): void {
    this.removed = true;
    this.handle?.discard();
    this.handle = undefined;
    this.fs.freed.cutNever(this);
    this.drop();
  }
  /** Still there for who has it open; nobody else finds it. `path`: where it is now. */
  private hide(what: string, path: string): void {
    const { fs } = this;
    const hidden = fs.hiddenPath();
    this.move(what, path, hidden);
    this.parent?.children.delete(this.name);
    this.parent?.names?.delete(this.name);
    this.hiddenPath = hidden;
    this.removed = true;
    fs.hides(1);
  }
  private renameWithin(what: string, name: string, directory: FatNode, to: string): void {
    const { fs } = this;
    const source = this.existing(what, name);
    const node = this.children.get(source.name);
    for (let at: FatNode | undefined = directory; at; at = at.parent) {
      if (at === node) throw new XenError('EINVAL', `${what}: into itself`);
    }
    if (fs.isHidden(directory, to)) throw new XenError('EINVAL', `${what}: the name is the file system's own`);
    const target = directory.infoOf(what, to);
    const isItself = target !== undefined && directory === this && target.name === source.name;
    if (isItself && to === source.name) return;
    if (!target || isItself) {
      this.relocate(what, source, node, directory, to);
      return;
    }
    if (source.isDirectory) {
      directory.checkRemovable(what, target);
      directory.removeChild(what, target);
      this.relocate(what, source, node, directory, target.name);
      return;
    }
    if (target.isDirectory) throw new XenError('EISDIR', `${what}: there is a directory`);
    this.replace(what, source, node, directory, target.name);
  }
  private relocate(what: string, info: FatInfo, node: FatNode | undefined, to: FatNode, as: string): void {
    const from = this.childPath(info.name);
    const path = to.childPath(as);
    this.fs.inOrder(() => (node ? node.move(what, from, path) : this.fs.move(what, from, path)));
    this.renamed(info, node, to, nameOnDisk(as));
  }
  private renamed(info: FatInfo, node: FatNode | undefined, to: FatNode, name: string): void {
    this.fs.touch();
    this.names?.delete(info.name);
    to.names?.put({ ...info, name });
    if (!node) {
      this.fs.written.move(this.fs.inoOf(this.ino, info.name), this.fs.inoOf(to.ino, name));
      return;
    }
    this.children.delete(info.name);
    node.take(to, name);
  }
  /**
   * order: the target's entry leads to the new file first, in one write; then the other name goes. There is no moment
   * without the target's name.
   */
  private replace(what: string, info: FatInfo, node: FatNode | undefined, to: FatNode, targetName: string): void {
    const { fs } = this;
    const { core } = fs;
    const from = this.childPath(info.name);
    const path = to.childPath(targetName);
    const old = to.children.get(targetName);
    node?.flush(what);
    const isHidden = old?.inUse === true;
    if (isHidden) old.flush(what);
    const target = findEntry(core, what, path, false);
    const source = findEntry(core, what, from, false);
    if (!isHidden) {
      fs.inOrder(() => replaceFile(core, what, from, target, source));
      fs.freed.add(target.cluster);
      if (old) {
        to.children.delete(targetName);
        old.forget();
      } else fs.written.forget(fs.inoOf(to.ino, targetName));
      if (node?.handle) node.handle.place = target;
    } else {
      fs.inOrder(() => swapFiles(core, target, source));
      if (node?.handle) node.handle.place = target;
      if (old.handle) old.handle.place = source;
      this.hideOrUndo(what, old, from, () => {
        swapFiles(core, target, source);
        if (node?.handle) node.handle.place = source;
        if (old.handle) old.handle.place = target;
      });
    }
    this.renamed(info, node, to, targetName);
  }
  private hideOrUndo(what: string, old: FatNode, from: string, undo: () => void): void {
    try {
      old.hide(what, from);
    } catch (error) {
      undo();
      throw error;
    }
  }
  /** The file's directory entry, and what the handle knows of its place. */
  private move(what: string, from: string, to: string): void {
    const { core } = this.fs;
    this.fs.move(what, from, to);
    if (this.handle) this.handle.place = findEntry(core, what, to, false);
  }
  private take(parent: FatNode, name: string): void {
    const before = this.parent;
    this.parent = parent;
    this.name = name;
    parent.children.set(name, this);
    if (before !== parent) before?.dropIfUnused();
  }

  private opened(what: string): FatHandle {
    if (this.handle) return this.handle;
    const { fs } = this;
    const mode = fs.readOnly || this.isReadOnly ? FA_READ : FA_READ | FA_WRITE;
    const handle = FatHandle.open(fs.core, what, this.path, mode);
    if (typeof handle === 'number') throw fs.core.error(what, handle);
    this.handle = handle;
    return handle;
  }
  private writable(what: string): FatHandle {
    this.fs.checkWritable(what);
    if (this.isReadOnly) throw new XenError('EACCES', `${what}: the file is read-only`);
    return this.opened(what);
  }
  private lengthen(what: string, handle: FatHandle, size: number): void {
    const { fs } = this;
    const before = handle.size;
    const last = Uint8Array.of(0);
    if (handle.write(what, size - 1, last) === 1) return;
    if (fs.reclaim() && handle.write(what, size - 1, last) === 1) return;
    if (handle.size > before) handle.truncate(what, before);
    throw new XenError('ENOSPC', `${what}: the volume is full`);
  }
  private changed(): void {
    this.mtimeMs = stepped(this.fs.wallMs());
    this.unsynced();
    this.fs.touch();
  }
}

const stepped = (ms: number): number => ms - (ms % TIME_STEP_MS);
/** FatFs leaves dots and spaces at the end out. */
const nameOnDisk = (name: string): string => name.replace(/[. ]+$/, '');

// A directory of a FAT volume that is in use: its names, and what becomes of them.
import { XenError } from '#pvbus';
import { findEntry, removeEntry, replaceFile, swapFiles } from './fat-entries.ts';
import { FR_DENIED, FR_EXIST, FR_OK } from './fat-errors.ts';
import { FatFile } from './fat-file.ts';
import { FA_CREATE_NEW, FA_READ, FA_WRITE, FatHandle } from './fat-handle.ts';
import type { FatInfo } from './fat-info.ts';
import { FatNames } from './fat-names.ts';
import { FatNode, stepped } from './fat-node.ts';
import { checkFatName, isFatName } from './fat-path.ts';
import type { DirectoryEntry, Vnode } from './file-system.ts';

export class FatDirectory extends FatNode {
  /** Children in use, by their names on the disk. */
  private readonly children = new Map<string, FatNode>();
  private names: FatNames | undefined;

  override lookup(name: string): FatNode | undefined {
    const what = `lookup of ${name}`;
    if (this.removed || !isFatName(name)) return undefined;
    return this.fs.enter(what, () => this.find(what, name)?.hold());
  }
  override create(name: string, type: 'file' | 'directory'): FatNode {
    const what = `create ${name}`;
    this.checkLive(what);
    checkFatName(what, name);
    return this.fs.enter(what, () => {
      if (this.fs.isHidden(this, name)) throw new XenError('EINVAL', `${what}: the name is the file system's own`);
      const path = this.childPath(name);
      return type === 'file' ? this.createFile(what, name, path) : this.createDirectory(what, name, path);
    });
  }
  override unlink(name: string): void {
    const what = `unlink ${name}`;
    this.fs.enter(what, () => {
      const found = this.removable(what, name);
      if (found.isDirectory) throw new XenError('EISDIR', `${what}: it is a directory`);
      const node = this.children.get(found.name);
      if (node?.inUse) node.hide(what, this.childPath(found.name));
      else this.removeChild(what, found);
    });
  }
  override rmdir(name: string): void {
    const what = `rmdir ${name}`;
    this.fs.enter(what, () => {
      const found = this.removable(what, name);
      this.checkRemovable(what, found);
      this.removeChild(what, found);
    });
  }
  override rename(name: string, directory: Vnode, to: string): void {
    const what = `rename ${name} to ${to}`;
    if (directory.fs !== this.fs) throw new XenError('EXDEV', `${what}: another file system`);
    if (!(directory instanceof FatDirectory)) throw new XenError('ENOTDIR', `${what}: it is no directory`);
    directory.checkLive(what);
    checkFatName(what, to);
    this.fs.enter(what, () => this.renameWithin(what, name, directory, to));
  }
  override entries(): readonly DirectoryEntry[] {
    const what = `list ${this.path}`;
    if (this.removed) return [];
    return this.fs.enter(what, () =>
      this.list(what).map(({ name, isDirectory }) => ({
        name,
        ino: this.children.get(name)?.ino ?? this.fs.inoOf(this.ino, name),
        type: isDirectory ? 'directory' : 'file',
      })),
    );
  }

  // ---- for the volume and other nodes; the volume is entered ----

  /** The child that is there by this or another spelling, not in use yet. */
  find(what: string, name: string): FatNode | undefined {
    const info = this.infoOf(what, name);
    if (!info) return undefined;
    const held = this.children.get(info.name);
    if (held) return held;
    const node = new (info.isDirectory ? FatDirectory : FatFile)(this.fs, this, info);
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
  childPath(name: string): string {
    return this.parent || this.hiddenPath ? `${this.path}/${name}` : `/${name}`;
  }
  /** A child is not in use any more: its name is as it has left it. */
  left(node: FatNode): void {
    if (this.children.get(node.spelling) !== node) return;
    this.children.delete(node.spelling);
    this.names?.put(node.info);
  }
  lost(name: string): void {
    this.children.delete(name);
    this.names?.delete(name);
  }
  /** It stays for a while: its names need not be read again. */
  dropIfUnused(): void {
    if (this.isNeeded || !this.parent) return;
    if (this.removed) this.drop();
    else this.fs.keep(this);
  }
  protected override get isNeeded(): boolean {
    return this.inUse || this.children.size > 0;
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
    if (node instanceof FatFile) node.opensWith(handle);
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
    if (!(node instanceof FatDirectory)) throw new XenError('EIO', `${what}: the volume is damaged`);
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
  private renameWithin(what: string, name: string, directory: FatDirectory, to: string): void {
    const { fs } = this;
    const source = this.existing(what, name);
    const node = this.children.get(source.name);
    for (let at: FatDirectory | undefined = directory; at; at = at.parent) {
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
  private relocate(what: string, info: FatInfo, node: FatNode | undefined, to: FatDirectory, as: string): void {
    const from = this.childPath(info.name);
    const path = to.childPath(as);
    this.fs.inOrder(() => (node ? node.move(what, from, path) : this.fs.move(what, from, path)));
    this.renamed(info, node, to, nameOnDisk(as));
  }
  private renamed(info: FatInfo, node: FatNode | undefined, to: FatDirectory, name: string): void {
    this.fs.touch();
    this.names?.delete(info.name);
    to.names?.put({ ...info, name });
    if (!node) {
      this.fs.written.move(this.fs.inoOf(this.ino, info.name), this.fs.inoOf(to.ino, name));
      return;
    }
    this.children.delete(info.name);
    to.children.set(name, node);
    node.take(to, name);
  }
  /**
   * order: the target's entry leads to the new file first, in one write; then the other name goes. There is no moment
   * without the target's name.
   */
  private replace(what: string, info: FatInfo, node: FatNode | undefined, to: FatDirectory, targetName: string): void {
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
      node?.moveTo(target);
    } else {
      fs.inOrder(() => swapFiles(core, target, source));
      node?.moveTo(target);
      old.moveTo(source);
      this.hideOrUndo(what, old, from, () => {
        swapFiles(core, target, source);
        node?.moveTo(source);
        old.moveTo(target);
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
}

/** FatFs leaves dots and spaces at the end out. */
const nameOnDisk = (name: string): string => name.replace(/[. ]+$/, '');

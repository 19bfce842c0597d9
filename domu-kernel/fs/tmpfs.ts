// Files in the guest's memory.
import { PAGE_SIZE, XenError } from '#pvbus';
import {
  type Attributes,
  checkedName,
  checkRange,
  type DirectoryEntry,
  type FileSystem,
  type FileType,
  type Times,
  type Vnode,
} from './file-system.ts';

/** Whom the memory is taken from: the domain's free frames, as that of processes. */
export interface PageCounter {
  /** False when there are no so many. */
  take(pages: number): boolean;
  give(pages: number): void;
}

export interface TmpfsOptions {
  readonly pages: PageCounter;
  /** Bytes this file system may have at most. */
  readonly limit: number;
  readonly wallNs: () => bigint;
  readonly name?: string;
}

/** What a file, its name and its attributes count as, apart from what is in it. */
const NODE_BYTES = 512;
const MAX_SIZE = 2 ** 43;
const MAX_TARGET = 4095;

export class Tmpfs implements FileSystem {
  readonly name: string;
  readonly readOnly = false;
  readonly root: TmpNode;
  readonly wallNs: () => bigint;
  private readonly pages: PageCounter;
  private readonly limitPages: number;
  private dataPages = 0;
  private nodes = 0;
  private nextIno = 1;
  private uses = 0;

  /** Throws ENOMEM when there is not even room for an empty one. */
  constructor({ pages, limit, wallNs, name = 'tmpfs' }: TmpfsOptions) {
    this.name = name;
    this.pages = pages;
    this.limitPages = Math.floor(limit / PAGE_SIZE);
    this.wallNs = wallNs;
    if (!this.addNode()) throw new XenError('ENOMEM', `${name}: no memory`);
    this.root = new TmpNode(this, 'directory', this.takeIno()).hold();
    this.root.nlink = 2;
    this.uses = 0;
  }

  get inUse(): boolean {
    return this.uses > 0;
  }
  sync(): void {}
  space(): { free: number; total: number } {
    const total = this.limitPages * PAGE_SIZE;
    return { free: Math.max(0, total - this.usedPages * PAGE_SIZE), total };
  }
  close(): void {
    this.pages.give(this.usedPages);
    this.dataPages = 0;
    this.nodes = 0;
  }

  // ---- for the nodes ----

  takeIno(): number {
    return this.nextIno++;
  }
  used(more: number): void {
    this.uses += more;
  }
  addPage(): boolean {
    if (!this.takePages(1)) return false;
    this.dataPages++;
    return true;
  }
  dropPages(count: number): void {
    this.dataPages -= count;
    this.pages.give(count);
  }
  addNode(): boolean {
    if (!this.takePages(nodePages(this.nodes + 1) - nodePages(this.nodes))) return false;
    this.nodes++;
    return true;
  }
  dropNode(): void {
    this.nodes--;
    this.pages.give(nodePages(this.nodes + 1) - nodePages(this.nodes));
  }

  private get usedPages(): number {
    return this.dataPages + nodePages(this.nodes);
  }
  private takePages(count: number): boolean {
    return count === 0 || (this.usedPages + count <= this.limitPages && this.pages.take(count));
  }
}

const nodePages = (nodes: number): number => Math.ceil((nodes * NODE_BYTES) / PAGE_SIZE);

class TmpNode implements Vnode {
  readonly fs: Tmpfs;
  readonly type: FileType;
  readonly ino: number;
  nlink = 0;
  private readonly children = new Map<string, TmpNode>();
  /** Of a directory that has a name. */
  private parent: TmpNode | undefined;
  /** What a page does not hold is zeros. */
  private readonly pages = new Map<number, Uint8Array>();
  private size = 0;
  private target = '';
  private uses = 0;
  private atimeNs: bigint;
  private mtimeNs: bigint;
  private ctimeNs: bigint;

  constructor(fs: Tmpfs, type: FileType, ino: number) {
    this.fs = fs;
    this.type = type;
    this.ino = ino;
    this.atimeNs = this.mtimeNs = this.ctimeNs = fs.wallNs();
  }

  attributes(): Attributes {
    const { ino, type, nlink, atimeNs, mtimeNs, ctimeNs } = this;
    return { ino, type, size: this.size, nlink, atimeNs, mtimeNs, ctimeNs };
  }
  setTimes({ atimeNs, mtimeNs }: Times): void {
    if (atimeNs !== undefined) this.atimeNs = atimeNs;
    if (mtimeNs !== undefined) this.mtimeNs = mtimeNs;
    this.ctimeNs = this.fs.wallNs();
  }

  // ---- a directory ----

  lookup(name: string): TmpNode | undefined {
    this.checkDirectory(`lookup of ${name}`);
    return this.children.get(checkedName(name))?.hold();
  }
  create(name: string, type: 'file' | 'directory'): TmpNode {
    const node = this.add(name, type);
    if (type === 'directory') {
      node.nlink = 2;
      node.parent = this;
      this.nlink++;
    }
    return node;
  }
  symlink(name: string, target: string): TmpNode {
    const size = Buffer.byteLength(target);
    if (size === 0) throw new XenError('ENOENT', `symlink ${name}: to nothing`);
    if (size > MAX_TARGET) throw new XenError('ENAMETOOLONG', `symlink ${name}: its target has ${size} bytes`);
    const node = this.add(name, 'symlink');
    node.target = target;
    node.size = size;
    // A short one is part of what every node counts as.
    if (size <= NODE_BYTES / 2 || node.page(0)) return node;
    this.unlink(name);
    node.release();
    throw this.full(`symlink ${name}`);
  }
  link(name: string, file: Vnode): void {
    const what = `link ${name}`;
    this.checkLive(what);
    if (!(file instanceof TmpNode) || file.fs !== this.fs) throw new XenError('EXDEV', `${what}: another file system`);
    if (file.type === 'directory') throw new XenError('EPERM', `${what}: it is a directory`);
    if (file.nlink === 0) throw new XenError('ENOENT', `${what}: the file has been removed`);
    if (this.children.has(checkedName(name))) throw new XenError('EEXIST', `${what}: it exists already`);
    this.children.set(name, file);
    file.nlink++;
    file.ctimeNs = this.fs.wallNs();
    this.changed();
  }
  unlink(name: string): void {
    const node = this.child(`unlink ${name}`, name);
    if (node.type === 'directory') throw new XenError('EISDIR', `unlink ${name}: it is a directory`);
    this.children.delete(name);
    this.changed();
    node.lostName();
  }
  rmdir(name: string): void {
    const node = this.child(`rmdir ${name}`, name);
    node.checkRemovable(`rmdir ${name}`);
    this.children.delete(name);
    this.changed();
    node.lostName();
  }
  rename(name: string, directory: Vnode, to: string): void {
    const what = `rename ${name} to ${to}`;
    const node = this.child(what, name);
    if (!(directory instanceof TmpNode) || directory.fs !== this.fs) {
      throw new XenError('EXDEV', `${what}: another file system`);
    }
    directory.checkLive(what);
    for (let at: TmpNode | undefined = directory; at; at = at.parent) {
      if (at === node) throw new XenError('EINVAL', `${what}: into itself`);
    }
    const old = directory.children.get(checkedName(to));
    if (old === node) return;
    if (old) {
      if (node.type === 'directory') old.checkRemovable(what);
      else if (old.type === 'directory') throw new XenError('EISDIR', `${what}: there is a directory`);
    }
    this.children.delete(name);
    directory.children.set(to, node);
    if (node.type === 'directory' && directory !== this) {
      this.nlink--;
      directory.nlink++;
      node.parent = directory;
    }
    node.ctimeNs = this.fs.wallNs();
    this.changed();
    directory.changed();
    old?.lostName();
  }
  entries(): readonly DirectoryEntry[] {
    this.checkDirectory('list');
    this.atimeNs = this.fs.wallNs();
    return [...this.children].map(([name, { ino, type }]) => ({ name, ino, type }));
  }

  // ---- a symlink ----

  readlink(): string {
    if (this.type !== 'symlink') throw new XenError('EINVAL', 'readlink: it is no symlink');
    return this.target;
  }

  // ---- a file ----

  read(offset: number, into: Uint8Array): number {
    this.checkFile('read');
    checkRange('read', offset, 0, Number.MAX_SAFE_INTEGER);
    const length = Math.max(0, Math.min(into.length, this.size - offset));
    for (let done = 0; done < length; ) {
      const at = offset + done;
      const from = at % PAGE_SIZE;
      const take = Math.min(length - done, PAGE_SIZE - from);
      const page = this.pages.get((at - from) / PAGE_SIZE);
      if (page) into.set(page.subarray(from, from + take), done);
      else into.fill(0, done, done + take);
      done += take;
    }
    if (length > 0) this.atimeNs = this.fs.wallNs();
    return length;
  }
  write(offset: number, from: Uint8Array): number {
    this.checkFile('write');
    checkRange('write', offset, from.length, MAX_SIZE);
    let done = 0;
    while (done < from.length) {
      const at = offset + done;
      const into = at % PAGE_SIZE;
      const take = Math.min(from.length - done, PAGE_SIZE - into);
      const page = this.page((at - into) / PAGE_SIZE);
      if (!page) break;
      page.set(from.subarray(done, done + take), into);
      done += take;
    }
    if (done === 0 && from.length > 0) throw this.full('write');
    if (done > 0) this.size = Math.max(this.size, offset + done);
    this.changed();
    return done;
  }
  truncate(size: number): void {
    this.checkFile('truncate');
    checkRange('truncate', size, 0, MAX_SIZE);
    if (size < this.size) {
      const keep = Math.ceil(size / PAGE_SIZE);
      let dropped = 0;
      for (const n of this.pages.keys()) if (n >= keep && this.pages.delete(n)) dropped++;
      this.fs.dropPages(dropped);
      // invariant: what is behind the end is zeros, so that a file which grows again shows nothing old.
      if (size % PAGE_SIZE > 0) this.pages.get(keep - 1)?.fill(0, size % PAGE_SIZE);
    }
    this.size = size;
    this.changed();
  }
  sync(): void {}

  // ---- use ----

  hold(): this {
    this.uses++;
    this.fs.used(1);
    return this;
  }
  release(): void {
    this.uses--;
    this.fs.used(-1);
    this.dropIfUnused();
  }

  private add(name: string, type: FileType): TmpNode {
    this.checkLive(`create ${name}`);
    if (this.children.has(checkedName(name))) throw new XenError('EEXIST', `create ${name}: it exists already`);
    if (!this.fs.addNode()) throw this.full(`create ${name}`);
    const node = new TmpNode(this.fs, type, this.fs.takeIno());
    node.nlink = 1;
    this.children.set(name, node);
    this.changed();
    return node.hold();
  }
  private child(what: string, name: string): TmpNode {
    this.checkDirectory(what);
    const node = this.children.get(checkedName(name));
    if (!node) throw new XenError('ENOENT', `${what}: no such file`);
    return node;
  }
  private page(n: number): Uint8Array | undefined {
    const held = this.pages.get(n);
    if (held) return held;
    if (!this.fs.addPage()) return undefined;
    const page = new Uint8Array(PAGE_SIZE);
    this.pages.set(n, page);
    return page;
  }
  private lostName(): void {
    if (this.type === 'directory') {
      this.nlink = 0;
      if (this.parent) this.parent.nlink--;
      this.parent = undefined;
    } else {
      this.nlink--;
    }
    this.ctimeNs = this.fs.wallNs();
    this.dropIfUnused();
  }
  private dropIfUnused(): void {
    if (this.nlink > 0 || this.uses > 0) return;
    this.fs.dropPages(this.pages.size);
    this.pages.clear();
    this.fs.dropNode();
  }
  private changed(): void {
    this.mtimeNs = this.ctimeNs = this.fs.wallNs();
  }
  private full(what: string): XenError {
    return new XenError('ENOSPC', `${what}: ${this.fs.name} is full`);
  }
  private checkRemovable(what: string): void {
    if (this.type !== 'directory') throw new XenError('ENOTDIR', `${what}: it is no directory`);
    if (this.children.size > 0) throw new XenError('ENOTEMPTY', `${what}: the directory is not empty`);
  }
  private checkDirectory(what: string): void {
    if (this.type !== 'directory') throw new XenError('ENOTDIR', `${what}: it is no directory`);
  }
  /** A directory that was removed while in use takes nothing any more. */
  private checkLive(what: string): void {
    this.checkDirectory(what);
    if (this.nlink === 0) throw new XenError('ENOENT', `${what}: the directory has been removed`);
  }
  private checkFile(what: string): void {
    if (this.type === 'directory') throw new XenError('EISDIR', `${what}: it is a directory`);
    if (this.type !== 'file') throw new XenError('EINVAL', `${what}: it is a ${this.type}`);
  }
}

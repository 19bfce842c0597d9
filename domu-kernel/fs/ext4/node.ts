// A file, directory or symlink of an ext4 volume that is in use: one Ext4Node for an inode.
import { XenError } from '#pvbus';
import {
  type Attributes,
  checkedName,
  checkRange,
  type DirectoryEntry,
  type FileType,
  type Times,
  type Vnode,
} from '../file-system.ts';
import { VolumeNode } from '../volume-node.ts';
import { FRESH, HOLE, timeNs, timeParts, UNWRITTEN } from './core.ts';
import { Ext4Names } from './names.ts';
import type { Ext4Volume } from './volume.ts';

const ATIME = 1;
const MTIME = 2;
const CTIME = 4;
const INLINE_DATA = 0x10000000;
const UNCHANGEABLE = 0x10 | 0x20; // immutable, append only
const MAX_BLOCKS = 0xffffffff;
/** Blocks that are given to a file with one call. */
const BLOCKS_A_WRITE = 64;
const BLOCKS_A_READ = 4096;

/** What its inode says, as long as nothing changes it. */
interface Known {
  readonly size: number;
  readonly nlink: number;
  readonly flags: number;
  readonly atimeNs: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
}

export class Ext4Node extends VolumeNode<Ext4Volume> implements Vnode {
  private known: Known | undefined;
  private names: Ext4Names | undefined;
  /** When it was written to, where its inode does not say so yet. */
  private changedNs: bigint | undefined;

  attributes(): Attributes {
    const what = `attributes of ${this.title}`;
    const facts = this.known ?? this.fs.enter(what, () => this.facts(what));
    const { size, nlink, atimeNs, mtimeNs, ctimeNs } = facts;
    const { ino, type, changedNs } = this;
    const isReadOnly = (facts.flags & UNCHANGEABLE) !== 0;
    return {
      ino,
      type,
      size,
      nlink,
      atimeNs,
      mtimeNs: changedNs ?? mtimeNs,
      ctimeNs: changedNs ?? ctimeNs,
      isReadOnly,
    };
  }
  setTimes({ atimeNs, mtimeNs }: Times): void {
    const what = `set times of ${this.title}`;
    this.fs.checkWritable(what);
    this.fs.enter(what, () => {
      this.changedNs = undefined;
      this.known = undefined;
      if (atimeNs !== undefined) this.stamp(what, ATIME, atimeNs);
      if (mtimeNs !== undefined) this.stamp(what, MTIME, mtimeNs);
      this.stamp(what, CTIME, this.fs.wallNs());
      this.unsynced();
    });
  }

  // ---- a directory ----

  lookup(name: string): Ext4Node | undefined {
    const what = `lookup of ${name}`;
    this.checkDirectory(what);
    if (this.removed) return undefined;
    return this.fs.enter(what, () => this.find(what, name)?.hold());
  }
  create(name: string, type: 'file' | 'directory'): Ext4Node {
    const what = `create ${name}`;
    return this.add(what, name, type, (names, text) => {
      const act = type === 'file' ? 'create' : 'make_directory';
      this.fs.change(what, x => x[act](names, text));
    });
  }
  symlink(name: string, target: string): Ext4Node {
    const what = `symlink ${name}`;
    if (target === '') throw new XenError('ENOENT', `${what}: it leads nowhere`);
    // As Linux has it: with the end, it is to fit into a block.
    if (Buffer.byteLength(target) >= Math.min(this.fs.blocks.blockSize, 4096)) {
      throw new XenError('ENAMETOOLONG', `${what}: its target is too long`);
    }
    return this.add(what, name, 'symlink', (directory, text) => {
      const { core } = this.fs;
      this.fs.change(what, x => x.make_symlink(directory, text, core.target(target)));
    });
  }
  private add(what: string, name: string, type: FileType, make: (directory: number, name: number) => void): Ext4Node {
    this.checkLive(what);
    checkedName(name);
    return this.fs.enter(what, () => {
      const names = this.namesNow(what);
      if (names.get(name)) throw new XenError('EEXIST', `${what}: it exists already`);
      const { core } = this.fs;
      this.forget();
      make(this.ino, core.name_(name));
      const ino = core.x.inode_made();
      names.put({ name, ino, type });
      return this.fs.nodeOf(ino, type).hold();
    });
  }
  link(name: string, file: Vnode): void {
    const what = `link ${name}`;
    this.checkLive(what);
    checkedName(name);
    const node = this.mine(what, file);
    if (node.type === 'directory') throw new XenError('EPERM', `${what}: it is a directory`);
    this.fs.enter(what, () => {
      const names = this.namesNow(what);
      if (names.get(name)) throw new XenError('EEXIST', `${what}: it exists already`);
      if (node.removed) throw new XenError('ENOENT', `${what}: the file has no name any more`);
      this.forget();
      node.forget();
      this.fs.change(what, x => x.link_file(this.ino, this.fs.core.name_(name), node.ino));
      names.put({ name, ino: node.ino, type: node.type });
    });
  }
  unlink(name: string): void {
    const what = `unlink ${name}`;
    this.checkDirectory(what);
    this.fs.enter(what, () => {
      const found = this.existing(what, name);
      if (found.type === 'directory') throw new XenError('EISDIR', `${what}: it is a directory`);
      this.forget();
      this.fs.change(what, x => x.unlink_file(this.ino, this.fs.core.name_(name), found.ino));
      this.names?.delete(name);
      this.fs.known(found.ino)?.forget();
      this.dropIfLast(what, found.ino);
    });
  }
  rmdir(name: string): void {
    const what = `rmdir ${name}`;
    this.checkDirectory(what);
    this.fs.enter(what, () => {
      const found = this.existing(what, name);
      if (found.type !== 'directory') throw new XenError('ENOTDIR', `${what}: it is no directory`);
      this.forget();
      this.fs.change(what, x => x.remove_directory(this.ino, this.fs.core.name_(name), found.ino));
      this.names?.delete(name);
      this.dropIfLast(what, found.ino);
    });
  }
  rename(name: string, directory: Vnode, to: string): void {
    const what = `rename ${name} to ${to}`;
    this.checkDirectory(what);
    const target = this.mine(what, directory);
    target.checkLive(what);
    checkedName(to);
    this.fs.enter(what, () => this.renameWithin(what, name, target, to));
  }
  private renameWithin(what: string, name: string, directory: Ext4Node, to: string): void {
    const { fs } = this;
    const { core } = fs;
    const source = this.existing(what, name);
    const old = directory.namesNow(what).get(to);
    if (old?.ino === source.ino) return;
    if (source.type === 'directory') {
      if (old && old.type !== 'directory') throw new XenError('ENOTDIR', `${what}: there is a file`);
      if (source.ino === directory.ino || fs.isBeneath(what, directory, source.ino)) {
        throw new XenError('EINVAL', `${what}: into itself`);
      }
    } else if (old?.type === 'directory') throw new XenError('EISDIR', `${what}: there is a directory`);
    for (const node of [this, directory, fs.known(source.ino), old && fs.known(old.ino)]) node?.forget();
    fs.change(what, x =>
      x.rename_file(this.ino, core.name_(name), directory.ino, core.as(to), source.ino, old?.ino ?? 0),
    );
    this.names?.delete(name);
    directory.names?.put({ ...source, name: to });
    const moved = fs.known(source.ino);
    if (moved?.names) moved.names.parent = directory.ino;
    if (old) this.dropIfLast(what, old.ino);
  }
  entries(): readonly DirectoryEntry[] {
    const what = `list ${this.title}`;
    this.checkDirectory(what);
    if (this.removed) return [];
    return this.fs.enter(what, () => this.namesNow(what).list());
  }

  // ---- a symlink ----

  readlink(): string {
    const what = `readlink of ${this.title}`;
    if (this.type !== 'symlink') throw new XenError('EINVAL', `${what}: it is no symlink`);
    return this.fs.enter(what, () => {
      const { core } = this.fs;
      core.call(what, x => x.read_target(this.ino));
      return core.string(core.x.target_at());
    });
  }

  // ---- a file ----

  read(offset: number, into: Uint8Array): number {
    const what = this.checkFile('read');
    checkRange(what, offset, 0, Number.MAX_SAFE_INTEGER);
    return this.fs.enter(what, () => {
      const { size, flags } = this.facts(what);
      const length = Math.min(into.length, size - offset);
      if (length <= 0) return 0;
      if ((flags & INLINE_DATA) !== 0) this.readInline(what, offset, into.subarray(0, length));
      else this.readBlocks(what, offset, into.subarray(0, length));
      return length;
    });
  }
  write(offset: number, from: Uint8Array): number {
    const what = this.checkFile('write');
    checkRange(what, offset, from.length, this.maxSize);
    if (from.length === 0) return 0;
    this.fs.checkWritable(what);
    return this.fs.enter(what, () => {
      this.checkChangeable(what);
      if (offset > this.facts(what).size) this.clearTail(what, offset);
      let done = 0;
      try {
        while (done < from.length) done += this.writeSome(what, offset + done, from.subarray(done));
      } catch (error) {
        // What did fit is there.
        if (!(error instanceof XenError && error.code === 'ENOSPC' && done > 0)) throw error;
      }
      return done;
    });
  }
  truncate(size: number): void {
    const what = this.checkFile('truncate');
    checkRange(what, size, 0, this.maxSize);
    this.fs.checkWritable(what);
    this.fs.enter(what, () => {
      this.checkChangeable(what);
      const { size: before } = this.facts(what);
      this.changedNs = undefined;
      this.known = undefined;
      this.unsynced();
      if (size < before) this.fs.shorten(what, this.ino, size);
      else {
        if (size > before) this.clearTail(what, size);
        this.lengthen(what, size);
      }
    });
  }

  // ---- for the volume, which is entered ----

  flushTimes(what: string): void {
    const { changedNs } = this;
    if (changedNs === undefined) return;
    this.changedNs = undefined;
    this.stamp(what, MTIME | CTIME, changedNs);
  }
  /** Of a directory the one that it is in. */
  parentOf(what: string): number {
    return this.namesNow(what).parent;
  }
  /** Its inode is about to say something else. */
  forget(): void {
    this.known = undefined;
  }

  dropIfUnused(): void {
    if (this.inUse || this.fs.known(this.ino) !== this) return;
    const what = `close ${this.title}`;
    if (this.removed) {
      this.fs.gone(this);
      this.fs.free(what, this.ino);
    } else if (this.type === 'directory') this.fs.keep(this);
    else {
      this.flushTimes(what);
      this.fs.gone(this);
    }
  }
  drop(): void {
    if (!this.inUse) this.fs.gone(this);
  }
  /** A name of it is gone. */
  private dropIfLast(what: string, ino: number): void {
    const node = this.fs.known(ino);
    const { core } = this.fs;
    core.call(what, x => x.attributes_of(ino));
    const nlink = core.doubles(core.x.attributes_at(), 3)[2] ?? 0;
    if (nlink > 0) return;
    if (node) {
      node.removed = true;
      node.changedNs = undefined;
      node.names = undefined;
      node.known = undefined;
      if (node.inUse) return;
      this.fs.gone(node);
    }
    this.fs.free(what, ino);
  }
  private find(what: string, name: string): Ext4Node | undefined {
    const found = this.namesNow(what).get(name);
    return found && this.fs.nodeOf(found.ino, this.checkedType(what, found));
  }
  private checkedType(what: string, { ino, type }: DirectoryEntry): FileType {
    const { core } = this.fs;
    if (this.fs.known(ino)) return type;
    // untrusted: what a directory says of an inode.
    core.call(what, x => x.attributes_of(ino));
    const mode = core.doubles(core.x.attributes_at(), 1)[0] ?? 0;
    if (fileType(mode) !== type) throw new XenError('EIO', `${what}: the volume is damaged`);
    return type;
  }
  private existing(what: string, name: string): DirectoryEntry {
    const found = this.removed ? undefined : this.namesNow(what).get(name);
    if (!found) throw new XenError('ENOENT', `${what}: no such file`);
    this.fs.checkWritable(what);
    return found;
  }
  private namesNow(what: string): Ext4Names {
    this.names ??= Ext4Names.read(this.fs.core, what, this.ino);
    return this.names;
  }
  private facts(what: string): Known {
    if (this.known) return this.known;
    const { core } = this.fs;
    core.call(what, x => x.attributes_of(this.ino));
    const at = core.doubles(core.x.attributes_at(), 10);
    const number = (i: number): number => at[i] ?? 0;
    const time = (i: number): bigint => timeNs(number(i), number(i + 1));
    const known = { size: number(1), nlink: this.removed ? 0 : number(2), flags: number(3) };
    this.known = { ...known, atimeNs: time(4), mtimeNs: time(6), ctimeNs: time(8) };
    return this.known;
  }
  private stamp(what: string, which: number, ns: bigint): void {
    const [seconds, rest] = timeParts(ns);
    this.known = undefined;
    this.fs.change(what, x => x.set_times(this.ino, which, seconds, rest));
  }
  private lengthen(what: string, size: number): void {
    const [seconds, ns] = timeParts(this.fs.wallNs());
    this.changedNs = undefined;
    this.known = undefined;
    this.fs.change(what, x => x.lengthen(this.ino, size, seconds, ns));
  }

  private readInline(what: string, offset: number, into: Uint8Array): void {
    const { core } = this.fs;
    core.call(what, x => x.read_inline(this.ino));
    const bytes = core.bytes(core.x.inline_at(), core.x.inline_length());
    into.fill(0);
    into.set(bytes.subarray(offset, offset + into.length));
  }
  private readBlocks(what: string, offset: number, into: Uint8Array): void {
    const { core, blocks } = this.fs;
    const { blockSize } = blocks;
    for (let done = 0; done < into.length; ) {
      const first = Math.floor((offset + done) / blockSize);
      const last = Math.floor((offset + into.length - 1) / blockSize);
      core.call(what, x => x.map(this.ino, first, Math.min(last - first + 1, BLOCKS_A_READ)));
      let skip = (offset + done) % blockSize;
      for (const { block, count, kind } of core.runs()) {
        const part = into.subarray(done, done + count * blockSize - skip);
        if (kind === HOLE || kind === UNWRITTEN) part.fill(0);
        else blocks.read(block * blockSize + skip, part);
        done += part.length;
        skip = 0;
      }
    }
  }
  /** As much as one call gives blocks to; ENOSPC when that is nothing. */
  private writeSome(what: string, offset: number, from: Uint8Array): number {
    const { fs } = this;
    const { core, blocks } = fs;
    const { blockSize } = blocks;
    const first = Math.floor(offset / blockSize);
    const last = Math.floor((offset + from.length - 1) / blockSize);
    const { size } = this.facts(what);
    fs.change(what, x => x.allocate(this.ino, first, Math.min(last - first + 1, BLOCKS_A_WRITE)));
    const runs = core.runs();
    this.unsynced();
    let done = 0;
    let skip = offset % blockSize;
    let isFresh = false;
    try {
      for (const { block, count, kind } of runs) {
        const part = from.subarray(done, done + count * blockSize - skip);
        isFresh ||= kind === FRESH;
        if (kind === FRESH) this.writeFresh(block * blockSize, skip, part);
        else blocks.writeData(block * blockSize + skip, part);
        done += part.length;
        skip = 0;
      }
    } finally {
      if (isFresh || offset + done > size) this.lengthen(what, offset + done);
      else this.changedNs = fs.wallNs();
    }
    return done;
  }
  /** Whole blocks: what was in them is another file's. */
  private writeFresh(at: number, skip: number, part: Uint8Array): void {
    const { blocks } = this.fs;
    const length = Math.ceil((skip + part.length) / blocks.blockSize) * blocks.blockSize;
    if (length === part.length) {
      blocks.writeData(at, part);
      return;
    }
    const whole = new Uint8Array(length);
    whole.set(part, skip);
    blocks.writeData(at, whole);
  }
  /** What is behind the end in its last block is about to be in the file, up to `end`. */
  private clearTail(what: string, end: number): void {
    const { core, blocks } = this.fs;
    const { blockSize } = blocks;
    const { size, flags } = this.facts(what);
    const inLast = size % blockSize;
    if (inLast === 0 || (flags & INLINE_DATA) !== 0) return;
    core.call(what, x => x.map(this.ino, Math.floor(size / blockSize), 1));
    const [run] = core.runs();
    if (!run || run.kind === HOLE || run.kind === UNWRITTEN) return;
    blocks.writeData(run.block * blockSize + inLast, new Uint8Array(Math.min(blockSize - inLast, end - size)));
  }

  protected get title(): string {
    return `inode ${this.ino}`;
  }
  private get maxSize(): number {
    return MAX_BLOCKS * this.fs.blocks.blockSize;
  }
  private mine(what: string, other: Vnode): Ext4Node {
    if (other instanceof Ext4Node && other.fs === this.fs) return other;
    throw new XenError('EXDEV', `${what}: another file system`);
  }
  private checkFile(verb: string): string {
    const what = `${verb} ${this.title}`;
    if (this.type === 'directory') throw new XenError('EISDIR', `${what}: it is a directory`);
    if (this.type !== 'file') throw new XenError('EINVAL', `${what}: it is no file`);
    return what;
  }
  private checkChangeable(what: string): void {
    if ((this.facts(what).flags & UNCHANGEABLE) !== 0) throw new XenError('EPERM', `${what}: it is not to be changed`);
  }
}

const TYPES: Readonly<Record<number, FileType>> = { 16384: 'directory', 32768: 'file', 40960: 'symlink' };
/** Devices, pipes and sockets have names here and can be removed, nothing else. */
export const fileType = (mode: number): FileType => TYPES[mode & 0xf000] ?? 'character';

// A folder of the host's as a file system: every call is a message or two to its backend, and nothing is kept here but fids.
import {
  P9,
  P9_GETATTR_BASIC,
  P9_IO_HEADER,
  P9_O,
  P9_QID_DIRECTORY,
  P9_QID_SYMLINK,
  P9_SETATTR,
  P9_UNLINK_DIRECTORY,
  type P9Reader,
  type P9Writer,
  type Qid,
  XenError,
} from '#pvbus';
import type { P9Client } from '../drivers/p9front/client.ts';
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
import { OneCall } from './one-call.ts';

const NS = 1_000_000_000n;
const FILE_MODE = 0o644;
const DIRECTORY_MODE = 0o755;
/** untrusted: of one directory. */
const MAX_ENTRIES = 1 << 20;
const MAX_LISTING_BYTES = 1 << 26;

const typeOf = ({ type }: Qid): FileType =>
  (type & P9_QID_DIRECTORY) !== 0 ? 'directory' : (type & P9_QID_SYMLINK) !== 0 ? 'symlink' : 'file';

/** What `S_IFMT` of a mode says; what is neither is a device or a pipe of the host's, which cannot be opened. */
const DIRENT_TYPES: Readonly<Record<number, FileType>> = { 4: 'directory', 8: 'file', 10: 'symlink' };

export class P9FileSystem implements FileSystem {
  readonly name: string;
  readonly readOnly: boolean;
  readonly root: P9Node;
  readonly client: P9Client;
  private readonly nodes = new Map<bigint, P9Node>();
  private readonly calls = new OneCall(() => {});
  private uses = 0;

  constructor(client: P9Client, tag: string, readOnly = false) {
    this.client = client;
    this.readOnly = readOnly;
    this.name = `9p ${tag}`;
    this.root = new P9Node(this, undefined, '', { type: P9_QID_DIRECTORY, version: 0, path: 0n });
  }
  get inUse(): boolean {
    return this.uses > 0;
  }
  sync(): void {} // nothing is kept back; a file's own sync reaches the host's medium
  space(): { free: number; total: number } {
    return this.enter('statfs', () => {
      const answer = this.client.call(P9.Tstatfs, out => out.u32(this.root.walked()));
      answer.u32();
      const block = answer.u32();
      const [total, , available] = [answer.u64(), answer.u64(), answer.u64()];
      return { free: Number(available) * block, total: Number(total) * block };
    });
  }
  close(): void {}

  /** Messages belong to one call until that ends, also while it waits. */
  enter<T>(what: string, act: () => T): T {
    return this.calls.enter(`${this.name}: ${what}`, act);
  }
  enterLater(what: string, act: () => void): void {
    this.calls.enterLater(`${this.name}: ${what}`, act);
  }

  checkWritable(what: string): void {
    if (this.readOnly) throw new XenError('EROFS', `${what}: ${this.name} is mounted read-only`);
  }

  // ---- for the nodes; the file system is entered ----

  /** The node of a file, in use once more. `fid` is its own where it is new, else not needed. */
  node(parent: P9Node, name: string, qid: Qid, fid: number): P9Node {
    const known = this.nodes.get(qid.path);
    if (known) {
      this.clunk(fid, this.client.epoch);
      return known.hold();
    }
    const node = new P9Node(this, parent, name, qid, fid);
    this.nodes.set(qid.path, node);
    return node.hold();
  }
  forget(node: P9Node): void {
    this.nodes.delete(node.qid.path);
  }
  used(more: number): void {
    this.uses += more;
  }
  clunk(fid: number, epoch: number): void {
    if (epoch !== this.client.epoch) return;
    try {
      this.client.call(P9.Tclunk, out => out.u32(fid));
    } catch {
      // The connection is over, and the fid with it.
    }
    this.client.forget(fid, epoch);
  }
  /** A new fid at `names` from `fid`. undefined: there is nothing. */
  walk(from: number, ...names: string[]): { fid: number; qid: Qid | undefined } | undefined {
    const { client } = this;
    const fid = client.fid();
    const { epoch } = client;
    let answer: P9Reader;
    try {
      answer = client.call(P9.Twalk, out => {
        out.u32(from).u32(fid).u16(names.length);
        for (const name of names) out.string(name);
      });
    } catch (error) {
      client.forget(fid, epoch);
      if (error instanceof XenError && error.code === 'ENOENT') return undefined;
      throw error;
    }
    const count = answer.u16();
    if (count < names.length) {
      client.forget(fid, epoch);
      return undefined;
    }
    return { fid, qid: count > 0 ? answer.qid() : undefined };
  }
}

interface Fid {
  readonly fid: number;
  readonly epoch: number;
}

class P9Node implements Vnode {
  readonly fs: P9FileSystem;
  readonly type: FileType;
  readonly qid: Qid;
  /** Where it was found last: the way back to it when there is another backend. */
  private parent: P9Node | undefined;
  private name: string;
  private named: Fid | undefined;
  private readonly opened = new Map<number, Fid>();
  private uses = 0;

  constructor(fs: P9FileSystem, parent: P9Node | undefined, name: string, qid: Qid, fid?: number) {
    this.fs = fs;
    this.parent = parent;
    this.name = name;
    this.qid = qid;
    this.type = typeOf(qid);
    if (fid !== undefined) this.named = { fid, epoch: fs.client.epoch };
  }

  /** A fid of this connection's that names it. ESTALE when there is another backend, and it has no name any more. */
  walked(): number {
    const { client } = this.fs;
    client.ready();
    if (!this.parent) return client.root;
    if (this.named?.epoch === client.epoch) return this.named.fid;
    const found = this.fs.walk(this.parent.walked(), this.name);
    if (!found || found.qid?.path !== this.qid.path) throw new XenError('ESTALE', `${this.name} is no longer there`);
    this.named = { fid: found.fid, epoch: client.epoch };
    return found.fid;
  }
  /** A fid to read or write by. */
  private open(access: number): number {
    const { client } = this.fs;
    const at = this.walked();
    const has = this.opened.get(access);
    if (has?.epoch === client.epoch) return has.fid;
    const { fid } = this.fs.walk(at)!; // a walk of no names ends where it begins
    const opened = { fid, epoch: client.epoch };
    try {
      client.call(P9.Tlopen, out => out.u32(fid).u32(access));
    } catch (error) {
      this.fs.clunk(fid, opened.epoch);
      throw error;
    }
    this.opened.set(access, opened);
    return fid;
  }
  private enter<T>(what: string, act: () => T): T {
    return this.fs.enter(`${what} ${this.name}`, act);
  }
  private ask(type: number, write: (out: P9Writer) => unknown): P9Reader {
    return this.fs.client.call(type, write);
  }

  attributes(): Attributes {
    return this.enter('stat', () => {
      const fid = this.walked();
      const answer = this.ask(P9.Tgetattr, out => out.u32(fid).u64(BigInt(P9_GETATTR_BASIC)));
      answer.u64();
      const qid = answer.qid();
      answer.data(4 + 4 + 4);
      const nlink = this.count(answer.u64());
      answer.u64();
      const size = this.count(answer.u64());
      answer.data(8 + 8);
      const time = (): bigint => answer.u64() * NS + answer.u64();
      const [atimeNs, mtimeNs, ctimeNs] = [time(), time(), time()];
      const ino = Number(BigInt.asUintN(53, qid.path));
      return { ino, type: this.type, size, nlink, atimeNs, mtimeNs, ctimeNs };
    });
  }
  /** untrusted: what Linux gives to no file would not be exact here. */
  private count(value: bigint): number {
    if (value > BigInt(Number.MAX_SAFE_INTEGER))
      throw new XenError('EIO', `${this.name}: the backend tells of a file of ${value}`);
    return Number(value);
  }
  setTimes({ atimeNs, mtimeNs }: Times): void {
    this.fs.checkWritable('set times');
    const { atime, mtime, atimeSet, mtimeSet } = P9_SETATTR;
    const valid = (atimeNs === undefined ? 0 : atime | atimeSet) | (mtimeNs === undefined ? 0 : mtime | mtimeSet);
    if (valid !== 0) this.enter('set times of', () => this.setAttributes(valid, 0, atimeNs ?? 0n, mtimeNs ?? 0n));
  }
  private setAttributes(valid: number, size: number, atimeNs = 0n, mtimeNs = 0n): void {
    const fid = this.walked();
    this.ask(P9.Tsetattr, out => {
      out.u32(fid).u32(valid).u32(0).u32(0).u32(0).u64(BigInt(size));
      for (const ns of [atimeNs, mtimeNs]) out.u64(ns / NS).u64(ns % NS);
    });
  }

  // ---- a directory ----

  lookup(name: string): P9Node | undefined {
    checkedName(name);
    return this.enter('look in', () => this.find(name));
  }
  private find(name: string): P9Node | undefined {
    if (this.type !== 'directory') throw new XenError('ENOTDIR', `${this.name}: it is no directory`);
    const found = this.fs.walk(this.walked(), name);
    return found && this.fs.node(this, name, found.qid!, found.fid);
  }
  create(name: string, type: 'file' | 'directory'): P9Node {
    this.fs.checkWritable('create');
    checkedName(name);
    return this.enter('create in', () => {
      const at = this.walked();
      if (type === 'directory') this.ask(P9.Tmkdir, out => out.u32(at).string(name).u32(DIRECTORY_MODE).u32(0));
      else this.createFile(name);
      return this.made(name);
    });
  }
  private createFile(name: string): void {
    const { fid } = this.fs.walk(this.walked())!; // a walk of no names ends where it begins
    const { epoch } = this.fs.client;
    try {
      this.ask(P9.Tlcreate, out => out.u32(fid).string(name).u32(P9_O.rdwr).u32(FILE_MODE).u32(0));
    } finally {
      this.fs.clunk(fid, epoch);
    }
  }
  private made(name: string): P9Node {
    const node = this.find(name);
    if (!node) throw new XenError('ENOENT', `${name}: somebody has removed it again`);
    return node;
  }
  symlink(name: string, target: string): P9Node {
    this.fs.checkWritable('symlink');
    checkedName(name);
    return this.enter('create in', () => {
      const at = this.walked();
      this.ask(P9.Tsymlink, out => out.u32(at).string(name).string(target).u32(0));
      return this.made(name);
    });
  }
  link(name: string, file: Vnode): void {
    this.fs.checkWritable('link');
    checkedName(name);
    if (!(file instanceof P9Node) || file.fs !== this.fs)
      throw new XenError('EXDEV', `link ${name}: another file system`);
    if (file.type === 'directory') throw new XenError('EPERM', `link ${name}: it is a directory`);
    this.enter('link in', () => {
      const [at, fid] = [this.walked(), file.walked()];
      this.ask(P9.Tlink, out => out.u32(at).u32(fid).string(name));
    });
  }
  unlink(name: string): void {
    this.removeName(name, 0);
  }
  rmdir(name: string): void {
    this.removeName(name, P9_UNLINK_DIRECTORY);
  }
  private removeName(name: string, flags: number): void {
    this.fs.checkWritable('remove');
    checkedName(name);
    this.enter('remove from', () => {
      const at = this.walked();
      this.ask(P9.Tunlinkat, out => out.u32(at).string(name).u32(flags));
    });
  }
  rename(name: string, directory: Vnode, to: string): void {
    this.fs.checkWritable('rename');
    checkedName(name);
    checkedName(to);
    if (!(directory instanceof P9Node) || directory.fs !== this.fs)
      throw new XenError('EXDEV', `rename ${name}: to another file system`);
    this.enter('rename in', () => {
      const moved = this.find(name);
      try {
        const [from, into] = [this.walked(), directory.walked()];
        this.ask(P9.Trenameat, out => out.u32(from).string(name).u32(into).string(to));
        moved?.nowAt(directory, to);
      } finally {
        moved?.drop();
      }
    });
  }
  private nowAt(parent: P9Node, name: string): void {
    // untrusted: no file system moves a directory into itself, and the way back to it would have no end.
    for (let at: P9Node | undefined = parent; at !== undefined; at = at.parent)
      if (at === this) throw new XenError('EIO', `${this.name}: the backend has moved it into itself`);
    const old = this.parent;
    this.parent = parent.hold();
    this.name = name;
    old?.drop();
  }
  entries(): readonly DirectoryEntry[] {
    return this.enter('list', () => {
      const fid = this.open(0);
      const room = this.fs.client.messageSize - P9_IO_HEADER;
      const entries: DirectoryEntry[] = [];
      let bytes = 0;
      for (let from = 0n; ; ) {
        const answer = this.ask(P9.Treaddir, out => out.u32(fid).u64(from).u32(room));
        if (answer.u32() === 0) return entries;
        // untrusted: a backend that has always more, of nothing too.
        if (answer.left === 0) throw new XenError('EIO', `${this.name}: the backend lists nothing`);
        bytes += answer.left;
        while (answer.left > 0) {
          const { path } = answer.qid();
          from = answer.u64();
          const type = DIRENT_TYPES[answer.u8()] ?? 'character';
          const name = answer.string();
          if (name !== '.' && name !== '..') checkedName(name);
          entries.push({ name, ino: Number(BigInt.asUintN(53, path)), type });
        }
        if (entries.length > MAX_ENTRIES || bytes > MAX_LISTING_BYTES)
          throw new XenError('EIO', `${this.name}: the directory has no end`);
      }
    });
  }

  // ---- a symlink, a file ----

  readlink(): string {
    return this.enter('read', () => {
      const fid = this.walked();
      return this.ask(P9.Treadlink, out => out.u32(fid)).string();
    });
  }
  private checkFile(what: string): void {
    if (this.type === 'directory') throw new XenError('EISDIR', `${what} of ${this.name}: it is a directory`);
    if (this.type !== 'file') throw new XenError('EINVAL', `${what} of ${this.name}: it is no file`);
  }
  read(offset: number, into: Uint8Array): number {
    this.checkFile('read');
    checkRange(`read of ${this.name}`, offset, into.length, Number.MAX_SAFE_INTEGER);
    return this.enter('read', () => {
      const fid = this.open(0);
      const most = this.fs.client.messageSize - P9_IO_HEADER;
      let done = 0;
      while (done < into.length) {
        const want = Math.min(most, into.length - done);
        const answer = this.ask(P9.Tread, out =>
          out
            .u32(fid)
            .u64(BigInt(offset + done))
            .u32(want),
        );
        const got = answer.u32();
        if (got > want) throw new XenError('EIO', `${this.name}: the backend has read more than was asked for`);
        into.set(answer.data(got), done);
        done += got;
        if (got < want) break;
      }
      return done;
    });
  }
  write(offset: number, from: Uint8Array): number {
    this.fs.checkWritable('write');
    this.checkFile('write');
    checkRange(`write of ${this.name}`, offset, from.length, Number.MAX_SAFE_INTEGER);
    return this.enter('write', () => {
      const fid = this.open(P9_O.wronly);
      const most = this.fs.client.messageSize - P9_IO_HEADER;
      let done = 0;
      while (done < from.length) {
        const part = from.subarray(done, done + most);
        let written: number;
        try {
          written = this.ask(P9.Twrite, out =>
            out
              .u32(fid)
              .u64(BigInt(offset + done))
              .u32(part.length)
              .data(part),
          ).u32();
        } catch (error) {
          if (done > 0 && error instanceof XenError && error.code === 'ENOSPC') return done;
          throw error;
        }
        if (written === 0 || written > part.length) throw new XenError('EIO', `${this.name}: ${written} bytes written`);
        done += written;
      }
      return done;
    });
  }
  truncate(size: number): void {
    this.fs.checkWritable('truncate');
    this.checkFile('truncate');
    checkRange(`truncate of ${this.name}`, size, 0, Number.MAX_SAFE_INTEGER);
    this.enter('truncate', () => this.setAttributes(P9_SETATTR.size, size));
  }
  sync(dataOnly: boolean): void {
    if (this.type !== 'file') return;
    this.enter('sync', () => {
      const fid = this.open(P9_O.wronly);
      this.ask(P9.Tfsync, out => out.u32(fid).u32(dataOnly ? 1 : 0));
    });
  }

  // ---- uses ----

  hold(): this {
    this.uses++;
    this.fs.used(1);
    if (this.uses === 1) this.parent?.hold();
    return this;
  }
  release(): void {
    this.fs.enterLater('release', () => this.drop());
  }
  /** As `release`, where the file system is entered. */
  drop(): void {
    this.uses--;
    this.fs.used(-1);
    if (this.uses > 0) return;
    for (const { fid, epoch } of this.opened.values()) this.fs.clunk(fid, epoch);
    this.opened.clear();
    if (!this.parent) return;
    if (this.named) this.fs.clunk(this.named.fid, this.named.epoch);
    this.named = undefined;
    this.fs.forget(this);
    this.parent.drop();
  }
}

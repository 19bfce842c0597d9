// One client of a shared folder: its fids, and an answer to each of its messages. 9P2000.L, as Linux' client and ours speak it.
import { closeSync, constants, fdatasyncSync, fsyncSync, readSync, realpathSync, statfsSync, writeSync } from 'node:fs';
import { constants as os } from 'node:os';
import {
  P9,
  P9_GETATTR_BASIC,
  P9_HEADER,
  P9_IO_HEADER,
  P9_MAX_WALK,
  P9_O,
  P9_QID_DIRECTORY,
  P9_QID_SYMLINK,
  P9_SETATTR,
  P9_UNLINK_DIRECTORY,
  P9_VERSION,
  P9Reader,
  P9Writer,
  type Qid,
  XenError,
} from '#pvbus';
import { SharedFile } from './shared-folder.ts';

/** untrusted: what one client may hold of this process. */
export const MAX_FIDS = 4096;
const MAX_LISTED = 1 << 20;
const MIN_MSIZE = 4096;
const NS = 1_000_000_000n;
/** The end of 2242: what Linux keeps in every file system. */
const MAX_TIME_NS = 2n ** 33n * NS;
const { O_RDONLY, O_WRONLY, O_RDWR, O_TRUNC, O_APPEND } = constants;
/** Messages that leave something changed. */
const CHANGES: ReadonlySet<number> = new Set([
  ...[P9.Tlcreate, P9.Twrite, P9.Tsetattr, P9.Tmkdir, P9.Tsymlink, P9.Tlink, P9.Trenameat, P9.Tunlinkat],
]);
const DIRENT_TYPES = { file: 8, directory: 4, symlink: 10, other: 0 } as const;

interface Fid {
  readonly file: SharedFile;
  /** Of a file that was opened. */
  opened?: number;
  /** Of a directory that is being read: all that was in it when its reading began. */
  names?: readonly string[];
}

export class P9Server {
  readonly #path: string;
  readonly #readOnly: boolean;
  readonly #room: number;
  readonly #fids = new Map<number, Fid>();
  readonly #devices = new Map<bigint, bigint>();
  readonly #in = new P9Reader();
  #out: P9Writer;
  #listed = 0;
  #agreed = false;

  /** `room`: bytes of the longest message either way that the transport takes. */
  constructor(path: string, room: number, readOnly = false) {
    this.#path = path;
    this.#readOnly = readOnly;
    this.#room = room;
    this.#out = new P9Writer(room);
  }

  /** Nothing of the host's is open afterwards. */
  close(): void {
    for (const number of [...this.#fids.keys()]) this.#clunk(number);
    this.#agreed = false;
  }

  /**
   * The answer to a message, valid until the next. `request` is one whole message, and nobody else's. Throws EPROTO when it
   * is none: such a client is not served any more.
   */
  answer(request: Uint8Array): Uint8Array {
    const { type, tag } = this.#in.begin(request);
    try {
      this.#out.begin(type + 1, tag);
      this.#perform(type);
    } catch (error) {
      if (error instanceof XenError && error.code === 'EPROTO') throw error;
      this.#out.begin(P9.Rlerror, tag).u32(errnoOf(error));
    }
    return this.#out.end();
  }

  #perform(type: number): void {
    if (type !== P9.Tversion && !this.#agreed)
      throw new XenError('EPROTO', 'a 9P message before the version is agreed');
    const perform = this.#messages.get(type);
    // Linux does without what is answered so: locks and extended attributes.
    if (perform === undefined) throw new XenError('EOPNOTSUPP', `9P message ${type} is not served`);
    if (this.#readOnly && CHANGES.has(type)) throw new XenError('EROFS', 'the folder is shared read-only');
    perform();
  }
  readonly #messages: ReadonlyMap<number, () => void> = new Map([
    [P9.Tversion, () => this.#version()],
    [P9.Tattach, () => this.#attach()],
    [P9.Tflush, () => {}], // every answer is given before the next message is looked at
    [P9.Twalk, () => this.#walk()],
    [P9.Tclunk, () => this.#clunk(this.#known(this.#in.u32()))],
    [P9.Tlopen, () => this.#open()],
    [P9.Tlcreate, () => this.#create()],
    [P9.Tread, () => this.#read()],
    [P9.Twrite, () => this.#write()],
    [P9.Tfsync, () => this.#fsync()],
    [P9.Treaddir, () => this.#readdir()],
    [P9.Tgetattr, () => this.#getattr()],
    [P9.Tsetattr, () => this.#setattr()],
    [P9.Tmkdir, () => this.#mkdir()],
    [P9.Tsymlink, () => this.#symlink()],
    [P9.Tlink, () => this.#link()],
    [P9.Treadlink, () => this.#readlink()],
    [P9.Trenameat, () => this.#rename()],
    [P9.Tunlinkat, () => this.#unlink()],
    [P9.Tstatfs, () => this.#statfs()],
  ]);

  /** Where in the folder what a fid stands for is now, as far as that can be known: `/`, `/notes/today`. */
  pathOf(fid: number): string | undefined {
    const path = this.#fids.get(fid)?.file.hostPath;
    const folder = realpathSync(this.#path);
    if (path === folder) return '/';
    return path?.startsWith(`${folder}/`) ? path.slice(folder.length) : undefined;
  }

  // ---- the connection ----

  #version(): void {
    const msize = Math.min(this.#in.u32(), this.#room);
    const known = this.#in.string() === P9_VERSION && msize >= MIN_MSIZE;
    this.close();
    this.#agreed = known;
    this.#out.u32(msize).string(known ? P9_VERSION : 'unknown');
    if (known) this.#out = resized(this.#out, msize);
  }
  #attach(): void {
    const fid = this.#fresh(this.#in.u32());
    const file = SharedFile.folder(this.#path);
    this.#fids.set(fid, { file });
    this.#out.qid(this.#qid(file));
  }

  // ---- fids ----

  #known(number: number): number {
    if (!this.#fids.has(number)) throw new XenError('EBADF', `fid ${number} is not known`);
    return number;
  }
  #fid(): Fid {
    return this.#fids.get(this.#known(this.#in.u32()))!;
  }
  #fresh(number: number): number {
    if (this.#fids.has(number)) throw new XenError('EINVAL', `fid ${number} is in use`);
    if (this.#fids.size >= MAX_FIDS) throw new XenError('EMFILE', 'too many fids');
    return number;
  }
  #clunk(number: number): void {
    const fid = this.#fids.get(number)!;
    this.#fids.delete(number);
    this.#listed -= fid.names?.length ?? 0;
    fid.file.close();
    if (fid.opened !== undefined) closeSync(fid.opened);
  }
  /** What Rwalk answers: the qids as far as it came; an error when that is not even one name. */
  #walk(): void {
    const from = this.#in.u32();
    const { file } = this.#fids.get(this.#known(from))!;
    const to = this.#in.u32();
    const count = this.#in.u16();
    if (count > P9_MAX_WALK) throw new XenError('EINVAL', `a walk of ${count} names`);
    const names = Array.from({ length: count }, () => this.#in.string());
    if (to !== from) this.#fresh(to);
    const qids: Qid[] = [];
    let at: SharedFile = count === 0 ? file.again() : file;
    try {
      for (const name of names) {
        const next = at.lookup(name);
        if (at !== file) at.close();
        at = next;
        qids.push(this.#qid(next));
      }
    } catch (error) {
      if (at !== file) at.close();
      if (qids.length === 0) throw error;
      this.#qids(qids);
      return;
    }
    if (to === from) this.#clunk(from);
    this.#fids.set(to, { file: at });
    this.#qids(qids);
  }
  #qids(qids: readonly Qid[]): void {
    this.#out.u16(qids.length);
    for (const qid of qids) this.#out.qid(qid);
  }
  #qid(file: SharedFile): Qid {
    const { dev, ino, mtimeNs } = file.stat();
    const type = file.kind === 'directory' ? P9_QID_DIRECTORY : file.kind === 'symlink' ? P9_QID_SYMLINK : 0;
    let device = this.#devices.get(dev);
    if (device === undefined) {
      device = BigInt(this.#devices.size % 0xffff);
      this.#devices.set(dev, device);
    }
    return { type, version: Number(mtimeNs & 0xffffffffn), path: BigInt.asUintN(64, ino ^ (device << 48n)) };
  }

  // ---- files ----

  #open(): void {
    const fid = this.#fid();
    const flags = this.#in.u32();
    if (this.#readOnly && accessOf(flags) !== O_RDONLY) throw new XenError('EROFS', 'the folder is shared read-only');
    if (fid.file.kind !== 'directory') this.#keep(fid, fid.file.open(accessOf(flags)));
    this.#out.qid(this.#qid(fid.file)).u32(0);
  }
  /** The fid was the directory's and becomes the file's. */
  #create(): void {
    const number = this.#in.u32();
    const { file } = this.#fids.get(this.#known(number))!;
    const name = this.#in.string();
    const flags = this.#in.u32();
    const { file: made, opened } = file.create(name, accessOf(flags), this.#in.u32());
    this.#clunk(number);
    this.#fids.set(number, { file: made, opened });
    this.#out.qid(this.#qid(made)).u32(0);
  }
  #keep(fid: Fid, opened: number): void {
    if (fid.opened !== undefined) closeSync(fid.opened);
    fid.opened = opened;
  }
  #opened(): number {
    const { opened } = this.#fid();
    if (opened === undefined) throw new XenError('EBADF', 'the fid is not open');
    return opened;
  }
  #read(): void {
    const fd = this.#opened();
    const at = offset(this.#in.u64());
    const count = Math.min(this.#in.u32(), this.#out.bytes.length - P9_IO_HEADER);
    const lengthAt = this.#out.reserve(4);
    const got = readSync(fd, this.#out.bytes, P9_HEADER + 4, count, at);
    new DataView(lengthAt.buffer, lengthAt.byteOffset, 4).setUint32(0, got, true);
    this.#out.reserve(got);
  }
  #write(): void {
    const fd = this.#opened();
    const at = offset(this.#in.u64());
    const bytes = this.#in.data(this.#in.u32());
    this.#out.u32(writeSync(fd, bytes, 0, bytes.length, at));
  }
  #fsync(): void {
    const { opened } = this.#fid();
    // Of a directory there is nothing of the guest's that is not on its way to the disk already.
    if (opened === undefined) return;
    if (this.#in.left >= 4 && this.#in.u32() !== 0) fdatasyncSync(opened);
    else fsyncSync(opened);
  }
  #readdir(): void {
    const fid = this.#fid();
    const from = offset(this.#in.u64());
    const room = Math.min(this.#in.u32(), this.#out.bytes.length - P9_IO_HEADER);
    if (from === 0 || fid.names === undefined) this.#list(fid);
    const lengthAt = this.#out.reserve(4);
    const start = this.#out.length;
    for (let i = from; i < fid.names!.length; i++) {
      const name = fid.names![i]!;
      const size = 13 + 8 + 1 + 2 + Buffer.byteLength(name);
      if (this.#out.length - start + size > room) break;
      const entry = this.#entry(fid.file, name);
      if (entry === undefined) continue; // gone meanwhile
      const { qid, type } = entry;
      this.#out
        .qid(qid)
        .u64(BigInt(i + 1))
        .u8(type)
        .string(name);
    }
    new DataView(lengthAt.buffer, lengthAt.byteOffset, 4).setUint32(0, this.#out.length - start, true);
  }
  #list(fid: Fid): void {
    this.#listed -= fid.names?.length ?? 0;
    fid.names = [];
    const names = fid.file.names();
    if (this.#listed + names.length > MAX_LISTED) throw new XenError('ENOMEM', 'too much is being listed at once');
    this.#listed += names.length;
    fid.names = names;
  }
  #entry(directory: SharedFile, name: string): { qid: Qid; type: number } | undefined {
    let file: SharedFile;
    try {
      file = directory.lookup(name);
    } catch {
      return undefined;
    }
    try {
      return { qid: this.#qid(file), type: DIRENT_TYPES[file.kind] };
    } finally {
      file.close();
    }
  }
  #getattr(): void {
    const { file } = this.#fid();
    const s = file.stat();
    const out = this.#out.u64(BigInt(P9_GETATTR_BASIC)).qid(this.#qid(file));
    out.u32(Number(s.mode)).u32(Number(s.uid)).u32(Number(s.gid));
    for (const value of [s.nlink, s.rdev, s.size, s.blksize, s.blocks]) out.u64(value);
    for (const ns of [s.atimeNs, s.mtimeNs, s.ctimeNs]) out.u64(ns / NS).u64(ns % NS);
    for (let i = 0; i < 4; i++) out.u64(0n); // btime, gen and data_version: not among the basic ones
  }
  #setattr(): void {
    const { file } = this.#fid();
    const valid = this.#in.u32();
    const mode = this.#in.u32();
    this.#in.data(8); // uid and gid: files are of the user whom the host runs as
    const size = this.#in.u64();
    const [atime, mtime] = [this.#time(), this.#time()];
    if ((valid & (P9_SETATTR.uid | P9_SETATTR.gid)) !== 0) throw new XenError('EPERM', 'owners are the host’s');
    if ((valid & P9_SETATTR.mode) !== 0) file.chmod(mode);
    if ((valid & P9_SETATTR.size) !== 0) file.truncate(offset(size));
    if ((valid & (P9_SETATTR.atime | P9_SETATTR.mtime)) === 0) return;
    const now = BigInt(Date.now()) * 1_000_000n;
    const was = file.stat();
    const time = (which: number, set: number, given: bigint, old: bigint): bigint =>
      (valid & which) === 0 ? old : (valid & set) === 0 ? now : given;
    file.setTimes(
      time(P9_SETATTR.atime, P9_SETATTR.atimeSet, atime, was.atimeNs),
      time(P9_SETATTR.mtime, P9_SETATTR.mtimeSet, mtime, was.mtimeNs),
    );
  }
  /** untrusted: so far as a date can be. */
  #time(): bigint {
    const ns = this.#in.u64() * NS + (this.#in.u64() % NS);
    return ns < MAX_TIME_NS ? ns : MAX_TIME_NS;
  }

  // ---- names ----

  #mkdir(): void {
    const { file } = this.#fid();
    const name = this.#in.string();
    file.mkdir(name, this.#in.u32());
    this.#answerQidOf(file, name);
  }
  #symlink(): void {
    const { file } = this.#fid();
    const name = this.#in.string();
    file.symlink(name, this.#in.string());
    this.#answerQidOf(file, name);
  }
  #link(): void {
    const { file: directory } = this.#fid();
    const { file } = this.#fid();
    directory.link(this.#in.string(), file);
  }
  #answerQidOf(directory: SharedFile, name: string): void {
    const made = directory.lookup(name);
    try {
      this.#out.qid(this.#qid(made));
    } finally {
      made.close();
    }
  }
  #readlink(): void {
    const { target } = this.#fid().file;
    if (target === undefined) throw new XenError('EINVAL', 'it is no symlink');
    this.#out.string(target);
  }
  #rename(): void {
    const { file: from } = this.#fid();
    const name = this.#in.string();
    const { file: to } = this.#fid();
    from.rename(name, to, this.#in.string());
  }
  #unlink(): void {
    const { file } = this.#fid();
    const name = this.#in.string();
    file.unlink(name, (this.#in.u32() & P9_UNLINK_DIRECTORY) !== 0);
  }
  #statfs(): void {
    this.#fid();
    const { type, bsize, blocks, bfree, bavail, files, ffree } = statfsSync(this.#path, { bigint: true });
    this.#out.u32(Number(type & 0xffffffffn)).u32(Number(bsize));
    for (const n of [blocks, bfree, bavail, files, ffree, 0n]) this.#out.u64(n);
    this.#out.u32(255);
  }
}

const resized = (old: P9Writer, room: number): P9Writer => {
  const out = new P9Writer(room);
  out.bytes.set(old.bytes.subarray(0, old.length));
  out.length = old.length;
  return out;
};

/** untrusted: of Linux' open flags only these mean anything to the host. */
function accessOf(flags: number): number {
  const access = flags & P9_O.access;
  const way = access === P9_O.wronly ? O_WRONLY : access === P9_O.rdwr ? O_RDWR : O_RDONLY;
  return way | ((flags & P9_O.trunc) !== 0 ? O_TRUNC : 0) | ((flags & P9_O.append) !== 0 ? O_APPEND : 0);
}
/** untrusted: an offset or size, as exact as Linux takes it from JavaScript. */
function offset(value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new XenError('EFBIG', `${value} is beyond the end of any file`);
  return Number(value);
}
/** Linux' number, which is what Rlerror carries. */
function errnoOf(error: unknown): number {
  const { code } = error as { code?: string };
  return (os.errno as Record<string, number>)[code ?? ''] ?? os.errno.EIO;
}

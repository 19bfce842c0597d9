// Messages of 9P2000.L as bytes, little-endian, each preceded by its size. Both ends of a shared folder use these.
// The protocol: Plan 9's manual, section 5, and Linux' include/net/9p/9p.h for the messages of '.L'.
import { XenError } from './errors.ts';

/** Requests; the answer to each is one more, and Rlerror stands for any. */
export const P9 = {
  Rlerror: 7,
  Tstatfs: 8,
  Tlopen: 12,
  Tlcreate: 14,
  Tsymlink: 16,
  Tmknod: 18,
  Trename: 20,
  Treadlink: 22,
  Tgetattr: 24,
  Tsetattr: 26,
  Txattrwalk: 30,
  Treaddir: 40,
  Tfsync: 50,
  Tlock: 52,
  Tgetlock: 54,
  Tlink: 70,
  Tmkdir: 72,
  Trenameat: 74,
  Tunlinkat: 76,
  Tversion: 100,
  Tauth: 102,
  Tattach: 104,
  Tflush: 108,
  Twalk: 110,
  Tread: 116,
  Twrite: 118,
  Tclunk: 120,
  Tremove: 122,
} as const;

export const P9_VERSION = '9P2000.L';
export const P9_NOFID = 0xffffffff;
/** size, type, tag */
export const P9_HEADER = 7;
/** What read, write and readdir have beside their bytes, at most (Linux: P9_IOHDRSZ). */
export const P9_IO_HEADER = 24;
export const P9_MAX_WALK = 16;
export const P9_QID_DIRECTORY = 0x80;
export const P9_QID_SYMLINK = 0x02;

/** Of getattr: which of its fields are there. */
export const P9_GETATTR_BASIC = 0x7ff;
/** Of setattr. */
export const P9_SETATTR = {
  mode: 1,
  uid: 2,
  gid: 4,
  size: 8,
  atime: 16,
  mtime: 32,
  ctime: 64,
  atimeSet: 128,
  mtimeSet: 256,
};
export const P9_UNLINK_DIRECTORY = 0x200;

/** Open flags, as Linux numbers them. */
export const P9_O = {
  access: 3,
  wronly: 1,
  rdwr: 2,
  creat: 0o100,
  excl: 0o200,
  trunc: 0o1000,
  append: 0o2000,
  directory: 0o200000,
};

export interface Qid {
  /** P9_QID_*; 0 for a file. */
  readonly type: number;
  readonly version: number;
  /** One file of a server's has it, for as long as the file is there. */
  readonly path: bigint;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true });

/** untrusted: reads one message that a peer has sent; throws EPROTO where it is shorter than it says. */
export class P9Reader {
  private bytes: Uint8Array = new Uint8Array(0);
  private view: DataView = new DataView(new ArrayBuffer(0));
  private at = 0;
  size = 0;
  type = 0;
  tag = 0;

  /** Takes the header. `bytes` is the whole message, and nobody else's. */
  begin(bytes: Uint8Array): this {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.at = 0;
    this.size = this.u32();
    this.type = this.u8();
    this.tag = this.u16();
    return this;
  }
  private take(length: number): number {
    const { at } = this;
    if (length > this.bytes.length - at)
      throw new XenError('EPROTO', `a 9P message of type ${this.type} is shorter than it says`);
    this.at = at + length;
    return at;
  }
  u8(): number {
    return this.view.getUint8(this.take(1));
  }
  u16(): number {
    return this.view.getUint16(this.take(2), true);
  }
  u32(): number {
    return this.view.getUint32(this.take(4), true);
  }
  u64(): bigint {
    return this.view.getBigUint64(this.take(8), true);
  }
  /** Of the message: valid as long as it is. */
  data(length: number): Uint8Array {
    const at = this.take(length);
    return this.bytes.subarray(at, at + length);
  }
  string(): string {
    const bytes = this.data(this.u16());
    try {
      return decoder.decode(bytes);
    } catch {
      throw new XenError('EINVAL', 'a name in a 9P message is not UTF-8');
    }
  }
  qid(): Qid {
    return { type: this.u8(), version: this.u32(), path: this.u64() };
  }
  get left(): number {
    return this.bytes.length - this.at;
  }
}

/** Writes one message into a buffer of its own; throws EMSGSIZE where that is too small. */
export class P9Writer {
  readonly bytes: Uint8Array;
  private readonly view: DataView;
  length = 0;

  constructor(room: number) {
    this.bytes = new Uint8Array(room);
    this.view = new DataView(this.bytes.buffer);
  }
  begin(type: number, tag: number): this {
    this.length = 4;
    return this.u8(type).u16(tag);
  }
  /** The message, until the next begins. */
  end(): Uint8Array {
    this.view.setUint32(0, this.length, true);
    return this.bytes.subarray(0, this.length);
  }
  get room(): number {
    return this.bytes.length - this.length;
  }
  /** The next `length` bytes, to be filled in by the caller. */
  reserve(length: number): Uint8Array {
    const at = this.take(length);
    return this.bytes.subarray(at, at + length);
  }
  private take(length: number): number {
    const at = this.length;
    if (length > this.room) throw new XenError('EMSGSIZE', 'a 9P message longer than was agreed');
    this.length = at + length;
    return at;
  }
  u8(value: number): this {
    this.view.setUint8(this.take(1), value);
    return this;
  }
  u16(value: number): this {
    this.view.setUint16(this.take(2), value, true);
    return this;
  }
  u32(value: number): this {
    this.view.setUint32(this.take(4), value, true);
    return this;
  }
  u64(value: bigint): this {
    this.view.setBigUint64(this.take(8), value, true);
    return this;
  }
  data(bytes: Uint8Array): this {
    this.reserve(bytes.length).set(bytes);
    return this;
  }
  string(text: string): this {
    const bytes = encoder.encode(text);
    if (bytes.length > 0xffff) throw new XenError('ENAMETOOLONG', 'a string longer than 9P can say');
    return this.u16(bytes.length).data(bytes);
  }
  qid({ type, version, path }: Qid): this {
    return this.u8(type).u32(version).u64(path);
  }
}

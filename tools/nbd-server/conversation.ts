// One client of an exported disk: fixed newstyle handshake, then requests, each answered before the next is looked at.
// Bytes in, bytes out; no socket.
import {
  NBD_CMD_DISC,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_WRITE,
  NBD_EINVAL,
  NBD_EIO,
  NBD_ENOSPC,
  NBD_EPERM,
  NBD_FLAG_CAN_MULTI_CONN,
  NBD_FLAG_FIXED_NEWSTYLE,
  NBD_FLAG_HAS_FLAGS,
  NBD_FLAG_NO_ZEROES,
  NBD_FLAG_READ_ONLY,
  NBD_FLAG_SEND_FLUSH,
  NBD_FLAG_SEND_FUA,
  NBD_GREETING_BYTES,
  NBD_INFO_BLOCK_SIZE,
  NBD_INFO_EXPORT,
  NBD_MAGIC,
  NBD_OPT_ABORT,
  NBD_OPT_EXPORT_NAME,
  NBD_OPT_GO,
  NBD_OPT_INFO,
  NBD_OPT_LIST,
  NBD_OPTION_BYTES,
  NBD_OPTION_MAGIC,
  NBD_OPTION_REPLY_BYTES,
  NBD_REP_ACK,
  NBD_REP_ERR_INVALID,
  NBD_REP_ERR_UNKNOWN,
  NBD_REP_ERR_UNSUP,
  NBD_REP_INFO,
  NBD_REP_SERVER,
  NBD_REPLY_MAGIC,
  NBD_REQUEST_BYTES,
  NBD_REQUEST_MAGIC,
  NBD_SIMPLE_REPLY_BYTES,
  NBD_SIMPLE_REPLY_MAGIC,
  XenError,
} from '#pvbus';

export interface ExportedDisk {
  /** What clients may call it, beside ''. */
  readonly name: string;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  /** Each throws what a system call throws. */
  read(into: Uint8Array, at: number): void;
  write(from: Uint8Array, at: number): void;
  flush(): void;
}

/** Where what is said to the client goes. */
export interface ClientStream {
  write(bytes: Uint8Array): void;
  /** The client does not take what it asked for: nothing more is done for it. */
  readonly isFull: boolean;
}

/** untrusted: an export's name has 4096 bytes at most. */
const MAX_OPTION = 8192;
/** Of a request's data. */
export const MAX_BLOCK = 32 << 20;
const PREFERRED_BLOCK = 4096;
/** Of NBD_OPT_EXPORT_NAME's answer, for clients that want them. */
const ZEROES = 124;
const NO_BYTES = new Uint8Array(0);

/** untrusted: all that `feed` is given. It throws EPROTO when a client may not say that. */
export class NbdConversation {
  readonly #disk: ExportedDisk;
  readonly #stream: ClientStream;
  readonly #talk: Generator<number, void, Buffer>;
  /** What is wanted from the client next; undefined: nothing more. */
  #wanted: Buffer | undefined;
  #have = 0;
  /** Received, and not looked at while the client takes nothing. */
  #left: Uint8Array = NO_BYTES;

  constructor(disk: ExportedDisk, stream: ClientStream) {
    this.#disk = disk;
    this.#stream = stream;
    this.#talk = this.#conversation();
    this.#want(this.#talk.next());
  }

  get isOver(): boolean {
    return this.#wanted === undefined;
  }
  /** It has something to do as soon as the client takes what it was sent. */
  get waits(): boolean {
    return !this.isOver && this.#left.length > 0;
  }

  /** Not while it waits. */
  feed(bytes: Uint8Array): void {
    this.#left = bytes;
    this.resume();
  }
  resume(): void {
    while (this.#wanted !== undefined && this.#left.length > 0 && !this.#stream.isFull) {
      const n = Math.min(this.#wanted.length - this.#have, this.#left.length);
      this.#wanted.set(this.#left.subarray(0, n), this.#have);
      this.#left = this.#left.subarray(n);
      this.#have += n;
      if (this.#have === this.#wanted.length) this.#want(this.#talk.next(this.#wanted));
    }
  }
  #want({ value, done }: IteratorResult<number, void>): void {
    this.#wanted = done ? undefined : Buffer.allocUnsafeSlow(value as number); // it is a number while it is not done
    this.#have = 0;
  }

  *#conversation(): Generator<number, void, Buffer> {
    const greeting = Buffer.alloc(NBD_GREETING_BYTES);
    greeting.writeBigUInt64BE(NBD_MAGIC, 0);
    greeting.writeBigUInt64BE(NBD_OPTION_MAGIC, 8);
    greeting.writeUInt16BE(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES, 16);
    this.#stream.write(greeting);
    const flags = (yield 4).readUInt32BE();
    if ((flags & ~(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES)) !== 0)
      throw new XenError('EPROTO', `flags 0x${flags.toString(16)}`);
    if (yield* this.#haggle((flags & NBD_FLAG_NO_ZEROES) !== 0)) yield* this.#serve();
  }

  // ---- handshake ----

  /** True when requests come next. */
  *#haggle(noZeroes: boolean): Generator<number, boolean, Buffer> {
    for (;;) {
      const head = yield NBD_OPTION_BYTES;
      const length = head.readUInt32BE(12);
      if (head.readBigUInt64BE() !== NBD_OPTION_MAGIC) throw new XenError('EPROTO', 'no option');
      if (length > MAX_OPTION) throw new XenError('EPROTO', `an option of ${length} bytes`);
      const option = head.readUInt32BE(8);
      const data = length > 0 ? yield length : Buffer.alloc(0);
      switch (option) {
        case NBD_OPT_EXPORT_NAME:
          // There is no way to say that it is unknown.
          if (!this.#isName(data)) throw new XenError('EPROTO', 'there is no such export');
          this.#stream.write(Buffer.concat([this.#sizeAndFlags(), Buffer.alloc(noZeroes ? 0 : ZEROES)]));
          return true;
        case NBD_OPT_ABORT:
          this.#reply(option, NBD_REP_ACK);
          return false;
        case NBD_OPT_LIST:
          this.#list(option, data);
          break;
        case NBD_OPT_INFO:
        case NBD_OPT_GO:
          if (this.#inform(option, data) && option === NBD_OPT_GO) return true;
          break;
        default:
          this.#reply(option, NBD_REP_ERR_UNSUP);
      }
    }
  }
  #list(option: number, data: Buffer): void {
    if (data.length > 0) {
      this.#reply(option, NBD_REP_ERR_INVALID);
      return;
    }
    const name = Buffer.from(this.#disk.name);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(name.length);
    this.#reply(option, NBD_REP_SERVER, Buffer.concat([length, name]));
    this.#reply(option, NBD_REP_ACK);
  }
  /** True when the export is the one there is. */
  #inform(option: number, data: Buffer): boolean {
    const name = nameIn(data);
    if (name === undefined) {
      this.#reply(option, NBD_REP_ERR_INVALID);
      return false;
    }
    if (!this.#isName(name)) {
      this.#reply(option, NBD_REP_ERR_UNKNOWN);
      return false;
    }
    const head = Buffer.alloc(2);
    head.writeUInt16BE(NBD_INFO_EXPORT);
    this.#reply(option, NBD_REP_INFO, Buffer.concat([head, this.#sizeAndFlags()]));
    const blocks = Buffer.alloc(14);
    blocks.writeUInt16BE(NBD_INFO_BLOCK_SIZE);
    blocks.writeUInt32BE(1, 2);
    blocks.writeUInt32BE(PREFERRED_BLOCK, 6);
    blocks.writeUInt32BE(MAX_BLOCK, 10);
    this.#reply(option, NBD_REP_INFO, blocks);
    this.#reply(option, NBD_REP_ACK);
    return true;
  }
  #isName(name: Buffer): boolean {
    return name.length === 0 || name.equals(Buffer.from(this.#disk.name));
  }
  #sizeAndFlags(): Buffer {
    const { sizeBytes, readOnly } = this.#disk;
    const bytes = Buffer.alloc(10);
    bytes.writeBigUInt64BE(BigInt(sizeBytes));
    // All clients read and write one file: a flush of one is a flush of all.
    const writable = NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA;
    bytes.writeUInt16BE(NBD_FLAG_HAS_FLAGS | NBD_FLAG_CAN_MULTI_CONN | (readOnly ? NBD_FLAG_READ_ONLY : writable), 8);
    return bytes;
  }
  #reply(option: number, type: number, data: Uint8Array = NO_BYTES): void {
    const bytes = Buffer.alloc(NBD_OPTION_REPLY_BYTES + data.length);
    bytes.writeBigUInt64BE(NBD_REPLY_MAGIC);
    bytes.writeUInt32BE(option, 8);
    bytes.writeUInt32BE(type, 12);
    bytes.writeUInt32BE(data.length, 16);
    bytes.set(data, NBD_OPTION_REPLY_BYTES);
    this.#stream.write(bytes);
  }

  // ---- requests ----

  *#serve(): Generator<number, void, Buffer> {
    for (;;) {
      const head = yield NBD_REQUEST_BYTES;
      if (head.readUInt32BE() !== NBD_REQUEST_MAGIC) throw new XenError('EPROTO', 'no request');
      const flags = head.readUInt16BE(4);
      const type = head.readUInt16BE(6);
      const at = head.readUInt32BE(16) * 2 ** 32 + head.readUInt32BE(20);
      const length = head.readUInt32BE(24);
      if (type === NBD_CMD_DISC) return;
      let data: Uint8Array = NO_BYTES;
      if (type === NBD_CMD_WRITE) {
        if (length > MAX_BLOCK) throw new XenError('EPROTO', `a write of ${length} bytes`);
        if (length > 0) data = yield length;
      }
      const reply = Buffer.alloc(NBD_SIMPLE_REPLY_BYTES);
      reply.writeUInt32BE(NBD_SIMPLE_REPLY_MAGIC);
      reply.set(head.subarray(8, 16), 8);
      const answer = this.#act(type, flags, at, length, data);
      if (typeof answer === 'number') reply.writeUInt32BE(answer, 4);
      this.#stream.write(reply);
      if (typeof answer !== 'number' && answer.length > 0) this.#stream.write(answer);
    }
  }
  /** What was read, or the protocol's number of an error, or 0. */
  #act(type: number, flags: number, at: number, length: number, data: Uint8Array): number | Uint8Array {
    const disk = this.#disk;
    if ((flags & ~NBD_CMD_FLAG_FUA) !== 0) return NBD_EINVAL;
    const isInside = at + length <= disk.sizeBytes;
    try {
      switch (type) {
        case NBD_CMD_READ: {
          if (!isInside || length > MAX_BLOCK) return NBD_EINVAL;
          const bytes = Buffer.allocUnsafeSlow(length);
          disk.read(bytes, at);
          return bytes;
        }
        case NBD_CMD_WRITE:
          if (disk.readOnly) return NBD_EPERM;
          if (!isInside) return NBD_ENOSPC;
          disk.write(data, at);
          if ((flags & NBD_CMD_FLAG_FUA) !== 0) disk.flush();
          return 0;
        case NBD_CMD_FLUSH:
          if (at !== 0 || length !== 0) return NBD_EINVAL;
          if (!disk.readOnly) disk.flush();
          return 0;
        default:
          return NBD_EINVAL;
      }
    } catch (error) {
      return (error as NodeJS.ErrnoException).code === 'ENOSPC' ? NBD_ENOSPC : NBD_EIO;
    }
  }
}

/** Of NBD_OPT_INFO and NBD_OPT_GO, whose numbers of information are all told; undefined when it is malformed. */
function nameIn(data: Buffer): Buffer | undefined {
  if (data.length < 6) return undefined;
  const length = data.readUInt32BE();
  if (length > data.length - 6) return undefined;
  const count = data.readUInt16BE(4 + length);
  return data.length === 6 + length + 2 * count ? data.subarray(4, 4 + length) : undefined;
}

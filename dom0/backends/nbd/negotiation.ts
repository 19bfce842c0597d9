// The handshake with a server: fixed newstyle, as far as the first request. Bytes in, bytes out; no socket.
import {
  NBD_FLAG_CAN_MULTI_CONN,
  NBD_FLAG_FIXED_NEWSTYLE,
  NBD_FLAG_NO_ZEROES,
  NBD_FLAG_READ_ONLY,
  NBD_FLAG_SEND_FLUSH,
  NBD_FLAG_SEND_FUA,
  NBD_FLAG_SEND_TRIM,
  NBD_FLAG_SEND_WRITE_ZEROES,
  NBD_GREETING_BYTES,
  NBD_INFO_BLOCK_SIZE,
  NBD_INFO_EXPORT,
  NBD_MAGIC,
  NBD_OLDSTYLE_MAGIC,
  NBD_OPT_GO,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_OPTION_MAGIC,
  NBD_OPTION_REPLY_BYTES,
  NBD_REP_ACK,
  NBD_REP_ERRORS,
  NBD_REP_FLAG_ERROR,
  NBD_REP_INFO,
  NBD_REPLY_MAGIC,
  XenError,
} from '#pvbus';
import { option, optionGo } from './protocol.ts';

/** What a server says of an export. */
export interface NbdExport {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly flush: boolean;
  readonly fua: boolean;
  readonly trim: boolean;
  readonly writeZeroes: boolean;
  readonly multiConn: boolean;
  readonly structuredReplies: boolean;
  /** A request's offset and length are multiples of the first; its data is at most the last. */
  readonly minBlock: number;
  readonly preferredBlock: number;
  readonly maxBlock: number;
}

/** untrusted: what a server's words may be in a message of ours. */
const MAX_SAID = 200;
/** No option's reply of ours has more; a server may add a text for people. */
const MAX_REPLY = 64 << 10;
/** A server may tell so many things of an export that nobody asked for. */
const MAX_INFOS = 64;
/** Where the server says nothing. The protocol's default. */
const DEFAULT_BLOCKS = { minBlock: 1, preferredBlock: 4096, maxBlock: 32 << 20 };
const NOTHING = new Uint8Array(0);

const said = (bytes: Uint8Array): string =>
  new TextDecoder()
    .decode(bytes.subarray(0, MAX_SAID))
    .replace(/\p{Cc}+/gu, ' ')
    .trim();

/** untrusted: everything that `feed` is given. It throws a XenError when that is no handshake. */
export class Negotiation {
  readonly #exportName: string;
  readonly #send: (bytes: Uint8Array) => void;
  #bytes = NOTHING;
  #state: 'greeting' | 'structured' | 'go' = 'greeting';
  #structured = false;
  #infos = 0;
  #export: { sizeBytes: number; flags: number } | undefined;
  #blocks = DEFAULT_BLOCKS;

  constructor(exportName: string, send: (bytes: Uint8Array) => void) {
    this.#exportName = exportName;
    this.#send = send;
  }

  /** The export when the server has let us in; undefined when more is to come. */
  feed(bytes: Uint8Array): NbdExport | undefined {
    this.#bytes = this.#bytes.length === 0 ? bytes.slice() : joined(this.#bytes, bytes);
    for (;;) {
      const before = this.#bytes.length;
      const done = this.#state === 'greeting' ? this.#greeting() : this.#reply();
      if (done !== undefined) {
        // A server speaks when it is spoken to.
        if (this.#bytes.length > 0) throw new XenError('EPROTO', 'it answers what was not asked');
        return done;
      }
      if (this.#bytes.length === before) return undefined;
    }
  }

  /** Takes `length` bytes off the front; undefined when they are not there. */
  #take(length: number): DataView | undefined {
    if (this.#bytes.length < length) return undefined;
    const taken = this.#bytes.subarray(0, length);
    this.#bytes = this.#bytes.subarray(length);
    return new DataView(taken.buffer, taken.byteOffset, length);
  }

  #greeting(): undefined {
    const bytes = this.#bytes;
    if (bytes.length >= 8) {
      const magic = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0);
      if (magic !== NBD_MAGIC) throw new XenError('EPROTO', 'it is no NBD server');
    }
    if (bytes.length >= 16) {
      const magic = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(8);
      if (magic === NBD_OLDSTYLE_MAGIC) throw new XenError('EPROTO', 'it speaks the oldstyle handshake only');
      if (magic !== NBD_OPTION_MAGIC) throw new XenError('EPROTO', 'it is no NBD server');
    }
    const greeting = this.#take(NBD_GREETING_BYTES);
    if (greeting === undefined) return;
    const flags = greeting.getUint16(16);
    if ((flags & NBD_FLAG_FIXED_NEWSTYLE) === 0)
      throw new XenError('EPROTO', 'it does not speak the fixed newstyle handshake');
    const answer = new Uint8Array(4);
    new DataView(answer.buffer).setUint32(0, flags & (NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES));
    this.#send(answer);
    this.#send(option(NBD_OPT_STRUCTURED_REPLY, NOTHING));
    this.#state = 'structured';
  }

  #reply(): NbdExport | undefined {
    const bytes = this.#bytes;
    if (bytes.length < NBD_OPTION_REPLY_BYTES) return undefined;
    const head = new DataView(bytes.buffer, bytes.byteOffset);
    if (head.getBigUint64(0) !== NBD_REPLY_MAGIC) throw new XenError('EPROTO', 'its reply to an option is none');
    const asked = this.#state === 'structured' ? NBD_OPT_STRUCTURED_REPLY : NBD_OPT_GO;
    if (head.getUint32(8) !== asked)
      throw new XenError('EPROTO', `it answers option ${head.getUint32(8)}, not ${asked}`);
    const type = head.getUint32(12);
    const length = head.getUint32(16);
    if (length > MAX_REPLY) throw new XenError('EPROTO', `its reply to an option has ${length} bytes`);
    if (bytes.length < NBD_OPTION_REPLY_BYTES + length) return undefined;
    this.#take(NBD_OPTION_REPLY_BYTES);
    const data = this.#take(length)!; // it is there
    return this.#state === 'structured' ? this.#structuredReply(type) : this.#goReply(type, data);
  }

  #structuredReply(type: number): undefined {
    if (type !== NBD_REP_ACK && type < NBD_REP_FLAG_ERROR) throw new XenError('EPROTO', `its reply has type ${type}`);
    this.#structured = type === NBD_REP_ACK;
    this.#state = 'go';
    this.#send(optionGo(this.#exportName));
  }

  #goReply(type: number, data: DataView): NbdExport | undefined {
    if (type === NBD_REP_INFO) {
      if (++this.#infos > MAX_INFOS) throw new XenError('EPROTO', 'it does not stop to tell of its export');
      this.#info(data);
      return undefined;
    }
    if (type === NBD_REP_ACK) return this.#letIn();
    if (type < NBD_REP_FLAG_ERROR) throw new XenError('EPROTO', `its reply has type ${type}`);
    const why = NBD_REP_ERRORS[type - NBD_REP_FLAG_ERROR] ?? `error ${type - NBD_REP_FLAG_ERROR}`;
    const words = said(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    const code = type - NBD_REP_FLAG_ERROR === 6 ? 'ENOENT' : 'EIO';
    const name = JSON.stringify(this.#exportName.slice(0, MAX_SAID));
    throw new XenError(code, `it refuses export ${name}: ${why}${words === '' ? '' : ` (${words})`}`);
  }

  #info(data: DataView): void {
    if (data.byteLength < 2) throw new XenError('EPROTO', 'it tells nothing of its export');
    const type = data.getUint16(0);
    if (type === NBD_INFO_EXPORT) {
      if (data.byteLength !== 12) throw new XenError('EPROTO', `it tells of its export in ${data.byteLength} bytes`);
      const size = data.getBigUint64(2);
      if (size > BigInt(Number.MAX_SAFE_INTEGER)) throw new XenError('EFBIG', `its export has ${size} bytes`);
      this.#export = { sizeBytes: Number(size), flags: data.getUint16(10) };
    } else if (type === NBD_INFO_BLOCK_SIZE) {
      if (data.byteLength !== 14) throw new XenError('EPROTO', `it tells of its blocks in ${data.byteLength} bytes`);
      const [minBlock, preferredBlock, maxBlock] = [data.getUint32(2), data.getUint32(6), data.getUint32(10)];
      const sane = isPowerOfTwo(minBlock) && minBlock <= 65536 && isPowerOfTwo(preferredBlock) && maxBlock >= minBlock;
      if (!sane) throw new XenError('EPROTO', `its blocks have ${minBlock}, ${preferredBlock}, ${maxBlock} bytes`);
      this.#blocks = { minBlock, preferredBlock, maxBlock };
    }
  }

  #letIn(): NbdExport {
    if (this.#export === undefined) throw new XenError('EPROTO', 'it does not tell the size of its export');
    const { sizeBytes, flags } = this.#export;
    const { minBlock } = this.#blocks;
    const has = (flag: number): boolean => (flags & flag) !== 0;
    return {
      sizeBytes: sizeBytes - (sizeBytes % minBlock), // of the last block a part cannot be asked for
      readOnly: has(NBD_FLAG_READ_ONLY),
      flush: has(NBD_FLAG_SEND_FLUSH),
      fua: has(NBD_FLAG_SEND_FUA),
      trim: has(NBD_FLAG_SEND_TRIM),
      writeZeroes: has(NBD_FLAG_SEND_WRITE_ZEROES),
      multiConn: has(NBD_FLAG_CAN_MULTI_CONN),
      structuredReplies: this.#structured,
      ...this.#blocks,
    };
  }
}

const isPowerOfTwo = (n: number): boolean => n > 0 && (n & (n - 1)) === 0;

function joined(a: Uint8Array, b: Uint8Array): Uint8Array<ArrayBuffer> {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}

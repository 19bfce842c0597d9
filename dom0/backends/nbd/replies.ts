// The server's answers after the handshake, simple and structured, taken apart as they come: their data goes from the
// bytes that were received straight to where it is wanted.
import {
  NBD_CHUNK_HEADER_BYTES,
  NBD_CMD_READ,
  NBD_REPLY_FLAG_DONE,
  NBD_REPLY_TYPE_ERROR_BIT,
  NBD_REPLY_TYPE_ERROR_OFFSET,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA,
  NBD_REPLY_TYPE_OFFSET_HOLE,
  NBD_SIMPLE_REPLY_BYTES,
  NBD_SIMPLE_REPLY_MAGIC,
  NBD_STRUCTURED_REPLY_MAGIC,
  XenError,
} from '#pvbus';

/** A request that an answer may be for. */
export interface Awaited {
  readonly type: number;
  readonly at: number;
  readonly length: number;
  /** Bytes of it that have come, and the first error that was told; the parser's. */
  received: number;
  error: number;
  /** Bytes of the disk from `offset` of the request on. */
  put(offset: number, bytes: Uint8Array, from: number, length: number): void;
  zero(offset: number, length: number): void;
}

export interface ReplyHandler<A extends Awaited> {
  /** The request in flight with this cookie. */
  find(cookieHi: number, cookieLo: number): A | undefined;
  /** Its answer is there in full; `error` is the protocol's number, or 0. */
  answered(request: A, error: number): void;
}

/** Data of a chunk that says what an error was; the protocol allows 4096 for its text. */
const MAX_ERROR_BYTES = 4096 + 14;
/** The longest of what is read before it is known what to do: a chunk's header and a hole's 12 bytes. */
const HEAD_BYTES = NBD_CHUNK_HEADER_BYTES + 12;

/** untrusted: all that `feed` is given. It throws EPROTO when a server may not say that. */
export class ReplyParser<A extends Awaited> {
  readonly #handler: ReplyHandler<A>;
  readonly #structured: boolean;
  /** Of an answer whose head is not there in full. */
  readonly #head = new Uint8Array(HEAD_BYTES);
  readonly #view = new DataView(this.#head.buffer);
  #have = 0;
  /** Whose data is coming, where in it, and how much is missing. */
  #request: A | undefined;
  #offset = 0;
  #missing = 0;
  /** Bytes to be passed over. */
  #skip = 0;
  #last = false;

  constructor(handler: ReplyHandler<A>, structured: boolean) {
    this.#handler = handler;
    this.#structured = structured;
  }

  feed(bytes: Uint8Array, length = bytes.length): void {
    let at = 0;
    while (at < length) {
      if (this.#missing > 0) {
        const n = Math.min(this.#missing, length - at);
        this.#request!.put(this.#offset, bytes, at, n); // there is one while data is missing
        this.#offset += n;
        this.#missing -= n;
        at += n;
        if (this.#missing === 0) this.#chunkIsOver();
      } else if (this.#skip > 0) {
        const n = Math.min(this.#skip, length - at);
        this.#skip -= n;
        at += n;
        if (this.#skip === 0) this.#chunkIsOver();
      } else {
        const wanted = this.#wanted();
        const n = Math.min(wanted - this.#have, length - at);
        for (let i = 0; i < n; i++) this.#head[this.#have + i] = bytes[at + i]!;
        this.#have += n;
        at += n;
        if (this.#have === wanted && this.#wanted() === wanted) this.#headIsThere();
      }
    }
  }

  /** How long the head is, as far as is known. */
  #wanted(): number {
    if (this.#have < 4) return 4;
    const magic = this.#view.getUint32(0);
    if (magic === NBD_SIMPLE_REPLY_MAGIC) return NBD_SIMPLE_REPLY_BYTES;
    if (magic !== NBD_STRUCTURED_REPLY_MAGIC || !this.#structured)
      throw new XenError('EPROTO', `an answer begins with 0x${magic.toString(16)}`);
    if (this.#have < NBD_CHUNK_HEADER_BYTES) return NBD_CHUNK_HEADER_BYTES;
    return NBD_CHUNK_HEADER_BYTES + this.#fixedPart();
  }
  /** Bytes after a chunk's header that are looked at: what is announced has at least as many, or is refused. */
  #fixedPart(): number {
    const type = this.#view.getUint16(6);
    const length = this.#view.getUint32(16);
    switch (type) {
      case NBD_REPLY_TYPE_NONE:
        return this.#expect(type, length, length === 0, 0);
      case NBD_REPLY_TYPE_OFFSET_DATA:
        return this.#expect(type, length, length > 8, 8);
      case NBD_REPLY_TYPE_OFFSET_HOLE:
        return this.#expect(type, length, length === 12, 12);
      default:
        if ((type & NBD_REPLY_TYPE_ERROR_BIT) === 0) throw new XenError('EPROTO', `a chunk of type ${type}`);
        return this.#expect(type, length, length >= 6 && length <= MAX_ERROR_BYTES, 6);
    }
  }
  #expect(type: number, length: number, sane: boolean, fixed: number): number {
    if (!sane) throw new XenError('EPROTO', `a chunk of type ${type} with ${length} bytes`);
    return fixed;
  }

  #headIsThere(): void {
    const view = this.#view;
    this.#have = 0;
    const simple = view.getUint32(0) === NBD_SIMPLE_REPLY_MAGIC;
    const [hi, lo] = [view.getUint32(8), view.getUint32(12)];
    const request = this.#handler.find(hi, lo);
    if (request === undefined) throw new XenError('EPROTO', `an answer to request ${hi}/${lo}, which is not in flight`);
    this.#request = request;
    if (simple) this.#simple(request, view.getUint32(4));
    else this.#chunk(request);
  }

  #simple(request: A, error: number): void {
    const read = request.type === NBD_CMD_READ;
    if (read && this.#structured)
      throw new XenError('EPROTO', 'a simple answer to a read, where chunks are agreed upon');
    request.error = error;
    this.#last = true;
    if (!read || error !== 0) {
      this.#chunkIsOver();
      return;
    }
    this.#offset = 0;
    this.#missing = request.length;
    request.received = request.length;
  }

  #chunk(request: A): void {
    const view = this.#view;
    const type = view.getUint16(6);
    const length = view.getUint32(16);
    this.#last = (view.getUint16(4) & NBD_REPLY_FLAG_DONE) !== 0;
    const P = NBD_CHUNK_HEADER_BYTES;
    if (type === NBD_REPLY_TYPE_NONE) {
      if (!this.#last) throw new XenError('EPROTO', 'a chunk of nothing that is not the last');
      this.#chunkIsOver();
      return;
    }
    if ((type & NBD_REPLY_TYPE_ERROR_BIT) !== 0) {
      const text = view.getUint16(P + 4);
      if (6 + text + (type === NBD_REPLY_TYPE_ERROR_OFFSET ? 8 : 0) > length)
        throw new XenError('EPROTO', `an error's text of ${text} bytes in a chunk of ${length}`);
      const error = view.getUint32(P);
      if (error === 0) throw new XenError('EPROTO', 'an error that is none');
      if (request.error === 0) request.error = error;
      this.#skip = length - 6;
      if (this.#skip === 0) this.#chunkIsOver();
      return;
    }
    if (request.type !== NBD_CMD_READ) throw new XenError('EPROTO', `data in answer to command ${request.type}`);
    const hole = type === NBD_REPLY_TYPE_OFFSET_HOLE;
    const offset = view.getUint32(P) * 2 ** 32 + view.getUint32(P + 4) - request.at;
    const bytes = hole ? view.getUint32(P + 8) : length - 8;
    if (offset < 0 || offset + bytes > request.length)
      throw new XenError('EPROTO', `${bytes} bytes at ${offset} in answer to a read of ${request.length}`);
    if (request.received + bytes > request.length) throw new XenError('EPROTO', 'the same bytes of a read twice');
    request.received += bytes;
    if (hole) {
      request.zero(offset, bytes);
      this.#chunkIsOver();
      return;
    }
    this.#offset = offset;
    this.#missing = bytes;
  }

  #chunkIsOver(): void {
    const request = this.#request!; // it was found when the head was there
    this.#request = undefined;
    if (!this.#last) return;
    const { type, error, received, length } = request;
    if (error === 0 && type === NBD_CMD_READ && received !== length)
      throw new XenError('EPROTO', `${received} bytes in answer to a read of ${length}`);
    this.#handler.answered(request, error);
  }
}

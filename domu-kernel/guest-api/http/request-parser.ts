// HTTP/1.1 requests out of a stream of bytes (RFC 9112). untrusted: every length is bounded before the
// bytes are kept, and what two readers could understand in two ways is refused.

export interface ParserLimits {
  /** Bytes of request line and header fields. */
  readonly maxHead: number;
  readonly maxFields: number;
  readonly maxBody: number;
}
export const DEFAULT_LIMITS: ParserLimits = { maxHead: 16 * 1024, maxFields: 100, maxBody: 1 << 20 };

export interface RequestHead {
  readonly method: string;
  /** As sent: path and query. */
  readonly target: string;
  readonly version: '1.0' | '1.1';
  /** Names in lower case; several of one name joined with ', '. */
  readonly headers: ReadonlyMap<string, string>;
}
export interface ParsedRequest extends RequestHead {
  readonly body: Uint8Array;
}

/** What is wrong with a request, as the status of its answer. */
export class HttpError extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

const CR = 13;
const LF = 10;
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
/** Chunk extensions and trailers are read and thrown away, up to here. */
const MAX_CHUNK_LINE = 256;
const MAX_TRAILER = 8 * 1024;

/** Bytes as they come, taken off in front. */
class Input {
  private bytes = new Uint8Array(0);
  private from = 0;

  push(more: Uint8Array): void {
    const left = this.bytes.subarray(this.from);
    const joined = new Uint8Array(left.length + more.length);
    joined.set(left);
    joined.set(more, left.length);
    this.bytes = joined;
    this.from = 0;
  }
  get length(): number {
    return this.bytes.length - this.from;
  }
  /** The line up to its end of line; undefined when that has not come. Throws `tooLong` beyond `max` bytes. */
  line(max: number, tooLong: () => HttpError): string | undefined {
    const end = this.bytes.indexOf(LF, this.from);
    if (end < 0 ? this.length > max : end - this.from > max) throw tooLong();
    if (end < 0) return undefined;
    // A bare LF ends a line for some readers and not for others.
    if (end === this.from || this.bytes[end - 1] !== CR) throw new HttpError(400, 'a line ends without CR');
    const text = Buffer.from(this.bytes.buffer, this.from, end - 1 - this.from).toString('latin1');
    this.from = end + 1;
    return text;
  }
  /** At most `n` bytes, valid until the next `push`. */
  take(n: number): Uint8Array {
    const part = this.bytes.subarray(this.from, this.from + n);
    this.from += part.length;
    return part;
  }
}

type Framing = { kind: 'none' } | { kind: 'length'; length: number } | { kind: 'chunked' };

/** Give it bytes with `push`, ask for requests with `next`. After an HttpError it is of no more use. */
export class RequestParser {
  private readonly limits: ParserLimits;
  private readonly input = new Input();
  private head: RequestHead | undefined;
  private framing: Framing = { kind: 'none' };
  // The head being read.
  private requestLine: [method: string, target: string, version: '1.0' | '1.1'] | undefined;
  private fields = new Map<string, string>();
  private nrFields = 0;
  private headBytes = 0;
  // The body being read.
  /** One memory that grows: a part for each of a million chunks would cost many times what they carry. */
  private body = new Uint8Array(0);
  private bodyBytes = 0;
  private chunkLeft = -1;
  private inTrailer = false;
  private trailerBytes = 0;

  constructor(limits: ParserLimits = DEFAULT_LIMITS) {
    this.limits = limits;
  }

  push(bytes: Uint8Array): void {
    this.input.push(bytes);
  }
  /** Bytes of an unfinished or further request are here. */
  get started(): boolean {
    return this.input.length > 0 || this.requestLine !== undefined || this.head !== undefined;
  }
  /** The head is here, its body is not yet. */
  get awaitingBody(): RequestHead | undefined {
    return this.head;
  }

  /** The next whole request; undefined when more bytes are needed. Throws HttpError. */
  next(): ParsedRequest | undefined {
    if (!this.head && !this.readHead()) return undefined;
    if (!this.readBody()) return undefined;
    const request = { ...this.head!, body: this.body.slice(0, this.bodyBytes) };
    this.head = undefined;
    this.body = new Uint8Array(0);
    this.bodyBytes = 0;
    this.chunkLeft = -1;
    this.inTrailer = false;
    this.trailerBytes = 0;
    return request;
  }

  private readHead(): boolean {
    const tooLong = (): HttpError => new HttpError(431, 'the head of the request is too long');
    for (;;) {
      const line = this.input.line(this.limits.maxHead - this.headBytes, tooLong);
      if (line === undefined) return false;
      this.headBytes += line.length + 2;
      if (this.requestLine === undefined) {
        // RFC 9112, 2.2: an empty line before a request is let pass.
        if (line !== '') this.requestLine = parseRequestLine(line);
      } else if (line !== '') this.addField(line);
      else {
        this.finishHead(this.requestLine);
        return true;
      }
    }
  }

  private addField(line: string): void {
    if (++this.nrFields > this.limits.maxFields) throw new HttpError(431, 'too many header fields');
    const [name, value] = fieldOf(line);
    const before = this.fields.get(name);
    if (before !== undefined && (name === 'host' || name === 'content-length'))
      throw new HttpError(400, `two ${name} fields`);
    this.fields.set(name, before === undefined ? value : `${before}, ${value}`);
  }

  private finishHead([method, target, version]: NonNullable<typeof this.requestLine>): void {
    const headers = this.fields;
    this.requestLine = undefined;
    this.fields = new Map();
    this.nrFields = 0;
    this.headBytes = 0;
    if (version === '1.1' && !headers.has('host')) throw new HttpError(400, 'a request without Host');
    this.framing = this.framingOf(headers);
    this.head = { method, target, version, headers };
  }

  // RFC 9112, 6.3.
  private framingOf(headers: ReadonlyMap<string, string>): Framing {
    const encoding = headers.get('transfer-encoding');
    const length = headers.get('content-length');
    if (encoding !== undefined) {
      if (length !== undefined) throw new HttpError(400, 'both Content-Length and Transfer-Encoding');
      if (encoding.toLowerCase() !== 'chunked') throw new HttpError(501, 'only the chunked transfer coding is known');
      return { kind: 'chunked' };
    }
    if (length === undefined) return { kind: 'none' };
    if (!/^[0-9]{1,15}$/.test(length)) throw new HttpError(400, 'Content-Length is no number');
    if (Number(length) > this.limits.maxBody) throw this.tooLarge();
    return { kind: 'length', length: Number(length) };
  }

  private readBody(): boolean {
    if (this.framing.kind === 'none') return true;
    if (this.framing.kind === 'chunked') return this.readChunks();
    this.keep(this.framing.length - this.bodyBytes);
    return this.bodyBytes === this.framing.length;
  }
  /** Moves up to `n` bytes to the body; how many. */
  private keep(n: number): number {
    const part = this.input.take(n);
    const length = this.bodyBytes + part.length;
    if (length > this.body.length) {
      const body = new Uint8Array(Math.min(this.limits.maxBody, Math.max(2 * this.body.length, length)));
      body.set(this.body.subarray(0, this.bodyBytes));
      this.body = body;
    }
    this.body.set(part, this.bodyBytes);
    this.bodyBytes = length;
    return part.length;
  }

  private readChunks(): boolean {
    const badLine = (): HttpError => new HttpError(400, 'a chunk begins with no proper size');
    while (!this.inTrailer) {
      if (this.chunkLeft > 0) {
        this.chunkLeft -= this.keep(this.chunkLeft);
        if (this.chunkLeft > 0) return false;
      }
      const line = this.input.line(MAX_CHUNK_LINE, badLine);
      if (line === undefined) return false;
      if (this.chunkLeft === 0) {
        if (line !== '') throw new HttpError(400, 'a chunk is longer than it said');
        this.chunkLeft = -1;
        continue;
      }
      const [, size] = /^([0-9A-Fa-f]{1,8})[ \t]*(;.*)?$/.exec(line) ?? [];
      if (size === undefined) throw badLine();
      this.chunkLeft = Number.parseInt(size, 16);
      if (this.bodyBytes + this.chunkLeft > this.limits.maxBody) throw this.tooLarge();
      if (this.chunkLeft === 0) this.inTrailer = true;
    }
    for (;;) {
      const line = this.input.line(
        MAX_TRAILER - this.trailerBytes,
        () => new HttpError(431, 'the trailer is too long'),
      );
      if (line === undefined) return false;
      this.trailerBytes += line.length + 2;
      if (line === '') return true;
      const [name] = fieldOf(line);
      // RFC 9110, 6.5.1: what says how long a message is comes before it.
      if (name === 'content-length' || name === 'transfer-encoding') throw new HttpError(400, `a trailer is ${name}`);
    }
  }

  private tooLarge(): HttpError {
    return new HttpError(413, `a body of more than ${this.limits.maxBody} bytes`);
  }
}

/** A name in lower case, and its value. */
function fieldOf(line: string): [name: string, value: string] {
  const colon = line.indexOf(':');
  const name = line.slice(0, Math.max(0, colon)).toLowerCase();
  // Also refuses folded lines (RFC 9112, 5.2) and blanks before the colon (5.1).
  if (!TOKEN.test(name)) throw new HttpError(400, 'a header field has no proper name');
  // No regular expression: one that looks for blanks at the end looks again from each blank before.
  let [start, end] = [colon + 1, line.length];
  while (isBlank(line, start)) start++;
  while (end > start && isBlank(line, end - 1)) end--;
  const value = line.slice(start, end);
  if (!FIELD_VALUE.test(value)) throw new HttpError(400, `the field ${name} holds control characters`);
  return [name, value];
}
const isBlank = (line: string, at: number): boolean => line[at] === ' ' || line[at] === '\t';

function parseRequestLine(line: string): [method: string, target: string, version: '1.0' | '1.1'] {
  const parts = line.split(' ');
  const [method, target, version] = parts as [string, string?, string?];
  if (parts.length !== 3 || !TOKEN.test(method) || !target || !version) {
    throw new HttpError(400, 'this is no HTTP request');
  }
  if (version !== 'HTTP/1.1' && version !== 'HTTP/1.0') {
    throw /^HTTP\/[0-9]\.[0-9]$/.test(version) ? new HttpError(505, 'only HTTP/1.1') : new HttpError(400, 'no HTTP');
  }
  if (!/^[\x21-\x7e]+$/.test(target)) throw new HttpError(400, 'the request target is malformed');
  return [method, target, version === 'HTTP/1.1' ? '1.1' : '1.0'];
}

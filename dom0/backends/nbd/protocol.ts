// Numbers and layouts of the NBD protocol (github.com/NetworkBlockDevice/nbd, doc/proto.md). Big-endian all of it.

// ---- handshake ----
export const NBD_MAGIC = 0x4e42444d41474943n;
export const NBD_OPTION_MAGIC = 0x49484156454f5054n;
export const NBD_REPLY_MAGIC = 0x0003e889045565a9n;
/** Of servers before the newstyle handshake. */
export const NBD_OLDSTYLE_MAGIC = 0x0000420281861253n;
export const NBD_FLAG_FIXED_NEWSTYLE = 1 << 0;
export const NBD_FLAG_NO_ZEROES = 1 << 1;

export const NBD_OPT_ABORT = 2;
export const NBD_OPT_GO = 7;
export const NBD_OPT_STRUCTURED_REPLY = 8;

export const NBD_REP_ACK = 1;
export const NBD_REP_INFO = 3;
/** Replies that are errors have this bit. */
export const NBD_REP_FLAG_ERROR = 0x80000000;
export const NBD_REP_ERRORS: Readonly<Record<number, string>> = {
  1: 'it does not know the option',
  2: 'it does not want to',
  3: 'it finds the option malformed',
  4: 'it cannot on its platform',
  5: 'it wants TLS first',
  6: 'it has no such export',
  7: 'it is shutting down',
  8: 'it wants its block sizes kept',
  9: 'it finds the option too long',
};

export const NBD_INFO_EXPORT = 0;
export const NBD_INFO_BLOCK_SIZE = 3;

// ---- transmission ----
export const NBD_FLAG_READ_ONLY = 1 << 1;
export const NBD_FLAG_SEND_FLUSH = 1 << 2;
export const NBD_FLAG_SEND_FUA = 1 << 3;
export const NBD_FLAG_SEND_TRIM = 1 << 5;
export const NBD_FLAG_SEND_WRITE_ZEROES = 1 << 6;
export const NBD_FLAG_CAN_MULTI_CONN = 1 << 8;

export const NBD_REQUEST_MAGIC = 0x25609513;
export const NBD_SIMPLE_REPLY_MAGIC = 0x67446698;
export const NBD_STRUCTURED_REPLY_MAGIC = 0x668e33ef;

export const NBD_CMD_READ = 0;
export const NBD_CMD_WRITE = 1;
export const NBD_CMD_DISC = 2;
export const NBD_CMD_FLUSH = 3;
export const NBD_CMD_TRIM = 4;
export const NBD_CMD_FLAG_FUA = 1 << 0;

export const NBD_REPLY_FLAG_DONE = 1 << 0;
export const NBD_REPLY_TYPE_NONE = 0;
export const NBD_REPLY_TYPE_OFFSET_DATA = 1;
export const NBD_REPLY_TYPE_OFFSET_HOLE = 2;
/** Types that tell of an error have this bit. */
export const NBD_REPLY_TYPE_ERROR_BIT = 1 << 15;
export const NBD_REPLY_TYPE_ERROR_OFFSET = NBD_REPLY_TYPE_ERROR_BIT + 2;

/** The server takes no more requests: they are another one's, or its next life's. */
export const NBD_ESHUTDOWN = 108;
/** What error numbers of the protocol mean. Others count as EINVAL, it says. */
export const NBD_ERRORS: Readonly<Record<number, string>> = {
  1: 'EPERM',
  5: 'EIO',
  12: 'ENOMEM',
  22: 'EINVAL',
  28: 'ENOSPC',
  75: 'EOVERFLOW',
  95: 'ENOTSUP',
  [NBD_ESHUTDOWN]: 'ESHUTDOWN',
};

export const GREETING_BYTES = 18;
export const OPTION_REPLY_BYTES = 20;
export const REQUEST_BYTES = 28;
export const SIMPLE_REPLY_BYTES = 16;
export const CHUNK_HEADER_BYTES = 20;

/** An option the client haggles about. */
export function option(number: number, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(16 + data.length);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, NBD_OPTION_MAGIC);
  view.setUint32(8, number);
  view.setUint32(12, data.length);
  bytes.set(data, 16);
  return bytes;
}

/** NBD_OPT_GO for an export, asking for its block sizes. */
export function optionGo(exportName: string): Uint8Array {
  const name = new TextEncoder().encode(exportName);
  const data = new Uint8Array(4 + name.length + 4);
  const view = new DataView(data.buffer);
  view.setUint32(0, name.length);
  data.set(name, 4);
  view.setUint16(4 + name.length, 1);
  view.setUint16(6 + name.length, NBD_INFO_BLOCK_SIZE);
  return option(NBD_OPT_GO, data);
}

export interface RequestHeader {
  readonly type: number;
  readonly flags: number;
  /** The two halves of what the reply has to name. */
  readonly cookieHi: number;
  readonly cookieLo: number;
  readonly at: number;
  readonly length: number;
}

/** A request without its data, into `view` from `base` on. */
export function writeRequest(view: DataView, base: number, request: RequestHeader): void {
  view.setUint32(base, NBD_REQUEST_MAGIC);
  view.setUint16(base + 4, request.flags);
  view.setUint16(base + 6, request.type);
  view.setUint32(base + 8, request.cookieHi);
  view.setUint32(base + 12, request.cookieLo);
  view.setUint32(base + 16, Math.floor(request.at / 2 ** 32));
  view.setUint32(base + 20, request.at >>> 0);
  view.setUint32(base + 24, request.length);
}

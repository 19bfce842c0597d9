// Numbers and layouts of the NBD protocol (github.com/NetworkBlockDevice/nbd, doc/proto.md), for dom0's client and the
// server of `xl block-export`. Big-endian all of it.

// ---- handshake ----
export const NBD_MAGIC = 0x4e42444d41474943n;
export const NBD_OPTION_MAGIC = 0x49484156454f5054n;
export const NBD_REPLY_MAGIC = 0x0003e889045565a9n;
/** Of servers before the newstyle handshake. */
export const NBD_OLDSTYLE_MAGIC = 0x0000420281861253n;
export const NBD_FLAG_FIXED_NEWSTYLE = 1 << 0;
export const NBD_FLAG_NO_ZEROES = 1 << 1;

export const NBD_OPT_EXPORT_NAME = 1;
export const NBD_OPT_ABORT = 2;
export const NBD_OPT_LIST = 3;
export const NBD_OPT_INFO = 6;
export const NBD_OPT_GO = 7;
export const NBD_OPT_STRUCTURED_REPLY = 8;

export const NBD_REP_ACK = 1;
export const NBD_REP_SERVER = 2;
export const NBD_REP_INFO = 3;
/** Replies that are errors have this bit. */
export const NBD_REP_FLAG_ERROR = 0x80000000;
export const NBD_REP_ERR_UNSUP = NBD_REP_FLAG_ERROR + 1;
export const NBD_REP_ERR_INVALID = NBD_REP_FLAG_ERROR + 3;
export const NBD_REP_ERR_UNKNOWN = NBD_REP_FLAG_ERROR + 6;
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
export const NBD_FLAG_HAS_FLAGS = 1 << 0;
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
export const NBD_EPERM = 1;
export const NBD_EIO = 5;
export const NBD_EINVAL = 22;
export const NBD_ENOSPC = 28;
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

export const NBD_GREETING_BYTES = 18;
export const NBD_OPTION_BYTES = 16;
export const NBD_OPTION_REPLY_BYTES = 20;
export const NBD_REQUEST_BYTES = 28;
export const NBD_SIMPLE_REPLY_BYTES = 16;
export const NBD_CHUNK_HEADER_BYTES = 20;

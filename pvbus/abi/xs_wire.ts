// Xen: public/io/xs_wire.h. xenstore's messages, the same over a socket and over a domain's ring page.

import { cursorOf, struct } from '../struct.ts';

export const XS_CONTROL = 0;
export const XS_DIRECTORY = 1;
export const XS_READ = 2;
export const XS_GET_PERMS = 3;
export const XS_WATCH = 4;
export const XS_UNWATCH = 5;
export const XS_TRANSACTION_START = 6;
export const XS_TRANSACTION_END = 7;
export const XS_INTRODUCE = 8;
export const XS_RELEASE = 9;
export const XS_GET_DOMAIN_PATH = 10;
export const XS_WRITE = 11;
export const XS_MKDIR = 12;
export const XS_RM = 13;
export const XS_SET_PERMS = 14;
export const XS_WATCH_EVENT = 15;
export const XS_ERROR = 16;
export const XS_IS_DOMAIN_INTRODUCED = 17;
export const XS_RESUME = 18;
export const XS_SET_TARGET = 19;
// 20 was XS_RESTRICT, which is gone.
export const XS_RESET_WATCHES = 21;
export const XS_DIRECTORY_PART = 22;
export const XS_TYPE_COUNT = 23; // how many types there are
export const XS_INVALID = 0xffff;

/** Every message starts so; `len` bytes of payload follow. A reply repeats req_id and tx_id. */
export const xsd_sockmsg = struct('xsd_sockmsg', 16, { type: 'u32', req_id: 'u32', tx_id: 'u32', len: 'u32' });
export const XsdSockmsg = cursorOf(xsd_sockmsg);

/** The texts an XS_ERROR reply may carry, in the header's order. */
export const xsd_errors = [
  'EINVAL',
  'EACCES',
  'EEXIST',
  'EISDIR',
  'ENOENT',
  'ENOMEM',
  'ENOSPC',
  'EIO',
  'ENOTEMPTY',
  'ENOSYS',
  'EROFS',
  'EBUSY',
  'EAGAIN',
  'EISCONN',
  'E2BIG',
  'EPERM',
] as const;

// The strings of a watch event, in order.
export const XS_WATCH_PATH = 0;
export const XS_WATCH_TOKEN = 1;

export const XENSTORE_RING_SIZE = 1024;
/** A domain's xenstore page: requests to the daemon, replies and watch events from it. Indices run freely. */
export const xenstore_domain_interface = struct('xenstore_domain_interface', 2076, {
  req: { of: 'u8', count: XENSTORE_RING_SIZE },
  rsp: { of: 'u8', count: XENSTORE_RING_SIZE },
  req_cons: 'u32',
  req_prod: 'u32',
  rsp_cons: 'u32',
  rsp_prod: 'u32',
  server_features: 'u32', // XENSTORE_SERVER_FEATURE_*
  connection: 'u32', // XENSTORE_CONNECTED or XENSTORE_RECONNECT
  error: 'u32', // XENSTORE_ERROR_*
});
export const XenstoreDomainInterface = cursorOf(xenstore_domain_interface);

export const XENSTORE_PAYLOAD_MAX = 4096; // longer: the connection is broken
export const XENSTORE_ABS_PATH_MAX = 3072; // longer: the request fails
export const XENSTORE_REL_PATH_MAX = 2048;

export const XENSTORE_SERVER_FEATURE_RECONNECTION = 1;
export const XENSTORE_SERVER_FEATURE_ERROR = 2;

export const XENSTORE_CONNECTED = 0;
export const XENSTORE_RECONNECT = 1;

export const XENSTORE_ERROR_NONE = 0;
export const XENSTORE_ERROR_COMM = 1;
export const XENSTORE_ERROR_RINGIDX = 2;
export const XENSTORE_ERROR_PROTO = 3;

// Xen: public/io/pvcalls.h. Sockets served by another domain: commands on one ring, and for each
// connected socket a pair of byte streams in its own data ring.

import { cursorOf, struct, union } from '../struct.ts';

export const PVCALLS_SOCKET = 0;
export const PVCALLS_CONNECT = 1;
export const PVCALLS_RELEASE = 2;
export const PVCALLS_BIND = 3;
export const PVCALLS_LISTEN = 4;
export const PVCALLS_ACCEPT = 5;
export const PVCALLS_POLL = 6;

/** `id` is the frontend's name of a socket. Domain, type and protocol are numbers of the protocol, not of a host. */
export const xen_pvcalls_socket = struct('xen_pvcalls_socket', 24, {
  id: 'u64',
  domain: 'u32',
  type: 'u32',
  protocol: 'u32',
  pad: { of: 'u8', count: 4 },
});
/** The size of the address field of connect and bind. */
export const XEN_PVCALLS_ADDR_SIZE = 28;
/** ref: the page of the data ring's pvcalls_data_intf. */
export const xen_pvcalls_connect = struct('xen_pvcalls_connect', 56, {
  id: 'u64',
  addr: { of: 'u8', count: XEN_PVCALLS_ADDR_SIZE },
  len: 'u32',
  flags: 'u32',
  ref: 'u32',
  evtchn: 'u32',
  pad: { of: 'u8', count: 4 },
});
export const xen_pvcalls_release = struct('xen_pvcalls_release', 16, {
  id: 'u64',
  reuse: 'u8',
  pad: { of: 'u8', count: 7 },
});
export const xen_pvcalls_bind = struct('xen_pvcalls_bind', 40, {
  id: 'u64',
  addr: { of: 'u8', count: XEN_PVCALLS_ADDR_SIZE },
  len: 'u32',
});
export const xen_pvcalls_listen = struct('xen_pvcalls_listen', 16, {
  id: 'u64',
  backlog: 'u32',
  pad: { of: 'u8', count: 4 },
});
/** id: the listening socket; id_new: the name of the accepted one. */
export const xen_pvcalls_accept = struct('xen_pvcalls_accept', 24, {
  id: 'u64',
  id_new: 'u64',
  ref: 'u32',
  evtchn: 'u32',
});
export const xen_pvcalls_poll = struct('xen_pvcalls_poll', 8, { id: 'u64' });

export const xen_pvcalls_request_u = union('xen_pvcalls_request_u', 56, {
  socket: xen_pvcalls_socket,
  connect: xen_pvcalls_connect,
  release: xen_pvcalls_release,
  bind: xen_pvcalls_bind,
  listen: xen_pvcalls_listen,
  accept: xen_pvcalls_accept,
  poll: xen_pvcalls_poll,
  dummy: { of: 'u8', count: 56 },
});
/** req_id is echoed; cmd (PVCALLS_*) says which member of `u` counts: move that cursor to base + at.u. */
export const xen_pvcalls_request = struct('xen_pvcalls_request', 64, {
  req_id: 'u32',
  cmd: 'u32',
  u: xen_pvcalls_request_u,
});

/** ret: 0 or a negative Linux-numbered errno. `u.id` is the socket's id again, for every command. */
export const xen_pvcalls_response = struct('xen_pvcalls_response', 24, {
  req_id: 'u32',
  cmd: 'u32',
  ret: 'i32',
  pad: 'u32',
  u: { of: 'u64', count: 1 },
});

export const XenPvcallsSocket = cursorOf(xen_pvcalls_socket);
export const XenPvcallsConnect = cursorOf(xen_pvcalls_connect);
export const XenPvcallsRelease = cursorOf(xen_pvcalls_release);
export const XenPvcallsBind = cursorOf(xen_pvcalls_bind);
export const XenPvcallsListen = cursorOf(xen_pvcalls_listen);
export const XenPvcallsAccept = cursorOf(xen_pvcalls_accept);
export const XenPvcallsPoll = cursorOf(xen_pvcalls_poll);
export const XenPvcallsRequest = cursorOf(xen_pvcalls_request);
export const XenPvcallsResponse = cursorOf(xen_pvcalls_response);

export const xen_pvcalls_sring_entry = union('xen_pvcalls_sring_entry', 64, {
  req: xen_pvcalls_request,
  rsp: xen_pvcalls_response,
});

/**
 * The index page of a socket's data ring. 2^ring_order pages whose grefs follow (`ref`) hold the bytes:
 * `in` (to the frontend) is the first half, `out` the second. An error, once set, is a negative errno:
 * the stream ends there.
 */
export const pvcalls_data_intf = struct('pvcalls_data_intf', 132, {
  in_cons: 'u32',
  in_prod: 'u32',
  in_error: 'u32',
  pad1: { of: 'u8', count: 52 },
  out_cons: 'u32',
  out_prod: 'u32',
  out_error: 'u32',
  pad2: { of: 'u8', count: 52 },
  ring_order: 'u32',
});
export const PvcallsDataIntf = cursorOf(pvcalls_data_intf);

export const pvcallsBackendKeys = ['versions', 'max-page-order', 'function-calls'] as const;
export type PvcallsBackendKey = (typeof pvcallsBackendKeys)[number];

export const pvcallsFrontendKeys = ['version', 'port', 'ring-ref'] as const;
export type PvcallsFrontendKey = (typeof pvcallsFrontendKeys)[number];

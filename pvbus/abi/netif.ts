// Xen: public/io/netif.h. The network protocol. Transmit and receive are named from the frontend's side.
// A packet is a chain of slots: each with NETTXF_more_data (NETRXF_more_data) is followed by another;
// a first slot with the extra_info flag is followed by netif_extra_info slots.

import { cursorOf, struct, union } from '../struct.ts';

/** Slots of one packet every backend must accept. */
export const XEN_NETIF_NR_SLOTS_MIN = 18;
export const XEN_NETIF_MAX_TX_SIZE = 0xffff;

export const NETTXF_csum_blank = 1 << 0; // the protocol checksum is not filled in
export const NETTXF_data_validated = 1 << 1; // the payload is known to be good
export const NETTXF_more_data = 1 << 2;
export const NETTXF_extra_info = 1 << 3;

export const NETRXF_data_validated = 1 << 0;
export const NETRXF_csum_blank = 1 << 1;
export const NETRXF_more_data = 1 << 2;
export const NETRXF_extra_info = 1 << 3;
export const NETRXF_gso_prefix = 1 << 4;

export const NETIF_RSP_DROPPED = -2;
export const NETIF_RSP_ERROR = -1;
export const NETIF_RSP_OKAY = 0;
export const NETIF_RSP_NULL = 1; // the slot was an extra_info: no response belongs to it

/** `size` of the first slot is the whole packet's; of the others, the slot's own. */
export const netif_tx_request = struct('netif_tx_request', 12, {
  gref: 'u32',
  offset: 'u16',
  flags: 'u16',
  id: 'u16',
  size: 'u16',
});
export const NetifTxRequest = cursorOf(netif_tx_request);

export const netif_tx_response = struct('netif_tx_response', 4, { id: 'u16', status: 'i16' });
export const NetifTxResponse = cursorOf(netif_tx_response);

/** A page for the backend to fill. */
export const netif_rx_request = struct('netif_rx_request', 8, { id: 'u16', pad: 'u16', gref: 'u32' });
export const NetifRxRequest = cursorOf(netif_rx_request);

/** status: bytes in this page when >= 0, else NETIF_RSP_*. */
export const netif_rx_response = struct('netif_rx_response', 8, {
  id: 'u16',
  offset: 'u16',
  flags: 'u16',
  status: 'i16',
});
export const NetifRxResponse = cursorOf(netif_rx_response);

export const XEN_NETIF_EXTRA_TYPE_NONE = 0;
export const XEN_NETIF_EXTRA_TYPE_GSO = 1;
export const XEN_NETIF_EXTRA_TYPE_MCAST_ADD = 2;
export const XEN_NETIF_EXTRA_TYPE_MCAST_DEL = 3;
export const XEN_NETIF_EXTRA_TYPE_HASH = 4;
export const XEN_NETIF_EXTRA_TYPE_MAX = 5;
export const XEN_NETIF_EXTRA_FLAG_MORE = 1 << 0;
export const XEN_NETIF_GSO_TYPE_NONE = 0;
export const XEN_NETIF_GSO_TYPE_TCPV4 = 1;
export const XEN_NETIF_GSO_TYPE_TCPV6 = 2;

export const netif_extra_info_gso = struct('netif_extra_info_gso', 6, {
  size: 'u16', // bytes of payload per segment
  type: 'u8',
  pad: 'u8',
  features: 'u16',
});
export const netif_extra_info_mcast = struct('netif_extra_info_mcast', 6, { addr: { of: 'u8', count: 6 } });
export const netif_extra_info_hash = struct('netif_extra_info_hash', 6, {
  type: 'u8',
  algorithm: 'u8',
  value: { of: 'u8', count: 4 },
});
export const netif_extra_info_u = union('netif_extra_info_u', 6, {
  gso: netif_extra_info_gso,
  mcast: netif_extra_info_mcast,
  hash: netif_extra_info_hash,
  pad: { of: 'u16', count: 3 },
});
/** A slot of its own behind a packet's first slot, on either ring. */
export const netif_extra_info = struct('netif_extra_info', 8, { type: 'u8', flags: 'u8', u: netif_extra_info_u });
export const NetifExtraInfo = cursorOf(netif_extra_info);
export const NetifExtraInfoGso = cursorOf(netif_extra_info_gso);

export const netif_tx_sring_entry = union('netif_tx_sring_entry', 12, {
  req: netif_tx_request,
  rsp: netif_tx_response,
});
export const netif_rx_sring_entry = union('netif_rx_sring_entry', 8, { req: netif_rx_request, rsp: netif_rx_response });

// The control ring ('feature-ctrl-ring', 'ctrl-ring-ref', 'event-channel-ctrl').
export const XEN_NETIF_CTRL_HASH_TYPE_IPV4 = 1 << 0;
export const XEN_NETIF_CTRL_HASH_TYPE_IPV4_TCP = 1 << 1;
export const XEN_NETIF_CTRL_HASH_TYPE_IPV6 = 1 << 2;
export const XEN_NETIF_CTRL_HASH_TYPE_IPV6_TCP = 1 << 3;
export const XEN_NETIF_CTRL_HASH_ALGORITHM_NONE = 0;
export const XEN_NETIF_CTRL_HASH_ALGORITHM_TOEPLITZ = 1;

export const XEN_NETIF_CTRL_TYPE_INVALID = 0;
export const XEN_NETIF_CTRL_TYPE_GET_HASH_FLAGS = 1;
export const XEN_NETIF_CTRL_TYPE_SET_HASH_FLAGS = 2;
export const XEN_NETIF_CTRL_TYPE_SET_HASH_KEY = 3;
export const XEN_NETIF_CTRL_TYPE_GET_HASH_MAPPING_SIZE = 4;
export const XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING_SIZE = 5;
export const XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING = 6;
export const XEN_NETIF_CTRL_TYPE_SET_HASH_ALGORITHM = 7;
export const XEN_NETIF_CTRL_TYPE_GET_GREF_MAPPING_SIZE = 8; // data[0]: queue; response data: how many may be kept
export const XEN_NETIF_CTRL_TYPE_ADD_GREF_MAPPING = 9; // data: queue, gref of a page of xen_netif_gref, count
export const XEN_NETIF_CTRL_TYPE_DEL_GREF_MAPPING = 10; // the same arguments

export const XEN_NETIF_CTRL_STATUS_SUCCESS = 0;
export const XEN_NETIF_CTRL_STATUS_NOT_SUPPORTED = 1;
export const XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER = 2;
export const XEN_NETIF_CTRL_STATUS_BUFFER_OVERFLOW = 3;

export const xen_netif_ctrl_request = struct('xen_netif_ctrl_request', 16, {
  id: 'u16',
  type: 'u16', // XEN_NETIF_CTRL_TYPE_*
  data: { of: 'u32', count: 3 },
});
export const XenNetifCtrlRequest = cursorOf(xen_netif_ctrl_request);

export const xen_netif_ctrl_response = struct('xen_netif_ctrl_response', 12, {
  id: 'u16',
  type: 'u16',
  status: 'u32', // XEN_NETIF_CTRL_STATUS_*
  data: 'u32',
});
export const XenNetifCtrlResponse = cursorOf(xen_netif_ctrl_response);

export const xen_netif_ctrl_sring_entry = union('xen_netif_ctrl_sring_entry', 16, {
  req: xen_netif_ctrl_request,
  rsp: xen_netif_ctrl_response,
});

/** A page the frontend asks the backend to keep mapped; the backend fills status, one per page. */
export const xen_netif_gref = struct('xen_netif_gref', 8, { ref: 'u32', flags: 'u16', status: 'u16' });
export const XenNetifGref = cursorOf(xen_netif_gref);
export const XEN_NETIF_CTRLF_GREF_readonly = 1 << 0;

export const netifBackendKeys = [
  'mac',
  'bridge',
  'script',
  'handle',
  'rate',
  'ip',
  'feature-sg',
  'feature-gso-tcpv4',
  'feature-gso-tcpv6',
  'feature-gso-tcpv4-prefix',
  'feature-gso-tcpv6-prefix',
  'feature-ipv6-csum-offload',
  'feature-no-csum-offload',
  'feature-rx-copy',
  'feature-rx-flip',
  'feature-split-event-channels',
  'feature-multicast-control',
  'feature-dynamic-multicast-control',
  'feature-ctrl-ring',
  'multi-queue-max-queues',
  'hotplug-status',
] as const;
export type NetifBackendKey = (typeof netifBackendKeys)[number];

export const netifFrontendKeys = [
  'tx-ring-ref',
  'rx-ring-ref',
  'event-channel',
  'event-channel-tx',
  'event-channel-rx',
  'ctrl-ring-ref',
  'event-channel-ctrl',
  'request-rx-copy',
  'request-multicast-control',
  'feature-rx-notify',
  'feature-sg',
  'feature-gso-tcpv4',
  'feature-gso-tcpv6',
  'feature-ipv6-csum-offload',
  'feature-no-csum-offload',
  'multi-queue-num-queues',
  'mac',
  'handle',
  'mtu',
] as const;
export type NetifFrontendKey = (typeof netifFrontendKeys)[number];

// What Linux says of a frame of a TAP that has offloads, and is told: struct virtio_net_hdr of <linux/virtio_net.h>, in the byte
// order of the machine. The frame is right behind it.
import {
  cursorOf,
  NETRXF_csum_blank,
  NETRXF_data_validated,
  struct,
  XEN_NETIF_GSO_TYPE_TCPV4,
  XEN_NETIF_GSO_TYPE_TCPV6,
} from '#pvbus';
import { writePseudoSum } from '../checksum.ts';
import type { Frame } from '../frame.ts';
import { layersOf, TCP, UDP } from '../layers.ts';

const virtio_net_hdr = struct('virtio_net_hdr', 10, {
  flags: 'u8',
  gso_type: 'u8',
  hdr_len: 'u16', // of Ethernet, IP and TCP
  gso_size: 'u16', // payload of a segment
  csum_start: 'u16',
  csum_offset: 'u16', // from there
});
const VirtioNetHdr = cursorOf(virtio_net_hdr);
export const HEADER_BYTES = virtio_net_hdr.size;

const VIRTIO_NET_HDR_F_NEEDS_CSUM = 1;
const VIRTIO_NET_HDR_F_DATA_VALID = 2;
const VIRTIO_NET_HDR_GSO_NONE = 0;
const VIRTIO_NET_HDR_GSO_TCPV4 = 1;
const VIRTIO_NET_HDR_GSO_TCPV6 = 4;

export class VirtioNetHeader {
  private readonly bytes: Uint8Array;
  private readonly header: InstanceType<typeof VirtioNetHdr>;

  /** The first of `bytes`. */
  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.header = new VirtioNetHdr(new DataView(bytes.buffer, bytes.byteOffset));
  }

  /** Begin a frame with what it says. False: it says what was not asked for. */
  begin(frame: Frame, nowNs: number): boolean {
    const { flags, gso_type, gso_size } = this.header;
    if (gso_type === VIRTIO_NET_HDR_GSO_NONE) {
      const blank = (flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) !== 0 ? NETRXF_csum_blank | NETRXF_data_validated : 0;
      frame.begin(blank | ((flags & VIRTIO_NET_HDR_F_DATA_VALID) !== 0 ? NETRXF_data_validated : 0), nowNs);
      return true;
    }
    const type =
      gso_type === VIRTIO_NET_HDR_GSO_TCPV4
        ? XEN_NETIF_GSO_TYPE_TCPV4
        : gso_type === VIRTIO_NET_HDR_GSO_TCPV6
          ? XEN_NETIF_GSO_TYPE_TCPV6
          : 0;
    if (type === 0 || gso_size === 0) return false;
    frame.begin(NETRXF_csum_blank | NETRXF_data_validated, nowNs, gso_size, type);
    return true;
  }

  /** Write it for the frame, whose bytes are a private copy behind it. False: the frame is not what its sender says. */
  write({ length, flags, gsoSize, gsoType }: Frame): boolean {
    const { header, bytes } = this;
    bytes.fill(0, 0, HEADER_BYTES);
    if ((flags & NETRXF_csum_blank) === 0) {
      if ((flags & NETRXF_data_validated) !== 0) header.flags = VIRTIO_NET_HDR_F_DATA_VALID;
      return true;
    }
    const layers = layersOf(bytes, HEADER_BYTES, length);
    const field = layers?.protocol === TCP ? 16 : 6;
    if (layers === undefined || (layers.protocol !== TCP && layers.protocol !== UDP)) return gsoSize === 0;
    const { isIpv6, transport, end } = layers;
    if (end < transport + field + 2) return gsoSize === 0;
    header.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
    header.csum_start = transport - HEADER_BYTES;
    header.csum_offset = field;
    // Linux adds to what is there, and guests may have left anything there.
    writePseudoSum(bytes, { ...layers, field: transport + field });
    if (gsoSize === 0) return true;
    if (layers.protocol !== TCP || isIpv6 !== (gsoType === XEN_NETIF_GSO_TYPE_TCPV6) || end < transport + 20)
      return false;
    const headers = transport + (bytes[transport + 12]! >> 4) * 4;
    if (headers < transport + 20 || headers >= end) return false;
    header.gso_type = isIpv6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
    header.gso_size = gsoSize;
    header.hdr_len = headers - HEADER_BYTES;
    return true;
  }
}

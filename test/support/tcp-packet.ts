// A frame with a TCP packet whose checksum is left to somebody else, as guests with offloads send it.

export interface TcpPacket {
  readonly to: Uint8Array;
  readonly from: Uint8Array;
  readonly payload: number;
  readonly ipv6?: boolean;
  readonly vlan?: number;
  /** Bytes of options of IPv4 and of TCP, or of an extension header of IPv6: multiples of 4, of 8. */
  readonly ipOptions?: number;
  readonly tcpOptions?: number;
  readonly id?: number;
  readonly sequence?: number;
  readonly flags?: number;
}

export function tcpFrame(packet: TcpPacket): Uint8Array {
  const { ipv6 = false, ipOptions = 0, tcpOptions = 0, payload } = packet;
  const ip = packet.vlan === undefined ? 14 : 18;
  const tcp = ip + (ipv6 ? 40 : 20) + ipOptions;
  const bytes = new Uint8Array(tcp + 20 + tcpOptions + payload);
  const view = new DataView(bytes.buffer);
  bytes.set(packet.to);
  bytes.set(packet.from, 6);
  if (packet.vlan !== undefined) {
    view.setUint16(12, 0x8100);
    view.setUint16(14, packet.vlan);
  }
  view.setUint16(ip - 2, ipv6 ? 0x86dd : 0x0800);
  if (ipv6) {
    view.setUint32(ip, 0x60000000);
    view.setUint16(ip + 4, bytes.length - ip - 40);
    bytes[ip + 6] = ipOptions > 0 ? 60 : 6;
    bytes[ip + 7] = 64;
    bytes.set([0xfd, 0, 1], ip + 8);
    bytes.set([0xfd, 0, 2], ip + 24);
    if (ipOptions > 0) bytes.set([6, ipOptions / 8 - 1, 1, ipOptions - 4], ip + 40);
  } else {
    bytes[ip] = 0x45 + ipOptions / 4;
    view.setUint16(ip + 2, bytes.length - ip);
    view.setUint16(ip + 4, packet.id ?? 0);
    view.setUint16(ip + 6, 0x4000);
    bytes[ip + 8] = 64;
    bytes[ip + 9] = 6;
    view.setUint32(ip + 12, 0x0a000001);
    view.setUint32(ip + 16, 0x0a000002);
    bytes.fill(1, ip + 20, ip + 20 + ipOptions);
  }
  view.setUint16(tcp, 5001);
  view.setUint16(tcp + 2, 80);
  view.setUint32(tcp + 4, packet.sequence ?? 0);
  view.setUint32(tcp + 8, 99);
  bytes[tcp + 12] = (5 + tcpOptions / 4) << 4;
  bytes[tcp + 13] = packet.flags ?? 0x10;
  view.setUint16(tcp + 14, 65535);
  bytes.fill(1, tcp + 20, tcp + 20 + tcpOptions);
  for (let i = bytes.length - payload; i < bytes.length; i++) bytes[i] = (i * 31) ^ (i >> 8);
  return bytes;
}

// Messages by which a host says which groups it listens to (MLDv2: RFC 9777; MLDv1: RFC 2710), read and checked, and written.
import { addBytes, finish } from '../checksum.ts';
import { ETH_ALEN, ETH_HLEN, ETHERTYPE_IPV6, writeEthernet } from '../ethernet.ts';
import { type GroupQuery, type GroupRecord, type GroupWriter, MAX_SOURCES, writeRecords } from '../group-reports.ts';
import { IpAddress } from '../ip-address.ts';
import { HOP_BY_HOP, IPV6_HLEN, IPV6_MIN_MTU, type Ipv6Header, PROTOCOL_ICMPV6, writeIpv6 } from './header.ts';
import { ALL_ROUTERS, groupMac } from './scope.ts';

export const LISTENER_QUERY = 130;
export const LISTENER_REPORT_V1 = 131;
const LISTENER_DONE_V1 = 132;
const LISTENER_REPORT = 143;

const V1_LENGTH = 24;
const QUERY_LENGTH = 28;
const ADDRESS_LENGTH = 16;
const RECORD_LENGTH = 4 + ADDRESS_LENGTH;
const ALL_MLDV2_ROUTERS = IpAddress.of(0xff020000, 0, 0, 0x16);
/** A hop-by-hop header with nothing but a router alert: of MLD, that is its value 0 (RFC 2711). */
const ROUTER_ALERT_HEADER = Uint8Array.of(PROTOCOL_ICMPV6, 0, 5, 2, 0, 0, 1, 0);
const HEADERS = ETH_HLEN + IPV6_HLEN + ROUTER_ALERT_HEADER.length;

/** untrusted: RFC 9777, 6.2, and RFC 2710, 4: of a message whose checksum is right. False: it is not for us to heed. */
export const isListenerMessage = ({ source, hopLimit, routerAlert, isFragment, payloadLength }: Ipv6Header): boolean =>
  source.isLinkLocal && hopLimit === 1 && routerAlert && !isFragment && payloadLength >= V1_LENGTH;

/** untrusted: false where it is neither version's. */
export function readQuery(view: DataView, { payloadAt: at, payloadLength }: Ipv6Header, into: GroupQuery): boolean {
  if (payloadLength > V1_LENGTH && payloadLength < QUERY_LENGTH) return false;
  into.isOld = payloadLength === V1_LENGTH;
  into.group.read(view, at + 8);
  if (!into.group.isUnspecified && !into.group.isMulticast) return false;
  into.sources = [];
  into.robustness = 0;
  const code = view.getUint16(at + 4);
  if (into.isOld) {
    into.maxDelayNs = code * 1e6;
    return true;
  }
  into.maxDelayNs = (code < 0x8000 ? code : ((code & 0xfff) | 0x1000) * 2 ** (((code >> 12) & 7) + 3)) * 1e6;
  into.robustness = view.getUint8(at + 24) & 7;
  const sources = view.getUint16(at + 26);
  if (QUERY_LENGTH + sources * ADDRESS_LENGTH > payloadLength) return false;
  if (into.group.isUnspecified) return sources === 0;
  if (sources > MAX_SOURCES) return true;
  for (let i = 0; i < sources; i++)
    into.sources.push(new IpAddress().read(view, at + QUERY_LENGTH + i * ADDRESS_LENGTH));
  return true;
}

export class ListenerWriter implements GroupWriter {
  readonly maxRecords = Math.floor((IPV6_MIN_MTU + ETH_HLEN - HEADERS - 8) / RECORD_LENGTH);
  readonly frame = new Uint8Array(ETH_HLEN + IPV6_MIN_MTU);
  private readonly view = new DataView(this.frame.buffer);
  private readonly mac: Uint8Array;
  private readonly to = new Uint8Array(ETH_ALEN);

  constructor(mac: Uint8Array) {
    this.mac = mac;
  }
  /** Of MLDv2. */
  report(source: IpAddress, records: readonly GroupRecord[]): number {
    const { view } = this;
    const at = writeRecords(view, HEADERS + 8, records, ADDRESS_LENGTH, (one, to) => one.write(view, to));
    return this.finish(LISTENER_REPORT, source, ALL_MLDV2_ROUTERS, at);
  }
  /** Of MLDv1. */
  old(joined: boolean, source: IpAddress, group: IpAddress): number {
    this.view.setUint32(HEADERS + 4, 0);
    group.write(this.view, HEADERS + 8);
    const end = HEADERS + V1_LENGTH;
    if (joined) return this.finish(LISTENER_REPORT_V1, source, group, end);
    return this.finish(LISTENER_DONE_V1, source, ALL_ROUTERS, end);
  }

  private finish(type: number, source: IpAddress, destination: IpAddress, end: number): number {
    const { view, frame } = this;
    const length = end - HEADERS;
    writeEthernet(frame, groupMac(destination, this.to), this.mac, ETHERTYPE_IPV6);
    writeIpv6(view, ETH_HLEN, ROUTER_ALERT_HEADER.length + length, HOP_BY_HOP, 1, source, destination);
    frame.set(ROUTER_ALERT_HEADER, ETH_HLEN + IPV6_HLEN);
    view.setUint32(HEADERS, type << 24);
    const sum = source.sum + destination.sum + PROTOCOL_ICMPV6 + length;
    view.setUint16(HEADERS + 2, finish(addBytes(view, HEADERS, length, sum)));
    return end;
  }
}

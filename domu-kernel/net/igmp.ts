// How switches and routers hear of the groups of IPv4 that are listened to here (IGMPv3: RFC 9776; IGMPv2, RFC 2236, where a querier
// speaks that). Version 1 is nobody's any more: its queries count as of version 2.
import { groupMac4 } from './address.ts';
import { addBytes, finish, verifies } from './checksum.ts';
import { ETH_ALEN, ETH_HLEN, ETHERTYPE_IPV4, writeEthernet } from './ethernet.ts';
import {
  GroupQuery,
  type GroupRecord,
  GroupReports,
  type GroupReportsParts,
  type GroupWriter,
  MAX_SOURCES,
  writeRecords,
} from './group-reports.ts';
import { IpAddress } from './ip-address.ts';
import { IPV4_HLEN, type Ipv4Header, writeIpv4WithAlert } from './ipv4.ts';

export const PROTOCOL_IGMP = 2;
const QUERY = 0x11;
const REPORT_V2 = 0x16;
const LEAVE_V2 = 0x17;
const REPORT_V3 = 0x22;

const ALL_ROUTERS = IpAddress.v4(0xe0000002);
const ALL_IGMPV3_ROUTERS = IpAddress.v4(0xe0000016);
/** What every host takes (RFC 791). */
const LEAST_MTU = 576;
const V2_LENGTH = 8;
const QUERY_LENGTH = 12;
const ADDRESS_LENGTH = 4;
const RECORD_LENGTH = 4 + ADDRESS_LENGTH;
/** A router alert option is in the header (RFC 2113). */
const PAYLOAD_AT = ETH_HLEN + IPV4_HLEN + 4;

/** untrusted: of a message whose checksum is right. False where it is no version's. */
function readQuery(view: DataView, { payloadAt: at, payloadLength }: Ipv4Header, into: GroupQuery): boolean {
  if (payloadLength > V2_LENGTH && payloadLength < QUERY_LENGTH) return false;
  const group = view.getUint32(at + 4);
  into.isOld = payloadLength === V2_LENGTH;
  into.group.setV4(group);
  if (group !== 0 && !into.group.isMulticast) return false;
  into.sources = [];
  into.robustness = 0;
  const code = view.getUint8(at + 1);
  if (into.isOld) {
    // Tenths of a second; of version 1, where it is 0, ten.
    into.maxDelayNs = (code === 0 ? 100 : code) * 1e8;
    return true;
  }
  into.maxDelayNs = (code < 0x80 ? code : ((code & 15) | 16) << (((code >> 4) & 7) + 3)) * 1e8;
  into.robustness = view.getUint8(at + 8) & 7;
  const sources = view.getUint16(at + 10);
  if (QUERY_LENGTH + sources * ADDRESS_LENGTH > payloadLength) return false;
  if (group === 0) return sources === 0;
  if (sources > MAX_SOURCES) return true;
  for (let i = 0; i < sources; i++) into.sources.push(IpAddress.v4(view.getUint32(at + QUERY_LENGTH + i * 4)));
  return true;
}

class IgmpWriter implements GroupWriter {
  readonly maxRecords = Math.floor((LEAST_MTU + ETH_HLEN - PAYLOAD_AT - 8) / RECORD_LENGTH);
  /** A record of a query's sources is one alone. */
  readonly frame = new Uint8Array(ETH_HLEN + LEAST_MTU);
  private readonly view = new DataView(this.frame.buffer);
  private readonly mac: Uint8Array;
  private readonly to = new Uint8Array(ETH_ALEN);

  constructor(mac: Uint8Array) {
    this.mac = mac;
  }
  /** Of IGMPv3. */
  report(source: IpAddress, records: readonly GroupRecord[]): number {
    const { view } = this;
    const at = writeRecords(view, PAYLOAD_AT + 8, records, ADDRESS_LENGTH, (one, to) => view.setUint32(to, one.d));
    return this.finish(REPORT_V3, source, ALL_IGMPV3_ROUTERS, at);
  }
  /** Of IGMPv2. */
  old(joined: boolean, source: IpAddress, group: IpAddress): number {
    this.view.setUint32(PAYLOAD_AT + 4, group.d);
    const end = PAYLOAD_AT + V2_LENGTH;
    return joined ? this.finish(REPORT_V2, source, group, end) : this.finish(LEAVE_V2, source, ALL_ROUTERS, end);
  }
  private finish(type: number, source: IpAddress, destination: IpAddress, end: number): number {
    const { view, frame } = this;
    const length = end - PAYLOAD_AT;
    writeEthernet(frame, groupMac4(destination.d, this.to), this.mac, ETHERTYPE_IPV4);
    writeIpv4WithAlert(view, ETH_HLEN, length, PROTOCOL_IGMP, source.d, destination.d);
    view.setUint32(PAYLOAD_AT, type << 24);
    view.setUint16(PAYLOAD_AT + 2, finish(addBytes(view, PAYLOAD_AT, length)));
    return end;
  }
}

export class Igmp extends GroupReports {
  private readonly query = new GroupQuery();

  constructor(parts: Omit<GroupReportsParts, 'writer'>) {
    super({ ...parts, writer: new IgmpWriter(parts.device.mac) });
  }
  /** One message in the private receive buffer: a query, or another host's report of IGMPv2. */
  input(view: DataView, header: Ipv4Header): void {
    const { payloadAt: at, payloadLength: length } = header;
    if (length < V2_LENGTH || header.isFragment || !verifies(view, at, length)) {
      this.stats.ignored++;
      return;
    }
    const type = view.getUint8(at);
    if (type === REPORT_V2) this.heardReport(IpAddress.v4(view.getUint32(at + 4)));
    else if (type === QUERY && readQuery(view, header, this.query)) this.heardQuery(this.query);
    else this.stats.ignored++;
  }
}

// How switches and routers hear of the groups of IPv6 that are listened to here (RFC 9777; RFC 2710 where a querier speaks that).
import { GroupQuery, GroupReports, type GroupReportsParts } from '../group-reports.ts';
import { IpAddress } from '../ip-address.ts';
import type { Ipv6Header } from './header.ts';
import {
  isListenerMessage,
  LISTENER_QUERY,
  LISTENER_REPORT_V1,
  ListenerWriter,
  readQuery,
} from './listener-message.ts';

export class MulticastListener extends GroupReports {
  private readonly query = new GroupQuery();

  /** `source`: the link-local address, or :: while it is tentative. */
  constructor(parts: Omit<GroupReportsParts, 'writer'>) {
    super({ ...parts, writer: new ListenerWriter(parts.device.mac) });
  }
  /** A query, or another host's report of MLDv1; its checksum is right. */
  input(type: number, view: DataView, header: Ipv6Header): void {
    if (!isListenerMessage(header)) this.stats.ignored++;
    else if (type === LISTENER_REPORT_V1) this.heardReport(new IpAddress().read(view, header.payloadAt + 8));
    else if (type === LISTENER_QUERY && readQuery(view, header, this.query)) this.heardQuery(this.query);
    else this.stats.ignored++;
  }
}

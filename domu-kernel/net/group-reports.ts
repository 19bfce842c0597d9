// The groups a host listens to, and how switches and routers hear of them: a switch that snoops forwards only what somebody has
// asked for. One of these is for each family of an interface, IPv6's with the messages of RFC 9777 and 2710 (ip6/multicast-listener.ts),
// IPv4's with those of RFC 9776 and 2236 (igmp.ts), whose rules are the same. All sources are wanted of every group here.
import type { Clock } from '#pvbus';
import type { NetDevice } from '../net-device.ts';
import { IpAddress } from './ip-address.ts';

/** Of a record in a report: what is, and what has changed. */
export const IS_INCLUDE = 1;
export const IS_EXCLUDE = 2;
export const TO_INCLUDE = 3;
export const TO_EXCLUDE = 4;

/** A query names at most so many sources before it is understood as one of all. */
export const MAX_SOURCES = 64;

/** RFC 9777, 9, and RFC 9776, 8; the interval between reports that nobody asked for is ten times as long in RFC 2710 and 2236. */
const ROBUSTNESS = 2;
const REPORT_INTERVAL_NS = 1e9;
const REPORT_INTERVAL_OLD_NS = 10e9;
const QUERY_INTERVAL_NS = 125e9;
/** A querier that wants answers at once gets a hundred a second of each kind, not one for each query. */
const MIN_ANSWER_NS = 10e6;
const NEVER = Number.POSITIVE_INFINITY;

interface Group {
  readonly address: IpAddress;
  /** False: it has been left, which is still to be said. */
  joined: boolean;
  /** How often its change is still to be said. */
  changes: number;
  /** When a query for it alone is answered, and for which sources; none: for any. */
  answerAtNs: number;
  sources: IpAddress[];
}

/** One of these is reused for every query. */
export class GroupQuery {
  /** Its sender knows the version before the one with records. */
  isOld = false;
  /** Unspecified: all. */
  readonly group = new IpAddress();
  maxDelayNs = 0;
  /** How often what matters is said; 0: its sender does not say. */
  robustness = 0;
  /** Asked for alone; none: any. */
  sources: IpAddress[] = [];
}

export interface GroupRecord {
  readonly type: number;
  readonly group: IpAddress;
  readonly sources: readonly IpAddress[];
}

/** The records of a report at `at`, with their number before them, each address of `bytes` bytes; where they end. */
export function writeRecords(
  view: DataView,
  at: number,
  records: readonly GroupRecord[],
  bytes: number,
  write: (address: IpAddress, at: number) => void,
): number {
  view.setUint32(at - 4, records.length);
  let end = at;
  for (const { type, group, sources } of records) {
    view.setUint32(end, (type << 24) | sources.length);
    write(group, end + 4);
    end += 4 + bytes;
    for (const one of sources) {
      write(one, end);
      end += bytes;
    }
  }
  return end;
}

/** Builds messages in a frame of its own: they are sent while another packet is being built. Each returns the frame's length. */
export interface GroupWriter {
  readonly frame: Uint8Array;
  /** So many records without sources fit into what any link carries. */
  readonly maxRecords: number;
  report(source: IpAddress, records: readonly GroupRecord[]): number;
  /** In the older version: that there is a listener to the group here, or none any more. */
  old(joined: boolean, source: IpAddress, group: IpAddress): number;
}

export interface GroupReportsParts {
  readonly device: NetDevice;
  readonly clock: Clock;
  readonly random: () => number;
  readonly writer: GroupWriter;
  /** The address that reports come from, or none while it has not been made sure of. */
  source(): IpAddress;
}

export class GroupReports {
  readonly stats = { queries: 0, reports: 0, ignored: 0 };
  private readonly parts: GroupReportsParts;
  private groups: Group[] = [];
  private robustness = ROBUSTNESS;
  /** When changes are said again. */
  private changesAtNs = NEVER;
  /** When a query for all groups is answered. */
  private answerAtNs = NEVER;
  /** Until then there is a querier that knows the older version. */
  private oldUntilNs = 0;

  constructor(parts: GroupReportsParts) {
    this.parts = parts;
  }

  /** These are the groups from now on. */
  listenTo(wanted: readonly IpAddress[]): void {
    let changed = false;
    for (const group of this.groups) {
      if (!group.joined || wanted.some(address => address.equals(group.address))) continue;
      group.joined = false;
      group.changes = this.isOld ? 1 : this.robustness;
      group.answerAtNs = NEVER;
      changed = true;
    }
    for (const address of wanted) {
      const known = this.find(address);
      if (known?.joined) continue;
      const group = known ?? { address: address.clone(), joined: true, changes: 0, answerAtNs: NEVER, sources: [] };
      if (known === undefined) this.groups.push(group);
      group.joined = true;
      group.changes = this.robustness;
      changed = true;
    }
    if (changed) this.tellChanges();
  }
  /** RFC 3590: what was said from no address counts for switches alone, and is said again from one. */
  announce(): void {
    for (const group of this.groups) if (group.joined) group.changes = this.robustness;
    this.tellChanges();
  }

  /** RFC 2710, 4, and RFC 2236, 3: one answer in the older version is enough for a group. */
  heardReport(address: IpAddress): void {
    const group = this.isOld ? this.find(address) : undefined;
    if (!group?.joined) return;
    group.answerAtNs = NEVER;
    group.changes = 0;
  }
  heardQuery(query: GroupQuery): void {
    const { stats, parts } = this;
    stats.queries++;
    const now = parts.clock.now();
    if (query.isOld) {
      if (!this.isOld) this.forget();
      this.oldUntilNs = now + this.robustness * QUERY_INTERVAL_NS + query.maxDelayNs;
    } else if (query.robustness > 0) this.robustness = query.robustness;
    const at = (): number => now + Math.max(MIN_ANSWER_NS, parts.random() * query.maxDelayNs);
    if (!query.group.isUnspecified) {
      const group = this.find(query.group);
      if (group?.joined) this.answerLater(group, query.sources, at());
    } else if (!this.isOld) this.answerAtNs = Math.min(this.answerAtNs, at());
    else for (const group of this.groups) if (group.joined) group.answerAtNs = Math.min(group.answerAtNs, at());
  }
  /** RFC 9777, 6.2: an answer that is on its way is sent earlier, or says more. */
  private answerLater(group: Group, sources: readonly IpAddress[], at: number): void {
    if (this.answerAtNs <= at) return;
    const isOfAll = sources.length === 0 || (group.answerAtNs !== NEVER && group.sources.length === 0);
    const asked = group.answerAtNs === NEVER ? [] : group.sources;
    const more = sources.filter(one => !asked.some(other => other.equals(one)));
    group.sources = isOfAll || asked.length + more.length > MAX_SOURCES ? [] : [...asked, ...more];
    group.answerAtNs = Math.min(group.answerAtNs, at);
  }

  step(): 'progress' | 'idle' {
    const now = this.parts.clock.now();
    let result: 'progress' | 'idle' = 'idle';
    if (this.oldUntilNs !== 0 && this.oldUntilNs <= now) {
      this.oldUntilNs = 0;
      this.forget();
      result = 'progress';
    }
    if (this.changesAtNs <= now) {
      this.tellChanges();
      result = 'progress';
    }
    if (this.answerAtNs <= now) {
      this.answerAtNs = NEVER;
      this.report(this.groups.filter(group => group.joined).map(({ address }) => record(IS_EXCLUDE, address)));
      result = 'progress';
    }
    for (const group of this.groups) {
      if (group.answerAtNs > now) continue;
      group.answerAtNs = NEVER;
      const { address, sources } = group;
      if (this.isOld) this.transmit(this.parts.writer.old(true, this.parts.source(), address));
      else this.report([record(sources.length === 0 ? IS_EXCLUDE : IS_INCLUDE, address, sources)]);
      result = 'progress';
    }
    return result;
  }
  deadline(): number | undefined {
    let earliest = Math.min(this.changesAtNs, this.answerAtNs, this.oldUntilNs === 0 ? NEVER : this.oldUntilNs);
    for (const { answerAtNs } of this.groups) earliest = Math.min(earliest, answerAtNs);
    return earliest === NEVER ? undefined : earliest;
  }

  private get isOld(): boolean {
    return this.oldUntilNs !== 0;
  }
  private find(address: IpAddress): Group | undefined {
    return this.groups.find(group => group.address.equals(address));
  }
  /** RFC 9777, 8.2.1: with another version, whatever was to be said in this one is not. */
  private forget(): void {
    this.changesAtNs = NEVER;
    this.answerAtNs = NEVER;
    this.groups = this.groups.filter(group => group.joined);
    for (const group of this.groups) {
      group.changes = 0;
      group.answerAtNs = NEVER;
    }
  }

  private tellChanges(): void {
    const { parts } = this;
    const { writer } = parts;
    const changed = this.groups.filter(group => group.changes > 0);
    for (const group of changed) group.changes--;
    if (this.isOld) {
      for (const { joined, address } of changed) {
        this.transmit(writer.old(joined, parts.source(), address));
      }
    } else this.report(changed.map(({ joined, address }) => record(joined ? TO_EXCLUDE : TO_INCLUDE, address)));
    this.groups = this.groups.filter(group => group.joined || group.changes > 0);
    const interval = this.isOld ? REPORT_INTERVAL_OLD_NS : REPORT_INTERVAL_NS;
    const isDone = this.groups.every(group => group.changes === 0);
    this.changesAtNs = isDone ? NEVER : parts.clock.now() + (1 - parts.random()) * interval;
  }
  private report(records: readonly GroupRecord[]): void {
    const { source, writer } = this.parts;
    for (let i = 0; i < records.length; i += writer.maxRecords) {
      this.transmit(writer.report(source(), records.slice(i, i + writer.maxRecords)));
    }
  }
  private transmit(length: number): void {
    this.stats.reports++;
    this.parts.device.send(this.parts.writer.frame, length, 0);
  }
}

const record = (type: number, group: IpAddress, sources: readonly IpAddress[] = []): GroupRecord => ({
  type,
  group,
  sources,
});

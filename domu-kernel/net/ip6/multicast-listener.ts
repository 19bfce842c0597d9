// The groups a host listens to, and how switches and routers hear of them (RFC 9777; RFC 2710 where a querier speaks that): a
// switch that snoops forwards only what somebody has asked for. All sources are wanted of every group here.
import type { Clock } from '#pvbus';
import type { NetDevice } from '../../net-device.ts';
import { IpAddress } from '../ip-address.ts';
import type { Ipv6Header } from './header.ts';
import {
  IS_EXCLUDE,
  IS_INCLUDE,
  isListenerMessage,
  LISTENER_DONE_V1,
  LISTENER_QUERY,
  LISTENER_REPORT_V1,
  ListenerQuery,
  type ListenerRecord,
  ListenerWriter,
  MAX_RECORDS,
  MAX_SOURCES,
  readQuery,
  TO_EXCLUDE,
  TO_INCLUDE,
} from './listener-message.ts';

/** RFC 9777, 9; the interval between reports that nobody asked for is ten times as long in RFC 2710. */
const ROBUSTNESS = 2;
const REPORT_INTERVAL_NS = 1e9;
const REPORT_INTERVAL_V1_NS = 10e9;
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

export interface MulticastListenerParts {
  readonly device: NetDevice;
  readonly clock: Clock;
  readonly random: () => number;
  /** The link-local address, or :: while it is tentative. */
  source(): IpAddress;
}

export class MulticastListener {
  readonly stats = { queries: 0, reports: 0, ignored: 0 };
  private readonly parts: MulticastListenerParts;
  private readonly writer: ListenerWriter;
  private readonly query = new ListenerQuery();
  private groups: Group[] = [];
  private robustness = ROBUSTNESS;
  /** When changes are said again. */
  private changesAtNs = NEVER;
  /** When a query for all groups is answered. */
  private answerAtNs = NEVER;
  /** Until then there is a querier that does not know MLDv2. */
  private v1UntilNs = 0;

  constructor(parts: MulticastListenerParts) {
    this.parts = parts;
    this.writer = new ListenerWriter(parts.device.mac);
  }

  /** These are the groups from now on. */
  listenTo(wanted: readonly IpAddress[]): void {
    let changed = false;
    for (const group of this.groups) {
      if (!group.joined || wanted.some(address => address.equals(group.address))) continue;
      group.joined = false;
      group.changes = this.isV1 ? 1 : this.robustness;
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

  /** A query, or another host's report of MLDv1; its checksum is right. */
  input(type: number, view: DataView, header: Ipv6Header): void {
    if (!isListenerMessage(header)) this.stats.ignored++;
    else if (type === LISTENER_REPORT_V1) this.inputReport(view, header);
    else if (type === LISTENER_QUERY && readQuery(view, header, this.query)) this.inputQuery();
    else this.stats.ignored++;
  }
  /** RFC 2710, 4: one answer is enough for a group. */
  private inputReport(view: DataView, { payloadAt }: Ipv6Header): void {
    const group = this.isV1 ? this.find(new IpAddress().read(view, payloadAt + 8)) : undefined;
    if (!group?.joined) return;
    group.answerAtNs = NEVER;
    group.changes = 0;
  }
  private inputQuery(): void {
    const { query, stats, parts } = this;
    stats.queries++;
    const now = parts.clock.now();
    if (query.version === 1) {
      if (!this.isV1) this.forget();
      this.v1UntilNs = now + this.robustness * QUERY_INTERVAL_NS + query.maxDelayNs;
    } else if (query.robustness > 0) this.robustness = query.robustness;
    const at = (): number => now + Math.max(MIN_ANSWER_NS, parts.random() * query.maxDelayNs);
    if (!query.group.isUnspecified) {
      const group = this.find(query.group);
      if (group?.joined) this.answerLater(group, at());
    } else if (!this.isV1) this.answerAtNs = Math.min(this.answerAtNs, at());
    else for (const group of this.groups) if (group.joined) group.answerAtNs = Math.min(group.answerAtNs, at());
  }
  /** RFC 9777, 6.2: an answer that is on its way is sent earlier, or says more. */
  private answerLater(group: Group, at: number): void {
    if (this.answerAtNs <= at) return;
    const { sources } = this.query;
    const isOfAll = sources.length === 0 || (group.answerAtNs !== NEVER && group.sources.length === 0);
    const asked = group.answerAtNs === NEVER ? [] : group.sources;
    const more = sources.filter(one => !asked.some(other => other.equals(one)));
    group.sources = isOfAll || asked.length + more.length > MAX_SOURCES ? [] : [...asked, ...more];
    group.answerAtNs = Math.min(group.answerAtNs, at);
  }

  step(): 'progress' | 'idle' {
    const now = this.parts.clock.now();
    let result: 'progress' | 'idle' = 'idle';
    if (this.v1UntilNs !== 0 && this.v1UntilNs <= now) {
      this.v1UntilNs = 0;
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
      if (this.isV1) this.transmit(this.writer.v1(LISTENER_REPORT_V1, this.parts.source(), address));
      else this.report([record(sources.length === 0 ? IS_EXCLUDE : IS_INCLUDE, address, sources)]);
      result = 'progress';
    }
    return result;
  }
  deadline(): number | undefined {
    let earliest = Math.min(this.changesAtNs, this.answerAtNs, this.v1UntilNs === 0 ? NEVER : this.v1UntilNs);
    for (const { answerAtNs } of this.groups) earliest = Math.min(earliest, answerAtNs);
    return earliest === NEVER ? undefined : earliest;
  }

  private get isV1(): boolean {
    return this.v1UntilNs !== 0;
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
    const { parts, writer } = this;
    const changed = this.groups.filter(group => group.changes > 0);
    for (const group of changed) group.changes--;
    if (this.isV1) {
      for (const { joined, address } of changed) {
        this.transmit(writer.v1(joined ? LISTENER_REPORT_V1 : LISTENER_DONE_V1, parts.source(), address));
      }
    } else this.report(changed.map(({ joined, address }) => record(joined ? TO_EXCLUDE : TO_INCLUDE, address)));
    this.groups = this.groups.filter(group => group.joined || group.changes > 0);
    const interval = this.isV1 ? REPORT_INTERVAL_V1_NS : REPORT_INTERVAL_NS;
    const isDone = this.groups.every(group => group.changes === 0);
    this.changesAtNs = isDone ? NEVER : parts.clock.now() + (1 - parts.random()) * interval;
  }
  private report(records: readonly ListenerRecord[]): void {
    for (let i = 0; i < records.length; i += MAX_RECORDS) {
      this.transmit(this.writer.report(this.parts.source(), records.slice(i, i + MAX_RECORDS)));
    }
  }
  private transmit(length: number): void {
    this.stats.reports++;
    this.parts.device.send(this.writer.frame, length, 0);
  }
}

const record = (type: number, group: IpAddress, sources: readonly IpAddress[] = []): ListenerRecord => ({
  type,
  group,
  sources,
});

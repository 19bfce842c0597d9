// What routers have said of the link (RFC 4861, 6.3.4): themselves, prefixes that are on it, its MTU, name servers. Bounded,
// and each for as long as was said.
import type { Clock } from '#pvbus';
import type { IpAddress } from '../ip-address.ts';
import { hasPrefix } from './scope.ts';

export const MAX_ROUTERS = 8;
export const MAX_PREFIXES = 16;
export const MAX_NAMESERVERS = 8;

interface Timed {
  readonly address: IpAddress;
  untilNs: number;
}
interface Prefix extends Timed {
  readonly length: number;
}

export class RouterList {
  /** The one that packets go to first; moved behind the others when it does not answer. */
  routers: Timed[] = [];
  prefixes: Prefix[] = [];
  nameservers: Timed[] = [];
  private readonly clock: Clock;
  private readonly changed: () => void;

  /** `changed`: one has come or gone. */
  constructor(clock: Clock, changed: () => void) {
    this.clock = clock;
    this.changed = changed;
  }

  /** Each of these: until 0 takes it away. False: there are too many. */
  router(address: IpAddress, untilNs: number): boolean {
    return this.put(this.routers, each => each.address.equals(address), { address, untilNs }, MAX_ROUTERS);
  }
  prefix(address: IpAddress, length: number, untilNs: number): boolean {
    const same = (each: Prefix): boolean => each.length === length && each.address.equals(address);
    return this.put(this.prefixes, same, { address, length, untilNs }, MAX_PREFIXES);
  }
  nameserver(address: IpAddress, untilNs: number): boolean {
    return this.put(this.nameservers, each => each.address.equals(address), { address, untilNs }, MAX_NAMESERVERS);
  }

  isOnLink(address: IpAddress): boolean {
    return address.isLinkLocal || this.bitsOnLink(address) >= 0;
  }
  /** Of the longest prefix that says so; -1: it is not on the link. */
  bitsOnLink(address: IpAddress): number {
    const { prefixes } = this;
    let most = -1;
    for (let i = 0; i < prefixes.length; i++) {
      const { address: prefix, length } = prefixes[i]!;
      if (length > most && hasPrefix(address, prefix, length)) most = length;
    }
    return most;
  }
  /** RFC 4861, 6.3.6: one that may answer before one that does not. */
  pick(mayAnswer: (address: IpAddress) => boolean): IpAddress | undefined {
    for (const { address } of this.routers) if (mayAnswer(address)) return address;
    return this.routers[0]?.address;
  }
  doesNotAnswer(address: IpAddress): void {
    const at = this.routers.findIndex(each => each.address.equals(address));
    if (at >= 0) this.routers.push(...this.routers.splice(at, 1));
  }

  step(): 'progress' | 'idle' {
    const now = this.clock.now();
    const before = this.size;
    const stays = ({ untilNs }: Timed): boolean => untilNs > now;
    if (this.deadlineNs > now) return 'idle';
    this.routers = this.routers.filter(stays);
    this.prefixes = this.prefixes.filter(stays);
    this.nameservers = this.nameservers.filter(stays);
    if (this.size === before) return 'idle';
    this.changed();
    return 'progress';
  }
  deadline(): number | undefined {
    const { deadlineNs } = this;
    return deadlineNs === Number.POSITIVE_INFINITY ? undefined : deadlineNs;
  }
  private get size(): number {
    return this.routers.length + this.prefixes.length + this.nameservers.length;
  }
  private get deadlineNs(): number {
    let earliest = Number.POSITIVE_INFINITY;
    for (const list of [this.routers, this.prefixes, this.nameservers]) {
      for (const { untilNs } of list) earliest = Math.min(earliest, untilNs);
    }
    return earliest;
  }
  private put<T extends Timed>(list: T[], same: (each: T) => boolean, entry: T, most: number): boolean {
    const at = list.findIndex(same);
    if (entry.untilNs === 0) {
      if (at < 0) return true;
      list.splice(at, 1);
    } else if (at >= 0) {
      list[at]!.untilNs = entry.untilNs;
      return true;
    } else if (list.length >= most) return false;
    else list.push(entry);
    this.changed();
    return true;
  }
}

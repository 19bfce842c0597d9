// What paths carry that carry less than our link (RFC 1191, RFC 8201): each for a time, and not for any number of hosts.
import type { Clock } from '#pvbus';
import type { IpAddress } from './ip-address.ts';

export const MAX_PATHS = 64;
/** RFC 8201, 5.4: after so long more is tried again. */
const KEEP_NS = 600e9;

interface Path {
  readonly destination: IpAddress;
  mtu: number;
  untilNs: number;
}

export class PathMtus {
  private readonly clock: Clock;
  private readonly paths: Path[] = [];

  constructor(clock: Clock) {
    this.clock = clock;
  }
  get size(): number {
    return this.paths.length;
  }
  /** `most`: of our link. */
  to(destination: IpAddress, most: number): number {
    if (this.paths.length === 0) return most;
    const path = this.paths.find(each => each.destination.equals(destination));
    return path === undefined || path.untilNs <= this.clock.now() ? most : Math.min(most, path.mtu);
  }
  heard(destination: IpAddress, mtu: number): void {
    const untilNs = this.clock.now() + KEEP_NS;
    const path = this.paths.find(each => each.destination.equals(destination));
    if (path !== undefined) {
      // Never more than before, until it is forgotten: a late word about a larger packet says nothing.
      path.mtu = path.untilNs <= this.clock.now() ? mtu : Math.min(path.mtu, mtu);
      path.untilNs = untilNs;
      return;
    }
    if (this.paths.length >= MAX_PATHS) this.paths.shift();
    this.paths.push({ destination: destination.clone(), mtu, untilNs });
  }
}

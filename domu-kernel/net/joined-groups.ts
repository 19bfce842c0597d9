// The groups of one family that sockets have joined on an interface.
import { XenError } from '#pvbus';
import type { IpAddress } from './ip-address.ts';

/** Different ones on one interface, whoever has joined them. */
export const MOST_GROUPS = 256;

interface Joined {
  readonly address: IpAddress;
  sockets: number;
}

export class JoinedGroups {
  private all: Joined[] = [];
  private readonly changed: (groups: IpAddress[]) => void;

  /** `changed`: these are all from now on. */
  constructor(changed: (groups: IpAddress[]) => void) {
    this.changed = changed;
  }
  has(address: IpAddress): boolean {
    return this.find(address) !== undefined;
  }
  /** Throws ENOBUFS. */
  join(address: IpAddress): void {
    const known = this.find(address);
    if (known) {
      known.sockets++;
      return;
    }
    if (this.all.length >= MOST_GROUPS) throw new XenError('ENOBUFS', `${MOST_GROUPS} groups are joined already`);
    this.all.push({ address: address.clone(), sockets: 1 });
    this.tell();
  }
  leave(address: IpAddress): void {
    const known = this.find(address);
    if (!known || --known.sockets > 0) return;
    this.all = this.all.filter(one => one !== known);
    this.tell();
  }
  private find(address: IpAddress): Joined | undefined {
    for (const one of this.all) if (one.address.equals(address)) return one;
    return undefined;
  }
  private tell(): void {
    this.changed(this.all.map(one => one.address));
  }
}

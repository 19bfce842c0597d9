// Which multicast groups a guest wants. Xen: io/netif.h, "feature-multicast-control".

/** Groups of one vif; a guest that asks for more gets an error for the request. */
export const MAX_GROUPS = 64;

export class MulticastFilter {
  private readonly active: boolean;
  private readonly groups = new Set<number>();

  /** Xen: the list may be changed while the filter is off; it then has no effect. */
  constructor(active: boolean) {
    this.active = active;
  }

  /** Broadcast always passes, and what is no group address is none of our business. */
  passes(header: Uint8Array): boolean {
    if (!this.active || (header[0]! & 1) === 0) return true;
    const address = macNumber(header);
    return address === BROADCAST || this.groups.has(address);
  }
  add(group: Uint8Array): boolean {
    const address = macNumber(group);
    if ((group[0]! & 1) === 0 || (this.groups.size >= MAX_GROUPS && !this.groups.has(address))) return false;
    this.groups.add(address);
    return true;
  }
  /** True also when it was not there. */
  remove(group: Uint8Array): boolean {
    this.groups.delete(macNumber(group));
    return true;
  }
}

const BROADCAST = 0xffff_ffff_ffff;

function macNumber(bytes: Uint8Array): number {
  let n = 0;
  for (let i = 0; i < 6; i++) n = n * 256 + bytes[i]!;
  return n;
}

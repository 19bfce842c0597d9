// The addresses of an interface (RFC 4862): each is tentative until nobody has claimed it, and ends when its lifetime does.
import type { Clock, Log } from '#pvbus';
import type { IpAddress } from '../ip-address.ts';
import { commonBits, isSolicitedNodeOf, solicitedNode } from './scope.ts';

/** Link-local, given and autoconfigured ones together. */
export const MAX_ADDRESSES = 16;
const FOREVER = Number.POSITIVE_INFINITY;

export type AddressState = 'tentative' | 'preferred' | 'deprecated' | 'duplicate';

export interface OwnAddress {
  readonly address: IpAddress;
  readonly prefixLength: number;
  /** Made by a router's advertisement. */
  readonly autoconfigured: boolean;
  state: AddressState;
  preferredUntilNs: number;
  validUntilNs: number;
  /** Of a tentative one: when nobody has it. */
  uniqueAtNs: number;
}

export interface AddressesParts {
  readonly clock: Clock;
  readonly log?: Log | undefined;
  /** Does anybody have it? Nobody answers. */
  probe(target: IpAddress): void;
  /** Its state is another one now; one that is no longer in here has ended. */
  changed(own: OwnAddress): void;
}

export class Addresses {
  private readonly parts: AddressesParts;
  private all: OwnAddress[] = [];

  constructor(parts: AddressesParts) {
    this.parts = parts;
  }
  [Symbol.iterator](): Iterator<OwnAddress> {
    return this.all[Symbol.iterator]();
  }
  get size(): number {
    return this.all.length;
  }

  /** Undefined when there are too many. */
  add(
    address: IpAddress,
    prefixLength: number,
    probeNs: number,
    lifetime?: { readonly preferredUntilNs: number; readonly validUntilNs: number },
  ): OwnAddress | undefined {
    if (this.all.length >= MAX_ADDRESSES) return undefined;
    const own: OwnAddress = {
      address,
      prefixLength,
      autoconfigured: lifetime !== undefined,
      state: 'tentative',
      preferredUntilNs: lifetime?.preferredUntilNs ?? FOREVER,
      validUntilNs: lifetime?.validUntilNs ?? FOREVER,
      uniqueAtNs: this.parts.clock.now() + probeNs,
    };
    this.all.push(own);
    this.parts.probe(address);
    return own;
  }
  find(address: IpAddress): OwnAddress | undefined {
    for (const own of this.all) if (own.address.equals(address)) return own;
    return undefined;
  }
  /** Packets to it are ours. */
  has(address: IpAddress): boolean {
    const own = this.find(address);
    return own !== undefined && isUsable(own);
  }
  /** Somebody else's word that it is his. */
  claimed(own: OwnAddress, by: string): void {
    if (own.state !== 'tentative') {
      this.parts.log?.warn(`ip6: ${by} also claims our address ${own.address}`);
      return;
    }
    this.parts.log?.error(`ip6: ${own.address} is ${by}'s already: it is not used`);
    own.state = 'duplicate';
    this.parts.changed(own);
  }
  /** A group that we are in because of an address. */
  inGroup(group: IpAddress): boolean {
    return this.all.some(own => own.state !== 'duplicate' && isSolicitedNodeOf(group, own.address));
  }
  /** All of those; there may be one twice. */
  get groups(): IpAddress[] {
    return this.all.filter(own => own.state !== 'duplicate').map(own => solicitedNode(own.address));
  }
  get isTentative(): boolean {
    return this.all.some(own => own.state === 'tentative');
  }

  /** RFC 6724, 5: rules 1, 2, 3 and 8; undefined when there is none of a sufficient scope. */
  sourceFor(destination: IpAddress, linkScope: boolean): IpAddress | undefined {
    let best: OwnAddress | undefined;
    for (const own of this.all) {
      if (!isUsable(own) || own.address.isLinkLocal !== linkScope) continue;
      if (best === undefined || isBetter(own, best, destination)) best = own;
    }
    return best?.address;
  }

  step(): 'progress' | 'idle' {
    let result: 'progress' | 'idle' = 'idle';
    const now = this.parts.clock.now();
    for (const own of [...this.all]) {
      if (own.validUntilNs <= now) {
        this.all.splice(this.all.indexOf(own), 1);
        this.parts.log?.info(`ip6: ${own.address} has ended`);
      } else if (own.state === 'tentative' && own.uniqueAtNs <= now) {
        own.state = 'preferred';
        if (!own.address.isLinkLocal) this.parts.log?.info(`ip6: ${own.address}/${own.prefixLength}`);
      } else if (own.state === 'preferred' && own.preferredUntilNs <= now) own.state = 'deprecated';
      else if (own.state === 'deprecated' && own.preferredUntilNs > now) own.state = 'preferred';
      else continue;
      result = 'progress';
      this.parts.changed(own);
    }
    return result;
  }
  deadline(): number | undefined {
    let earliest = FOREVER;
    for (const own of this.all) {
      earliest = Math.min(earliest, own.validUntilNs);
      if (own.state === 'tentative') earliest = Math.min(earliest, own.uniqueAtNs);
      if (own.state === 'preferred') earliest = Math.min(earliest, own.preferredUntilNs);
    }
    return earliest === FOREVER ? undefined : earliest;
  }
}

export const isUsable = ({ state }: OwnAddress): boolean => state === 'preferred' || state === 'deprecated';

function isBetter(one: OwnAddress, other: OwnAddress, destination: IpAddress): boolean {
  const isOne = one.address.equals(destination);
  if (isOne !== other.address.equals(destination)) return isOne;
  if (one.state !== other.state) return one.state === 'preferred';
  return bits(one, destination) > bits(other, destination);
}
/** No more than the prefix counts: behind it there is no nearness. */
const bits = ({ address, prefixLength }: OwnAddress, destination: IpAddress): number =>
  Math.min(prefixLength, commonBits(address, destination));

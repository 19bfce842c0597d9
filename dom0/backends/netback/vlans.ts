// Which VLANs a port of a bridge is in, and how it sees them. Xen: the hotplug script vif-openvswitch, whose notation a
// vif's `bridge` has: NAME.10 an access port of VLAN 10, NAME:20:30 a trunk, NAME.10:20:30 a trunk whose untagged
// frames are VLAN 10's. A port that says nothing sees all VLANs with their tags.
import { XenError } from '#pvbus';

/** 0 is for frames without a tag, 4095 is reserved. */
const MAX_VLAN = 4094;
/** VLANs of one trunk. */
const MAX_TRUNK = 64;
/** What no VLAN is. */
export const NO_VLAN = -1;

export class PortVlans {
  /** Whose frames have no tag at this port; NO_VLAN: nobody's. */
  readonly untagged: number;
  readonly #tagged: ReadonlySet<number> | undefined;

  /** `tagged` undefined: all of them. */
  constructor(untagged: number, tagged: ReadonlySet<number> | undefined) {
    this.untagged = untagged;
    this.#tagged = tagged;
  }
  /** Its guest's address is known in these. */
  get own(): readonly number[] {
    const tagged = this.#tagged === undefined ? [] : [...this.#tagged];
    return this.untagged === NO_VLAN ? tagged : [this.untagged, ...tagged];
  }
  tags(vlan: number): boolean {
    return vlan !== this.untagged && (this.#tagged === undefined || this.#tagged.has(vlan));
  }
  has(vlan: number): boolean {
    return vlan === this.untagged || this.tags(vlan);
  }
}

/** Of a port that says nothing. */
export const ALL_VLANS = new PortVlans(0, undefined);

/** `bridge` of a vif. Throws EINVAL for VLANs that there are not. */
export function parseBridge(text: string): { name: string; vlans: PortVlans | undefined } {
  const [, name, access, trunk] = /^([^.:][^:]*?)(?:[.]([0-9]+))?((?::[0-9]+)*)$/.exec(text) ?? [];
  if (name === undefined || (access === undefined && trunk === '')) return { name: text, vlans: undefined };
  const vlan = (digits: string): number => {
    const n = Number(digits);
    if (n < 1 || n > MAX_VLAN)
      throw new XenError('EINVAL', `bridge ${text}: there is no VLAN ${digits}, only 1 to ${MAX_VLAN}`);
    return n;
  };
  const untagged = access === undefined ? NO_VLAN : vlan(access);
  const tagged = new Set((trunk || '').split(':').slice(1).map(vlan));
  if (tagged.has(untagged))
    throw new XenError('EINVAL', `bridge ${text}: VLAN ${untagged} is with tags or without, not both`);
  if (tagged.size > MAX_TRUNK)
    throw new XenError('EINVAL', `bridge ${text}: ${tagged.size} VLANs, at most ${MAX_TRUNK}`);
  return { name, vlans: new PortVlans(untagged, tagged) };
}

// A learning bridge between vifs and the host's own ports, as 802.1D has it without its spanning tree: a named switch
// that exists only in the netback thread. It forwards a frame while its sender's page is at hand and keeps none.
import type { Frame } from './frame.ts';
import { MacTable, type MacTableOptions } from './mac-table.ts';
import { BridgeStats } from './stats.ts';
import { ALL_VLANS, NO_VLAN, type PortVlans } from './vlans.ts';

export interface BridgePort {
  readonly name: string;
  /** Take a copy of the frame, or drop and count it. Never waits. */
  deliver(frame: Frame): boolean;
}

/** A frame may be longer than MTU and Ethernet header by one 802.1Q tag. */
export const FRAME_OVERHEAD = 18;

export class Bridge {
  readonly name: string;
  readonly mtu: number;
  readonly stats = new BridgeStats();
  /** Sees every frame that is forwarded, while somebody captures them. */
  mirror: ((frame: Frame) => void) | undefined;
  private readonly table: MacTable;
  private readonly ports: (BridgePort | undefined)[] = [];
  private readonly vlans: PortVlans[] = [];
  /** Not every port is in every VLAN. */
  private hasVlans = false;

  constructor(name: string, mtu: number, options: MacTableOptions) {
    this.name = name;
    this.mtu = mtu;
    this.table = new MacTable(options);
  }

  /**
   * The number of the new port. `mac` is the address the toolstack gave its guest, if it is one's: nobody else's frames
   * can take it away. Where two ports have the same one (a guest that moves from one domain to another) the later has it.
   */
  attach(port: BridgePort, mac?: Uint8Array, vlans?: PortVlans): number {
    let index = this.ports.indexOf(undefined);
    if (index < 0) index = this.ports.length;
    this.ports[index] = port;
    this.vlans[index] = vlans ?? ALL_VLANS;
    this.lookAtVlans();
    if (mac)
      for (const vlan of this.vlans[index]!.own) this.table.pin(macHigh(mac, 0) | (vlan << 16), macLow(mac, 0), index);
    return index;
  }
  /** Another one in the place of a port, with its number and addresses. */
  replace(index: number, port: BridgePort): void {
    if (this.ports[index] !== undefined) this.ports[index] = port;
  }
  detach(index: number): void {
    this.ports[index] = undefined;
    this.vlans[index] = ALL_VLANS;
    this.lookAtVlans();
    this.table.forget(index);
  }
  private lookAtVlans(): void {
    this.hasVlans = this.vlans.some(vlans => vlans !== ALL_VLANS);
  }

  /** Forward a frame that came in at port `from`. Returns how many copies were asked for. */
  forward(frame: Frame, from: number): number {
    const { header } = frame;
    const sourceHigh = macHigh(header, 6);
    const sourceLow = macLow(header, 6);
    // What is to be cut into segments is as long as one of them.
    if ((frame.gsoSize || frame.length) > this.mtu + FRAME_OVERHEAD) return this.stats.drop('tooBig');
    if ((sourceHigh & GROUP) !== 0 || (sourceHigh === 0 && sourceLow === 0)) return this.stats.drop('badSource');
    if (this.hasVlans) return this.forwardIn(frame, from);
    this.mirror?.(frame);
    return this.pass(frame, from, 0, undefined);
  }

  /** The same on a bridge some of whose ports are not in every VLAN. */
  private forwardIn(frame: Frame, from: number): number {
    const vlans = this.vlans[from]!;
    let { tag } = frame;
    if (tag === 0) {
      // 802.1Q: a tag that has only a priority is none. What a tag taken away would uncover must not be another one.
      if (frame.isTaggedTwice) return this.stats.drop('vlan');
      frame = frame.untagged();
      tag = undefined;
    }
    const vlan = tag ?? vlans.untagged;
    if (frame.isCutOff || (tag === undefined ? vlan === NO_VLAN : !vlans.tags(vlan))) return this.stats.drop('vlan');
    this.mirror?.(frame);
    return this.pass(frame, from, vlan, tag);
  }

  private pass(frame: Frame, from: number, vlan: number, tag: number | undefined): number {
    const { header } = frame;
    this.table.learn(macHigh(header, 6) | (vlan << 16), macLow(header, 6), from, frame.nowNs);
    const high = macHigh(header, 0);
    const low = macLow(header, 0);
    if ((high & GROUP) !== 0) {
      // 802.1D: 01:80:c2:00:00:00 to 0f are for the bridge itself and are not forwarded.
      if (high === 0x0180 && (low & ~15) === (0xc2000000 | 0)) return this.stats.drop('reserved');
      return this.flood(frame, from, vlan, tag);
    }
    const to = this.table.lookup(high | (vlan << 16), low, frame.nowNs);
    if (to < 0) return this.flood(frame, from, vlan, tag);
    if (to === from) return this.stats.drop('hairpin');
    if (!this.hasVlans) this.ports[to]!.deliver(frame);
    else if (!this.deliverIn(frame, to, vlan, tag)) return this.stats.drop('vlan');
    this.stats.forwarded++;
    return 1;
  }

  private flood(frame: Frame, from: number, vlan: number, tag: number | undefined): number {
    let copies = 0;
    for (let i = 0; i < this.ports.length; i++) {
      const port = this.ports[i];
      if (port === undefined || i === from) continue;
      if (!this.hasVlans) port.deliver(frame);
      else if (!this.deliverIn(frame, i, vlan, tag)) continue;
      copies++;
    }
    this.stats.flooded++;
    return copies;
  }

  /** With its tag or without, as the port has this VLAN. False: it has not. */
  private deliverIn(frame: Frame, to: number, vlan: number, tag: number | undefined): boolean {
    const vlans = this.vlans[to]!;
    if (vlans.untagged === vlan) {
      if (tag !== undefined && frame.isTaggedTwice) return false;
      this.ports[to]!.deliver(tag === undefined ? frame : frame.untagged());
      return true;
    }
    if (!vlans.tags(vlan)) return false;
    this.ports[to]!.deliver(tag === undefined ? frame.tagged(vlan) : frame);
    return true;
  }
}

/** Of the first 16 bits: the address is a group's. */
const GROUP = 0x0100;

const macHigh = (bytes: Uint8Array, at: number): number => (bytes[at]! << 8) | bytes[at + 1]!;
const macLow = (bytes: Uint8Array, at: number): number =>
  (bytes[at + 2]! << 24) | (bytes[at + 3]! << 16) | (bytes[at + 4]! << 8) | bytes[at + 5]!;

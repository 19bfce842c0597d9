// What IP and the interfaces it is on share: the packet in hand, the one being built, and what is counted of them.
import type { IpAddress } from './ip-address.ts';

export interface PacketBuffer {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

/** Received packets by what became of them; every frame is counted once. */
export interface PacketStats {
  delivered: number;
  notForUs: number;
  unknownType: number;
  malformed: number;
  fragments: number;
  martians: number;
  noProtocol: number;
}

/** UDP and TCP. Addresses are the caller's, and change after the call. */
export interface Transports {
  /** Of the receive buffer. False: nobody has its port. */
  udp(at: number, length: number, source: IpAddress, destination: IpAddress, checksumGood: boolean): boolean;
  tcp(at: number, length: number, source: IpAddress, destination: IpAddress, checksumGood: boolean): void;
  /**
   * A packet of ours did not arrive: the first 8 bytes behind its header are at `at`. `mtu`, of an EMSGSIZE: what the
   * path carries. False: no packet that can be one of ours.
   */
  lost(
    code: string,
    protocol: number,
    view: DataView,
    at: number,
    local: IpAddress,
    remote: IpAddress,
    mtu: number,
  ): boolean;
}

export interface PacketPort {
  /** The one packet being built, and the one in hand, each behind an Ethernet header. */
  readonly tx: PacketBuffer;
  readonly rx: PacketBuffer;
  readonly stats: PacketStats;
  readonly transports: Transports;
}

// What UDP and TCP need of the layer below them: a packet to fill, in either family, and a way to send it.

import type { IpAddress } from './ip-address.ts';
import type { SendResult } from './ip-output.ts';

/** Where packets leave. */
export interface Outlet {
  /** `ready` is called once, when there is room again after 'full', or nothing leaves there any longer. */
  whenWritable(ready: () => void): void;
}

/** `local` and `remote` are a packet's two ends. */
export interface TransportLink {
  /** The one packet that is being built. */
  readonly tx: { readonly bytes: Uint8Array; readonly view: DataView };
  /** Where the transport's header of a packet to `remote` begins in it. */
  headerAt(remote: IpAddress): number;
  /** Bytes of the transport's header and payload in a packet that nobody has to cut. */
  room(local: IpAddress, remote: IpAddress): number;
  /** The same in one that is sent in parts. */
  datagramRoom(remote: IpAddress): number;
  /** The same of a packet that is cut into segments below; 0 where nobody does that. */
  largeRoom(local: IpAddress, remote: IpAddress): number;
  /** The checksum may be left to the device. */
  leavesChecksum(local: IpAddress, remote: IpAddress): boolean;
  /** It is all hosts of a link, of IPv4. */
  isBroadcast(remote: IpAddress): boolean;
  /** It is an address of this guest. */
  isOurs(address: IpAddress): boolean;
  /**
   * The address packets to `remote` come from: `local`, where that is given and can be. Unspecified while there is none,
   * undefined without a route.
   */
  sourceFor(remote: IpAddress, local?: IpAddress): IpAddress | undefined;
  /**
   * Send `length` bytes of `tx` from `headerAt`. `blank`: the checksum is the pseudo header's. `segment`, when not
   * 0: the payload is to be cut into segments of so many bytes.
   */
  send(local: IpAddress, remote: IpAddress, length: number, blank: boolean, segment: number): SendResult;
  /** Undefined without a route. */
  outlet(local: IpAddress, remote: IpAddress): Outlet | undefined;
}

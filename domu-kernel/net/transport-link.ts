// What UDP and TCP need of the layer below them: a packet to fill, in either family, and a way to send it.

import type { IpAddress } from './ip-address.ts';
import type { SendResult } from './ip-output.ts';

export interface TransportLink {
  /** The one packet that is being built. */
  readonly tx: { readonly bytes: Uint8Array; readonly view: DataView };
  /** Where the transport's header of a packet to `remote` begins in it. */
  headerAt(remote: IpAddress): number;
  /** Bytes of the transport's header and payload in a packet to `remote` that nobody has to cut. */
  room(remote: IpAddress): number;
  /** The same in one that is sent in parts. */
  datagramRoom(remote: IpAddress): number;
  /** The same of a packet that is cut into segments below; 0 where nobody does that. */
  largeRoom(remote: IpAddress): number;
  /** The checksum may be left to the device. */
  leavesChecksum(remote: IpAddress): boolean;
  /** The address packets to `remote` come from, unspecified while there is none; undefined without a route. */
  sourceFor(remote: IpAddress): IpAddress | undefined;
  /** It is all hosts of a link, of IPv4. */
  isBroadcast(remote: IpAddress): boolean;
  /**
   * Send `length` bytes of `tx` from `headerAt`. `blank`: the checksum is the pseudo header's. `segment`, when not
   * 0: the payload is to be cut into segments of so many bytes.
   */
  send(source: IpAddress, remote: IpAddress, length: number, blank: boolean, segment: number): SendResult;
  /** `ready` is called once, when there is room again after 'full'. */
  whenWritable(ready: () => void): void;
}

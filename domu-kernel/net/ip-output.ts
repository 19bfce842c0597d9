// What ICMP needs of the layer below them: a packet to fill, and a way to send it.
import type { PacketBuffer } from './packet-port.ts';

/**
 * sent: the device has it. held: it goes when the next hop's MAC address is known. full: the device has no room
 * and the packet is lost. no-route: there is no way to the destination.
 */
export type SendResult = 'sent' | 'held' | 'full' | 'no-route';

export interface IpOutput {
  /** The one packet being built: its payload starts at `payloadAt`, in front of it is room for the headers. */
  readonly tx: PacketBuffer & { readonly payloadAt: number };
  /** Whether packets to it stay in this guest. */
  isOurs(address: number): boolean;
  /** Send `length` bytes of `tx` from `payloadAt`. `source` is 0 where the route says it. */
  send(protocol: number, source: number, destination: number, length: number): SendResult;
}

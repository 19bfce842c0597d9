// What ICMP needs of the layer below them: a packet to fill, and a way to send it.

/**
 * sent: the device has it. held: it goes when the next hop's MAC address is known. full: the device has no room
 * and the packet is lost. no-route: there is no way to the destination.
 */
export type SendResult = 'sent' | 'held' | 'full' | 'no-route';

export interface IpOutput {
  readonly address: number;
  /** The one packet being built: its payload starts at `payloadAt`, in front of it is room for the headers. */
  readonly tx: { readonly bytes: Uint8Array; readonly view: DataView; readonly payloadAt: number };
  /** Whether packets to `destination` stay in this guest. */
  isLocal(destination: number): boolean;
  /** The source address of packets to `destination`. */
  sourceFor(destination: number): number;
  /** Send `length` bytes of `tx` from `payloadAt`. `flags` are FRAME_*. */
  send(protocol: number, destination: number, length: number, flags?: number): SendResult;
}

// What the rest of a guest sees of a network driver.

/** Of a frame: the checksum field of its UDP or TCP header holds only the pseudo header's sum. */
export const FRAME_CHECKSUM_BLANK = 1;
/** Of a received frame: its UDP or TCP checksum needs no check, it never left this machine. */
export const FRAME_CHECKSUM_GOOD = 2;

/**
 * Flags of a frame that is a TCP packet to be cut into segments with `bytes` of payload, each a frame: whoever sends it
 * leaves its checksum blank.
 */
export const withSegment = (flags: number, bytes: number): number => flags | (bytes << 16);
/** The bytes `withSegment` put there; 0 of a frame that is one packet. */
export const segmentOf = (flags: number): number => flags >>> 16;

/**
 * One received frame: `length` bytes of `bytes` from `offset`, valid during the call. The backend can still
 * write to them meanwhile: copy first whatever is checked. `flags` are FRAME_* and a segment size.
 */
export type FrameHandler = (bytes: Uint8Array, offset: number, length: number, flags: number) => void;

/** Bytes of a frame that is to be cut, its header counted. */
export const LARGEST_FRAME = 0xffff;

export interface NetDevice {
  /** As in `ip=`: eth0, eth1, ... */
  readonly name: string;
  readonly mac: Uint8Array;
  /** Bytes of payload in a frame, its 14 bytes of header not counted. */
  readonly mtu: number;
  /** Whether frames may be sent as FRAME_CHECKSUM_BLANK: of IPv4, of IPv6. */
  readonly checksumOffload: boolean;
  readonly ipv6ChecksumOffload: boolean;
  /** Whether TCP packets of IPv4, of IPv6, may be sent that are to be cut into segments: up to LARGEST_FRAME. */
  readonly gsoTcpv4: boolean;
  readonly gsoTcpv6: boolean;

  /**
   * Copies `length` bytes of `frame` once. False, and nothing sent, when there is no room now or no link. After that
   * the vCPU is woken when there is room for it. One that the device cannot send is lost, as on a wire.
   */
  send(frame: Uint8Array, length: number, flags?: number): boolean;
  /** The page the next frame goes out of, to be filled in place; undefined when there is no room now. */
  txBuffer(): Uint8Array | undefined;
  /** Send the first `length` bytes of the page `txBuffer` gave last; nothing may be awaited in between. */
  txCommit(length: number, flags?: number): void;
  /** Who gets received frames. One handler; the last one set. */
  onFrame(handler: FrameHandler): void;
  /** `ready` is called once, when there is room to send again (at once when there is). */
  whenWritable(ready: () => void): void;
}

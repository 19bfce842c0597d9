// What the rest of a guest sees of a network driver.

/** Of a frame: the checksum field of its UDP or TCP header holds only the pseudo header's sum. */
export const FRAME_CHECKSUM_BLANK = 1;
/** Of a received frame: its UDP or TCP checksum needs no check, it never left this machine. */
export const FRAME_CHECKSUM_GOOD = 2;

/**
 * One received frame: `length` bytes of `bytes` from `offset`, valid during the call. The backend can still
 * write to them meanwhile: copy first whatever is checked. `flags` are FRAME_*.
 */
export type FrameHandler = (bytes: Uint8Array, offset: number, length: number, flags: number) => void;

export interface NetDevice {
  /** As in `ip=`: eth0, eth1, ... */
  readonly name: string;
  readonly mac: Uint8Array;
  /** Bytes of payload in a frame, its 14 bytes of header not counted. */
  readonly mtu: number;
  /** Whether frames may be sent as FRAME_CHECKSUM_BLANK. */
  readonly checksumOffload: boolean;

  /**
   * Copies `length` bytes of `frame` once. False, and nothing sent, when there is no room now or no link. After that
   * the vCPU is woken when there is room.
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

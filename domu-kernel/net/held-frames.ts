// Frames that wait for the MAC address of their next hop. Bounded; the oldest goes first.
import { writeMac } from './ethernet.ts';

export const HELD_FRAMES = 16;
/** The largest datagram waits whole: it is cut when it goes. */
export const HELD_BYTES = 68 << 10;

export interface HeldFrame {
  readonly frame: Uint8Array;
  /** As NetDevice.send takes them. */
  readonly flags: number;
}

export class HeldFrames {
  private frames: HeldFrame[] = [];
  private bytes = 0;

  get length(): number {
    return this.frames.length;
  }
  /** Keeps a copy. How many had to go for it. */
  hold(frame: Uint8Array, length: number, flags: number): number {
    let dropped = 0;
    this.frames.push({ frame: frame.slice(0, length), flags });
    this.bytes += length;
    while (this.frames.length > HELD_FRAMES || this.bytes > HELD_BYTES) {
      this.bytes -= this.frames.shift()!.frame.length;
      dropped++;
    }
    return dropped;
  }
  /** All of them, which are forgotten. */
  take(): readonly HeldFrame[] {
    const { frames } = this;
    this.frames = [];
    this.bytes = 0;
    return frames;
  }
  /** Sends them to `mac`. How many were lost. */
  release(mac: Uint8Array, transmit: (frame: Uint8Array, length: number, flags: number) => boolean): number {
    let lost = 0;
    for (const { frame, flags } of this.take()) {
      writeMac(frame, 0, mac);
      if (!transmit(frame, frame.length, flags)) lost++;
    }
    return lost;
  }
}

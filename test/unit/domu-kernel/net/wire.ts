// A wire with two ends, each a NetDevice: frames wait on it until step() carries them over. Keeps every frame it
// carried, so that a test can hand them to a program that knows the protocols better than we do.

import type { Clock } from '#pvbus';
import type { FrameHandler, NetDevice } from '../../../../domu-kernel/net-device.ts';

export class ManualClock implements Clock {
  ns = 1e12;
  now(): number {
    return this.ns;
  }
  wallMs(): number {
    return this.ns / 1e6;
  }
  advanceMs(ms: number): void {
    this.ns += ms * 1e6;
  }
}

export interface CarriedFrame {
  readonly bytes: Uint8Array;
  readonly flags: number;
}

export class WireEnd implements NetDevice {
  readonly name = 'eth0';
  readonly mac: Uint8Array;
  readonly mtu: number;
  readonly checksumOffload: boolean;
  readonly ipv6ChecksumOffload = false;
  readonly gsoTcpv4 = false;
  readonly gsoTcpv6 = false;
  peer: WireEnd | undefined;
  /** Frames on their way to us. */
  readonly arriving: CarriedFrame[] = [];
  readonly sent: CarriedFrame[] = [];
  /** What the peer's page looks like around a frame: never zeros. */
  private readonly page = new Uint8Array(4096);
  private handler: FrameHandler | undefined;
  /** Frames this device has room for before it is full. */
  room = Number.POSITIVE_INFINITY;

  constructor(mac: readonly number[], mtu = 1500, checksumOffload = false) {
    this.mac = Uint8Array.from(mac);
    this.mtu = mtu;
    this.checksumOffload = checksumOffload;
  }
  send(frame: Uint8Array, length: number, flags = 0): boolean {
    if (length > this.mtu + 14 || this.room === 0) return false;
    this.room--;
    const carried = { bytes: frame.slice(0, length), flags };
    this.sent.push(carried);
    this.peer?.arriving.push(carried);
    return true;
  }
  txBuffer(): Uint8Array {
    return this.page;
  }
  txCommit(length: number, flags?: number): void {
    this.send(this.page, length, flags);
  }
  onFrame(handler: FrameHandler): void {
    this.handler = handler;
  }
  whenWritable(ready: () => void): void {
    ready();
  }
  /** Hand over what has arrived, in a page at `offset`. */
  step(offset = 0): 'progress' | 'idle' {
    const frame = this.arriving.shift();
    if (!frame) return 'idle';
    this.page.fill(0xa5);
    this.page.set(frame.bytes, offset);
    this.handler?.(this.page, offset, frame.bytes.length, frame.flags);
    return 'progress';
  }
}

export function wire(offload = false, mtu = 1500): [WireEnd, WireEnd] {
  const a = new WireEnd([0x00, 0x16, 0x3e, 0, 0, 1], mtu, offload);
  const b = new WireEnd([0x00, 0x16, 0x3e, 0, 0, 2], mtu, offload);
  a.peer = b;
  b.peer = a;
  return [a, b];
}

/** A classic pcap file of Ethernet frames. */
export function pcap(frames: readonly Uint8Array[]): Uint8Array {
  const parts: Uint8Array[] = [];
  const words = (...values: number[]): void => {
    const view = new DataView(new ArrayBuffer(values.length * 4));
    values.forEach((value, i) => {
      view.setUint32(i * 4, value, true);
    });
    parts.push(new Uint8Array(view.buffer));
  };
  words(0xa1b2c3d4, 0x0004_0002, 0, 0, 65535, 1);
  frames.forEach((frame, i) => {
    words(i, 0, frame.length, frame.length);
    parts.push(frame);
  });
  const file = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const part of parts) {
    file.set(part, at);
    at += part.length;
  }
  return file;
}

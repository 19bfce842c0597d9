// What every guest has: a device whose packets come back, for 127.0.0.0/8, ::1, and whatever other addresses it has.
import type { NetDevice } from '../net-device.ts';

/** Those that wait for the next step. */
const PACKETS = 64;

export class Loopback implements NetDevice {
  readonly name = 'lo';
  readonly mac = new Uint8Array(6);
  readonly mtu = 1500;
  readonly checksumOffload = false;
  readonly ipv6ChecksumOffload = false;
  readonly gsoTcpv4 = false;
  readonly gsoTcpv6 = false;
  dropped = 0;
  private packets: Uint8Array[] = [];
  private writers: (() => void)[] = [];

  send(frame: Uint8Array, length: number): boolean {
    if (this.packets.length >= PACKETS) {
      this.dropped++;
      return false;
    }
    this.packets.push(frame.slice(0, length));
    return true;
  }
  get isEmpty(): boolean {
    return this.packets.length === 0;
  }
  /** All that were sent; who waits for room has it. */
  take(): readonly Uint8Array[] {
    const { packets, writers } = this;
    this.packets = [];
    this.writers = [];
    for (const ready of writers) ready();
    return packets;
  }
  whenWritable(ready: () => void): void {
    if (this.packets.length >= PACKETS) this.writers.push(ready);
    else ready();
  }
  txBuffer(): undefined {}
  txCommit(): void {}
  onFrame(): void {}
}

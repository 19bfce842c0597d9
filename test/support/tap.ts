// Linux's own TCP/IP as a peer: a network namespace whose only interface is a TAP, and our stack at the TAP's other
// end. What is lost, doubled or delayed is so between the two, by us: Linux here has no netem.
import { execFileSync, spawnSync } from 'node:child_process';
import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs';
import { attachTap, systemClock } from '#pvbus';
import { parseIpParameter } from '../../domu-kernel/net/ip-config.ts';
import type { FrameHandler, NetDevice } from '../../domu-kernel/net-device.ts';
import type { WireFaults } from './lossy-wire.ts';
import { Stack } from './stack.ts';

const LINUX = '10.98.0.1';
const OURS = '10.98.0.2';
const LINUX6 = 'fd98::1';
const NO_FAULTS: WireFaults = { loss: 0, duplicate: 0, reorder: 0, delayNs: 0, lateNs: 0 };
/** Turns without anything to do before we sleep. */
const IDLE_TURNS = 20;

/** Why there can be none here; undefined when there can. */
export function whyNoTap(): string | undefined {
  if (process.getuid?.() !== 0) return 'not root';
  try {
    closeSync(openSync('/dev/net/tun', constants.O_RDWR));
  } catch (error) {
    return `/dev/net/tun: ${(error as NodeJS.ErrnoException).code}`;
  }
  const name = `xl-probe-${process.pid}`;
  const { status, error } = spawnSync('ip', ['netns', 'add', name]);
  if (error || status !== 0) return 'no network namespaces (ip netns add)';
  spawnSync('ip', ['netns', 'delete', name]);
  return undefined;
}

export class TapLink implements NetDevice {
  readonly name = 'eth0';
  readonly mac = Uint8Array.of(0, 0x16, 0x3e, 9, 9, 9);
  readonly mtu = 1500;
  readonly checksumOffload = false;
  readonly ipv6ChecksumOffload = false;
  readonly gsoTcpv4 = false;
  readonly gsoTcpv6 = false;
  readonly linux = LINUX;
  readonly ours = OURS;
  readonly linux6 = LINUX6;
  readonly namespace: string;
  readonly interface: string;
  /** Linux here has IPv6. */
  readonly hasIp6: boolean;
  readonly net: Stack;
  faults = NO_FAULTS;
  readonly stats = { lost: 0, doubled: 0, late: 0 };
  private readonly fd: number;
  private readonly random: () => number;
  private readonly late = new Set<NodeJS.Timeout>();
  private handler: FrameHandler = () => {};
  private closed = false;
  private idle = 0;

  constructor(random: () => number, configure?: (device: NetDevice) => Stack) {
    this.random = random;
    this.namespace = `xl-tcp-${process.pid}`;
    const tap = `xt${process.pid}`;
    this.interface = tap;
    this.fd = openSync('/dev/net/tun', constants.O_RDWR | constants.O_NONBLOCK);
    attachTap(this.fd, tap);
    const ip = (...args: string[]): unknown => execFileSync('ip', args, { stdio: 'pipe' });
    ip('netns', 'add', this.namespace);
    ip('link', 'set', tap, 'netns', this.namespace);
    ip('-n', this.namespace, 'addr', 'add', `${LINUX}/24`, 'dev', tap);
    ip('-n', this.namespace, 'link', 'set', 'lo', 'up');
    ip('-n', this.namespace, 'link', 'set', tap, 'up');
    this.hasIp6 =
      spawnSync('ip', ['-n', this.namespace, 'addr', 'add', `${LINUX6}/64`, 'dev', tap, 'nodad']).status === 0;
    const config = { ...parseIpParameter(`${OURS}:::255.255.255.0`)!, ip6: { prefixLength: 64 } };
    this.net = configure?.(this) ?? new Stack({ device: this, config, clock: systemClock, random });
    void this.run();
  }
  /** The command line that runs a program there. */
  inside(...command: string[]): [string, string[]] {
    return ['ip', ['netns', 'exec', this.namespace, ...command]];
  }
  close(): void {
    this.closed = true;
    for (const timer of this.late) clearTimeout(timer);
    closeSync(this.fd);
    spawnSync('ip', ['netns', 'delete', this.namespace]);
  }

  // ---- the device ----

  send(frame: Uint8Array, length: number): boolean {
    const copy = frame.slice(0, length);
    this.pass(() => {
      try {
        writeSync(this.fd, copy);
      } catch {
        // The interface's queue is full: lost, as on any wire.
      }
    });
    return true;
  }
  txBuffer(): undefined {
    return undefined;
  }
  txCommit(): void {
    throw new Error('nothing was given out');
  }
  onFrame(handler: FrameHandler): void {
    this.handler = handler;
  }
  whenWritable(ready: () => void): void {
    ready();
  }

  private pass(deliver: () => void): void {
    const { faults, random, stats } = this;
    const copies = random() < faults.duplicate ? 2 : 1;
    if (copies === 2) stats.doubled++;
    for (let i = 0; i < copies; i++) {
      if (random() < faults.loss) {
        stats.lost++;
        continue;
      }
      if (random() >= faults.reorder) {
        deliver();
        continue;
      }
      stats.late++;
      const timer = setTimeout(() => {
        this.late.delete(timer);
        if (!this.closed) deliver();
      }, faults.lateNs / 1e6);
      this.late.add(timer);
    }
  }
  private async run(): Promise<void> {
    const buffer = new Uint8Array(65536);
    while (!this.closed) {
      let progress = false;
      for (let i = 0; i < 64; i++) {
        const n = this.receive(buffer);
        if (n === 0) break;
        progress = true;
        const frame = buffer.slice(0, n);
        this.pass(() => this.handler(frame, 0, frame.length, 0));
      }
      if (this.net.step() === 'progress') progress = true;
      this.idle = progress ? 0 : this.idle + 1;
      await new Promise(resolve => (this.idle < IDLE_TURNS ? setImmediate(resolve) : setTimeout(resolve, 1)));
    }
  }
  private receive(buffer: Uint8Array): number {
    try {
      return readSync(this.fd, buffer);
    } catch {
      return 0;
    }
  }
}

// A guest behind a bridge that has a TAP, and Linux's stack at its other end: checksums and the cutting of TCP packets are left
// to whoever needs them, on both sides.
import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FRAME_CHECKSUM_BLANK, segmentOf } from '../../domu-kernel/net-device.ts';
import { NetRig, seeded } from '../support/net-rig.ts';
import { eventually } from '../support/processes.ts';
import type { Stack } from '../support/stack.ts';
import { whyNoTap } from '../support/tap.ts';
import { LinuxPeer, type TwoStacks, transfers } from './transfers.ts';

const why = whyNoTap();
const MSS = 1448;
/** Datagrams to port 7, one after the other. */
const SEND = `
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for n in range(int(sys.argv[2])):
    s.sendto(bytes(1400), (sys.argv[1], 7))
`;

class Network implements TwoStacks {
  readonly linux = '10.97.0.1';
  readonly ours = '10.97.0.2';
  readonly namespace = `xl-port-${process.pid}`;
  readonly tap = `xp${process.pid}`;
  readonly rig: NetRig;
  readonly net: Stack;
  /** What the guest has received. */
  readonly received = { whole: 0, blank: 0 };
  /** Guests do nothing; no time passes. */
  guestsStand = false;
  timeStands = false;
  private closed = false;

  private constructor(rig: NetRig, guest: Awaited<ReturnType<NetRig['guest']>>) {
    this.rig = rig;
    rig.worker.handle({ op: 'addPort', bridge: 'xenbr0', port: `tap:${this.tap}`, patient: false });
    const ip = (...args: string[]): unknown => execFileSync('ip', args, { stdio: 'pipe' });
    ip('netns', 'add', this.namespace);
    ip('link', 'set', this.tap, 'netns', this.namespace);
    ip('-n', this.namespace, 'addr', 'add', `${this.linux}/24`, 'dev', this.tap);
    ip('-n', this.namespace, 'link', 'set', this.tap, 'up');
    this.net = guest.configure(this.ours);
    const { received } = this;
    guest.vif.onFrame((bytes, offset, length, flags) => {
      if (segmentOf(flags) > 0) received.whole++;
      if (flags & FRAME_CHECKSUM_BLANK) received.blank++;
      this.net.input(bytes, offset, length, flags);
    });
    void this.run();
  }
  /** `keys`: what the guest's toolstack says of its vif. */
  static async start(): Promise<Network> {
    // Looks each time: no helper thread that would have to be waited for.
    const rig = await NetRig.start({ readinessOf: () => ({ told: () => true, rearm: () => {} }) });
    return new Network(rig, await rig.guest());
  }
  inside(...command: string[]): [string, string[]] {
    return ['ip', ['netns', 'exec', this.namespace, ...command]];
  }
  /** What the port has sent to Linux. */
  get sent(): { frames: number; bytes: number } {
    const { stats } = this.rig.report().bridges[0]!.ports[0]!;
    return { frames: stats.sent, bytes: stats.sentBytes };
  }
  close(): void {
    this.closed = true;
    this.rig.worker.handle({ op: 'removePort', bridge: 'xenbr0', port: `tap:${this.tap}` });
    spawnSync('ip', ['netns', 'delete', this.namespace]);
  }
  private async run(): Promise<void> {
    const { rig } = this;
    const { clock } = rig.core;
    const from = clock.ns - performance.now() * 1e6;
    for (let idle = 0; !this.closed; ) {
      if (!this.timeStands) clock.ns = Math.max(clock.ns, from + performance.now() * 1e6);
      let progress = rig.step() === 'progress';
      for (const guest of this.guestsStand ? [] : rig.guests) if (guest.step() === 'progress') progress = true;
      idle = progress ? 0 : idle + 1;
      await new Promise(resolve => (idle < 20 ? setImmediate(resolve) : setTimeout(resolve, 1)));
    }
  }
}

describe.skipIf(why !== undefined)(`a TAP port of a bridge${why ? ` (skipped: ${why})` : ''}`, () => {
  let network: Network;
  beforeAll(async () => {
    network = await Network.start();
  });
  afterAll(() => network.close());

  it('has Linux and a guest exchange bytes that arrive as they were, in packets that nobody has cut', async () => {
    const peer = await LinuxPeer.start(network);
    try {
      expect(await transfers(network, peer, 8, seeded(7), 3)).toEqual([]);
    } finally {
      await peer.stop();
    }
    const { received, sent } = network;
    expect(received.whole).toBeGreaterThan(0);
    expect(received.blank).toBeGreaterThanOrEqual(received.whole);
    expect(sent.frames).toBeLessThan(sent.bytes / MSS);
    const { stats } = network.rig.report().bridges[0]!.ports[0]!;
    expect(stats).toMatchObject({ refused: 0, dropped: 0 });
  });
  it('leaves in the TAP what a guest has no room for', async () => {
    const { rig, net } = network;
    let got = 0;
    const socket = net.udp.bind(7);
    socket.onMessage(() => got++);
    const frames = (): number => rig.report().vifs[0]!.stats.rxFrames;
    const send = async (count: number): Promise<void> => {
      const [command, args] = network.inside('python3', '-c', SEND, network.ours, String(count));
      await promisify(execFile)(command, args);
    };
    await eventually('Linux knows where the guest is', async () => {
      await send(1);
      return got > 0;
    });
    // For what it takes of these it may be waited for.
    got = 0;
    await send(500);
    await eventually('the first ones', () => got >= 500);
    got = 0;
    network.timeStands = true;
    network.guestsStand = true;
    const before = frames();
    // As many as Linux keeps for a TAP, nearly.
    await send(900);
    await eventually('all that there is room for', () => frames() - before > 100);
    network.guestsStand = false;
    await eventually('the rest', () => got >= 900);
    network.timeStands = false;
    expect(rig.report().vifs[0]!.stats.rxDropped).toBe(0);
    socket.close();
  });
});

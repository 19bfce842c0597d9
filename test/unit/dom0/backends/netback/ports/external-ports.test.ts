// Ports of a bridge that end in a socket of the host, against real sockets whose other end is the test.
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Bridge, type BridgePort } from '../../../../../../dom0/backends/netback/bridge.ts';
import { Frame, SourcePage } from '../../../../../../dom0/backends/netback/frame.ts';
import { ExternalPorts } from '../../../../../../dom0/backends/netback/ports/external-ports.ts';
import { framed, StreamListener, StreamPeer } from '../../../../../support/stream-peer.ts';
import { ListLog } from '../../../../../support/xenstore-rig.ts';

const mac = (n: number): Uint8Array => Uint8Array.of(0, 0x16, 0x3e, 0, 0, n);
const frameOf = (to: Uint8Array, from: Uint8Array, length = 60, fill = 7): Uint8Array => {
  const bytes = new Uint8Array(length).fill(fill);
  bytes.set(to);
  bytes.set(from, 6);
  return bytes;
};

/** Somebody on the bridge. */
class Listener implements BridgePort {
  readonly name = 'vif1.0';
  got: Uint8Array[] = [];
  deliver(frame: Frame): boolean {
    const bytes = new Uint8Array(frame.length);
    frame.copy(0, frame.length, bytes, 0);
    this.got.push(bytes);
    return true;
  }
  take(): Uint8Array[] {
    return this.got.splice(0);
  }
}

class Rig {
  readonly dir = mkdtempSync(join(tmpdir(), 'xenolith-ports-'));
  readonly log = new ListLog();
  readonly ports: ExternalPorts;
  readonly guest = new Listener();
  readonly bridge = this.newBridge('office');
  readonly #guestPort = this.bridge.attach(this.guest, mac(1));
  readonly #frame = new Frame();
  now = 1e9;

  constructor() {
    // Looks each time: no helper thread that would have to be waited for.
    this.ports = new ExternalPorts(
      () => ({ told: () => true, rearm: () => {} }),
      { frame: new Frame(), full: undefined },
      this.log,
    );
  }
  newBridge(name: string): Bridge {
    return new Bridge(name, 1500, { random: () => 0.5 });
  }
  path(name: string): string {
    return join(this.dir, name);
  }
  add(spec: string, bridge = this.bridge, patient = false): void {
    this.ports.add(bridge, spec, patient, this.now);
  }
  listen(name = 'a.sock'): string {
    this.add(`listen:${this.path(name)}`);
    return this.path(name);
  }
  /** Until nothing is left to do. */
  run(): void {
    for (let i = 0; i < 100_000; i++) {
      this.ports.flush(this.now);
      if (!this.ports.turn(this.now)) return;
    }
    throw new Error('the ports never fall silent');
  }
  fromGuest(bytes: Uint8Array): void {
    const frame = this.#frame;
    frame.begin(0, this.now);
    frame.add(new SourcePage(bytes), 0, bytes.length);
    frame.readHeader();
    this.bridge.forward(frame, this.#guestPort);
  }
  state(i = 0) {
    return this.ports.of(this.bridge)[i]!;
  }
  remove(): void {
    this.ports.removeAll(this.bridge);
    rmSync(this.dir, { recursive: true, force: true });
  }
}

let rig: Rig;
beforeEach(() => {
  rig = new Rig();
});
afterEach(() => rig.remove());

const connected = (path: string): StreamPeer => {
  const peer = StreamPeer.connect(path)!;
  rig.run();
  return peer;
};

describe('a listening port', () => {
  it('forwards what its peer sends, and sends its peer what is for it', () => {
    const peer = connected(rig.listen());
    expect(rig.state().down).toBeUndefined();
    const there = frameOf(mac(1), mac(9), 1514);
    peer.send(there, frameOf(mac(1), mac(9), 60, 3));
    rig.run();
    expect(rig.guest.take()).toEqual([there, frameOf(mac(1), mac(9), 60, 3)]);
    const back = frameOf(mac(9), mac(1), 99);
    rig.fromGuest(back);
    rig.run();
    expect(peer.frames()).toEqual([back]);
    expect(rig.state().stats).toMatchObject({ received: 2, receivedBytes: 1574, sent: 1, sentBytes: 99, dropped: 0 });
    peer.close();
  });
  it('puts frames together that come a byte at a time', () => {
    const peer = connected(rig.listen());
    const frames = [frameOf(mac(1), mac(9), 60, 1), frameOf(mac(1), mac(9), 61, 2)];
    for (const byte of framed(...frames)) {
      peer.raw(Uint8Array.of(byte));
      rig.run();
    }
    expect(rig.guest.take()).toEqual(frames);
    peer.close();
  });
  it('carries more than its buffers hold, in order', () => {
    const peer = connected(rig.listen());
    let next = 0;
    for (let round = 0; round < 40; round++) {
      peer.send(...Array.from({ length: 20 }, () => frameOf(mac(1), mac(9), 1500, next++ & 255)));
      rig.run();
    }
    expect(rig.guest.take().map(bytes => bytes[20])).toEqual(Array.from({ length: 800 }, (_, i) => i & 255));
    peer.close();
  });
  it('has one peer at a time, and the next one when that has gone', () => {
    const path = rig.listen();
    const first = connected(path);
    const second = connected(path);
    expect(second.receive()).toBe(0);
    second.close();
    first.close();
    rig.run();
    expect(rig.state().down).toBe('its peer has gone');
    const third = connected(path);
    expect(rig.state().down).toBeUndefined();
    third.send(frameOf(mac(1), mac(9)));
    rig.run();
    expect(rig.guest.take()).toHaveLength(1);
    third.close();
  });
  it('is for this user alone, takes the place of a socket that a killed process has left, and leaves none', () => {
    const path = rig.path('a.sock');
    new StreamListener(path).close();
    rig.listen();
    expect(statSync(path).mode & 0o777).toBe(0o600);
    rig.ports.remove(rig.bridge, `listen:${path}`);
    expect(existsSync(path)).toBe(false);
  });
  it('is refused where somebody listens already, or at a file, with nothing left of it', () => {
    const other = new StreamListener(rig.path('b.sock'));
    expect(() => rig.listen('b.sock')).toThrow(/^bridge port listen:.*b\.sock: somebody serves .* already$/);
    other.close();
    expect(() => rig.add('listen:/nowhere/at/all.sock')).toThrow(/ENOENT/);
    expect(rig.ports.of(rig.bridge)).toEqual([]);
  });
});

describe('a peer that does wrong', () => {
  it.each([
    ['0', [0, 0, 0, 0]],
    ['13, shorter than a header', [0, 0, 0, 13]],
    ['69633, one more than QEMU sends', [0, 1, 0x10, 1]],
    ['4294967295', [255, 255, 255, 255]],
  ])('is parted with when it sends a frame of length %s', (_, header) => {
    const path = rig.listen();
    const peer = connected(path);
    peer.send(frameOf(mac(1), mac(9)));
    peer.raw(Uint8Array.from(header));
    rig.run();
    expect(rig.guest.take()).toHaveLength(1);
    expect(rig.state().down).toBe('its peer sent a frame of an impossible length');
    expect(peer.receive()).toBe(0);
    peer.close();
    expect(connected(path).raw(framed(frameOf(mac(1), mac(9))))).toBe(64);
  });
  it('loses a frame that is longer than the bridge takes, and goes on', () => {
    const peer = connected(rig.listen());
    peer.send(frameOf(mac(1), mac(9), 1519), frameOf(mac(1), mac(9), 1518));
    rig.run();
    expect(rig.guest.take().map(({ length }) => length)).toEqual([1518]);
    expect(rig.state().stats).toMatchObject({ refused: 1, received: 1 });
    peer.close();
  });
  it('leaves nothing of a frame that it did not finish to the next one', () => {
    const path = rig.listen();
    const peer = connected(path);
    peer.raw(framed(frameOf(mac(1), mac(9))).subarray(0, 30));
    rig.run();
    peer.close();
    rig.run();
    const next = connected(path);
    next.send(frameOf(mac(1), mac(9), 70));
    rig.run();
    expect(rig.guest.take().map(({ length }) => length)).toEqual([70]);
    next.close();
  });
  it('loses frames when it does not take them, and others wait for nothing', () => {
    const path = rig.listen();
    const peer = connected(path);
    const other = rig.path('b.sock');
    rig.add(`listen:${other}`);
    const reader = connected(other);
    const broadcast = new Uint8Array(6).fill(255);
    let read = 0;
    for (let i = 0; i < 2000; i++) {
      rig.fromGuest(frameOf(broadcast, mac(1), 1514));
      rig.ports.flush(rig.now);
      if (i % 20 === 19) {
        rig.run();
        read += reader.frames().length;
      }
    }
    const [slow, fast] = rig.ports.of(rig.bridge);
    expect(slow!.stats.dropped).toBeGreaterThan(0);
    expect(slow!.stats.sent + slow!.stats.dropped).toBe(2000);
    expect({ read, dropped: fast!.stats.dropped }).toEqual({ read: 2000, dropped: 0 });
    // What it was sent is whole, and it gets more once it reads.
    let got = 0;
    for (let n = -1; n !== 0; ) {
      n = peer.frames().length;
      got += n;
      rig.run();
    }
    expect(got).toBe(slow!.stats.sent);
    rig.fromGuest(frameOf(broadcast, mac(1)));
    rig.run();
    expect(peer.frames()).toHaveLength(1);
    peer.close();
    reader.close();
  });
});

describe('a connecting port', () => {
  it('is down while nobody listens, tries again later and later, and comes up by itself', () => {
    const path = rig.path('passt.sock');
    rig.add(`connect:${path}`);
    expect(rig.state().down).toBe(`${path}: ENOENT`);
    const waits: number[] = [];
    for (let i = 0; i < 8; i++) {
      const at = rig.ports.deadline()!;
      waits.push((at - rig.now) / 1e6);
      rig.now = at;
      rig.run();
    }
    expect(waits).toEqual([100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    const listener = new StreamListener(path);
    rig.now = rig.ports.deadline()!;
    rig.run();
    const peer = listener.accept()!;
    expect(rig.state().down).toBeUndefined();
    expect(rig.ports.deadline()).toBeUndefined();
    peer.send(frameOf(mac(1), mac(9)));
    rig.run();
    expect(rig.guest.take()).toHaveLength(1);
    // It goes and comes back.
    peer.close();
    rig.run();
    expect(rig.state().down).toBe('its peer has gone');
    rig.fromGuest(frameOf(mac(9), mac(1)));
    expect(rig.state().stats.dropped).toBe(1);
    expect(rig.ports.deadline()! - rig.now).toBe(100e6);
    rig.now = rig.ports.deadline()!;
    rig.run();
    const again = listener.accept()!;
    rig.fromGuest(frameOf(mac(9), mac(1)));
    rig.run();
    expect(again.frames()).toHaveLength(1);
    again.close();
    listener.close();
  });
  it('joins two bridges as one', () => {
    const path = rig.listen();
    const lab = rig.newBridge('lab');
    const there = new Listener();
    lab.attach(there, mac(2));
    rig.add(`connect:${path}`, lab);
    rig.run();
    rig.fromGuest(frameOf(mac(2), mac(1), 800));
    rig.run();
    expect(there.take()).toEqual([frameOf(mac(2), mac(1), 800)]);
    rig.ports.removeAll(lab);
  });
});

describe('ports of a bridge', () => {
  it('are there once: the same one again is left as it is, for another bridge it is refused', () => {
    const peer = connected(rig.listen());
    rig.listen();
    expect(rig.ports.of(rig.bridge)).toHaveLength(1);
    expect(rig.state().down).toBeUndefined();
    expect(() => rig.add(`listen:${rig.path('a.sock')}`, rig.newBridge('lab'))).toThrow('bridge office has it');
    expect(() => rig.ports.remove(rig.bridge, 'tap:tap7')).toThrow('bridge office has no port tap:tap7');
    peer.close();
  });
  it('that cannot be had are there, down, and tried again when their owner is patient', () => {
    const path = rig.path('b.sock');
    const other = new StreamListener(path);
    rig.add(`listen:${path}`, rig.bridge, true);
    expect(rig.state().down).toContain('already');
    other.close();
    rig.now = rig.ports.deadline()!;
    rig.run();
    expect(rig.state().down).toBe('nobody has connected');
    const peer = connected(path);
    expect(rig.state().down).toBeUndefined();
    peer.close();
  });
  it('of a TAP that nobody has made for this user say so in a line', () => {
    const name = process.getuid?.() === 0 ? 'a/b' : 'xlnone0';
    expect(() => rig.add(`tap:${name}`)).toThrow(name === 'a/b' ? 'no name of an interface' : /EPERM|ENOENT|EACCES/);
  });
});

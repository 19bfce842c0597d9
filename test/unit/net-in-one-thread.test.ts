// D15: both ends of the network in one thread, their steps alternated: netfront, netback and its bridge, netfront,
// over the real hypervisor core's rings, grants and event channels.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HostileNetfront } from '../support/hostile-netfront.ts';
import { NetRig, seeded } from '../support/net-rig.ts';

let rig: NetRig;
beforeEach(async () => {
  rig = await NetRig.start();
});
afterEach(() => {
  expect(rig.core.internalErrors).toEqual([]);
});

describe('two guests on a bridge', () => {
  it('keep all their pages mapped at the backend, and need no hypercall for a frame', async () => {
    const a = await rig.guest();
    const b = await rig.guest();
    expect([a.vif.stats.staticGrants, b.vif.stats.staticGrants]).toEqual([512, 512]);
    let got = 0;
    b.vif.onFrame(() => got++);
    const traps = countTraps(rig);
    const frame = frameTo(b.vif.mac, a.vif.mac, 1514);
    for (let i = 0; i < 1000; i++) {
      expect(a.vif.send(frame, frame.length)).toBe(true);
      if (i % 50 === 49) rig.settle();
    }
    rig.settle();
    expect(got).toBe(1000);
    expect(traps()).toBe(0);
    expect(rig.statsOf(a)!.stats).toMatchObject({ txFrames: 1000, txCopied: 0 });
    expect(rig.statsOf(b)!.stats).toMatchObject({ rxFrames: 1000, rxCopied: 0, rxDropped: 0 });
  });

  it('ping one another and exchange datagrams', async () => {
    const a = await rig.guest();
    const b = await rig.guest();
    const na = a.configure('10.0.0.1');
    const nb = b.configure('10.0.0.2');
    rig.settle();
    for (const [net, to] of [
      [na, '10.0.0.2'],
      [nb, '10.0.0.1'],
    ] as const) {
      const reply = net.ping(to, { size: 1472 });
      rig.settle();
      expect((await reply).rttMs).toBe(0);
    }
    const server = nb.udp.bind(7);
    server.onMessage((data, from) => server.sendTo(data, from));
    const client = na.udp.bind();
    for (const size of [0, 1, 64, 1472]) {
      const data = Uint8Array.from({ length: size }, (_, i) => i * 13);
      client.sendTo(data, { address: '10.0.0.2', port: 7 });
      rig.settle();
      expect((await client.receive()).data).toEqual(data);
    }
    const lost = na.ping('10.0.0.99', { timeoutMs: 10_000 });
    const outcome = expect(lost).rejects.toMatchObject({ code: 'EHOSTUNREACH' });
    for (let i = 0; i < 4; i++) {
      rig.core.clock.advance(1.1e9);
      rig.settle();
    }
    await outcome;
  });

  it('get 10^5 frames of seeded sizes whole, unchanged, in order and each once', async () => {
    const a = await rig.guest();
    const b = await rig.guest();
    const random = seeded(2024);
    const frame = frameTo(b.vif.mac, a.vif.mac, 1514);
    const view = new DataView(frame.buffer);
    const sizes: number[] = [];
    let next = 0;
    let wrong = 0;
    b.vif.onFrame((bytes, offset, length) => {
      const got = new DataView(bytes.buffer, bytes.byteOffset + offset, length);
      const expected = sizes[next] ?? -1;
      let good = length === expected && got.getUint32(14) === next;
      for (let i = 18; i < length; i += 97) good &&= got.getUint8(i) === ((next + i) & 255);
      good &&= length < 19 || got.getUint8(length - 1) === ((next + length - 1) & 255);
      if (!good) wrong++;
      next++;
    });
    const N = 100_000;
    for (let i = 0; i < N; ) {
      for (let burst = 1 + Math.floor(random() * 100); burst > 0 && i < N; burst--) {
        const size = 18 + Math.floor(random() * 1497);
        view.setUint32(14, i);
        for (let j = 18; j < size; j += 97) frame[j] = i + j;
        frame[size - 1] = size > 18 ? i + size - 1 : frame[size - 1]!;
        if (!a.vif.send(frame, size)) break;
        sizes.push(size);
        i++;
      }
      rig.step();
      b.step();
    }
    rig.settle();
    expect({ next, wrong }).toEqual({ next: N, wrong: 0 });
    expect(rig.statsOf(b)!.stats.rxDropped).toBe(0);
  });

  it('sleep while nothing comes, and one notification wakes each', async () => {
    const a = await rig.guest();
    const b = await rig.guest();
    rig.settle();
    const before = a.vif.stats.notified;
    const frame = frameTo(b.vif.mac, a.vif.mac, 60);
    for (let i = 0; i < 20; i++) a.vif.send(frame, 60);
    expect(a.vif.stats.notified - before).toBe(1);
    expect(rig.step()).toBe('progress');
    expect(b.vcpu.events.poll()).toBe(true);
    let got = 0;
    b.vif.onFrame(() => got++);
    rig.settle();
    expect(got).toBe(20);
    for (const one of [rig, a, b]) expect(one.step()).toBe('idle');
  });
});

describe('a guest that misbehaves', () => {
  it('a flood to unknown destinations reaches everybody else and costs its sender its turn only', async () => {
    const a = await rig.guest();
    const b = await rig.guest();
    const c = await rig.guest();
    let strangers = 0;
    let own = 0;
    c.vif.onFrame((bytes, offset) => {
      if (bytes[offset] === 0x0a) strangers++;
      else own++;
    });
    const flood = frameTo(Uint8Array.of(0x0a, 0, 0, 0, 0, 0), a.vif.mac, 60);
    const good = frameTo(c.vif.mac, b.vif.mac, 60);
    const view = new DataView(flood.buffer);
    for (let i = 0; i < 20_000; i++) {
      view.setUint32(2, i);
      view.setUint32(8, i); // a new source every time, too
      a.vif.send(flood, 60);
      if (i % 100 === 0) b.vif.send(good, 60);
      if (i % 40 === 39) rig.settle();
    }
    rig.settle();
    expect({ strangers, own }).toEqual({ strangers: 20_000, own: 200 });
    // The addresses a invented have not made the bridge forget those of b and c.
    const before = rig.statsOf(a)!.stats.rxFrames;
    b.vif.send(good, 60);
    rig.settle();
    expect(own).toBe(201);
    expect(rig.statsOf(a)!.stats.rxFrames).toBe(before);
  });

  it('one that takes no frames loses them, counted; the others get theirs (XSA-392, act 24)', async () => {
    const a = await rig.guest();
    const deaf = await rig.guest();
    const c = await rig.guest();
    let got = 0;
    c.vif.onFrame(() => got++);
    const toDeaf = frameTo(deaf.vif.mac, a.vif.mac, 1514);
    const toC = frameTo(c.vif.mac, a.vif.mac, 1514);
    for (let i = 0; i < 10_000; i++) {
      expect(a.vif.send(toDeaf, 1514)).toBe(true);
      expect(a.vif.send(toC, 1514)).toBe(true);
      if (i % 50 === 49) rig.settle(rig, a, c);
    }
    rig.settle(rig, a, c);
    expect(got).toBe(10_000);
    expect(rig.statsOf(deaf)!.stats).toMatchObject({ rxFrames: 256, rxDropped: 10_000 - 256 });
    expect(a.vif.stats.txErrors).toBe(0);
    let late = 0;
    deaf.vif.onFrame(() => late++);
    rig.settle();
    a.vif.send(toDeaf, 1514);
    rig.settle();
    expect(late).toBe(257);
  });
});

describe('a guest that writes senseless indices into its rings', () => {
  it('and is unplugged later takes nobody off the bridge who has come since', async () => {
    const a = await rig.guest();
    const hostile = new HostileNetfront(rig).connectWithControl();
    hostile.set('tx', 'req_prod', 257);
    rig.settle();
    const late = await rig.guest();
    hostile.disconnect();
    let got = 0;
    late.vif.onFrame(() => got++);
    a.vif.send(frameTo(late.vif.mac, a.vif.mac, 60), 60);
    rig.settle();
    expect(got).toBe(1);
  });

  it.each([
    ['tx', 257],
    ['tx', 2 ** 31],
    ['rx', 257],
    ['control', 999],
  ] as const)(
    '%s req_prod %i: it loses its vif, and a ping between the others is answered meanwhile',
    async (ring, index) => {
      const a = await rig.guest();
      const b = await rig.guest();
      const na = a.configure('10.0.0.1');
      b.configure('10.0.0.2');
      const hostile = new HostileNetfront(rig).connectWithControl();
      hostile.set(ring, 'req_prod', index);
      for (let i = 0; i < 20; i++) {
        // The announcement of an address is a broadcast: netback looks at every rx ring.
        na.arp.announce();
        const reply = na.ping('10.0.0.2');
        rig.settle();
        expect((await reply).seq).toBe(i + 1);
      }
      const lines = rig.log.lines.filter(line => line.includes('disabled'));
      expect(lines).toEqual([
        expect.stringMatching(`^error: ${hostile.name}: disabled: dom${hostile.guest.domid} broke`),
      ]);
      hostile.disconnect();
    },
  );
});

function frameTo(destination: Uint8Array, source: Uint8Array, length: number): Uint8Array {
  const frame = new Uint8Array(length);
  frame.set(destination);
  frame.set(source, 6);
  frame[12] = 0x88;
  frame[13] = 0xb5; // IEEE 802: for local experiments
  return frame;
}

function countTraps(of: NetRig): () => number {
  const { hypervisor } = of.core;
  const trap = hypervisor.trap.bind(hypervisor);
  let count = 0;
  hypervisor.trap = (...args) => {
    count++;
    return trap(...args);
  };
  return () => count;
}

import { describe, expect, it } from 'vitest';
import { IpAddress } from '../../../../../domu-kernel/net/ip-address.ts';
import type { TcpConnection } from '../../../../../domu-kernel/net/tcp/connection.ts';
import { ACK, FIN, RST, type Segment, SYN } from '../../../../../domu-kernel/net/tcp/segment.ts';
import { frameOf, type MadeSegment, segmentOf } from '../../../../support/tcp-frames.ts';
import { StreamEnd, TcpPair } from '../../../../support/tcp-pair.ts';
import { fillStream } from '../../../../support/tcp-stream.ts';

const ms = (pair: TcpPair, since: number): number => (pair.clock.ns - since) / 1e6;

function bytes(length: number, seed = 7): Uint8Array {
  const made = new Uint8Array(length);
  fillStream(made, seed, 0);
  return made;
}
const into = new Uint8Array(1 << 21);
function drain(connection: TcpConnection): Uint8Array {
  let at = 0;
  for (let n = connection.read(into); n > 0; n = connection.read(into, at)) at += n;
  return into.slice(0, at);
}
/** Every segment `device` sends from now on. */
function watch(device: TcpPair['wire']['a']): Segment[] {
  const seen: Segment[] = [];
  device.tap = frame => {
    const segment = segmentOf(frame);
    if (segment !== undefined) seen.push(segment);
    return true;
  };
  return seen;
}
/** As if the client of a connection had sent it, from a station on the same wire. */
function forge(pair: TcpPair, client: TcpConnection, made: Partial<MadeSegment>): void {
  const frame = frameOf(
    {
      source: pair.a.address,
      destination: pair.b.address,
      sourcePort: client.localPort,
      destinationPort: client.remotePort,
      flags: ACK,
      ...made,
    },
    pair.wire.b.mac,
    pair.wire.a.mac,
  );
  pair.wire.b.arrive(frame, 0);
}

describe('a connection', () => {
  it('is opened, carries bytes both ways, and ends; the side that ended first waits in TIME-WAIT', () => {
    const pair = new TcpPair();
    const [client, server] = pair.connected(pair.b.tcp.listen(80));
    expect([client.state, server.state]).toEqual(['ESTABLISHED', 'ESTABLISHED']);
    expect(client.write(bytes(5000))).toBe(5000);
    pair.settle();
    pair.pass(1);
    expect(drain(server)).toEqual(bytes(5000));
    server.write(bytes(100, 3));
    pair.pass(1);
    expect(drain(client)).toEqual(bytes(100, 3));
    client.endWrite();
    pair.pass(1);
    expect([client.state, server.state]).toEqual(['FIN-WAIT-2', 'CLOSE-WAIT']);
    expect(server.read(new Uint8Array(1))).toBe(0);
    server.write(bytes(10));
    server.endWrite();
    pair.pass(1);
    expect(drain(client)).toEqual(bytes(10));
    expect([client.state, server.state]).toEqual(['TIME-WAIT', 'CLOSED']);
    pair.pass(61);
    expect(client.state).toBe('CLOSED');
    expect([pair.a.tcp.size, pair.b.tcp.size]).toEqual([0, 0]);
    expect([pair.a.tcp.memoryUsed, pair.b.tcp.memoryUsed]).toEqual([0, 0]);
    expect(pair.a.deadline()).toBeUndefined();
  });
  it('goes on over the end of the sequence numbers', () => {
    const pair = new TcpPair();
    const to = IpAddress.v4(pair.b.address);
    const listener = pair.b.tcp.listen(80);
    const probe = pair.a.tcp.connect(to, 80, { localPort: 5000 });
    const { iss } = probe;
    probe.abort();
    pair.settle();
    pair.clock.ns += (0x1_0000_0000 - 20_000 - iss) * 4000;
    const client = pair.a.tcp.connect(to, 80, { localPort: 5000 });
    expect(0x1_0000_0000 - client.iss).toBeLessThan(20_001);
    const ends = [new StreamEnd(client, 1, 100_000, 2)];
    pair.programs.push(() => {
      const server = listener.accept();
      if (server) ends.push(new StreamEnd(server, 2, 100_000, 1));
      return ends.map(end => end.step()).includes(true);
    });
    expect(pair.run(() => ends.length === 2 && ends.every(end => end.done), 60)).toBe(true);
    expect(ends.map(end => [end.received, end.corrupt])).toEqual([
      [100_000, undefined],
      [100_000, undefined],
    ]);
  });
  it('to a port that nobody listens on is refused', () => {
    const pair = new TcpPair();
    const client = pair.connect(81);
    pair.run(() => client.state === 'CLOSED', 10);
    expect(client.error?.code).toBe('ECONNREFUSED');
    expect(() => client.read(new Uint8Array(1))).toThrow('refused');
    expect(pair.a.tcp.size).toBe(0);
  });
  it('to a host that says nothing ends with ETIMEDOUT after two minutes; to one that is not there sooner', () => {
    const pair = new TcpPair();
    pair.connected(pair.b.tcp.listen(80));
    pair.wire.b.tap = frame => frame[13] === 6; // only ARP comes back
    const began = pair.clock.ns;
    const client = pair.connect(80);
    pair.run(() => client.state === 'CLOSED', 1000);
    expect(client.error?.code).toBe('ETIMEDOUT');
    expect(Math.round(ms(pair, began) / 1000)).toBe(1 + 2 + 4 + 8 + 16 + 32 + 60);
    const nobody = pair.a.tcp.connect(IpAddress.from('10.0.0.77'), 80);
    pair.run(() => nobody.state === 'CLOSED', 10);
    expect(nobody.error?.code).toBe('EHOSTUNREACH');
    expect(() => pair.a.tcp.connect(IpAddress.from('192.0.2.1'), 80)).toThrow('no route');
  });
  it('can be opened by both ends at once', () => {
    const pair = new TcpPair();
    const a = pair.a.tcp.connect(IpAddress.v4(pair.b.address), 2000, { localPort: 1000 });
    const b = pair.b.tcp.connect(IpAddress.v4(pair.a.address), 1000, { localPort: 2000 });
    pair.pass(3);
    expect([a.state, b.state]).toEqual(['ESTABLISHED', 'ESTABLISHED']);
    a.write(bytes(3000));
    pair.pass(1);
    expect(drain(b)).toEqual(bytes(3000));
  });
  it('to ourselves, and to 127.0.0.1, needs no device', () => {
    const pair = new TcpPair();
    pair.wire.a.room = 0;
    const listener = pair.a.tcp.listen(80);
    for (const address of ['10.0.0.1', '127.0.0.1']) {
      const client = pair.a.tcp.connect(IpAddress.from(address), 80);
      pair.settle();
      const server = listener.accept()!;
      const ends = [new StreamEnd(client, 1, 1_000_000, 2), new StreamEnd(server, 2, 1_000_000, 1)];
      pair.programs[0] = () => ends.map(end => end.step()).includes(true);
      pair.run(() => ends.every(end => end.done), 60);
      expect(ends.map(end => [end.received, end.corrupt, end.failed])).toEqual([
        [1_000_000, undefined, undefined],
        [1_000_000, undefined, undefined],
      ]);
    }
  });
});

describe('its end', () => {
  it('by the peer with data unread is a reset, and both ends say so', () => {
    const pair = new TcpPair();
    const [client, server] = pair.connected(pair.b.tcp.listen(80));
    client.write(bytes(10));
    pair.pass(1);
    server.close();
    pair.pass(1);
    expect(client.state).toBe('CLOSED');
    expect(() => client.read(new Uint8Array(1))).toThrow(expect.objectContaining({ code: 'ECONNRESET' }));
    expect(() => client.write(bytes(1))).toThrow(expect.objectContaining({ code: 'ECONNRESET' }));
    expect(pair.a.tcp.memoryUsed + pair.b.tcp.memoryUsed).toBe(0);
  });
  it('of one side leaves the other; writing after it is EPIPE', () => {
    const pair = new TcpPair();
    const [client] = pair.connected(pair.b.tcp.listen(80));
    client.endWrite();
    expect(() => client.write(bytes(1))).toThrow(expect.objectContaining({ code: 'EPIPE' }));
  });
  it('lets what was written arrive, and resets who goes on sending to it', () => {
    const pair = new TcpPair();
    const [client, server] = pair.connected(pair.b.tcp.listen(80));
    client.write(bytes(50_000));
    client.close();
    pair.pass(2);
    expect(drain(server)).toEqual(bytes(50_000));
    expect(server.read(new Uint8Array(1))).toBe(0);
    server.write(bytes(1));
    pair.pass(1);
    expect(server.error?.code).toBe('ECONNRESET');
  });
  it('of a peer that never ends its side is not waited for longer than a minute', () => {
    const pair = new TcpPair();
    const [client, server] = pair.connected(pair.b.tcp.listen(80));
    client.close();
    pair.pass(1);
    expect([client.state, server.state]).toEqual(['FIN-WAIT-2', 'CLOSE-WAIT']);
    pair.pass(60);
    expect(client.state).toBe('CLOSED');
  });
  it('is ETIMEDOUT when nothing is acknowledged any more', () => {
    const pair = new TcpPair();
    const [client] = pair.connected(pair.b.tcp.listen(80));
    pair.wire.b.tap = frame => frame[13] === 6;
    client.write(bytes(10));
    pair.run(() => client.state === 'CLOSED', 3000);
    expect(client.error?.code).toBe('ETIMEDOUT');
  });
  it('is ETIMEDOUT when a peer asked whether it is still there does not answer; one that is there stays', () => {
    const pair = new TcpPair();
    const [client, server] = pair.connected(pair.b.tcp.listen(80));
    client.setKeepAlive({ idleMs: 10_000, intervalMs: 1000, probes: 3 });
    pair.pass(100);
    expect(client.state).toBe('ESTABLISHED');
    pair.wire.b.tap = frame => frame[13] === 6;
    pair.pass(15);
    expect(client.error?.code).toBe('ETIMEDOUT');
    expect(server.error?.code).toBe('ECONNRESET');
  });
});

describe('a sender', () => {
  it('stops at a closed window, asks whether it has opened, and goes on when it has', () => {
    const pair = new TcpPair();
    const [client, server] = pair.connected(pair.b.tcp.listen(80));
    const total = 300_000;
    let sent = 0;
    const all = bytes(total);
    pair.programs.push(() => {
      const n = client.write(all, sent);
      sent += n;
      return n > 0;
    });
    pair.pass(5);
    expect(server.readable).toBeGreaterThan(65000);
    expect(sent).toBeLessThan(total);
    // Even when the word that it has opened is lost.
    pair.wire.b.tap = frame => frame[13] === 6;
    const first = drain(server);
    pair.settle();
    pair.wire.b.tap = () => true;
    const parts = [first];
    pair.run(() => {
      parts.push(drain(server));
      return parts.reduce((n, part) => n + part.length, 0) === total;
    }, 300);
    expect(Buffer.concat(parts)).toEqual(Buffer.from(all));
  });
  it('uses a window that stays too small after a time, also when a peer says it twice', () => {
    const pair = new TcpPair();
    const [client, server] = pair.connected(pair.b.tcp.listen(80));
    pair.wire.a.tap = () => false; // the peer is forged
    server.write(bytes(100));
    pair.settle();
    const takes160 = { seq: server.receiveNext, ack: server.max, window: 160 >> server.sendScale };
    forge(pair, client, takes160);
    server.write(bytes(161));
    const seen = watch(pair.wire.b);
    pair.settle();
    forge(pair, client, takes160);
    pair.settle();
    expect(seen).toEqual([]);
    pair.run(() => seen.length > 0, 60);
    expect(seen[0]!.dataLength).toBe(160);
  });
  it('does not give up on a peer that answers but takes nothing', () => {
    const pair = new TcpPair();
    const [client] = pair.connected(pair.b.tcp.listen(80));
    const more = bytes(300_000);
    client.write(more);
    pair.pass(3600);
    expect(client.state).toBe('ESTABLISHED');
  });
  it('gathers small writes while one is on its way (Nagle), unless told not to', () => {
    const count = (noDelay: boolean): number => {
      const pair = new TcpPair();
      const [client, server] = pair.connected(pair.b.tcp.listen(80));
      client.noDelay = noDelay;
      pair.pass(1);
      const seen = watch(pair.wire.a);
      for (let i = 0; i < 20; i++) {
        client.write(Uint8Array.of(i));
        pair.a.step();
      }
      pair.pass(1);
      expect(drain(server)).toEqual(Uint8Array.from({ length: 20 }, (_, i) => i));
      return seen.filter(segment => segment.dataLength > 0).length;
    };
    expect(count(false)).toBe(2);
    expect(count(true)).toBe(20);
  });
  it('waits while its device is full, and loses nothing', () => {
    const pair = new TcpPair({ room: 3 });
    const [client, server] = pair.connected(pair.b.tcp.listen(80));
    const ends = [new StreamEnd(client, 1, 500_000, 2), new StreamEnd(server, 2, 500_000, 1)];
    pair.programs.push(() => ends.map(end => end.step()).includes(true));
    expect(pair.run(() => ends.every(end => end.done), 60)).toBe(true);
    expect(pair.a.tcp.stats.retransmitted).toBe(0);
    expect(ends.map(end => end.corrupt)).toEqual([undefined, undefined]);
  });
  it('sends a lost segment again at once when three behind it arrive, and no other', () => {
    const pair = new TcpPair();
    const [client, server] = pair.connected(pair.b.tcp.listen(80));
    let dropped = false;
    let count = 0;
    pair.wire.a.tap = frame => {
      const segment = segmentOf(frame);
      if (segment === undefined || segment.dataLength === 0 || dropped || ++count < 3) return true;
      dropped = true;
      return false;
    };
    const began = pair.clock.ns;
    client.write(bytes(14_480));
    pair.run(() => server.readable === 14_480, 10);
    expect(ms(pair, began)).toBeLessThan(10);
    expect(drain(server)).toEqual(bytes(14_480));
    expect([pair.a.tcp.stats.retransmitted, pair.a.tcp.stats.timeouts]).toEqual([1, 0]);
  });
  it('sends the last segment again after a timeout, twice as long each time', () => {
    const pair = new TcpPair();
    const [client, server] = pair.connected(pair.b.tcp.listen(80));
    const times: number[] = [];
    const began = pair.clock.ns;
    pair.wire.a.tap = frame => {
      if (!segmentOf(frame)?.dataLength) return true;
      times.push(ms(pair, began));
      return times.length > 4;
    };
    client.write(bytes(100));
    pair.run(() => server.readable === 100, 100);
    const gaps = times.slice(1).map((time, i) => Math.round((time - times[i]!) / 10) * 10);
    expect(gaps).toEqual([200, 400, 800, 1600]);
  });
  it('makes its segments smaller when a router on the path says that they are too large', () => {
    const pair = new TcpPair();
    const [client, server] = pair.connected(pair.b.tcp.listen(80));
    pair.pass(1);
    // A router with a narrow link behind it: says so, once for each.
    pair.wire.a.tap = frame => {
      if (frame.length <= 1014 || segmentOf(frame) === undefined) return true;
      pair.wire.a.arrive(tooBig(frame, 1000), 0);
      return false;
    };
    client.write(bytes(20_000));
    expect(pair.run(() => server.readable === 20_000, 30)).toBe(true);
    expect(drain(server)).toEqual(bytes(20_000));
    expect(client.mss).toBe(960);
  });
  it.each([
    ['another backend', 1500, false],
    ['another backend', 300, false],
    ['another backend', 1500, true],
    ['a router', 1280, true],
  ])('makes its segments smaller as soon as %s says that the link carries less: %i bytes, IPv6 %s', (who, mtu, ip6) => {
    const pair = new TcpPair({ mtu: 9000, ip6 });
    const [client, server] = pair.connected(pair.b.tcp.listen(80));
    const [sends, receives] = [new StreamEnd(client, 1, 200_000, 2), new StreamEnd(server, 2, 0, 1)];
    pair.programs.push(() => [sends, receives].map(end => end.step()).includes(true));
    pair.run(() => receives.received > 50_000);
    expect(sends.sent).toBeGreaterThan(receives.received);
    if (who === 'a router') pair.a.eth0.v6!.discovery.mtu = mtu;
    else pair.wire.a.mtu = mtu;
    expect(pair.run(() => sends.done && receives.done, 60)).toBe(true);
    expect([receives.received, receives.corrupt]).toEqual([200_000, undefined]);
    expect(client.mss).toBeLessThan(mtu);
    expect(pair.a.tcp.stats.timeouts).toBe(0);
  });
});

describe('a receiver', () => {
  it('answers two full segments at once, a small one after 40 ms', () => {
    const pair = new TcpPair();
    const [client] = pair.connected(pair.b.tcp.listen(80));
    pair.pass(1);
    const seen = watch(pair.wire.b);
    let began = pair.clock.ns;
    client.write(bytes(2896));
    pair.run(() => seen.length === 1);
    expect(ms(pair, began)).toBeLessThan(1);
    began = pair.clock.ns;
    client.write(bytes(10));
    pair.run(() => seen.length === 2);
    expect(Math.round(ms(pair, began))).toBe(40);
  });
  it('opens its window as its reader keeps up, to a mebibyte, and no further', () => {
    const pair = new TcpPair();
    const [client, server] = pair.connected(pair.b.tcp.listen(80));
    const ends = [new StreamEnd(client, 1, 40_000_000, 2), new StreamEnd(server, 2, 0, 1)];
    pair.programs.push(() => ends.map(end => end.step()).includes(true));
    pair.run(() => ends.every(end => end.done), 100);
    expect(ends[1]!.received).toBe(40_000_000);
    expect(server.in.limit).toBeGreaterThan(65536);
    expect(server.in.limit).toBeLessThanOrEqual(1 << 20);
  });
});

describe('what is forged', () => {
  it('a reset that is not the next byte is answered and changes nothing; one that is, is believed (RFC 5961)', () => {
    const pair = new TcpPair();
    const [client, server] = pair.connected(pair.b.tcp.listen(80));
    const seen = watch(pair.wire.b);
    forge(pair, client, { seq: server.receiveNext + 70_000, flags: RST });
    forge(pair, client, { seq: server.receiveNext - 1, flags: RST });
    expect(seen).toHaveLength(0);
    forge(pair, client, { seq: server.receiveNext + 1000, flags: RST });
    expect(server.state).toBe('ESTABLISHED');
    expect(seen.map(segment => [segment.flags, segment.ack])).toEqual([[ACK, server.receiveNext]]);
    forge(pair, client, { seq: server.receiveNext, flags: RST });
    expect(server.error?.code).toBe('ECONNRESET');
  });
  it('a SYN in a connection is answered, not more than ten times a second', () => {
    const pair = new TcpPair();
    const [client, server] = pair.connected(pair.b.tcp.listen(80));
    const seen = watch(pair.wire.b);
    for (let i = 0; i < 1000; i++) forge(pair, client, { seq: server.receiveNext + 5, flags: SYN });
    expect(server.state).toBe('ESTABLISHED');
    expect(seen).toHaveLength(10);
    expect(seen[0]!.flags).toBe(ACK);
  });
  it('data that acknowledges what was never sent, or lies outside the window, is not taken', () => {
    const pair = new TcpPair();
    const [client, server] = pair.connected(pair.b.tcp.listen(80));
    const data = bytes(100);
    const stamps = client.timestamps ? Uint8Array.of(1, 1, 8, 10, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0) : undefined;
    const options = stamps && { options: stamps };
    forge(pair, client, { seq: server.receiveNext, ack: server.max + 1, data, ...options });
    forge(pair, client, { seq: server.receiveNext, ack: server.una - 70_000, data, ...options });
    forge(pair, client, { seq: server.edge + 1, ack: server.una, data, ...options });
    forge(pair, client, { seq: server.receiveNext - 100, ack: server.una, data, ...options });
    expect([server.readable, server.in.hasGaps]).toEqual([0, false]);
    forge(pair, client, { seq: server.edge - 50, ack: server.una, data, ...options });
    forge(pair, client, { seq: server.receiveNext, ack: server.una, data: bytes(60), ...options });
    expect(drain(server)).toEqual(bytes(60));
    expect(server.in.hasGaps).toBe(true);
  });
  it('a segment with an older timestamp is an old one (PAWS)', () => {
    const pair = new TcpPair();
    const [client, server] = pair.connected(pair.b.tcp.listen(80));
    const stamp = (value: number): Uint8Array => {
      const options = Uint8Array.of(1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0);
      new DataView(options.buffer).setUint32(4, value);
      return options;
    };
    const data = bytes(10);
    const { tsRecent } = server;
    forge(pair, client, { seq: server.receiveNext, ack: server.una, data, options: stamp(tsRecent - 1) });
    expect(server.readable).toBe(0);
    forge(pair, client, { seq: server.receiveNext, ack: server.una, data, options: stamp(tsRecent) });
    expect(server.readable).toBe(10);
  });
  it('a wrong checksum is no segment', () => {
    const pair = new TcpPair();
    const listener = pair.b.tcp.listen(80);
    const made = {
      source: pair.a.address,
      destination: pair.b.address,
      sourcePort: 1,
      destinationPort: 80,
      flags: SYN,
    };
    const frame = frameOf(made, pair.wire.b.mac, pair.wire.a.mac);
    frame[frame.length - 1]! ^= 1;
    pair.wire.b.arrive(frame, 0);
    expect([pair.b.tcp.stats.bad, listener.halfOpen]).toEqual([1, 0]);
  });
  it('an ICMP error about a byte that is not on its way changes nothing; in a handshake it ends it', () => {
    const pair = new TcpPair();
    const [client] = pair.connected(pair.b.tcp.listen(80));
    client.unreachable('ECONNREFUSED', client.una - 1, 0);
    client.write(bytes(10));
    pair.a.step();
    client.unreachable('EHOSTUNREACH', client.una, 0);
    expect(client.state).toBe('ESTABLISHED');
    const opening = pair.connect(81);
    pair.a.step();
    opening.unreachable('ECONNREFUSED', opening.iss, 0);
    expect(opening.error?.code).toBe('ECONNREFUSED');
  });
});

describe('a listener', () => {
  it('has room for so many; who comes later gets in when there is room again', () => {
    const pair = new TcpPair();
    const listener = pair.b.tcp.listen(80, { backlog: 2 });
    const clients = [1, 2, 3, 4].map(() => pair.connect(80));
    pair.pass(0.5);
    expect(listener.acceptable).toBe(2);
    const accepted = [listener.accept()!, listener.accept()!];
    pair.pass(20);
    accepted.push(listener.accept()!, listener.accept()!);
    expect(accepted.map(connection => connection?.state)).toEqual(new Array(4).fill('ESTABLISHED'));
    expect(clients.map(client => client.state)).toEqual(new Array(4).fill('ESTABLISHED'));
  });
  it('takes its port for itself, until it is closed; who was not accepted is reset', () => {
    const pair = new TcpPair();
    const listener = pair.b.tcp.listen(80);
    expect(() => pair.b.tcp.listen(80)).toThrow(expect.objectContaining({ code: 'EADDRINUSE' }));
    expect(pair.b.tcp.listen(0).port).toBeGreaterThan(0);
    const client = pair.connect(80);
    pair.pass(1);
    listener.close();
    pair.pass(1);
    expect(client.error?.code).toBe('ECONNRESET');
    expect(pair.b.tcp.listen(80).port).toBe(80);
    expect(pair.b.tcp.size).toBe(0);
  });
  it('is not kept from honest clients by a flood of SYNs, which costs a bounded number of bytes', () => {
    const pair = new TcpPair();
    const listener = pair.b.tcp.listen(80);
    const flood = (from: number): void => {
      for (let i = 0; i < 5000; i++) {
        const source = (10 << 24) | 0x1000 | (i & 0xff);
        const made = {
          source,
          destination: pair.b.address,
          sourcePort: from + i,
          destinationPort: 80,
          seq: i,
          flags: SYN,
        };
        pair.wire.b.arrive(frameOf(made, pair.wire.b.mac, pair.wire.a.mac), 0);
      }
    };
    flood(1000);
    expect(listener.halfOpen).toBe(256);
    const client = pair.connect(80);
    let server: TcpConnection | undefined;
    pair.run(() => {
      server ??= listener.accept();
      return server !== undefined && client.state === 'ESTABLISHED';
    }, 0.9);
    expect(pair.b.tcp.stats.cookiesTaken).toBe(1);
    client.write(bytes(50_000));
    pair.run(() => server!.readable === 50_000, 5);
    expect(drain(server!)).toEqual(bytes(50_000));
    expect(pair.b.tcp.size).toBe(1);
    pair.pass(300);
    expect(listener.halfOpen).toBe(0);
  });
  it('does not take an acknowledgement for a cookie of its own that is none', () => {
    const pair = new TcpPair({ limits: { halfOpen: 0 } });
    const listener = pair.b.tcp.listen(80);
    pair.connected(listener);
    const made = { source: pair.a.address, destination: pair.b.address, sourcePort: 9, destinationPort: 80 };
    for (let i = 0; i < 1000; i++) {
      const ack = Math.floor(pair.random() * 2 ** 32);
      pair.wire.b.arrive(frameOf({ ...made, seq: 1, ack, flags: ACK }, pair.wire.b.mac, pair.wire.a.mac), 0);
    }
    expect(listener.acceptable).toBe(0);
    expect(pair.b.tcp.stats.resetsOut).toBe(1000);
  });
});

describe('the stack', () => {
  it('has a thousand connections at once, all of which carry their own bytes', () => {
    const pair = new TcpPair({ room: 4096 });
    const listener = pair.b.tcp.listen(80, { backlog: 2000 });
    const clients = Array.from({ length: 1000 }, () => pair.connect(80));
    expect(
      pair.run(() => listener.acceptable === 1000 && clients.every(({ state }) => state === 'ESTABLISHED'), 60),
    ).toBe(true);
    pair.wire.faults = { loss: 0.01, duplicate: 0.01, reorder: 0.01, delayNs: 1e6, lateNs: 2e6 };
    const ends = clients.map((client, i) => new StreamEnd(client, i, 4000, 5, 4096));
    for (let next = listener.accept(); next !== undefined; next = listener.accept()) {
      const which = clients.findIndex(client => client.localPort === next!.remotePort);
      ends.push(new StreamEnd(next, 5, 1000, which, 4096));
    }
    pair.programs.push(() => ends.filter(end => end.step()).length > 0);
    expect(pair.run(() => ends.every(end => end.done), 600)).toBe(true);
    expect(ends.filter(end => end.corrupt ?? end.failed)).toEqual([]);
    expect(ends.map(end => end.received)).toEqual([...clients.map(() => 1000), ...clients.map(() => 4000)]);
    for (const end of clients) end.close();
    pair.pass(120);
    expect([pair.a.tcp.size, pair.a.tcp.memoryUsed]).toEqual([0, 0]);
  });
  it('keeps to its memory: who has none waits, and nothing is lost', () => {
    const pair = new TcpPair({ limits: { memory: 64 * 1024 } });
    const listener = pair.b.tcp.listen(80);
    const ends: StreamEnd[] = [];
    for (let i = 0; i < 8; i++) {
      const [client, server] = pair.connected(listener);
      ends.push(new StreamEnd(client, i, 100_000, 9), new StreamEnd(server, 9, 100, i));
    }
    pair.programs.push(() => {
      expect(pair.b.tcp.memoryUsed).toBeLessThanOrEqual(64 * 1024);
      return ends.map(end => end.step()).includes(true);
    });
    expect(pair.run(() => ends.every(end => end.done), 600)).toBe(true);
    expect(ends.map(end => end.corrupt ?? end.failed).filter(Boolean)).toEqual([]);
  });
  it('keeps a bounded number of connections, and of those in TIME-WAIT', () => {
    const pair = new TcpPair({ limits: { connections: 10, timeWait: 3 } });
    const listener = pair.b.tcp.listen(80);
    for (let i = 0; i < 20; i++) {
      const [client, server] = pair.connected(listener);
      client.close();
      pair.settle();
      pair.pass(0.1);
      server.close();
      pair.pass(0.1);
    }
    expect(pair.a.tcp.size).toBe(3);
    const open = Array.from({ length: 10 }, () => pair.connect(80));
    expect(() => pair.connect(80)).toThrow(expect.objectContaining({ code: 'ENFILE' }));
    expect(open).toHaveLength(10);
  });
  it('lets a name in TIME-WAIT be used again by a newer SYN', () => {
    const pair = new TcpPair();
    const listener = pair.b.tcp.listen(80);
    const again = (): [TcpConnection, TcpConnection] => {
      const client = pair.a.tcp.connect(IpAddress.v4(pair.b.address), 80, { localPort: 7777 });
      let server: TcpConnection | undefined;
      pair.run(() => {
        server ??= listener.accept();
        return server !== undefined;
      }, 3);
      return [client, server!];
    };
    const [client, server] = again();
    server.endWrite();
    pair.pass(1);
    client.close();
    pair.pass(1);
    expect([client.state, server.state]).toEqual(['CLOSED', 'TIME-WAIT']);
    const [second] = again();
    expect(second.state).toBe('ESTABLISHED');
    expect(server.state).toBe('CLOSED');
  });
  it('gives numbers that begin anew for each name and move with the clock (RFC 6528)', () => {
    const pair = new TcpPair();
    const to = IpAddress.v4(pair.b.address);
    const [one, other] = [1, 2].map(localPort => pair.a.tcp.connect(to, 80, { localPort }).iss) as [number, number];
    expect(Math.abs(one - other)).toBeGreaterThan(1000);
    pair.pass(0.001);
    expect(FIN | RST).toBe(5);
  });
});

/** What a router answers to a frame that does not fit its next link. */
function tooBig(frame: Uint8Array, mtu: number): Uint8Array {
  const made = new Uint8Array(14 + 20 + 8 + 28);
  const view = new DataView(made.buffer);
  made.set(frame.subarray(6, 12), 0);
  made.set(frame.subarray(0, 6), 6);
  view.setUint16(12, 0x0800);
  made.set([0x45, 0, 0, 56, 0, 1, 0, 0, 64, 1, 0, 0], 14);
  made.set(frame.subarray(30, 34), 26);
  made.set(frame.subarray(26, 30), 30);
  sum(view, 14, 20, 24);
  made.set([3, 4], 34);
  view.setUint16(40, mtu);
  made.set(frame.subarray(14, 42), 42);
  sum(view, 34, 36, 36);
  return made;
}
function sum(view: DataView, at: number, length: number, field: number): void {
  let total = 0;
  for (let i = at; i < at + length; i += 2) total += view.getUint16(i);
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  view.setUint16(field, ~total & 0xffff);
}

// A guest that is the gateway of another: connections to addresses beyond its network are a program's to answer.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseIpv4 } from '../../../../domu-kernel/net/address.ts';
import { ETHERTYPE_IPV4, writeEthernet } from '../../../../domu-kernel/net/ethernet.ts';
import { HOST_UNREACHABLE } from '../../../../domu-kernel/net/icmp.ts';
import { IpAddress } from '../../../../domu-kernel/net/ip-address.ts';
import { writeIpv4 } from '../../../../domu-kernel/net/ipv4.ts';
import type { TcpConnection } from '../../../../domu-kernel/net/tcp/connection.ts';
import { HELD_SYNS, type InterceptedSyn, type TcpInterceptor } from '../../../../domu-kernel/net/tcp/interceptor.ts';
import { StreamEnd, TcpPair } from '../../../support/tcp-pair.ts';

const ip = (text: string): IpAddress => IpAddress.v4(parseIpv4(text)!);
const BEYOND = '198.51.100.7';

let pair: TcpPair;
let gateway: TcpInterceptor;
beforeEach(() => {
  pair = new TcpPair();
  pair.a.eth0.v4.gateway = pair.b.address; // b is the gateway of a
  gateway = pair.b.intercept();
});
afterEach(() => {
  gateway.close();
});
const connect = (to = BEYOND, port = 80): TcpConnection => pair.a.tcp.connect(ip(to), port);
function taken(): InterceptedSyn {
  pair.pass(0.2);
  const syn = gateway.take();
  if (syn === undefined) throw new Error('nothing came');
  return syn;
}
/** Both ends of a connection to `to`. */
function connected(to = BEYOND, port = 80): [TcpConnection, TcpConnection] {
  const client = connect(to, port);
  const syn = taken();
  syn.accept();
  pair.run(() => syn.state === 'connected' && client.state === 'ESTABLISHED');
  return [client, syn.connection!];
}

describe('an intercepted connection', () => {
  it('is open in the name of whom it is for when the program has said so, and not before', () => {
    const client = connect(BEYOND, 8080);
    const syn = taken();
    expect([String(syn.local), syn.localPort, String(syn.remote)]).toEqual([BEYOND, 8080, '10.0.0.1']);
    pair.pass(10); // SYNs are repeated meanwhile, and are the same one
    expect(client.state).toBe('SYN-SENT');
    expect(gateway.take()).toBeUndefined();
    syn.accept();
    expect(pair.run(() => client.state === 'ESTABLISHED')).toBe(true);
    pair.pass(0.2);
    expect(syn.state).toBe('connected');
    expect([String(client.remote), String(syn.connection!.local)]).toEqual([BEYOND, BEYOND]);
    syn.accept(); // decided upon already
    syn.refuse();
    pair.pass(0.2);
    expect(client.state).toBe('ESTABLISHED');
  });
  it('carries bytes both ways through loss, to several addresses at once', () => {
    pair.wire.faults = { ...pair.wire.faults, loss: 0.05, duplicate: 0.05, reorder: 0.05 };
    const ends = ['198.51.100.7', '203.0.113.9'].flatMap((to, i) => {
      const [client, server] = connected(to);
      return [new StreamEnd(client, i, 200_000, i + 9), new StreamEnd(server, i + 9, 100_000, i)];
    });
    pair.programs.push(...ends.map(end => () => end.step()));
    expect(pair.run(() => ends.every(end => end.done))).toBe(true);
    expect(ends.map(({ corrupt, failed, received }) => [corrupt, failed, received])).toEqual([
      [undefined, undefined, 100_000],
      [undefined, undefined, 200_000],
      [undefined, undefined, 100_000],
      [undefined, undefined, 200_000],
    ]);
  });
  it('is refused with a reset, or by ICMP', () => {
    const client = connect();
    taken().refuse();
    pair.pass(0.2);
    expect(client.error?.code).toBe('ECONNREFUSED');
    const other = connect();
    const syn = taken();
    pair.b.v4.complain(syn, syn.irs, HOST_UNREACHABLE);
    syn.drop();
    pair.pass(0.2);
    expect(other.error?.code).toBe('EHOSTUNREACH');
  });
  it('that is dropped comes again as a new one', () => {
    connect();
    taken().drop();
    expect(gateway.take()).toBeUndefined();
    expect(pair.run(() => gateway.held.size === 1, 10)).toBe(true);
    expect(gateway.take()?.state).toBe('held');
  });
  it('whose peer never completes the handshake is given up', () => {
    connect();
    const syn = taken();
    pair.wire.faults = { ...pair.wire.faults, loss: 1 };
    syn.accept();
    expect(pair.run(() => syn.state === 'gone', 300)).toBe(true);
    expect([...pair.b.tcp]).toEqual([]);
  });
  it('of a port that its sender uses again is the newer one', () => {
    const name = { localPort: 40_000 };
    const first = pair.a.tcp.connect(ip(BEYOND), 80, name);
    const syn = taken();
    first.abort();
    const second = pair.a.tcp.connect(ip(BEYOND), 80, name);
    pair.pass(0.2);
    expect(gateway.take()).toBeUndefined();
    syn.accept();
    expect(pair.run(() => second.state === 'ESTABLISHED', 30)).toBe(true);
  });
  it('that was never opened is answered with a reset: the gateway was another one before', () => {
    const [client, server] = connected();
    pair.b.tcp.ended(server); // as if it had just been started
    client.write(new Uint8Array(10));
    pair.run(() => client.error !== undefined, 30);
    expect(client.error?.code).toBe('ECONNRESET');
  });
});

describe('what a gateway does not take for a connection of others', () => {
  it('is what it listens to itself, only at its own address', () => {
    const listener = pair.b.tcp.listen(53);
    const own = connect('10.0.0.2', 53);
    const beyond = connect(BEYOND, 53);
    const other = connect('10.0.0.2', 54);
    pair.pass(0.2);
    expect(own.state).toBe('ESTABLISHED');
    expect(listener.accept()).toBeDefined();
    expect([beyond.state, other.state]).toEqual(['SYN-SENT', 'SYN-SENT']);
    expect([gateway.take()!, gateway.take()!].map(syn => `${syn.local}:${syn.localPort}`)).toEqual([
      `${BEYOND}:53`,
      '10.0.0.2:54',
    ]);
  });
  it('is answered as prohibited: a datagram, an echo, but no error about an error', async () => {
    const socket = pair.a.udp.bind();
    const errors: string[] = [];
    socket.onError(error => errors.push(error.code));
    socket.sendTo(new Uint8Array(10), { address: BEYOND, port: 53 });
    const ping = pair.a.ping(BEYOND).catch(error => error.code);
    pair.pass(0.2);
    expect(errors).toEqual(['EHOSTUNREACH']);
    expect(await ping).toBe('EHOSTUNREACH');
    const sent = pair.b.icmp.stats.errorsOut;
    const frame = new Uint8Array(70);
    const view = new DataView(frame.buffer);
    writeEthernet(frame, pair.b.device.mac, pair.a.device.mac, ETHERTYPE_IPV4);
    writeIpv4(view, 14, 36, 1, 64, 1, pair.a.address, parseIpv4(BEYOND)!);
    view.setUint32(34, 0x030d0000);
    pair.b.input(frame, 0, frame.length, 0);
    pair.pass(0.2);
    expect(pair.b.icmp.stats.errorsOut).toBe(sent);
  });
  it.each(['127.0.0.5', '0.0.0.7', '224.0.0.1', '255.255.255.255', '10.0.0.77', '10.0.0.255'])(
    'is a segment to %s',
    to => {
      expect(segmentTo(to, '10.0.0.1')).toEqual({ held: 0, out: 0 });
    },
  );
  it.each(['192.0.2.1', '0.0.0.0', '10.0.0.2', '127.0.0.1'])('is a segment from %s', from => {
    expect(segmentTo(BEYOND, from)).toEqual({ held: 0, out: 0 });
  });
  it('is a segment in a frame to everybody', () => {
    expect(segmentTo(BEYOND, '10.0.0.1', true)).toEqual({ held: 0, out: 0 });
    expect(segmentTo(BEYOND, '10.0.0.1')).toEqual({ held: 1, out: 0 });
  });
  it('is anything, before a program asks and after it has had enough', () => {
    gateway.close();
    const syn = connect();
    pair.pass(0.2);
    expect([syn.state, pair.b.stats.notForUs]).toEqual(['SYN-SENT', 1]);
    gateway = pair.b.intercept();
    expect(() => pair.b.intercept()).toThrow(/already/);
    const ping = pair.a.ping(BEYOND).catch(error => error.code);
    gateway.close();
    pair.pass(2);
    return expect(ping).resolves.toBe('ETIMEDOUT');
  });
  it('is more than so many at a time: those come again', () => {
    for (let i = 0; i < HELD_SYNS + 3; i++) connect(BEYOND, 1000 + i);
    const full = (): boolean => gateway.held.size === HELD_SYNS && gateway.dropped >= 3;
    expect(pair.run(full, 5)).toBe(true);
    taken().refuse();
    expect(pair.run(() => gateway.held.size === HELD_SYNS, 10)).toBe(true);
  });
});

/** A bare SYN in a frame to the gateway. */
function segmentTo(to: string, from: string, everybody = false): { held: number; out: number } {
  const { mac } = pair.b.device;
  const frame = new Uint8Array(14 + 20 + 20);
  const view = new DataView(frame.buffer);
  frame.set(everybody ? [255, 255, 255, 255, 255, 255] : mac);
  frame.set(pair.a.device.mac, 6);
  view.setUint16(12, 0x0800);
  view.setUint32(14, 0x45000028);
  view.setUint32(14 + 8, 0x40060000);
  view.setUint32(14 + 12, parseIpv4(from)!);
  view.setUint32(14 + 16, parseIpv4(to)!);
  let sum = 0;
  for (let i = 0; i < 20; i += 2) sum += view.getUint16(14 + i);
  view.setUint16(14 + 10, ~((sum & 0xffff) + (sum >>> 16)));
  view.setUint16(34, 40_000);
  view.setUint16(36, 80);
  view.setUint16(34 + 12, 0x5002);
  const out = pair.b.tcp.stats.resetsOut + pair.b.icmp.stats.errorsOut;
  const { held } = gateway;
  const before = held.size;
  pair.b.input(frame, 0, frame.length, 2); // FRAME_CHECKSUM_GOOD
  pair.pass(0.2);
  return { held: held.size - before, out: pair.b.tcp.stats.resetsOut + pair.b.icmp.stats.errorsOut - out };
}

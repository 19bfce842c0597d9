import { describe, expect, it } from 'vitest';
import { formatIpv4, parseIpv4 } from '../../../../domu-kernel/net/address.ts';
import { addBytes, finish } from '../../../../domu-kernel/net/checksum.ts';
import {
  ACK,
  DISCOVER,
  encodeRequest,
  NAK,
  OFFER,
  RELEASE,
  REQUEST,
  readReply,
} from '../../../../domu-kernel/net/dhcp/message.ts';
import { parseIpParameter } from '../../../../domu-kernel/net/ip-config.ts';
import { dhcpAnswer } from '../../../support/dhcp-answer.ts';
import fc from '../../../support/properties.ts';
import { Stack } from '../../../support/stack.ts';
import { TcpPair } from '../../../support/tcp-pair.ts';

const ip = (text: string): number => parseIpv4(text)!;
const word = (value: number): number[] => [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];

/** b serves addresses; a new stack on a's device asks. */
class Server {
  readonly pair = new TcpPair();
  readonly seen: { type: number; ciaddr: string; requested?: string; ms: number; broadcast: boolean }[] = [];
  readonly client: Stack;
  give = '10.0.0.50';
  lease = 3600;
  /** Seconds; undefined: not said. */
  t1: number | undefined;
  t2: number | undefined;
  /** What is said to each kind of message; undefined: nothing. */
  answer: (type: number) => number | undefined = type => (type === DISCOVER ? OFFER : ACK);

  constructor() {
    const { pair } = this;
    const socket = pair.b.udp.bind(67);
    const began = pair.clock.ns;
    socket.onMessage(message => {
      const type = message[242]!;
      const view = new DataView(message.buffer);
      const requested = message[243] === 50 ? { requested: formatIpv4(view.getUint32(245)) } : {};
      const broadcast = (message[10]! & 0x80) !== 0;
      this.seen.push({
        type,
        ciaddr: formatIpv4(view.getUint32(12)),
        ...requested,
        ms: (pair.clock.ns - began) / 1e6,
        broadcast,
      });
      const answer = this.answer(type);
      if (answer === undefined) return;
      const to = broadcast ? '255.255.255.255' : formatIpv4(view.getUint32(12));
      socket.sendTo(this.message(message, answer), { address: to, port: 68 });
    });
    this.client = new Stack({
      device: pair.wire.a,
      config: parseIpParameter('::::guest:eth0:dhcp')!,
      clock: pair.clock,
      random: pair.random,
    });
    Object.assign(pair, { a: this.client });
  }
  message(request: Uint8Array, type: number): Uint8Array {
    const { give, lease, t1, t2, pair } = this;
    return dhcpAnswer(request, { give, server: pair.b.address, lease, t1, t2, type, others: true });
  }
}

describe('a DHCP client', () => {
  it('asks, takes what it is offered, and is configured', () => {
    const { pair, client, seen } = new Server();
    expect(client.address).toBe(0);
    pair.pass(0.1);
    expect(seen.map(({ type, requested, broadcast }) => [type, requested, broadcast])).toEqual([
      [DISCOVER, undefined, true],
      [REQUEST, '10.0.0.50', true],
    ]);
    expect([client.address, client.eth0.v4.netmask, client.eth0.v4.gateway].map(value => formatIpv4(value!))).toEqual([
      '10.0.0.50',
      '255.255.255.0',
      '10.0.0.2',
    ]);
    expect(client.dns.servers.map(String)).toEqual(['10.0.0.2', '8.8.8.8']);
    const listener = pair.b.tcp.listen(80);
    expect(pair.connected(listener).map(({ state }) => state)).toEqual(['ESTABLISHED', 'ESTABLISHED']);
  });
  it('gives its address back to the server that gave it', () => {
    const { pair, client, seen } = new Server();
    expect(client.leave()).toBe(false);
    pair.pass(0.1);
    expect(client.leave()).toBe(true);
    pair.pass(10);
    expect(seen.slice(2)).toMatchObject([{ type: RELEASE, ciaddr: '10.0.0.50', broadcast: false }]);
    const message = encodeRequest({
      ...{ type: RELEASE, transaction: 1, mac: pair.wire.a.mac, seconds: 0, address: 5, server: 9 },
    });
    // Its type, its server, and nothing that it wants.
    expect([...message.subarray(240, 250)]).toEqual([53, 1, RELEASE, 54, 4, 0, 0, 0, 9, 255]);
  });
  it('takes an offer that comes to the address it is an offer of, as from passt', () => {
    const server = new Server();
    const { pair } = server;
    // Every frame to everybody becomes one to the client alone.
    pair.wire.b.tap = frame => {
      if (frame[0] === 0xff && frame[23] === 17 && frame.length > 300) {
        frame.set(pair.wire.a.mac);
        const view = new DataView(frame.buffer);
        frame.set(word(ip(server.give)), 30);
        view.setUint16(24, 0);
        view.setUint16(24, finish(addBytes(view, 14, 20)));
        view.setUint16(40, 0); // no UDP checksum
      }
      return true;
    };
    pair.pass(10);
    expect(formatIpv4(server.client.address)).toBe('10.0.0.50');
  });
  it('asks again after 4, 8, 16, 32 and then every 64 seconds, give or take one', () => {
    const server = new Server();
    server.answer = () => undefined;
    server.pair.pass(230);
    const gaps = server.seen.slice(1).map(({ ms }, i) => (ms - server.seen[i]!.ms) / 1000);
    expect(gaps).toHaveLength(6);
    for (const [i, wanted] of [4, 8, 16, 32, 64, 64].entries())
      expect(Math.abs(gaps[i]! - wanted)).toBeLessThanOrEqual(1);
  });
  it('renews at half of the lease with its server, at seven eighths with anybody, and keeps its connections', () => {
    const server = new Server();
    const { pair, seen } = server;
    pair.pass(1);
    const [client] = pair.connected(pair.b.tcp.listen(80));
    pair.pass(1810);
    expect(seen.slice(2).map(({ type, ciaddr, broadcast }) => [type, ciaddr, broadcast])).toEqual([
      [REQUEST, '10.0.0.50', false],
    ]);
    expect(Math.round(seen[2]!.ms / 1000)).toBe(1800);
    expect(client.state).toBe('ESTABLISHED');
    server.answer = () => undefined;
    const before = seen.length;
    pair.pass(3500);
    const asked = seen.slice(before);
    expect(asked.length).toBeGreaterThan(4);
    expect(asked.length).toBeLessThan(20);
    pair.pass(200);
    expect(server.client.address).toBe(0);
    expect(client.error?.message).toContain('no longer has the address');
  });
  it.each([
    [10, 0, 0, 5],
    [3600, 0, 0, 60],
    [3600, 1, 3600, 60],
    [3600, 0, 3600, 60],
  ])('of a lease of %i s with T1 %i and T2 %i is renewed after %i s, each time', (lease, t1, t2, after) => {
    const server = new Server();
    Object.assign(server, { lease, t1, t2 });
    server.pair.pass(10 * after);
    const asked = server.seen.slice(1).map(({ ms }) => Math.round(ms / 1000));
    expect(asked).toEqual(Array.from({ length: 10 }, (_, i) => i * after));
  });
  it('waits four seconds before it asks a server that refuses what it offers again', () => {
    const server = new Server();
    server.answer = type => (type === DISCOVER ? OFFER : NAK);
    server.pair.pass(60);
    const asked = server.seen.filter(({ type }) => type === DISCOVER).map(({ ms }) => ms / 1000);
    const gaps = asked.slice(1).map((at, i) => at - asked[i]!);
    expect(gaps.length).toBeGreaterThan(10);
    for (const gap of gaps) expect(Math.abs(gap - 4)).toBeLessThanOrEqual(1.1);
  });
  it('begins anew when it is refused, and is another host when it is given another address', () => {
    const server = new Server();
    server.answer = type => (type === DISCOVER ? OFFER : NAK);
    server.pair.pass(0.001);
    expect(server.client.address).toBe(0);
    server.answer = type => (type === DISCOVER ? OFFER : ACK);
    server.give = '10.0.0.60';
    server.pair.pass(10);
    expect(formatIpv4(server.client.address)).toBe('10.0.0.60');
  });
  it('takes nothing that no host can have, and nothing that answers nobody', () => {
    for (const give of ['0.0.0.0', '127.0.0.1', '224.0.0.1', '255.255.255.255']) {
      const server = new Server();
      server.give = give;
      server.pair.pass(5);
      expect(server.client.address).toBe(0);
    }
    const mac = Uint8Array.of(0, 1, 2, 3, 4, 5);
    const good = new Server().message(
      encodeRequest({ type: DISCOVER, transaction: 9, mac, seconds: 0, address: 0 }),
      OFFER,
    );
    expect(readReply(good, 9, mac)?.address).toBe(ip('10.0.0.50'));
    expect(readReply(good, 8, mac)).toBeUndefined();
    expect(readReply(good, 9, Uint8Array.of(9, 1, 2, 3, 4, 5))).toBeUndefined();
    expect(readReply(good.slice(0, 239), 9, mac)).toBeUndefined();
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(299), fc.nat(255)), { maxLength: 20 }), fc.nat(300), (changes, cut) => {
        const message = good.slice(0, 300 - cut);
        for (const [at, value] of changes) if (at < message.length) message[at] = value;
        const reply = readReply(message, 9, mac);
        expect(reply === undefined || reply.nameservers.length <= 3).toBe(true);
      }),
    );
  });
});

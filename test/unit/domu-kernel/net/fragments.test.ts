// Datagrams that no packet holds: what two hosts send in parts, and parts that keep to no rule.
import { describe, expect, it } from 'vitest';
import { parseIpv4 } from '../../../../domu-kernel/net/address.ts';
import { addBytes, finish } from '../../../../domu-kernel/net/checksum.ts';
import { IpAddress } from '../../../../domu-kernel/net/ip-address.ts';
import { parseIpParameter } from '../../../../domu-kernel/net/ip-config.ts';
import { PROTOCOL_ICMP, PROTOCOL_UDP, writeIpv4 } from '../../../../domu-kernel/net/ipv4.ts';
import { frame6, icmp6, type MadePacket, macOption, solicitation } from '../../../support/ip6-frames.ts';
import { Stack } from '../../../support/stack.ts';
import { TcpPair } from '../../../support/tcp-pair.ts';
import { GROUP, ROUTER_MAC, ready } from './ip6/alone.ts';
import { ManualClock, wire } from './wire.ts';

const LARGEST = { 4: 65507, 6: 65527 } as const;
const PEER = { 4: '10.0.0.2', 6: 'fd00::2' } as const;
const bytes = (length: number, seed = 0): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => (i * 7 + seed) ^ (i >> 8));

describe.each([[4], [6]] as const)('IPv%d', family => {
  const address = PEER[family];
  const pairOf = (options = {}): TcpPair => new TcpPair({ ip6: family === 6, ...options });

  it.each([[false], [true]])(
    'carries datagrams and echoes of every size, checksums left to the device: %s',
    async offload => {
      const pair = pairOf({ offload });
      let longest = 0;
      pair.wire.a.tap = frame => {
        longest = Math.max(longest, frame.length);
        return true;
      };
      const server = pair.b.udp.bind(7);
      server.onMessage((data, from) => server.sendTo(data, from));
      const client = pair.a.udp.bind();
      // The first waits until the neighbour is known.
      for (const size of [20_000, 0, 1452, 1453, 1472, 1473, 1480, 2953, 8192, 65_000, LARGEST[family]]) {
        expect(client.sendTo(bytes(size), { address, port: 7 })).toBe(true);
        pair.pass(0.1);
        const { data } = await client.receive();
        expect(Buffer.compare(data, bytes(size))).toBe(0);
      }
      const pings = [1453, 8000, LARGEST[family]].map(size => pair.a.ping(address, { size }));
      pair.pass(0.5);
      expect(await Promise.all(pings)).toHaveLength(3);
      expect(longest).toBe(1514);
      expect(() => client.sendTo(bytes(LARGEST[family] + 1), { address, port: 7 })).toThrow('fit');
      await expect(pair.a.ping(address, { size: LARGEST[family] + 1 })).rejects.toMatchObject({ code: 'EMSGSIZE' });
    },
  );
  it('carries the largest to itself, in one packet', async () => {
    const pair = pairOf();
    const server = pair.a.udp.bind(7);
    pair.a.udp.bind().sendTo(bytes(LARGEST[family]), { address: family === 4 ? '127.0.0.1' : '::1', port: 7 });
    pair.pass(0.1);
    expect((await server.receive()).data).toHaveLength(LARGEST[family]);
  });
  it('delivers what was sent or nothing, while frames are lost, doubled and late', () => {
    const faults = { loss: 0.02, duplicate: 0.05, reorder: 0.05, delayNs: 50e3, lateNs: 5e6 };
    const pair = pairOf({ seed: 3 });
    const server = pair.b.udp.bind(7);
    let delivered = 0;
    server.onMessage(data => {
      const seed = data[data.length - 1]!;
      const sent = bytes(data.length, 0);
      sent.fill(seed, data.length - 1);
      expect(Buffer.compare(data, sent)).toBe(0);
      delivered++;
    });
    pair.wire.faults = faults;
    const client = pair.a.udp.bind();
    for (let i = 0; i < 150; i++) {
      const data = bytes(1500 + i * 80);
      data[data.length - 1] = i;
      client.sendTo(data, { address, port: 7 });
      pair.pass(0.05);
    }
    expect(delivered).toBeGreaterThan(80);
    expect(delivered).toBeLessThan(180);
    pair.wire.faults = { ...faults, loss: 0, duplicate: 0 };
    pair.pass(61);
    const { reassembly } = family === 4 ? pair.b.v4 : pair.b.v6!;
    expect([reassembly.size, reassembly.bytes]).toEqual([0, 0]);
    expect(reassembly.stats.expired).toBeGreaterThan(0);
  });
  it('says that nobody has the port of one in parts', async () => {
    const pair = pairOf();
    const client = pair.a.udp.bind();
    const refused = new Promise(resolve => client.onError(error => resolve(error.code)));
    client.sendTo(bytes(5000), { address, port: 9 });
    pair.pass(0.1);
    expect(await refused).toBe('ECONNREFUSED');
  });
  it('tells a sender whose first part came and whose others did not, at a bounded rate', () => {
    const pair = pairOf();
    const client = pair.a.udp.bind();
    client.sendTo(bytes(1), { address, port: 7 });
    pair.pass(1);
    const typeAt = family === 4 ? 34 : 54;
    const said: number[][] = [];
    pair.wire.b.tap = frame => {
      said.push([frame[typeAt]!, frame[typeAt + 1]!]);
      return true;
    };
    pair.wire.a.tap = frame => frame.length > 1000 || frame.length < 200; // last parts are lost
    for (let i = 0; i < 50; i++) client.sendTo(bytes(2000), { address, port: 7 });
    pair.pass(61);
    const told = said.filter(each => each[0] === (family === 4 ? 11 : 3));
    expect(told).toEqual(Array.from({ length: 10 }, () => [family === 4 ? 11 : 3, 1]));
  });
  it('cuts to what the path carries once it has heard', async () => {
    const pair = pairOf();
    const server = pair.b.udp.bind(7);
    const client = pair.a.udp.bind();
    const sent: Uint8Array[] = [];
    pair.wire.a.tap = frame => {
      sent.push(frame);
      return true;
    };
    client.sendTo(bytes(1400), { address, port: 7 });
    pair.pass(0.1);
    await server.receive();
    const quoted = sent.find(frame => frame.length > 1400)!;
    pair.a.input(family === 4 ? needsFragmentation(quoted, 700) : tooBig(quoted, 1300), 0, family === 4 ? 70 : 150, 0);
    sent.length = 0;
    client.sendTo(bytes(1400), { address, port: 7 });
    pair.pass(0.1);
    expect((await server.receive()).data).toEqual(bytes(1400));
    expect(sent.map(({ length }) => length - 14)).toEqual(family === 4 ? [700, 700, 68] : [1296, 208]);
  });
});

/** What a router says that cannot pass on `frame` of host a. */
function needsFragmentation(frame: Uint8Array, mtu: number): Uint8Array {
  const error = new Uint8Array(70);
  const view = new DataView(error.buffer);
  error.set(frame.subarray(6, 12));
  error.set([2, 0, 0, 0, 0, 9, 8, 0], 6);
  writeIpv4(view, 14, 36, 1, 64, PROTOCOL_ICMP, parseIpv4('10.0.0.2')!, parseIpv4('10.0.0.1')!);
  error.set([3, 4, 0, 0, 0, 0, mtu >> 8, mtu & 0xff], 34);
  error.set(frame.subarray(14, 42), 42);
  view.setUint16(36, finish(addBytes(view, 34, 36)));
  return error;
}
function tooBig(frame: Uint8Array, mtu: number): Uint8Array {
  const payload = [2, 0, 0, 0, 0, 0, mtu >> 8, mtu & 0xff, ...frame.subarray(14, 14 + 88)];
  return frame6(icmp6('fd00::2', 'fd00::1', payload), frame.subarray(6, 12), Uint8Array.of(2, 0, 0, 0, 0, 9));
}

describe('parts of IPv4 that keep to no rule', () => {
  /** A part of an echo request to host b. */
  const part = (offset: number, payload: Uint8Array, more: boolean, options = 0): Uint8Array => {
    const frame = new Uint8Array(34 + options + payload.length);
    const view = new DataView(frame.buffer);
    frame.set([0, 0x16, 0x3e, 0, 0, 2, 0, 0x16, 0x3e, 0, 0, 1, 8, 0]);
    writeIpv4(
      view,
      14,
      options + payload.length,
      77,
      64,
      PROTOCOL_ICMP,
      parseIpv4('10.0.0.1')!,
      parseIpv4('10.0.0.2')!,
    );
    frame[14] = 0x45 + options / 4;
    frame.fill(1, 34, 34 + options); // no-operations
    frame.set(payload, 34 + options);
    view.setUint16(20, offset / 8 + (more ? 0x2000 : 0));
    view.setUint16(24, 0);
    view.setUint16(24, finish(addBytes(view, 14, 20 + options)));
    return frame;
  };
  const echo = (length: number): Uint8Array => {
    const message = new Uint8Array(length);
    message[0] = 8;
    const view = new DataView(message.buffer);
    view.setUint16(2, finish(addBytes(view, 0, length)));
    return message;
  };
  const heard = (...frames: Uint8Array[]) => {
    const pair = new TcpPair();
    for (const frame of frames) pair.b.input(frame, 0, frame.length, 0);
    const { stats, v4, icmp } = pair.b;
    return {
      echoes: icmp.stats.echoes,
      malformed: stats.malformed,
      fragments: stats.fragments,
      refused: v4.reassembly.stats.refused,
    };
  };
  const whole = echo(64);
  it('are whole behind the options of the first, in any order', () => {
    const parts = [part(0, whole.subarray(0, 32), true, 12), part(32, whole.subarray(32), false)];
    expect(heard(...parts)).toEqual({ echoes: 1, malformed: 0, fragments: 1, refused: 0 });
    expect(heard(...parts.reverse())).toEqual({ echoes: 1, malformed: 0, fragments: 1, refused: 0 });
  });
  it.each<[string, Uint8Array[], object]>([
    ['one that is empty', [part(8, new Uint8Array(0), false)], { malformed: 1 }],
    ['one that ends behind 65535 bytes', [part(65528, new Uint8Array(100), false)], { malformed: 1 }],
    ['one that is not last and of 12 bytes', [part(0, whole.subarray(0, 12), true)], { malformed: 1 }],
    [
      'two that overlap',
      [part(0, whole.subarray(0, 40), true), part(32, whole.subarray(32), false)],
      { fragments: 2, refused: 1 },
    ],
    ['65535 bytes and options', [...largest(), part(0, echo(8), true, 40)], { fragments: 46 }],
  ])('are not answered: %s', (_, frames, counted) => {
    expect(heard(...frames)).toEqual({ echoes: 0, malformed: 0, fragments: 0, refused: 0, ...counted });
  });
  function largest(): Uint8Array[] {
    const parts: Uint8Array[] = [];
    for (let at = 8; at < 65515; at += 1480)
      parts.push(part(at, new Uint8Array(Math.min(1480, 65515 - at)), at + 1480 < 65515));
    return parts;
  }
  it('and a datagram of which a byte was changed in a part is none', () => {
    const pair = new TcpPair({ offload: true });
    const server = pair.b.udp.bind(7);
    let first = true;
    pair.wire.a.tap = frame => {
      if (frame[23] === PROTOCOL_UDP && first) {
        first = false;
        frame[100]! ^= 1;
      }
      return true;
    };
    const client = pair.a.udp.bind();
    client.sendTo(bytes(3000), { address: '10.0.0.2', port: 7 });
    pair.pass(1);
    expect(pair.b.udp.stats).toMatchObject({ bad: 1, received: 0 });
    server.close();
  });
});

describe('parts of IPv6 that keep to no rule', () => {
  const message = (() => {
    const packet = frame6(
      icmp6('fd00::9', 'fd00::1', [128, 0, 0, 0, 0, 1, 0, 1, ...new Array<number>(24).fill(5)]),
      GROUP,
      GROUP,
    );
    return [...packet.subarray(54)];
  })();
  const header = (offset: number, more: boolean, id = 7): readonly [number, number[]] => [
    44,
    [0, 0, offset >> 8, (offset & 0xf8) | (more ? 1 : 0), 0, 0, 0, id],
  ];
  const part = (
    offset: number,
    more: boolean,
    payload: number[],
    before: MadePacket['extensions'] = [],
  ): MadePacket => ({
    source: 'fd00::9',
    destination: 'fd00::1',
    protocol: 58,
    payload,
    extensions: [...before, header(offset, more)],
  });
  /** What is said to a neighbour that is known: types, codes and pointers. */
  const hears = (packets: readonly MadePacket[]): number[][] => {
    const alone = ready();
    alone.hear(icmp6('fd00::9', 'ff02::1:ff00:1', solicitation('fd00::1', macOption(1, ROUTER_MAC))), GROUP);
    alone.said();
    for (const packet of packets) alone.hear(packet);
    return alone.sent.map(frame => [frame[54]!, frame[55]!, ...(frame[54] === 4 ? [frame[61]!] : [])]);
  };
  it('are whole in any order, behind headers of their own and with others within', () => {
    const options: readonly [number, number[]] = [60, [0, 0, 1, 4, 0, 0, 0, 0]];
    const parts = [part(0, true, message.slice(0, 16), [options]), part(16, false, message.slice(16))];
    expect(hears(parts)).toEqual([[129, 0]]);
    expect(hears(parts.reverse())).toEqual([[129, 0]]);
    const inside = [58, 0, 1, 4, 0, 0, 0, 0, ...message];
    const behind = [part(0, true, inside.slice(0, 24)), part(24, false, inside.slice(24))].map(each => ({
      ...each,
      protocol: 60,
    }));
    expect(hears(behind)).toEqual([[129, 0]]);
  });
  it.each<[string, MadePacket[], number[][]]>([
    ['one that is not last and of 12 bytes', [part(0, true, message.slice(0, 12))], [[4, 0, 4]]],
    ['one that ends behind 65535 bytes', [part(65528, false, message.slice(0, 16))], [[4, 0, 42]]],
    ['one that is empty', [part(8, false, [])], []],
    ['two that overlap', [part(0, true, message.slice(0, 24)), part(16, false, message.slice(16))], []],
    ['a first one without all headers', [{ ...part(0, true, [17, 1, 1, 12, 0, 0, 0, 0]), protocol: 60 }], [[4, 3, 0]]],
    [
      'parts of a part',
      [
        { ...part(0, true, [58, 0, 0, 1, 0, 0, 0, 9, ...message.slice(0, 8)]), protocol: 44 },
        { ...part(16, false, message.slice(8)), protocol: 44 },
      ],
      [],
    ],
    [
      'a question of neighbour discovery that is all of its datagram',
      [
        icmp6('fd00::9', 'fd00::1', solicitation('fd00::1', macOption(1, ROUTER_MAC)), {
          extensions: [header(0, false)],
        }),
      ],
      [],
    ],
  ])('are not answered, or with an error: %s', (_, packets, said) => expect(hears(packets)).toEqual(said));
});

it('a device that fills up in the middle of a datagram has it sent again', () => {
  const [a] = wire();
  const config = parseIpParameter('10.0.0.1:::255.255.255.0')!;
  const net = new Stack({ device: a, config, clock: new ManualClock(), random: () => 0.5 });
  const client = net.udp.bind();
  a.room = 3;
  expect(client.sendTo(bytes(8000), { address: '10.0.0.255', port: 7 })).toBe(false);
  a.room = 6;
  expect(client.sendTo(bytes(8000), { address: '10.0.0.255', port: 7 })).toBe(true);
});

it('a part of a packet of ours that an error quotes says whose it was only where it is the first', () => {
  const pair = new TcpPair();
  const client = pair.a.udp.bind();
  const heard: string[] = [];
  client.onError(error => heard.push(error.code as string));
  const sent: Uint8Array[] = [];
  pair.wire.a.tap = frame => {
    sent.push(frame);
    return true;
  };
  client.sendTo(bytes(3000, client.port >> 8), { address: '10.0.0.2', port: 7 });
  pair.pass(0.1);
  heard.length = 0;
  const parts = sent.filter(frame => frame[23] === PROTOCOL_UDP);
  for (const each of parts) pair.a.input(needsFragmentation(each, 1000), 0, 70, 0);
  expect(heard).toEqual(['EMSGSIZE']);
  expect(pair.a.eth0.v4.pathMtu(IpAddress.from('10.0.0.2'))).toBe(1000);
});

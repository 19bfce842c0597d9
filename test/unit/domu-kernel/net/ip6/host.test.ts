// RFC 8200, 4443, 8201: what a host does with packets that come from its link.
import { describe, expect, it } from 'vitest';
import { IpAddress } from '../../../../../domu-kernel/net/ip-address.ts';
import { MAX_PATHS } from '../../../../../domu-kernel/net/path-mtus.ts';
import { frame6, icmp6, type MadePacket, macOption, solicitation, word } from '../../../../support/ip6-frames.ts';
import { TcpPair } from '../../../../support/tcp-pair.ts';
import { GROUP, ROUTER_MAC, ready } from './alone.ts';

describe('headers', () => {
  const echo = (more: Partial<MadePacket>): MadePacket => icmp6('fd00::9', 'fd00::1', [128, 0, 0, 0, 0, 1, 0, 1], more);
  /** What is said, once the neighbour has told where it is; an error's code and pointer. */
  const hears = (packet: MadePacket, to?: Uint8Array): number[][] => {
    const alone = ready();
    alone.hear(icmp6('fd00::9', 'ff02::1:ff00:1', solicitation('fd00::1', macOption(1, ROUTER_MAC))), GROUP);
    alone.said();
    alone.hear(packet, to);
    return alone.sent.map(frame => [frame[54]!, frame[55]!, ...(frame[54] === 4 ? [frame[61]!] : [])]);
  };
  const padding = [0, 0, 1, 4, 0, 0, 0, 0];
  it.each<[string, MadePacket['extensions']]>([
    ['none', []],
    ['options of each hop, a router alert among them', [[0, [0, 0, 5, 2, 0, 0, 1, 0]]]],
    [
      'options, a route that is over, options',
      [
        [60, padding],
        [43, [0, 0, 0, 0, 0, 0, 0, 0]],
        [60, padding],
      ],
    ],
    ['an unknown option that may be stepped over', [[60, [0, 0, 0x1e, 4, 0, 0, 0, 0]]]],
    ['a fragment that is whole', [[44, [0, 0, 0, 0, 0, 0, 0, 7]]]],
  ])('are stepped over: %s', (_, extensions) => expect(hears(echo({ extensions: extensions! }))).toEqual([[129, 0]]));
  it.each<[string, MadePacket['extensions'], number[][]]>([
    ['an option to be dropped for', [[60, [0, 0, 0x5e, 4, 0, 0, 0, 0]]], []],
    ['an option to be complained of', [[60, [0, 0, 0x9e, 4, 0, 0, 0, 0]]], [[4, 2, 42]]],
    ['an option that is longer than its header', [[60, [0, 0, 1, 5, 0, 0, 0, 0]]], []],
    ['a header that is longer than its packet', [[60, [0, 9, 1, 4, 0, 0, 0, 0]]], []],
    ['a route that goes on', [[43, [0, 0, 0, 1, 0, 0, 0, 0]]], [[4, 0, 42]]],
    [
      'options of each hop behind others',
      [
        [60, padding],
        [0, padding],
      ],
      [[4, 1, 40]],
    ],
    ['too many', Array.from({ length: 9 }, () => [60, padding] as const), []],
    ['a part of a fragment', [[44, [0, 0, 0, 1, 0, 0, 0, 7]]], []],
  ])('are not: %s', (_, extensions, said) => expect(hears(echo({ extensions: extensions! }))).toEqual(said));
  it('that end in nothing say nothing, and what nobody knows is said to be unknown', () => {
    expect(hears({ source: 'fd00::9', destination: 'fd00::1', protocol: 59, payload: [] })).toEqual([]);
    expect(hears({ source: 'fd00::9', destination: 'fd00::1', protocol: 132, payload: [1, 2, 3] })).toEqual([
      [4, 1, 6],
    ]);
  });
  it('of packets that no host sends to another are dropped', () => {
    const alone = ready();
    const martians: Partial<MadePacket>[] = [
      { source: 'ff02::1' },
      { source: '::1' },
      { destination: '::1' },
      { source: 'fd00::1' },
      { source: '::ffff:10.0.0.9' },
      { destination: '::ffff:10.0.0.1' },
    ];
    for (const more of martians) alone.hear(echo(more));
    expect([alone.said(), alone.net.stats.martians]).toEqual([[], martians.length]);
    alone.hear(echo({ destination: 'fd00::5' }));
    alone.hear(echo({ destination: 'ff02::5' }), GROUP);
    expect([alone.said(), alone.net.stats.notForUs]).toEqual([[], 2]);
    alone.hear(echo({ payloadLength: 9 }));
    expect(alone.net.stats.malformed).toBe(1);
  });
  it('an echo to all is not answered; a datagram for nobody is an error, unless its checksum is none', () => {
    expect(hears(echo({ destination: 'ff02::1' }), GROUP)).toEqual([]);
    const datagram = { source: 'fd00::9', destination: 'fd00::1', protocol: 17, payload: [0, 1, 0, 9, 0, 8, 0, 0] };
    expect(hears({ ...datagram, checksumAt: 6 })).toEqual([[1, 4]]);
    expect(hears(datagram)).toEqual([]);
  });
  it('of errors are not answered by errors, and others not without bound', () => {
    const alone = ready();
    const error = { source: 'fd00::9', destination: 'fd00::1', protocol: 58, payload: [1, 0, 0, 0, 0, 0, 0, 0] };
    alone.hear({ ...error, checksumAt: 2, extensions: [[60, [0, 0, 0x9e, 4, 0, 0, 0, 0]]] });
    alone.hear({ ...error, source: '::', protocol: 132 });
    expect(alone.net.v6.icmp.stats.errorsOut).toBe(0);
    for (let i = 0; i < 30; i++) alone.hear({ ...error, protocol: 132 });
    expect([alone.net.v6.icmp.stats.errorsOut, alone.net.v6.icmp.stats.errorsSuppressed]).toEqual([10, 20]);
  });
});

describe('the path', () => {
  const tooBig = (quoted: Uint8Array, mtu: number): MadePacket =>
    icmp6('fe80::1', 'fd00::1', [2, 0, 0, 0, ...word(mtu), ...quoted.subarray(14, 14 + 80)]);
  const data = (pair: TcpPair): { frames: Uint8Array[] } => {
    const frames: Uint8Array[] = [];
    pair.wire.a.tap = frame => frames.push(frame) > 0;
    return { frames };
  };
  it('carries smaller segments once a router says so; all bytes arrive', () => {
    const pair = new TcpPair({ ip6: true });
    const [client, server] = pair.connected(pair.b.tcp.listen(80));
    let lost: Uint8Array | undefined;
    let told = false;
    pair.wire.a.tap = frame => {
      if (frame.length <= 14 + 1280) return true;
      lost ??= frame;
      return false;
    };
    pair.programs.push(() => {
      if (told || lost === undefined) return false;
      told = true;
      const error = frame6(tooBig(lost, 1280), pair.wire.a.mac, ROUTER_MAC);
      pair.a.input(error, 0, error.length, 0);
      return true;
    });
    const bytes = Uint8Array.from({ length: 50_000 }, (_, i) => i * 7);
    let written = 0;
    const got: number[] = [];
    const into = new Uint8Array(65536);
    pair.programs.push(() => {
      const n = written < bytes.length ? client.write(bytes, written) : 0;
      written += n;
      const read = server.read(into);
      if (read > 0) got.push(...into.subarray(0, read));
      return n > 0 || read > 0;
    });
    expect(pair.run(() => got.length === bytes.length, 60)).toBe(true);
    expect(Buffer.compare(Buffer.from(got), bytes)).toBe(0);
    expect(pair.a.ip6.pathMtu(IpAddress.from('fd00::2'))).toBe(1280);
    pair.pass(601);
    expect(pair.a.ip6.pathMtu(IpAddress.from('fd00::2'))).toBe(1500);
  });
  it('is not changed by who quotes nothing of ours, or says less than every link carries', () => {
    const pair = new TcpPair({ ip6: true });
    const seen = data(pair);
    const [client] = pair.connected(pair.b.tcp.listen(80));
    client.write(new Uint8Array(3000));
    pair.settle();
    const frame = seen.frames.find(each => each.length > 1000)!;
    const hear = (quoted: Uint8Array, mtu: number): void => {
      const error = frame6(tooBig(quoted, mtu), pair.wire.a.mac, ROUTER_MAC);
      pair.a.input(error, 0, error.length, 0);
    };
    const changed = (at: number): Uint8Array => frame.map((byte, i) => (i === at ? byte ^ 0xff : byte));
    hear(frame, 1279);
    hear(changed(14), 1300); // no IPv6
    hear(changed(37), 1300); // from somebody else
    hear(changed(54), 1300); // of another port
    hear(changed(58), 1300); // not on its way
    expect(pair.a.paths.size).toBe(0);
  });
  it('is remembered for not any number of hosts', () => {
    const alone = ready();
    for (let i = 1; i <= 2 * MAX_PATHS; i++) alone.net.paths.heard(IpAddress.of(0xfd000000, 0, 0, i), 1300);
    expect(alone.net.paths.size).toBe(MAX_PATHS);
  });
});

describe('two guests', () => {
  it('send one another datagrams and echoes, by any address of theirs', async () => {
    const pair = new TcpPair({ ip6: true });
    const server = pair.b.udp.bind(53);
    const client = pair.a.udp.bind();
    for (const address of ['fd00::2', 'fe80::216:3eff:fe00:2', 'ff02::1']) {
      client.sendTo(Uint8Array.of(1, 2, 3), { address, port: 53 });
      pair.pass(0.1);
      expect((await server.receive()).data).toEqual(Uint8Array.of(1, 2, 3));
    }
    const pings = Promise.all(['fd00::2', 'fd00::1', '::1'].map(address => pair.a.ping(address)));
    pair.pass(0.1);
    expect((await pings).map(({ seq }) => seq)).toEqual([1, 2, 3]);
  });
  it('refuse, and hear of it', async () => {
    const pair = new TcpPair({ ip6: true });
    const socket = pair.a.udp.bind();
    const refused = new Promise(resolve => socket.onError(error => resolve(error.code)));
    socket.sendTo(new Uint8Array(1), { address: 'fd00::2', port: 9 });
    const connection = pair.connect(81);
    pair.pass(1);
    expect([await refused, connection.error?.code]).toEqual(['ECONNREFUSED', 'ECONNREFUSED']);
  });
});

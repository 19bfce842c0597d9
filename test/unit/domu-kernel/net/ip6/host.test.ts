// RFC 8200, 4443, 4861, 4862, 8106, 8201: what a host does with what comes from its link.
import { describe, expect, it } from 'vitest';
import { NetInterface } from '../../../../../domu-kernel/net/interface.ts';
import { IpAddress } from '../../../../../domu-kernel/net/ip-address.ts';
import { MAX_ADDRESSES } from '../../../../../domu-kernel/net/ip6/addresses.ts';
import { type Ip6Config, parseIp6Parameter } from '../../../../../domu-kernel/net/ip6/config.ts';
import { NEIGHBOURS } from '../../../../../domu-kernel/net/ip6/neighbours.ts';
import { MAX_PATHS } from '../../../../../domu-kernel/net/ip6/path-mtus.ts';
import { MAX_NAMESERVERS, MAX_PREFIXES, MAX_ROUTERS } from '../../../../../domu-kernel/net/ip6/router-list.ts';
import { solicitedNode } from '../../../../../domu-kernel/net/ip6/scope.ts';
import {
  advertisement,
  bytesOf,
  frame6,
  icmp6,
  type MadePacket,
  macOption,
  prefixOption,
  routerAdvertisement,
  solicitation,
  word,
} from '../../../../support/ip6-frames.ts';
import { LossyWire } from '../../../../support/lossy-wire.ts';
import { seeded } from '../../../../support/random.ts';
import { TcpPair } from '../../../../support/tcp-pair.ts';

const OURS = 'fe80::216:3eff:fe00:1';
const ROUTER = 'fe80::1';
const ROUTER_MAC = Uint8Array.of(2, 0, 0, 0, 0, 9);
const GROUP = Uint8Array.of(0x33, 0x33, 0, 0, 0, 1);

/** One of our stacks; at the other end of its wire nobody but the test. */
class Alone {
  readonly wire = new LossyWire(seeded(1));
  readonly clock = this.wire.clock;
  readonly net: NetInterface;
  readonly sent: Uint8Array[] = [];

  constructor(ip6: Ip6Config = parseIp6Parameter('fd00::1/64,fe80::1')!) {
    this.wire.a.tap = frame => {
      this.sent.push(frame);
      return true;
    };
    const config = { address: 0, netmask: 0, ip6 };
    this.net = new NetInterface({ device: this.wire.a, config, clock: this.clock, random: seeded(2) });
  }
  get v6() {
    return this.net.v6!;
  }
  pass(seconds: number): void {
    const end = this.clock.ns + seconds * 1e9;
    for (;;) {
      while (this.net.step() === 'progress');
      const next = this.net.deadline();
      if (next === undefined || next > end) break;
      this.clock.ns = Math.max(this.clock.ns, next);
    }
    this.clock.ns = end;
    while (this.net.step() === 'progress');
  }
  hear(packet: MadePacket, to: Uint8Array = this.wire.a.mac, from: Uint8Array = ROUTER_MAC): void {
    const frame = frame6(packet, to, from);
    this.net.input(frame, 0, frame.length, 0);
    while (this.net.step() === 'progress');
  }
  /** Types of ICMPv6 messages sent since this was asked. */
  said(): number[] {
    return this.sent.splice(0).map(frame => frame[54]!);
  }
  get states(): string[] {
    return [...this.v6.discovery.addresses].map(({ address, state }) => `${address} ${state}`);
  }
}
const ready = (ip6?: Ip6Config): Alone => {
  const alone = new Alone(ip6);
  alone.pass(13);
  alone.said();
  return alone;
};
const auto = (): Alone => new Alone({ prefixLength: 64 });
const told = (options: readonly number[], more = {}): MadePacket =>
  icmp6(ROUTER, 'ff02::1', routerAdvertisement(more, options));

describe('ip6=', () => {
  it('is nothing, auto, or an address with a prefix and perhaps a router', () => {
    for (const off of ['', 'off', 'none']) expect(parseIp6Parameter(off)).toBeUndefined();
    expect(parseIp6Parameter('auto')).toEqual({ prefixLength: 64 });
    const { address, prefixLength, gateway } = parseIp6Parameter('fd00::2/48,fe80::1')!;
    expect([String(address), prefixLength, String(gateway)]).toEqual(['fd00::2', 48, 'fe80::1']);
  });
  it.each([
    'fd00::2',
    'fd00::2/0',
    'fd00::2/129',
    '10.0.0.1/24',
    '::ffff:10.0.0.1/64',
    'ff02::1/64',
    '::/64',
    '::1/64',
    'fe80::2/64',
    'fd00::2/64,',
    'fd00::2/64,ff02::2',
    'x/64',
  ])('refuses %j', text => expect(() => parseIp6Parameter(text)).toThrow('ip6='));
});

describe('an address', () => {
  it('is used when nobody has claimed it for a second', () => {
    const alone = new Alone();
    expect(alone.states).toEqual([`${OURS} tentative`, 'fd00::1 tentative']);
    expect(alone.said()).toEqual([135, 135]);
    expect(() => alone.net.udp.bind().sendTo(new Uint8Array(1), { address: 'fd00::2', port: 1 })).toThrow('no route');
    alone.pass(1);
    expect(alone.states).toEqual([`${OURS} preferred`, 'fd00::1 preferred']);
    expect(alone.v6.discovery.isSettled).toBe(true);
  });
  it.each([
    ['says that it has it', () => icmp6('fd00::1', 'ff02::1', advertisement('fd00::1', 0x20))],
    ['would have it too', () => icmp6('::', String(solicitedNode(IpAddress.from('fd00::1'))), solicitation('fd00::1'))],
  ])('is not used when a neighbour %s', (_, claim) => {
    const alone = new Alone();
    alone.hear(claim(), GROUP);
    alone.pass(2);
    expect(alone.states).toEqual([`${OURS} preferred`, 'fd00::1 duplicate']);
    expect(alone.v6.sourceFor(IpAddress.from('fd00::9'))).toBeUndefined();
  });
  it('is not claimed by our own question that comes back', () => {
    const alone = new Alone();
    const question = icmp6('::', String(solicitedNode(IpAddress.from('fd00::1'))), solicitation('fd00::1'));
    alone.hear(question, GROUP, alone.wire.a.mac);
    expect(alone.states[1]).toBe('fd00::1 tentative');
  });
  it('is kept, once it is ours, whatever a neighbour says; who asks whether it is free hears that it is not', () => {
    const alone = ready();
    alone.hear(icmp6('fd00::1', 'ff02::1', advertisement('fd00::1', 0x20)), GROUP);
    alone.hear(icmp6('::', String(solicitedNode(IpAddress.from('fd00::1'))), solicitation('fd00::1')), GROUP);
    expect(alone.states[1]).toBe('fd00::1 preferred');
    expect(alone.said()).toEqual([136]);
  });
});

describe('a solicitation', () => {
  const to = String(solicitedNode(IpAddress.from('fd00::1')));
  const asked = (payload: readonly number[], more: Partial<MadePacket> = {}): MadePacket =>
    icmp6('fd00::9', to, payload, more);
  const mac = macOption(1, ROUTER_MAC);

  it('is answered to who asks, and remembered', () => {
    const alone = ready();
    alone.hear(asked(solicitation('fd00::1', mac)), GROUP);
    const [answer] = alone.sent;
    expect([...answer!.subarray(0, 6)]).toEqual([...ROUTER_MAC]);
    expect([answer![21], answer![54], answer![58]]).toEqual([255, 136, 0x60]);
    expect([...answer!.subarray(62, 86)]).toEqual([...bytesOf('fd00::1'), 2, 1, ...alone.wire.a.mac]);
    expect(alone.v6.discovery.neighbours.size).toBe(1);
  });
  it.each<[string, MadePacket]>([
    ['that was routed', asked(solicitation('fd00::1', mac), { hopLimit: 254 })],
    ['with a code', asked([135, 1, ...solicitation('fd00::1', mac).slice(2)])],
    [
      'whose checksum is wrong',
      asked([135, 0, 1, 1, ...solicitation('fd00::1', mac).slice(4)], { checksumAt: 40_000 } as never),
    ],
    ['that is cut', asked(solicitation('fd00::1').slice(0, 20))],
    ['with an option of no length', asked(solicitation('fd00::1', [1, 0, 0, 0, 0, 0, 0, 0]))],
    ['with an option longer than itself', asked(solicitation('fd00::1', [1, 2, 0, 0, 0, 0, 0, 0]))],
    ['with half an option', asked(solicitation('fd00::1', [1, 1, 2]))],
    ['for a group', asked(solicitation('ff02::1', mac))],
    ['for nobody', asked(solicitation('::', mac))],
    ['for somebody else', asked(solicitation('fd00::77', mac))],
    ['from no address, with a MAC address', icmp6('::', to, solicitation('fd00::1', mac))],
    ['from no address, to one host', icmp6('::', 'fd00::1', solicitation('fd00::1'))],
    ['from who is not on the link', icmp6('2001:db8::1', to, solicitation('fd00::1', mac))],
    ['from our own address', icmp6('fd00::1', to, solicitation('fd00::1', mac))],
  ])('%s changes nothing', (_, packet) => {
    const alone = ready();
    if ((packet.checksumAt ?? 0) > 1000) packet = { ...packet, checksumAt: undefined as never };
    alone.hear(packet, GROUP);
    expect(alone.said()).toEqual([]);
    expect(alone.v6.discovery.neighbours.size).toBe(0);
  });
  it('cannot make the table grow beyond its bound', () => {
    const alone = ready();
    for (let i = 0; i < 2 * NEIGHBOURS; i++) {
      alone.hear(icmp6(`fd00::${(i + 16).toString(16)}`, to, solicitation('fd00::1', mac)), GROUP);
    }
    expect(alone.v6.discovery.neighbours.size).toBe(NEIGHBOURS);
  });
  it('whose sender gives a group as its MAC address does not have us send to one', () => {
    const alone = ready();
    alone.hear(asked(solicitation('fd00::1', macOption(1, GROUP))), GROUP);
    expect(alone.said()).toEqual([135]);
  });
});

describe('a neighbour', () => {
  const answer = (flags: number, mac: readonly number[] | Uint8Array = ROUTER_MAC): MadePacket =>
    icmp6('fd00::9', 'fd00::1', advertisement('fd00::9', flags, macOption(2, mac)));
  const state = (alone: Alone): string | undefined =>
    alone.v6.discovery.neighbours.find(IpAddress.from('fd00::9'))?.state;
  const send = (alone: Alone): void => {
    alone.net.udp.bind().sendTo(new Uint8Array(1), { address: 'fd00::9', port: 7 });
  };
  it('is asked for, answers, gets what waited, goes stale, and is probed when it is used', () => {
    const alone = ready();
    send(alone);
    expect([alone.said(), state(alone)]).toEqual([[135], 'INCOMPLETE']);
    alone.hear(answer(0x60));
    expect(state(alone)).toBe('REACHABLE');
    expect(alone.sent.splice(0).map(frame => [frame[20], [...frame.subarray(0, 6)]])).toEqual([[17, [...ROUTER_MAC]]]);
    alone.pass(50);
    send(alone);
    expect(state(alone)).toBe('DELAY');
    alone.said();
    alone.pass(5);
    expect([state(alone), alone.said()]).toEqual(['PROBE', [135]]);
    alone.hear(answer(0x40));
    expect(state(alone)).toBe('REACHABLE');
  });
  it('that does not answer is unreachable after three questions, and what waited comes back', async () => {
    const alone = ready();
    const socket = alone.net.udp.bind();
    const codes: string[] = [];
    socket.onError(error => codes.push(error.code));
    socket.sendTo(new Uint8Array(1), { address: 'fd00::9', port: 7 });
    const ping = alone.net.ping('fd00::9', { timeoutMs: 60_000 }).catch(error => error.code);
    alone.pass(4);
    expect(alone.said()).toEqual([135, 135, 135]);
    expect([codes, await ping, state(alone)]).toEqual([['EHOSTUNREACH'], 'EHOSTUNREACH', undefined]);
  });
  it('keeps its MAC address against one who does not override', () => {
    const alone = ready();
    send(alone);
    alone.hear(answer(0x60));
    alone.hear(answer(0x00, [2, 0, 0, 0, 0, 66]));
    expect(state(alone)).toBe('STALE');
    expect(alone.v6.discovery.neighbours.find(IpAddress.from('fd00::9'))?.mac).toEqual(ROUTER_MAC);
    alone.hear(answer(0x20, [2, 0, 0, 0, 0, 66]));
    expect(alone.v6.discovery.neighbours.find(IpAddress.from('fd00::9'))?.mac[5]).toBe(66);
  });
  it.each<[string, MadePacket]>([
    ['that nobody asked for', icmp6('fd00::8', 'fd00::1', advertisement('fd00::8', 0x60, macOption(2, ROUTER_MAC)))],
    [
      'to all that says it was asked for',
      icmp6('fd00::9', 'ff02::1', advertisement('fd00::9', 0x60, macOption(2, ROUTER_MAC))),
    ],
    ['that was routed', { ...answer(0x60), hopLimit: 63 }],
    ['without a MAC address', icmp6('fd00::9', 'fd00::1', advertisement('fd00::9', 0x60))],
  ])('an advertisement %s changes nothing', (_, packet) => {
    const alone = ready();
    send(alone);
    alone.hear(packet, packet.destination.startsWith('ff') ? GROUP : alone.wire.a.mac);
    expect([state(alone), alone.v6.discovery.neighbours.size]).toEqual(['INCOMPLETE', 1]);
  });
});

describe('a router', () => {
  it('is asked for three times, and then there is none', () => {
    const alone = auto();
    alone.pass(11);
    expect([alone.said().filter(type => type === 133).length, alone.v6.discovery.isSettled]).toEqual([3, false]);
    alone.pass(2);
    expect([String(alone.v6.address), alone.v6.discovery.isSettled]).toEqual([OURS, true]);
    expect(alone.v6.sourceFor(IpAddress.from('2001:db8::1'))).toBeUndefined();
  });
  it('gives a prefix, an MTU, name servers and a way out, each for as long as it says', () => {
    const alone = auto();
    const rdnss = [25, 3, 0, 0, ...word(60), ...bytesOf('fd00::53')];
    const mtu = [5, 1, 0, 0, ...word(1400)];
    alone.hear(
      told([...macOption(1, ROUTER_MAC), ...prefixOption('fd00::', { valid: 9000, preferred: 100 }), ...rdnss, ...mtu]),
      GROUP,
    );
    alone.pass(2);
    expect(String(alone.v6.address)).toBe('fd00::216:3eff:fe00:1');
    expect([alone.net.dns.servers.map(String), alone.v6.discovery.mtu]).toEqual([['fd00::53'], 1400]);
    expect(String(alone.v6.discovery.nextHop(IpAddress.from('2001:db8::1')))).toBe(ROUTER);
    expect(String(alone.v6.discovery.nextHop(IpAddress.from('fd00::7')))).toBe('fd00::7');
    alone.pass(100);
    expect([alone.net.dns.servers, alone.states[1]]).toEqual([[], 'fd00::216:3eff:fe00:1 deprecated']);
    alone.pass(1800);
    expect(alone.v6.sourceFor(IpAddress.from('2001:db8::1'))).toBeUndefined();
    alone.pass(9000);
    expect(alone.states).toEqual([`${OURS} preferred`]);
  });
  it('that leaves is no longer sent to; a connection ends with its address', () => {
    const alone = auto();
    alone.hear(told(prefixOption('fd00::', { valid: 20, preferred: 10 })), GROUP);
    alone.pass(2);
    const connection = alone.net.tcp.connect(IpAddress.from('2001:db8::1'), 80);
    alone.hear(told([], { lifetime: 0 }), GROUP);
    expect(alone.v6.discovery.nextHop(IpAddress.from('2001:db8::1'))).toBeUndefined();
    alone.pass(20);
    expect(connection.error?.code).toBe('ECONNRESET');
  });
  it('cannot take an address away at once (RFC 4862, 5.5.3)', () => {
    const alone = auto();
    alone.hear(told(prefixOption('fd00::', { valid: 90_000, preferred: 90_000 })), GROUP);
    alone.pass(2);
    alone.hear(told(prefixOption('fd00::', { valid: 0, preferred: 0 })), GROUP);
    alone.pass(7100);
    expect(alone.states[1]).toBe('fd00::216:3eff:fe00:1 deprecated');
    alone.pass(200);
    expect(alone.states).toHaveLength(1);
  });
  it.each<[string, MadePacket]>([
    ['from off the link', { ...told(prefixOption('fd00::')), hopLimit: 254 }],
    ['not from a link-local address', icmp6('fd00::9', 'ff02::1', routerAdvertisement({}, prefixOption('fd00::')))],
    ['that is cut', icmp6(ROUTER, 'ff02::1', routerAdvertisement().slice(0, 12))],
    ['with an option of no length', told([...prefixOption('fd00::'), 3, 0, 0, 0, 0, 0, 0, 0])],
  ])('a word %s is none', (_, packet) => {
    const alone = auto();
    alone.hear(packet, GROUP);
    expect([alone.states.length, alone.v6.discovery.stats.routerAdvertisements]).toEqual([1, 0]);
  });
  it.each<[string, number[]]>([
    ['the link-local prefix', prefixOption('fe80::')],
    ['a group', prefixOption('ff02::')],
    ['everything', prefixOption('::', { length: 0 })],
    ['a length of more than an address', prefixOption('fd00::', { length: 129, flags: 0x80 })],
    ['preferred for longer than valid', prefixOption('fd00::', { flags: 0x40, valid: 10, preferred: 20 })],
    ['valid for no time', prefixOption('fd00::', { valid: 0, preferred: 0 })],
    ['of another length, for an address', prefixOption('fd00::', { flags: 0x40, length: 48 })],
    ['an MTU smaller than any', [5, 1, 0, 0, ...word(1279)]],
    ['an MTU larger than the device', [5, 1, 0, 0, ...word(9000)]],
    ['a name server that is a group', [25, 3, 0, 0, ...word(60), ...bytesOf('ff02::1')]],
    ['half a name server', [25, 2, 0, 0, ...word(60), ...bytesOf('fd00::1').slice(0, 8)]],
    ['timers of no use', []],
  ])('that says of a prefix, an MTU or a server: %s, is not believed', (_, options) => {
    const alone = auto();
    alone.hear(told(options, { retrans: 1, reachable: 0xffffffff }), GROUP);
    const { routers, mtu, neighbours } = alone.v6.discovery;
    expect([alone.states.length, routers.prefixes, routers.nameservers, mtu]).toEqual([1, [], [], 1500]);
    expect([neighbours.retransNs, neighbours.reachableNs]).toEqual([1e9, 30e9]);
  });
  it('and many of them cannot make our lists grow beyond their bounds', () => {
    const alone = auto();
    for (let i = 1; i <= 40; i++) {
      const hex = i.toString(16);
      const rdnss = [25, 3, 0, 0, ...word(60), ...bytesOf(`fd00::${hex}`)];
      const packet = icmp6(
        `fe80::${hex}`,
        'ff02::1',
        routerAdvertisement({}, [...prefixOption(`fd00:${hex}::`), ...rdnss]),
      );
      alone.hear(packet, GROUP);
    }
    const { routers } = alone.v6.discovery;
    expect([routers.routers.length, routers.prefixes.length]).toEqual([MAX_ROUTERS, MAX_PREFIXES]);
    expect([routers.nameservers.length, alone.states.length]).toEqual([MAX_NAMESERVERS, MAX_ADDRESSES]);
  });
  it('does not change what was given by ip6=', () => {
    const alone = ready();
    alone.hear(told(prefixOption('fd77::')), GROUP);
    expect(alone.states).toHaveLength(2);
  });
  it('that does not answer makes room for another one', () => {
    const alone = auto();
    for (const router of ['fe80::a', 'fe80::b']) {
      alone.hear(icmp6(router, 'ff02::1', routerAdvertisement({}, prefixOption('fd00::'))), GROUP);
    }
    alone.pass(2);
    void alone.net.ping('2001:db8::1').catch(() => {});
    alone.pass(4);
    expect(String(alone.v6.discovery.nextHop(IpAddress.from('2001:db8::1')))).toBe('fe80::b');
  });
});

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
    expect(alone.v6.icmp.stats.errorsOut).toBe(0);
    for (let i = 0; i < 30; i++) alone.hear({ ...error, protocol: 132 });
    expect([alone.v6.icmp.stats.errorsOut, alone.v6.icmp.stats.errorsSuppressed]).toEqual([10, 20]);
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
    expect(pair.a.v6!.pathMtu(IpAddress.from('fd00::2'))).toBe(1280);
    pair.pass(601);
    expect(pair.a.v6!.pathMtu(IpAddress.from('fd00::2'))).toBe(1500);
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
    expect(pair.a.v6!.paths.size).toBe(0);
  });
  it('is remembered for not any number of hosts', () => {
    const alone = ready();
    for (let i = 1; i <= 2 * MAX_PATHS; i++) alone.v6.paths.heard(IpAddress.of(0xfd000000, 0, 0, i), 1300);
    expect(alone.v6.paths.size).toBe(MAX_PATHS);
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

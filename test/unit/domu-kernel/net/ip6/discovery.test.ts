// RFC 4861, 4862, 8106: what a host takes from its neighbours and routers, and what it says.
import { describe, expect, it } from 'vitest';
import { IpAddress } from '../../../../../domu-kernel/net/ip-address.ts';
import { MAX_ADDRESSES } from '../../../../../domu-kernel/net/ip6/addresses.ts';
import { parseIp6Parameter } from '../../../../../domu-kernel/net/ip6/config.ts';
import { NEIGHBOURS } from '../../../../../domu-kernel/net/ip6/neighbours.ts';
import { MAX_NAMESERVERS, MAX_PREFIXES, MAX_ROUTERS } from '../../../../../domu-kernel/net/ip6/router-list.ts';
import { solicitedNode } from '../../../../../domu-kernel/net/ip6/scope.ts';
import {
  advertisement,
  bytesOf,
  icmp6,
  type MadePacket,
  macOption,
  prefixOption,
  routerAdvertisement,
  solicitation,
  word,
} from '../../../../support/ip6-frames.ts';
import { Alone, auto, GROUP, OURS, ROUTER, ROUTER_MAC, ready, told } from './alone.ts';

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
    expect(alone.net.via(undefined, IpAddress.from('2001:db8::1'))).toBeUndefined();
    alone.pass(9000);
    expect(alone.states).toEqual([`${OURS} preferred`]);
  });
  it('says more than the first backend took: datagrams are cut for that one still', () => {
    const alone = auto();
    alone.pass(13);
    alone.wire.a.mtu = 9000;
    const mtu = [5, 1, 0, 0, ...word(9000)];
    alone.hear(told([...macOption(1, ROUTER_MAC), ...prefixOption('fd00::'), ...mtu]), GROUP);
    alone.pass(2);
    alone.said();
    alone.net.udp.bind().sendTo(new Uint8Array(10_000), { address: '2001:db8::1', port: 9 });
    expect(alone.sent.map(frame => frame.length)).toEqual([...Array(6).fill(62 + 1448), 62 + 10_008 - 6 * 1448]);
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

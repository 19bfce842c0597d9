// A guest on two links, eth0 and eth1, and a peer on each, on a virtual clock.
import { describe, expect, it } from 'vitest';
import { formatIpv4 } from '../../../../domu-kernel/net/address.ts';
import { ETH_HLEN, ETHERTYPE_IPV4, writeEthernet } from '../../../../domu-kernel/net/ethernet.ts';
import type { NetInterface } from '../../../../domu-kernel/net/interface.ts';
import { IpAddress } from '../../../../domu-kernel/net/ip-address.ts';
import { parseIpParameter } from '../../../../domu-kernel/net/ip-config.ts';
import { parseIp6Parameter } from '../../../../domu-kernel/net/ip6/config.ts';
import { PROTOCOL_UDP, writeIpv4 } from '../../../../domu-kernel/net/ipv4.ts';
import { Network } from '../../../../domu-kernel/net/network.ts';
import type { TcpConnection } from '../../../../domu-kernel/net/tcp/connection.ts';
import type { NetDevice } from '../../../../domu-kernel/net-device.ts';
import { dhcpAnswer } from '../../../support/dhcp-answer.ts';
import { LossyWire } from '../../../support/lossy-wire.ts';
import { seeded } from '../../../support/random.ts';
import { Stack } from '../../../support/stack.ts';
import { StreamEnd } from '../../../support/tcp-pair.ts';

const named = (device: NetDevice, name: string): NetDevice =>
  new Proxy(device, {
    get: (target, key) => {
      if (key === 'name') return name;
      if (key === 'mac') return Uint8Array.of(0, 0x16, 0x3e, 0, 1, Number(name.slice(3)));
      const value = Reflect.get(target, key);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
const ip = IpAddress.from;

interface Given {
  /** `ip=` of eth0 and eth1, and of the peers on their links. */
  readonly v4?: readonly [string, string];
  readonly peers?: readonly [string, string];
  readonly v6?: readonly [string, string];
  readonly peers6?: readonly [string, string];
  /** Frames that eth0's wire has room for. */
  readonly room?: number;
}

class Crossing {
  readonly wires: readonly [LossyWire, LossyWire];
  readonly guest: Network;
  readonly peers: readonly [Stack, Stack];
  readonly own: readonly [NetInterface, NetInterface];

  constructor({
    v4 = ['10.0.0.1:::255.255.255.0', '10.1.0.1:::255.255.255.0'],
    peers = ['10.0.0.2::10.0.0.1:255.255.255.0', '10.1.0.2::10.1.0.1:255.255.255.0'],
    v6,
    peers6,
    room = 256,
  }: Given = {}) {
    const random = seeded(3);
    const first = new LossyWire(random, undefined, { room });
    const second = new LossyWire(random, undefined, { clock: first.clock });
    this.wires = [first, second];
    const { clock } = first;
    const config = (text: string, six: string | undefined) => ({
      ...(parseIpParameter(text) ?? { address: 0, netmask: 0 }),
      ...(six === undefined ? {} : { ip6: parseIp6Parameter(six)! }),
    });
    this.guest = new Network({ clock, random });
    // In the other order: names say which is the first.
    const eth1 = this.guest.add(named(second.a, 'eth1'), config(v4[1], v6?.[1]));
    const eth0 = this.guest.add(named(first.a, 'eth0'), config(v4[0], v6?.[0]));
    this.own = [eth0, eth1];
    const peer = (i: 0 | 1): Stack =>
      new Stack({ device: this.wires[i].b, config: config(peers[i], peers6?.[i]), clock, random });
    this.peers = [peer(0), peer(1)];
    if (v6 !== undefined) this.pass(5);
  }
  get clock() {
    return this.wires[0].clock;
  }
  settle(): void {
    for (let turns = 0; turns < 1e5; turns++) {
      const all = [...this.wires, this.guest, ...this.peers].map(each => each.step());
      if (!all.includes('progress')) return;
    }
    throw new Error('it never falls silent');
  }
  /** Until `done`, or so many virtual seconds have gone by. */
  run(done: () => boolean, seconds = 60): boolean {
    const end = this.clock.ns + seconds * 1e9;
    for (;;) {
      this.settle();
      if (done()) return true;
      const deadlines = [
        ...this.wires.map(wire => wire.deadline),
        ...[this.guest, ...this.peers].map(s => s.deadline()),
      ];
      const next = Math.min(...deadlines.filter(each => each !== undefined));
      if (next > end) {
        this.clock.ns = end;
        return done();
      }
      this.clock.ns = Math.max(this.clock.ns, next);
    }
  }
  pass(seconds: number): void {
    this.run(() => false, seconds);
  }
  /** What the result of a promise is, while time passes. */
  async outcome<T>(promise: Promise<T>): Promise<T | string> {
    let result: { value: T | string } | undefined;
    promise.then(
      value => {
        result = { value };
      },
      error => {
        result = { value: error.code };
      },
    );
    for (let i = 0; i < 50 && result === undefined; i++) {
      this.pass(0.1);
      await new Promise(resolve => setImmediate(resolve));
    }
    return result?.value ?? 'nothing';
  }
  /** Frames that have left by eth0 and by eth1 while `act` ran. */
  async leaves(act: () => unknown): Promise<[number, number]> {
    const before = this.wires.map(wire => wire.a.sent);
    await act();
    return this.wires.map((wire, i) => wire.a.sent - before[i]!) as [number, number];
  }
}

describe('a guest on two links', () => {
  it('reaches a neighbour on each by its own interface and address', async () => {
    const crossing = new Crossing();
    const { guest, peers } = crossing;
    for (const i of [0, 1] as const) {
      const socket = peers[i].udp.bind(7);
      const heard: string[] = [];
      socket.onMessage((_, from) => heard.push(from.address));
      guest.udp.bind().sendTo(new Uint8Array(3), { address: formatIpv4(peers[i].address), port: 7 });
      const left = await crossing.leaves(() => crossing.outcome(guest.ping(formatIpv4(peers[i].address))));
      expect(heard).toEqual([i === 0 ? '10.0.0.1' : '10.1.0.1']);
      expect(left[1 - i]).toBe(0);
      expect(left[i]).toBeGreaterThan(0);
    }
    expect(guest.addresses.map(String)).toEqual(['10.0.0.1', '10.1.0.1']);
  });

  it('takes the longest prefix, then the first default route', async () => {
    const routes = new Crossing({
      v4: ['10.0.0.1::10.0.0.2:255.255.0.0', '10.0.1.1::10.0.1.2:255.255.255.0'],
      peers: ['10.0.0.2:::255.255.0.0', '10.0.1.2:::255.255.255.0'],
    });
    const by = (to: string, from?: string) => routes.guest.via(from === undefined ? undefined : ip(from), ip(to))?.name;
    expect([by('10.0.2.9'), by('10.0.1.9'), by('8.8.8.8')]).toEqual(['eth0', 'eth1', 'eth0']);
    // An answer leaves where the question came, where both would do; a longer prefix is one all the same.
    expect([by('8.8.8.8', '10.0.1.1'), by('10.0.2.9', '10.0.1.1')]).toEqual(['eth1', 'eth0']);
    expect([by('127.0.0.1'), by('10.0.1.1'), by('::1'), by('fd00::1')]).toEqual(['lo', 'lo', 'lo', undefined]);
    expect([by('255.255.255.255'), by('224.0.0.1'), by('255.255.255.255', '10.0.1.1')]).toEqual([
      'eth0',
      'eth0',
      'eth1',
    ]);
    // Its sender says by which link, whichever of them has the default route.
    const only = new Crossing({ v4: ['10.0.0.1::10.0.0.2:255.255.255.0', '10.1.0.1:::255.255.255.0'] });
    const everybody = ['255.255.255.255', '224.0.0.1'];
    expect(everybody.map(to => only.guest.via(ip('10.1.0.1'), ip(to))?.name)).toEqual(['eth1', 'eth1']);
    routes.guest.remove(routes.own[0]);
    expect([by('8.8.8.8'), by('10.0.2.9'), by('10.0.0.1')]).toEqual(['eth1', 'eth1', 'eth1']);
  });
  it('is of IPv6 by prefix, by router, and for link-local addresses by neighbour or by sender', () => {
    const crossing = new Crossing({
      v4: ['off', 'off'],
      peers: ['off', 'off'],
      v6: ['fd00::1/64', 'fd01::1/64,fd01::2'],
      peers6: ['fd00::2/64', 'fd01::2/64'],
    });
    const { guest, own, peers } = crossing;
    const by = (to: string, from?: IpAddress) => guest.via(from, ip(to))?.name;
    expect([by('fd00::9'), by('fd01::9'), by('2001:db8::1'), by('fd00::1')]).toEqual(['eth0', 'eth1', 'eth1', 'lo']);
    const local = (side: NetInterface) =>
      [...side.v6!.discovery.addresses].find(each => each.address.isLinkLocal)!.address;
    expect(by('fe80::77', local(own[1]))).toBe('eth1');
    // Both links have a peer of this address. The second one asks for eth1's, so it is a neighbour there.
    const far = local(peers[1].eth0);
    expect([far.equals(local(peers[0].eth0)), by(String(far))]).toEqual([true, 'eth0']);
    void peers[1].ping(String(local(own[1]))).catch(() => {});
    crossing.pass(1);
    expect([by(String(far)), by(String(far), local(own[0]))]).toEqual(['eth1', 'eth0']);
  });

  it('is kept of IPv6 too, until a router, a prefix or an address comes or goes', () => {
    const crossing = new Crossing({
      v4: ['off', 'off'],
      peers: ['off', 'off'],
      v6: ['fd00::1/64', 'fd01::1/64'],
      peers6: ['fd00::2/64', 'fd01::2/64'],
    });
    const { guest, own } = crossing;
    const by = () => guest.via(undefined, ip('2001:db8::1'))?.name;
    const [first, second] = own.map(each => each.v6!.discovery);
    expect(by()).toBeUndefined();
    first!.routers.router(ip('fe80::9'), Number.POSITIVE_INFINITY);
    expect(by()).toBe('eth0');
    const now = crossing.clock.now();
    second!.routers.prefix(ip('2001:db8::'), 64, now + 60e9);
    expect(by()).toBe('eth1');
    crossing.pass(61);
    expect(by()).toBe('eth0');
    second!.addresses.add(ip('2001:db8::1'), 64, 1e9);
    crossing.pass(2);
    expect(by()).toBe('lo');
    guest.remove(own[1]);
    expect(by()).toBe('eth0');
    first!.routers.router(ip('fe80::9'), 0);
    expect(by()).toBeUndefined();
  });

  it('serves on all addresses, on one, and on the loopback alone', async () => {
    const crossing = new Crossing();
    const { guest, peers } = crossing;
    const listeners = {
      all: guest.tcp.listen(80),
      eth1: guest.tcp.listen(81, { address: ip('10.1.0.1') }),
      lo: guest.tcp.listen(82, { address: ip('127.0.0.1') }),
    };
    expect(() => guest.tcp.listen(83, { address: ip('10.2.0.1') })).toThrow('no address of this domain');
    const answers = (stack: Network, to: string, port: number): string => {
      const connection = stack.tcp.connect(ip(to), port);
      crossing.run(() => !connection.isOpening, 3);
      return connection.state === 'ESTABLISHED' ? 'yes' : String(connection.error?.code);
    };
    const table = [80, 81, 82].map(port => [
      answers(peers[0], '10.0.0.1', port),
      answers(peers[1], '10.1.0.1', port),
      // As with Linux, an address is the guest's, whichever link the packet came by.
      answers(peers[0], '10.1.0.1', port),
      answers(guest, '127.0.0.1', port),
      answers(guest, '10.1.0.1', port),
    ]);
    expect(table).toEqual([
      ['yes', 'yes', 'yes', 'yes', 'yes'],
      ['ECONNREFUSED', 'yes', 'yes', 'ECONNREFUSED', 'yes'],
      ['ECONNREFUSED', 'ECONNREFUSED', 'ECONNREFUSED', 'yes', 'ECONNREFUSED'],
    ]);
    expect([listeners.all.acceptable, listeners.eth1.acceptable, listeners.lo.acceptable]).toEqual([5, 3, 1]);
    // The source is the listener's address, though another interface's is nearer.
    expect([...guest.tcp].map(each => String(each.local)).filter(local => local === '10.1.0.1').length).toBeGreaterThan(
      3,
    );
  });

  it('answers pings and unknown ports of any of its addresses from that address', async () => {
    const crossing = new Crossing();
    const [first] = crossing.peers;
    expect(await crossing.outcome(first.ping('10.1.0.1'))).toMatchObject({ seq: 1 });
    const socket = first.udp.bind();
    const errors: string[] = [];
    socket.onError(error => errors.push(error.message));
    socket.sendTo(new Uint8Array(1), { address: '10.1.0.1', port: 9 });
    crossing.pass(1);
    expect(errors).toEqual(['udp: 10.1.0.1 port 9 did not take a datagram']);
  });
  it('does not answer ARP for the address of another interface', () => {
    const crossing = new Crossing({ peers: ['10.0.0.2:::255.0.0.0', '10.1.0.2:::255.255.255.0'] });
    const [first] = crossing.peers;
    void first.ping('10.1.0.1').catch(() => {});
    crossing.pass(0.5);
    expect([first.arp.lookup(ip('10.1.0.1').d), crossing.own[0].v4.arp.stats.replies]).toEqual([undefined, 0]);
  });

  it('takes nothing that is for no address while it has none', () => {
    const { guest, own } = new Crossing({ v4: ['10.0.0.1:::255.255.255.0', 'dhcp'] });
    const socket = guest.udp.bind(7);
    const heard: number[] = [];
    socket.onMessage(data => heard.push(data.length));
    const frame = new Uint8Array(43);
    const view = new DataView(frame.buffer);
    for (const [side, to] of [
      [0, '10.0.0.1'],
      [1, '0.0.0.0'],
    ] as const) {
      writeEthernet(frame, own[side].device.mac, Uint8Array.of(2, 0, 0, 0, 0, 1), ETHERTYPE_IPV4);
      writeIpv4(view, ETH_HLEN, 9, 1, 64, PROTOCOL_UDP, ip('10.0.0.2').d, ip(to).d);
      for (const [i, word] of [9, 7, 9, 0].entries()) view.setUint16(34 + 2 * i, word);
      own[side].input(frame, 0, frame.length, 0);
    }
    expect([heard, guest.stats.notForUs]).toEqual([[1], 1]);
  });

  it('carries bytes by one link while the device of the other takes none', () => {
    const crossing = new Crossing({ room: 4 });
    const { guest, peers, wires } = crossing;
    const streams = ([0, 1] as const).map(i => {
      const listener = peers[i].tcp.listen(80);
      const client = guest.tcp.connect(ip(formatIpv4(peers[i].address)), 80);
      let server: TcpConnection | undefined;
      expect(
        crossing.run(() => {
          server ??= listener.accept();
          return server !== undefined;
        }),
      ).toBe(true);
      return [new StreamEnd(client, 1, 300_000, 2), new StreamEnd(server!, 2, 0, 1)] as const;
    });
    const turn = (i: number): boolean => streams[i]!.map(end => end.step()).includes(true);
    // eth0 takes nothing more, as with a backend that stands still.
    const held = wires[0].a.room;
    wires[0].a.room = 0;
    turn(0);
    crossing.settle();
    expect(
      crossing.run(() => {
        while (turn(1)) crossing.settle();
        return streams[1]![1].received === 300_000;
      }),
    ).toBe(true);
    expect(streams[0]![1].received).toBe(0);
    wires[0].a.room = held - 1;
    wires[0].a.left();
    expect(
      crossing.run(() => {
        while (turn(0)) crossing.settle();
        return streams[0]![1].received === 300_000;
      }),
    ).toBe(true);
  });

  it('is asked by a DHCP server on each link, and gives up what an interface had that goes', () => {
    const crossing = new Crossing({ v4: ['dhcp', ':::::eth1:dhcp'] });
    const { guest, own, peers } = crossing;
    const asked: number[] = [0, 0];
    for (const i of [0, 1] as const) {
      const socket = peers[i].udp.bind(67);
      socket.onMessage(message => {
        asked[i]!++;
        const answer = dhcpAnswer(message, { give: `10.${i}.0.50`, server: peers[i].address, lease: 3600 });
        socket.sendTo(answer, { address: '255.255.255.255', port: 68 });
      });
    }
    expect(crossing.run(() => own.every(each => each.isConfigured), 30)).toBe(true);
    expect(asked).toEqual([2, 2]);
    expect(guest.addresses.map(String)).toEqual(['10.0.0.50', '10.1.0.50']);
    expect(guest.dns.servers.map(String)).toEqual(['10.0.0.2', '10.1.0.2']);
    expect(guest.via(undefined, ip('8.8.8.8'))?.name).toBe('eth0');
    // A program's port 68 is its own, though the client of each interface hears of its server.
    expect(guest.udp.bind(68).port).toBe(68);

    const listeners = peers.map(peer => peer.tcp.listen(80));
    const connections = peers.map(peer => guest.tcp.connect(ip(formatIpv4(peer.address)), 80));
    crossing.run(() => listeners.every(listener => listener.acceptable === 1));
    guest.remove(own[0]);
    expect(connections.map(({ state, error }) => [state, error?.code])).toEqual([
      ['CLOSED', 'ECONNRESET'],
      ['ESTABLISHED', undefined],
    ]);
    expect(guest.addresses.map(String)).toEqual(['10.1.0.50']);
    expect(guest.dns.servers.map(String)).toEqual(['10.1.0.2']);
    expect(guest.via(undefined, ip('8.8.8.8'))?.name).toBe('eth1');
  });
});

describe('an interface with an address of IPv4 alone', () => {
  it('has ::1 for the guest itself, and listeners of IPv4, IPv6 and both as Linux has them', async () => {
    const crossing = new Crossing();
    const { guest } = crossing;
    expect(await crossing.outcome(guest.ping('::1'))).toMatchObject({ seq: 1 });
    expect(await crossing.outcome(guest.ping('fd00::1'))).toBe('ENETUNREACH');
    const any4 = IpAddress.v4(0);
    const any6 = new IpAddress();
    const four = guest.tcp.listen(80, { address: any4 });
    const state = (to: string) => {
      const connection = guest.tcp.connect(ip(to), 80);
      crossing.run(() => !connection.isOpening, 3);
      return connection.error?.code ?? connection.state;
    };
    expect([state('127.0.0.1'), state('10.1.0.1'), state('::1')]).toEqual([
      'ESTABLISHED',
      'ESTABLISHED',
      'ECONNREFUSED',
    ]);
    const clash = (address: IpAddress): boolean => {
      try {
        guest.tcp.listen(80, { address }).close();
        return false;
      } catch {
        return true;
      }
    };
    // bind(2) of Linux says the same of each pair.
    expect([any4, any6, ip('10.0.0.1'), ip('::1')].map(clash)).toEqual([true, true, true, false]);
    four.close();
    const six = guest.tcp.listen(80, { address: any6 });
    expect([state('127.0.0.1'), state('::1')]).toEqual(['ESTABLISHED', 'ESTABLISHED']);
    expect([any4, any6, ip('10.0.0.1'), ip('::1')].map(clash)).toEqual([true, true, true, true]);
    six.close();
    guest.tcp.listen(80, { address: ip('::1') });
    expect([any4, any6, ip('10.0.0.1'), ip('::1')].map(clash)).toEqual([false, true, false, true]);
  });
});

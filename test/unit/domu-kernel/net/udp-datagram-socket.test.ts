// Datagram sockets of programs on two stacks with a wire between them, on a virtual clock.
import { describe, expect, it } from 'vitest';
import { IpAddress } from '../../../../domu-kernel/net/ip-address.ts';
import { UDP_MEMORY } from '../../../../domu-kernel/net/udp.ts';
import { DATAGRAM_OVERHEAD, UdpDatagramSocket } from '../../../../domu-kernel/net/udp-datagram-socket.ts';
import { AGAIN, type Received, type SocketAddress } from '../../../../domu-kernel/wasi/socket.ts';
import { SocketOptions } from '../../../../domu-kernel/wasi/socket-options.ts';
import { TcpPair } from '../../../support/tcp-pair.ts';

const at = (text: string, port: number): SocketAddress => {
  const bytes = new Uint8Array(16);
  const address = IpAddress.from(text);
  address.write(new DataView(bytes.buffer), 0);
  return { address: address.isV4 ? bytes.slice(12) : bytes, port };
};
const mapped = (text: string, port: number): SocketAddress => {
  const address = new Uint8Array(16);
  IpAddress.from(text).write(new DataView(address.buffer), 0);
  return { address, port };
};
const bytes = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => i);
const codeOf = (act: () => unknown): unknown => {
  try {
    return act();
  } catch (error) {
    return (error as { code: unknown }).code;
  }
};
function options(change: Partial<SocketOptions>): SocketOptions {
  return Object.assign(new SocketOptions(), change);
}
function pair(ip6 = false) {
  const both = new TcpPair({ ip6 });
  const socket = (host: 'a' | 'b', name?: SocketAddress, family: 4 | 6 = 4): UdpDatagramSocket => {
    const made = new UdpDatagramSocket(both[host].udp, family);
    if (name) made.bind(name);
    return made;
  };
  return { both, socket, settle: () => both.pass(1) };
}
const received = (socket: UdpDatagramSocket): Received => {
  const next = socket.receive(false);
  if (next === undefined || next === AGAIN) throw new Error(`nothing came: ${next}`);
  return next;
};

describe('a datagram socket', () => {
  it.each([false, true])('carries datagrams of every size to another host, and says who sent them; IPv6: %s', ip6 => {
    const { socket, settle, both } = pair(ip6);
    const server = socket('b', at(ip6 ? '::' : '0.0.0.0', 53), ip6 ? 6 : 4);
    const client = socket('a', undefined, ip6 ? 6 : 4);
    for (const size of [0, 1, 1472, 9000, 65507]) {
      expect(client.send(bytes(size), at(ip6 ? 'fd00::2' : '10.0.0.2', 53))).toBe(0);
      settle();
      expect(received(server)).toEqual({ data: bytes(size), from: at(ip6 ? 'fd00::1' : '10.0.0.1', client.port) });
    }
    expect(both.b.udp.queued).toBe(0);
  });

  it('has the ports of its own addresses only, once, unless both share it', () => {
    const { socket, both } = pair(true);
    const one = socket('a', at('10.0.0.1', 7));
    expect(codeOf(() => socket('a', at('10.0.0.9', 7)))).toBe('EADDRNOTAVAIL');
    expect(codeOf(() => socket('a', at('10.0.0.1', 7)))).toBe('EADDRINUSE');
    expect(codeOf(() => socket('a', at('0.0.0.0', 7)))).toBe('EADDRINUSE');
    expect(codeOf(() => socket('a', at('::', 7), 6))).toBe('EADDRINUSE');
    expect(codeOf(() => one.bind(at('10.0.0.1', 8)))).toBe('EINVAL');
    socket('a', at('127.0.0.1', 7)).close();
    socket('a', at('::1', 7), 6).close();
    one.close();
    const shared = [1, 2].map(() => {
      const made = new UdpDatagramSocket(both.a.udp, 4);
      made.configure(options({ reuseAddress: true }));
      made.bind(at('0.0.0.0', 9));
      return made;
    });
    expect(shared.map(each => each.port)).toEqual([9, 9]);
  });

  it('of an address goes before one of all, and one with that peer before both', () => {
    const { socket, settle } = pair();
    const share = (name: SocketAddress): UdpDatagramSocket => {
      const made = socket('b');
      made.configure(options({ reuseAddress: true }));
      made.bind(name);
      return made;
    };
    const [every, own, connected] = [share(at('0.0.0.0', 5)), share(at('10.0.0.2', 5)), share(at('10.0.0.2', 5))];
    const [client, other] = [socket('a', at('0.0.0.0', 1000)), socket('a')];
    connected.connect(at('10.0.0.1', 1000));
    client.send(bytes(1), at('10.0.0.2', 5));
    other.send(bytes(2), at('10.0.0.2', 5));
    socket('b').send(bytes(3), at('127.0.0.1', 5));
    settle();
    expect([connected, own, every].map(each => received(each).data.length)).toEqual([1, 2, 3]);
  });

  it('that is connected hears of its peer alone, and that nobody is there; then it may have no peer again', () => {
    const { socket, settle } = pair();
    const client = socket('a');
    expect(codeOf(() => client.send(bytes(1)))).toBe('EDESTADDRREQ');
    client.connect(at('10.0.0.2', 9));
    expect(client.local()).toEqual(at('10.0.0.1', client.port));
    expect(client.remote()).toEqual(at('10.0.0.2', 9));
    socket('b', at('0.0.0.0', 8)).send(bytes(3), at('10.0.0.1', client.port));
    settle();
    expect(client.receive(false)).toBe(AGAIN);
    client.send(bytes(1));
    expect(client.readable()).toBe(0);
    settle();
    expect([client.readable(), client.writable()]).toEqual([1, 1]);
    expect(codeOf(() => client.receive(false))).toBe('ECONNREFUSED');
    expect(client.receive(false)).toBe(AGAIN);
    client.connect(undefined);
    expect([client.local(), client.remote()]).toEqual([at('0.0.0.0', 0), undefined]);
    client.send(bytes(1), at('10.0.0.2', 9));
    settle();
    expect(client.receive(false)).toBe(AGAIN); // it could not tell whose
  });

  it.each(['127.0.0.1', '::1'])('hears on %s too that nobody is there', address => {
    const { socket, settle } = pair(true);
    const client = socket('a', undefined, address === '::1' ? 6 : 4);
    client.connect(at(address, 9));
    client.send(bytes(1));
    settle();
    expect(client.takeError()?.code).toBe('ECONNREFUSED');
  });

  it('of IPv6 has what comes by IPv4 too, from mapped addresses', () => {
    const { socket, settle } = pair(true);
    const server = socket('b', at('::', 7), 6);
    const client = socket('a');
    client.send(bytes(4), at('10.0.0.2', 7));
    settle();
    const { data, from } = received(server);
    expect(from).toEqual(mapped('10.0.0.1', client.port));
    server.send(data, from);
    settle();
    expect(received(client)).toEqual({ data: bytes(4), from: at('10.0.0.2', 7) });
  });

  it('sends to everybody only when it said so; all who have the port hear of it', () => {
    const { socket, settle } = pair();
    const client = socket('a');
    for (const everybody of ['255.255.255.255', '10.0.0.255']) {
      expect(codeOf(() => client.send(bytes(1), at(everybody, 67)))).toBe('EACCES');
    }
    client.configure(options({ broadcast: true }));
    const servers = [1, 2].map(() => {
      const made = socket('b');
      made.configure(options({ reuseAddress: true }));
      made.bind(at('0.0.0.0', 67));
      return made;
    });
    client.send(bytes(5), at('10.0.0.255', 67));
    settle();
    expect(servers.map(each => received(each).data)).toEqual([bytes(5), bytes(5)]);
  });

  it('sends nothing from the loopback to others, and nothing to where no way leads', () => {
    const { socket } = pair();
    expect(codeOf(() => socket('a', at('127.0.0.1', 0)).send(bytes(1), at('10.0.0.2', 9)))).toBe('EINVAL');
    expect(codeOf(() => socket('a').send(bytes(1), at('192.0.2.1', 9)))).toBe('ENETUNREACH');
    expect(codeOf(() => socket('a').connect(at('192.0.2.1', 9)))).toBe('ENETUNREACH');
    expect(codeOf(() => socket('a').send(bytes(1), at('10.0.0.2', 0)))).toBe('EINVAL');
    expect(codeOf(() => socket('a').send(bytes(65508), at('10.0.0.2', 9)))).toBe('EMSGSIZE');
  });

  it('keeps what SO_RCVBUF says and one more, all of a guest no more than there is memory for, and gives it back', () => {
    const { socket, settle, both } = pair();
    const server = socket('b', at('0.0.0.0', 7));
    server.configure(options({ receiveBuffer: 10 * (100 + DATAGRAM_OVERHEAD) }));
    const client = socket('a');
    const flood = (count: number, size: number): void => {
      for (let i = 0; i < count; i++) {
        client.send(bytes(size), at('10.0.0.2', 7));
        settle();
      }
    };
    flood(50, 100);
    expect(server.dropped).toBe(50 - 11);
    server.configure(options({ receiveBuffer: 2 * UDP_MEMORY }));
    flood(135, 65507);
    expect(both.b.udp.queued).toBeLessThanOrEqual(UDP_MEMORY);
    expect(both.b.udp.queued).toBeGreaterThan(UDP_MEMORY - 70_000);
    server.close();
    expect(both.b.udp.queued).toBe(0);
    expect(socket('b', at('0.0.0.0', 7)).receive(false)).toBe(AGAIN);
  });

  it('waits for room where there is none, and is woken by it', () => {
    const { socket, settle } = pair();
    const server = socket('a', at('127.0.0.1', 7));
    const client = socket('a');
    let sent = 0;
    while (client.send(bytes(1), at('127.0.0.1', 7)) === 0) sent++;
    expect(client.writable()).toBe(0);
    let woken = false;
    client.queue.add(() => {
      woken = true;
    });
    settle();
    expect(woken).toBe(true);
    expect(client.writable()).toBeGreaterThan(0);
    for (let i = 0; i < sent; i++) received(server);
    expect(server.receive(false)).toBe(AGAIN);
  });

  it('loses what there is no room for although there is some', () => {
    const { socket, settle, both } = pair();
    const client = socket('a');
    client.send(bytes(1), at('10.0.0.2', 7));
    settle();
    let tries = 0;
    Object.assign(both.a.device, {
      send: () => {
        if (++tries > 9) throw new Error('it would go on for ever');
        return false;
      },
      whenWritable: (ready: () => void) => ready(),
    });
    expect([client.send(bytes(1), at('10.0.0.2', 7)), client.writable() > 0]).toEqual([0, true]);
  });

  it('that hears a group or everybody sends with an address of the guest, as long as it is one', () => {
    const { socket, settle, both } = pair();
    const server = socket('b', at('0.0.0.0', 9));
    const clients = ['255.255.255.255', '239.1.2.3', '10.0.0.1'].map(own => socket('a', at(own, 0)));
    for (const client of clients) {
      client.send(bytes(1), at('10.0.0.2', 9));
      settle();
      expect(received(server).from).toEqual(at('10.0.0.1', client.port));
    }
    both.a.eth0.v4.configure({ address: IpAddress.from('10.0.0.3').d, netmask: 0xffffff00 });
    const ends = clients.map(client => codeOf(() => client.send(bytes(1), at('10.0.0.2', 9))));
    expect(ends).toEqual([0, 0, 'EINVAL']);
  });

  it.each(['255.255.255.255', '10.0.0.255'])('that hears %s does so when it is connected, of its peer', everybody => {
    const { socket, settle } = pair();
    const [peer, other] = [socket('a', at('10.0.0.1', 7)), socket('a', at('10.0.0.1', 8))];
    const client = socket('b', at(everybody, 9));
    client.connect(at('10.0.0.1', 7));
    for (const [sender, length] of [
      [other, 1],
      [peer, 2],
    ] as const) {
      sender.configure(options({ broadcast: true }));
      sender.send(bytes(length), at(everybody, 9));
      settle();
    }
    expect(received(client).data).toEqual(bytes(2));
    expect(client.receive(false)).toBe(AGAIN);
    client.send(bytes(3));
    settle();
    expect(received(peer).from).toEqual(at('10.0.0.2', 9));
  });

  it('that is shut down says the end of what came, and sends nothing more', () => {
    const { socket, settle } = pair();
    const server = socket('b', at('10.0.0.2', 7));
    expect(codeOf(() => server.shutdown(true, true))).toBe('ENOTCONN');
    const client = socket('a');
    client.connect(at('10.0.0.2', 7));
    server.send(bytes(2), client.local());
    settle();
    client.shutdown(true, false);
    expect(received(client).data).toEqual(bytes(2));
    expect(client.receive(false)).toBe(undefined);
    expect([client.readable(), client.hungUp()]).toEqual([1, false]);
    client.shutdown(false, true);
    expect(codeOf(() => client.send(bytes(1)))).toBe('EPIPE');
    expect(client.hungUp()).toBe(true);
  });
});

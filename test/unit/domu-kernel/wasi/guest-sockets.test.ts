// Programs' sockets over what they are really over: the guest's own TCP with a wire between two stacks, and pvcalls to
// real sockets of this machine.
import { once } from 'node:events';
import { type AddressInfo, connect as connectTo, createServer, type Socket } from 'node:net';
import { afterAll, describe, expect, it } from 'vitest';
import { XenError } from '#pvbus';
import { Network } from '../../../../domu-kernel/net/network.ts';
import { Wait } from '../../../../domu-kernel/process/wait.ts';
import { wasiErrno } from '../../../../domu-kernel/wasi/errno.ts';
import { GuestSockets, HOST_ADDRESS } from '../../../../domu-kernel/wasi/guest-sockets.ts';
import { OpenSocket } from '../../../../domu-kernel/wasi/open-socket.ts';
import { AGAIN, type StreamSocket } from '../../../../domu-kernel/wasi/socket.ts';
import { OPTION } from '../../../../domu-kernel/wasi/socket-options.ts';
import { VirtualClock } from '../../../support/lossy-wire.ts';
import { PvcallsRig } from '../../../support/pvcalls-rig.ts';
import { seeded } from '../../../support/random.ts';
import { TcpPair } from '../../../support/tcp-pair.ts';
import { WasiRig } from '../../../support/wasi-rig.ts';

const clock = new VirtualClock();
const nobody = {
  net: () => undefined,
  loopback: () => new Network({ clock, random: seeded(1) }),
  host: () => undefined,
};

describe('over the own TCP of two guests', () => {
  const pair = new TcpPair();
  const rig = (net: 'a' | 'b') => new WasiRig({ sockets: new GuestSockets({ ...nobody, net: () => pair[net] }) });
  const address = (on: WasiRig, port: number, ...bytes: number[]): number => {
    const at = on.alloc(20);
    on.view.setUint16(at, 4, true);
    on.view.setUint16(at + 2, port, true);
    on.process.bytes.set(bytes, at + 4);
    return at;
  };
  const socket = (on: WasiRig): number => {
    const at = on.alloc(4);
    expect(on.sock('socket', 4, at)).toBe('SUCCESS');
    return on.u32(at);
  };
  /** As the scheduler does: made again when the wire has moved. */
  const until = <T>(call: () => T | Wait): T => {
    for (let tries = 0; tries < 1000; tries++) {
      const outcome = call();
      if (!(outcome instanceof Wait)) return outcome;
      expect(outcome.queues.length).toBe(1);
      pair.settle();
      pair.advance();
    }
    throw new Error('it waits for ever');
  };

  it('a connection is made, carries bytes both ways, and ends', () => {
    const [client, server] = [rig('a'), rig('b')];
    const listening = socket(server);
    expect(server.sock('bind', listening, address(server, 80))).toBe('SUCCESS');
    expect(server.sock('listen', listening, 5)).toBe('SUCCESS');
    const fd = socket(client);
    const to = address(client, 80, 10, 0, 0, 2);
    expect(until(() => client.sock('connect', fd, to))).toBe('SUCCESS');
    const result = server.alloc(4);
    expect(until(() => server.call('sock_accept', listening, 0, result))).toBe('SUCCESS');
    const accepted = server.u32(result);
    expect(client.write(fd, 'ping')).toBe(4);
    expect(until(() => server.read(accepted))).toBe('ping');
    expect(server.write(accepted, 'pong')).toBe(4);
    expect(until(() => client.read(fd))).toBe('pong');
    client.ok('fd_close', fd);
    expect(until(() => server.read(accepted))).toBe('');
    const none = socket(client);
    expect(until(() => client.sock('connect', none, address(client, 81, 10, 0, 0, 2)))).toBe('ECONNREFUSED');
  });
});

describe('a connection whose peer has fallen silent', () => {
  const connection = (keepAlive: boolean) => {
    const pair = new TcpPair();
    const socket = (net: 'a' | 'b') =>
      new OpenSocket(new GuestSockets({ ...nobody, net: () => pair[net] }).stream(4), 4);
    const [client, server] = [socket('a'), socket('b')];
    for (const one of [client, server]) {
      one.setOption(OPTION.keepAlive, Number(keepAlive));
      one.setOption(OPTION.keepIdle, 10);
      one.setOption(OPTION.keepInterval, 2);
      one.setOption(OPTION.keepCount, 3);
    }
    server.socket.bind({ address: new Uint8Array(4), port: 80 });
    server.listen(5);
    const to = { address: Uint8Array.of(10, 0, 0, 2), port: 80 };
    client.connect(to);
    pair.pass(1);
    client.connect(to);
    return { pair, client, accepted: server.accept() as OpenSocket };
  };
  const silent = (keepAlive: boolean) => {
    const { pair, client, accepted } = connection(keepAlive);
    pair.wire.a.tap = () => false;
    pair.wire.b.tap = () => false;
    pair.pass(14);
    const before = [client, accepted].map(one => one.getOption(OPTION.error));
    pair.pass(4);
    return { before, after: [client, accepted].map(one => one.getOption(OPTION.error)) };
  };
  it('ends after the times that its program has set, on either side', () => {
    expect(silent(true)).toEqual({ before: [0, 0], after: [wasiErrno('ETIMEDOUT'), wasiErrno('ETIMEDOUT')] });
  });
  it('stays where nobody asked for that', () => {
    expect(silent(false)).toEqual({ before: [0, 0], after: [0, 0] });
  });
  it('is told to its program once', () => {
    const { pair, client } = connection(true);
    pair.wire.b.tap = () => false;
    pair.pass(18);
    expect([1, 2].map(() => client.getOption(OPTION.error))).toEqual([wasiErrno('ETIMEDOUT'), 0]);
    expect(client.socket.recv(new Uint8Array(1), false)).toBe(0);
    expect(() => client.socket.send(new Uint8Array(1))).toThrow(expect.objectContaining({ code: 'EPIPE' }));
  });
  it('is asked first, however long this domain was paused', () => {
    const { pair, client, accepted } = connection(true);
    pair.clock.ns += 60e9;
    pair.pass(5);
    expect([client, accepted].map(one => one.getOption(OPTION.error))).toEqual([0, 0]);
  });
});

describe('over pvcalls', () => {
  const pvcalls = new PvcallsRig();
  const echo = createServer(socket => socket.pipe(socket));
  afterAll(() => {
    pvcalls.stop();
    echo.close();
  });
  const until = async <T>(act: () => T | undefined | typeof AGAIN): Promise<T> => {
    let made: T | undefined | typeof AGAIN;
    await pvcalls.until(() => {
      made = act();
      return made !== undefined && made !== AGAIN;
    });
    return made as T;
  };
  const text = (socket: StreamSocket, peek = false): string | typeof AGAIN => {
    const into = new Uint8Array(100);
    const n = socket.recv(into, peek);
    return n === AGAIN ? AGAIN : Buffer.from(into.subarray(0, n)).toString();
  };

  it('a guest without an interface connects to the host, and answers it', async () => {
    echo.listen(0, '0.0.0.0');
    await once(echo, 'listening');
    const { port } = echo.address() as AddressInfo;
    const free = createServer().listen(0, '127.0.0.1');
    await once(free, 'listening');
    const inbound = (free.address() as AddressInfo).port;
    free.close();
    await once(free, 'close');
    const guest = pvcalls.guest();
    const front = guest.connect(`${inbound}`, `${port}`, '127.0.0.2');
    const sockets = new GuestSockets({ ...nobody, host: () => front });
    expect(sockets.resolve('host').addresses()).toEqual([HOST_ADDRESS]);

    const out = sockets.stream(4);
    await until(() => out.connect({ address: HOST_ADDRESS, port }));
    expect(out.remote()).toEqual({ address: HOST_ADDRESS, port });
    expect(out.send(Buffer.from('hello'))).toBe(5);
    expect(await until(() => text(out, true))).toBe('hello');
    expect([out.readable(), await until(() => text(out))]).toEqual([5, 'hello']);
    expect(text(out)).toBe(AGAIN);
    out.shutdown(false, true);
    expect(() => out.send(Buffer.from('x'))).toThrow('shut down');
    expect(await until(() => text(out))).toBe(''); // the server has ended it too
    expect(out.hungUp()).toBe(true);
    out.close();

    const listener = sockets.stream(4);
    listener.bind({ address: new Uint8Array(4), port: inbound });
    listener.listen(5);
    expect(listener.accept()).toBeUndefined();
    let peer: Socket | undefined;
    const accepted = await until(() => {
      // Again until the host's side listens.
      if (!peer || peer.destroyed) peer = connectTo(inbound, '127.0.0.1').on('error', () => {});
      return listener.accept();
    });
    peer!.write('from the host');
    expect(await until(() => text(accepted))).toBe('from the host');
    accepted.send(Buffer.from('to it'));
    const answer = once(peer!, 'data');
    await pvcalls.turns();
    expect(String((await pvcalls.run(answer))[0])).toBe('to it');
    accepted.close();
    listener.close();
    peer!.destroy();

    const refused = sockets.stream(4);
    await expect(until(() => refused.connect({ address: HOST_ADDRESS, port: 1 }))).rejects.toThrow();
    refused.close();
    // Another address is asked for as such: the last of these is not allowed, whatever its port.
    for (const address of [new Uint8Array(4), new Uint8Array([127, 0, 0, 1]), new Uint8Array([127, 0, 0, 2])]) {
      const named = sockets.stream(4);
      await until(() => named.connect({ address, port }));
      expect(named.remote()).toEqual({ address, port });
      named.close();
    }
    const beyond = sockets.stream(4);
    const refusedHere = until(() => beyond.connect({ address: new Uint8Array([127, 0, 0, 3]), port }));
    await expect(refusedHere).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    const denied = until(() => beyond.connect({ address: new Uint8Array([10, 0, 0, 3]), port }));
    await expect(denied).rejects.toMatchObject({ code: 'EACCES' });
    beyond.close();
    await pvcalls.until(() => pvcalls.mapped <= 1);
  });

  it('an accept that has failed is told once, and the next is of who comes then', async () => {
    const guest = pvcalls.guest();
    const front = guest.connect('0:80');
    const fault = { name: 'f', part: 'pvcalls', op: 'accept', nth: [1], error: 'ECONNABORTED' } as const;
    const planted = [{ plan: 'p', seed: 1, startedNs: 0, fault }];
    pvcalls.worker.handle({ op: 'faults', device: guest.device, label: 'pvcalls 0', planted });
    const listener = new GuestSockets({ ...nobody, host: () => front }).stream(4);
    listener.bind({ address: HOST_ADDRESS, port: 80 });
    const known = pvcalls.events.length;
    listener.listen(5);
    const heard = await until(() => pvcalls.events.slice(known).find(one => one.event === 'listening'));
    const peer = connectTo(heard.hostPort, '127.0.0.1');
    await pvcalls.until(() => listener.readable() === 1);
    expect(() => listener.accept()).toThrow(expect.objectContaining({ code: 'ECONNABORTED' }));
    const accepted = await until(() => listener.accept());
    peer.write('the next');
    expect(await until(() => text(accepted))).toBe('the next');
    for (const one of [accepted, listener]) one.close();
    peer.destroy();
    guest.detach();
  });

  it('a listener goes on answering where its program tries to connect it, or to send', async () => {
    const guest = pvcalls.guest();
    const front = guest.connect('0:80,0:81');
    const sockets = new GuestSockets({ ...nobody, host: () => front });
    for (const [address, port] of [
      [HOST_ADDRESS, 80],
      [new Uint8Array(4), 81],
    ] as const) {
      const listener = sockets.stream(4);
      listener.bind({ address, port });
      const known = pvcalls.events.length;
      listener.listen(5);
      for (const [act, code] of [
        [() => listener.connect({ address: HOST_ADDRESS, port: 9 }), 'EISCONN'],
        [() => listener.send(new Uint8Array(1)), 'EPIPE'],
        [() => listener.recv(new Uint8Array(1), false), 'ENOTCONN'],
      ] as const)
        expect(act).toThrow(expect.objectContaining({ code }));
      const heard = await until(() => pvcalls.events.slice(known).find(one => one.event === 'listening'));
      const peer = connectTo(heard.hostPort, '127.0.0.1');
      const accepted = await until(() => listener.accept());
      for (const one of [accepted, listener]) one.close();
      peer.destroy();
    }
    guest.detach();
  });

  it("a socket with the host's name connects nowhere else", () => {
    const guest = pvcalls.guest();
    const front = guest.connect('0:80');
    const pair = new TcpPair();
    const socket = new GuestSockets({ ...nobody, net: () => pair.a, host: () => front }).stream(4);
    socket.bind({ address: HOST_ADDRESS, port: 80 });
    const to = { address: Uint8Array.of(10, 0, 0, 2), port: 80 };
    expect(() => socket.connect(to)).toThrow(expect.objectContaining({ code: 'EADDRNOTAVAIL' }));
    expect(socket.local()).toEqual({ address: HOST_ADDRESS, port: 80 });
    socket.close();
    guest.detach();
  });

  it('a listener whose backend has ended is one of the next', async () => {
    const guest = pvcalls.guest();
    let front = guest.connect('0:80');
    const door = {
      listen: (...args: Parameters<typeof front.listen>) => front.listen(...args),
      connect: (...args: Parameters<typeof front.connect>) => front.connect(...args),
    };
    const listener = new GuestSockets({ ...nobody, host: () => door }).stream(4);
    listener.bind({ address: HOST_ADDRESS, port: 80 });
    let known = pvcalls.events.length;
    listener.listen(5);
    for (const words of ['of the first', 'of the second', 'of the third']) {
      const heard = await until(() => pvcalls.events.slice(known).find(one => one.event === 'listening'));
      const peer = connectTo(heard.hostPort, '127.0.0.1').on('error', () => {});
      const accepted = await until(() => listener.accept());
      peer.write(words);
      expect(await until(() => text(accepted))).toBe(words);
      accepted.close();
      peer.destroy();
      expect(listener.accept()).toBeUndefined();
      known = pvcalls.events.length;
      guest.detach();
      const before = front;
      front = guest.connect('0:80');
      before.end(new XenError('ECONNRESET', 'the backend was replaced'));
    }
    listener.close();
    guest.detach();
  });

  it("a port that is another's is said by each accept, and answered when it is free", async () => {
    const another = createServer().listen(0, '127.0.0.1');
    await once(another, 'listening');
    const { port } = another.address() as AddressInfo;
    const guest = pvcalls.guest();
    const front = guest.connect(`${port}`);
    const listener = new GuestSockets({ ...nobody, host: () => front }).stream(4);
    listener.bind({ address: HOST_ADDRESS, port });
    listener.listen(5);
    for (let times = 0; times < 2; times++)
      await expect(until(() => listener.accept())).rejects.toMatchObject({ code: 'EADDRINUSE' });
    another.close();
    await once(another, 'close');
    // One that was under way has failed yet.
    let peer: Socket | undefined;
    const accepted = await until(() => {
      if (!peer || peer.destroyed) peer = connectTo(port, '127.0.0.1').on('error', () => {});
      try {
        return listener.accept();
      } catch {
        return undefined;
      }
    });
    for (const one of [accepted, listener]) one.close();
    peer!.destroy();
    guest.detach();
  });

  it("a port that a guest without an interface listens on is its own, and the host's where it gives that one", async () => {
    const free = createServer().listen(0, '127.0.0.1');
    await once(free, 'listening');
    const { port } = free.address() as AddressInfo;
    free.close();
    await once(free, 'close');
    const guest = pvcalls.guest();
    const front = guest.connect(`${port}`);
    const lo = new Network({ clock, random: seeded(1) });
    const sockets = new GuestSockets({ ...nobody, loopback: () => lo, host: () => front });
    const turned = <T>(act: () => T | undefined | typeof AGAIN): Promise<T> =>
      until(() => {
        while (lo.step() === 'progress');
        clock.ns = Math.max(clock.ns, lo.deadline() ?? 0);
        return act();
      });
    const here = Uint8Array.of(127, 0, 0, 1);
    // The first the host gives, the second it does not.
    for (const at of [port, 9000]) {
      const listener = sockets.stream(4);
      listener.bind({ address: new Uint8Array(4), port: at });
      listener.listen(5);
      const client = sockets.stream(4);
      await turned(() => client.connect({ address: here, port: at }));
      const accepted = await turned(() => listener.accept());
      expect(accepted.local()).toEqual({ address: here, port: at });
      if (at === port) {
        let peer: Socket | undefined;
        const ofHost = await turned(() => {
          if (!peer || peer.destroyed) peer = connectTo(port, '127.0.0.1').on('error', () => {});
          return listener.accept();
        });
        peer!.write('from the host');
        expect(await turned(() => text(ofHost))).toBe('from the host');
        ofHost.close();
        peer!.destroy();
      }
      for (const one of [client, accepted, listener]) one.close();
    }
    await pvcalls.until(() => pvcalls.mapped <= 2);
  });
});

describe('in a guest without an interface', () => {
  const lo = new Network({ clock, random: seeded(1) });
  const sockets = new GuestSockets({ ...nobody, loopback: () => lo });
  const until = <T>(act: () => T | undefined | typeof AGAIN): T => {
    for (let tries = 0; tries < 1000; tries++) {
      const made = act();
      if (made !== undefined && made !== AGAIN) return made;
      while (lo.step() === 'progress');
      clock.ns = Math.max(clock.ns, lo.deadline() ?? 0);
    }
    throw new Error('it waits for ever');
  };
  const [v4, v6] = [Uint8Array.of(127, 0, 0, 1), Uint8Array.of(...new Uint8Array(15), 1)];

  it.each([
    ['127.0.0.1', 4, v4, v4],
    ['127.0.0.1, which listens to every address', 4, v4, new Uint8Array(4)],
    ['::1', 6, v6, v6],
  ] as const)('processes talk to one another over %s', (_, family, to, at) => {
    const listener = sockets.stream(family);
    listener.bind({ address: at, port: 9000 });
    listener.listen(5);
    const client = sockets.stream(family);
    expect(until(() => client.connect({ address: to, port: 9000 }))).toBe(0);
    const server = until(() => listener.accept());
    expect(client.remote()).toEqual({ address: to, port: 9000 });
    expect(server.local()).toEqual({ address: to, port: 9000 });
    expect(client.send(Buffer.from('hello'))).toBe(5);
    const into = new Uint8Array(10);
    expect(until(() => server.recv(into, false))).toBe(5);
    for (const one of [client, server, listener]) one.close();
  });
  it('nobody else is there', () => {
    const client = sockets.stream(4);
    expect(() => until(() => client.connect({ address: v4, port: 9001 }))).toThrow('refused');
    expect(() => client.connect({ address: Uint8Array.of(10, 0, 0, 1), port: 80 })).toThrow('no route');
    expect(() => sockets.resolve('example.org')).toThrow('no name server');
    expect(sockets.resolve('10.1.2.3').addresses()).toEqual([new Uint8Array([10, 1, 2, 3])]);
    expect(sockets.resolve('localhost').addresses()).toEqual([v4]);
  });
});

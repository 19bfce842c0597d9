// Two guests of a simulated host with a bridge between them; and sockets on a pair of stacks.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TcpSocket } from '../../../../domu-kernel/net/tcp/stream-socket.ts';
import { AGAIN, type StreamSocket } from '../../../../domu-kernel/wasi/socket.ts';
import { type SimulatedGuest, SimulatedHost } from '../../../support/simulated-host.ts';
import { TcpPair } from '../../../support/tcp-pair.ts';

describe('programs of two guests', () => {
  let host: SimulatedHost;
  beforeAll(async () => {
    host = await SimulatedHost.start();
  });
  afterAll(() => host.stop());

  const create = (name: string, ip: string, source: string) =>
    host.create(
      `name = "${name}"\nmemory = 16\nramdisk = "${host.program(source, `${name}.ts`)}"\n` +
        `vif = ["mac=00:16:3e:00:00:0${ip.at(-1)}"]\non_poweroff = "preserve"\nextra = "ip=${ip}:::255.255.255.0"\n`,
    );

  it('hear that a peer is gone that has said nothing, where they asked for that', async () => {
    const server = await create(
      'gone',
      '10.0.0.3',
      `import { net } from 'xenolith';
       export default async () => { const all = await net.listen(7); console.log('serving'); await all.accept(); await new Promise(() => {}); };`,
    );
    await server.says('serving');
    const client = await create(
      'asker',
      '10.0.0.4',
      `import { net } from 'xenolith';
       export default async () => {
       await net.connect('10.0.0.3', 7, { keepAlive: { probes: 0 } }).catch(error => console.log(error.code));
       const connection = await net.connect('10.0.0.3', 7, { keepAlive: { idleMs: 100, intervalMs: 100, probes: 2 } });
       console.log('connected');
       await connection.read().catch(error => console.log('read:', error.code));
       };`,
    );
    await client.says('EINVAL');
    await client.says('connected');
    await host.run(host.toolstack.destroy(server.domid));
    await host.pass(1000);
    await client.says('read: ETIMEDOUT');
  });

  it('speak TCP and HTTP over their interfaces', async () => {
    const server = await create(
      'server',
      '10.0.0.1',
      `import { http, net } from 'xenolith';
       export default async () => {
       await http.serve(80, ({ path, body }) => path + ' ' + body.length);
       const echo = await net.listen(7);
       console.log('serving');
       for await (const connection of echo) {
         (async () => {
           let bytes = 0;
           for await (const part of connection) { bytes += part.length; await connection.write(part); }
           console.log('echoed', bytes);
           await connection.close();
         })();
       }
       };`,
    );
    await server.says('serving');
    const client = await create(
      'client',
      '10.0.0.2',
      `import { net } from 'xenolith';
       export default async () => {
       const ask = await net.connect('10.0.0.1', 80);
       await ask.write('POST /x HTTP/1.1\\r\\nHost: h\\r\\nConnection: close\\r\\nContent-Length: 100000\\r\\n\\r\\n');
       await ask.write(new Uint8Array(100000));
       let text = '';
       for await (const part of ask) text += new TextDecoder().decode(part);
       console.log(text.split('\\r\\n')[0], text.split('\\r\\n\\r\\n')[1]);
       const echo = await net.connect('10.0.0.1', 7);
       const sent = Uint8Array.from({ length: 200000 }, (_, i) => i * 31 ^ i >> 8);
       const writing = echo.write(sent).then(() => echo.end());
       const parts = [];
       for await (const part of echo) parts.push(...part);
       await writing;
       console.log('same', parts.length, parts.every((byte, i) => byte === sent[i]));
       await net.connect('10.0.0.1', 9).catch(error => console.log(error.code));
       await net.connect('10.0.0.9', 9).catch(error => console.log(error.code));
       await net.connect('192.0.2.1', 9).catch(error => console.log(error.code));
       };`,
    );
    await host.pass(100);
    await client.says('200 OK /x 100000');
    await client.says('same 200000 true');
    await client.says('ECONNREFUSED');
    await host.pass(5000);
    await client.says('EHOSTUNREACH');
    await client.says('ENETUNREACH');
    await server.says('echoed 200000');
  });
  it('deliver what they have written when they end at once, and do not wait for ever for who does not read', async () => {
    const taker = await create(
      'taker',
      '10.0.0.3',
      `import { net } from 'xenolith';
       export default async () => {
       const [takes, sleeps] = [await net.listen(1), await net.listen(2)];
       console.log('listening');
       let bytes = 0;
       for await (const part of await takes.accept()) bytes += part.length;
       console.log('taken', bytes);
       await sleeps.accept();
       await new Promise(() => {});
       };`,
    );
    await taker.says('listening');
    const giver = (name: string, ip: string, port: number) =>
      create(
        name,
        ip,
        `import { net } from 'xenolith';
         export default async () => {
         const connection = await net.connect('10.0.0.3', ${port});
         await connection.write(new Uint8Array(100000));
         void connection.write(new Uint8Array(${port === 1 ? 23 : 4 << 20})).catch(() => {});
         void connection.close();
         console.log('ending');
         };`,
      );
    const ends = async (guest: SimulatedGuest): Promise<boolean> => {
      for (let i = 0; i < 200 && !guest.stopped; i++) await host.pass(100);
      return guest.stopped;
    };
    const one = await giver('giver', '10.0.0.4', 1);
    await taker.says('taken 100023');
    // No time passes: it hears of the last acknowledgement, and does not look for it.
    await host.rest();
    expect(one.stopped).toBe(true);
    const other = await giver('patient', '10.0.0.5', 2);
    await other.says('ending');
    expect(await ends(other)).toBe(true);
  });
});

describe('a socket', () => {
  const address = (pair: TcpPair): Uint8Array => Uint8Array.of(10, 0, 0, pair.b.address & 255);

  function sockets(): { pair: TcpPair; client: StreamSocket; server: StreamSocket; listener: StreamSocket } {
    const pair = new TcpPair();
    const listener = new TcpSocket(pair.b.tcp, 4);
    listener.bind({ address: new Uint8Array(4), port: 80 });
    listener.listen(5);
    const client = new TcpSocket(pair.a.tcp, 4);
    const to = { address: address(pair), port: 80 };
    let woken = 0;
    expect(client.connect(to)).toBe(AGAIN);
    client.queue.add(() => woken++);
    pair.pass(0.01);
    expect([woken, client.connect(to)]).toEqual([1, 0]);
    expect(() => client.connect(to)).toThrow(expect.objectContaining({ code: 'EISCONN' }));
    expect(listener.readable()).toBe(1);
    const server = listener.accept()!;
    expect(listener.accept()).toBeUndefined();
    return { pair, client, server, listener };
  }

  it('connects, is accepted, looks before it takes, and says who is where', () => {
    const { pair, client, server, listener } = sockets();
    const into = new Uint8Array(10);
    expect(server.recv(into, false)).toBe(AGAIN);
    expect(client.send(Uint8Array.of(1, 2, 3))).toBe(3);
    pair.pass(0.1);
    expect([server.readable(), server.recv(into, true), server.recv(into, false), server.recv(into, false)]).toEqual([
      3,
      3,
      3,
      AGAIN,
    ]);
    expect(into.subarray(0, 3)).toEqual(Uint8Array.of(1, 2, 3));
    expect(server.remote()).toEqual(client.local());
    expect([client.remote(), listener.local()]).toEqual([server.local(), { address: new Uint8Array(4), port: 80 }]);
    client.shutdown(false, true);
    pair.pass(0.1);
    expect([server.readable(), server.recv(into, false), server.hungUp()]).toEqual([1, 0, false]);
    expect(() => client.send(Uint8Array.of(1))).toThrow(expect.objectContaining({ code: 'EPIPE' }));
    server.close();
    client.close();
    pair.pass(100);
    expect([pair.a.tcp.size, pair.b.tcp.size]).toEqual([0, 0]);
  });
  it('that is full says AGAIN, and wakes when there is room', () => {
    const { pair, client, server } = sockets();
    const much = new Uint8Array(100_000);
    while (client.send(much) !== AGAIN);
    pair.pass(1);
    while (client.send(much) !== AGAIN);
    expect(client.writable()).toBe(0);
    let woken = 0;
    client.queue.add(() => woken++);
    const into = new Uint8Array(1 << 20);
    for (let i = 0; i < 10; i++) {
      server.recv(into, false);
      pair.pass(0.1);
    }
    expect(woken).toBe(1);
    expect(client.writable()).toBeGreaterThan(0);
  });
  it('says once why it could not connect, and may try again', () => {
    const pair = new TcpPair();
    const client = new TcpSocket(pair.a.tcp, 4);
    const to = { address: address(pair), port: 80 };
    client.connect(to);
    expect(client.send(Uint8Array.of(1))).toBe(AGAIN);
    pair.pass(1);
    expect(() => client.connect(to)).toThrow(expect.objectContaining({ code: 'ECONNREFUSED' }));
    pair.b.tcp.listen(80);
    expect(client.connect(to)).toBe(AGAIN);
    pair.pass(1);
    expect(client.connect(to)).toBe(0);
  });
});

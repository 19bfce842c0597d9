// Names with addresses of both families, as a program has them.
import { expect, it } from 'vitest';
import { netApi } from '../../../../domu-kernel/guest-api/net.ts';
import type { NetConnection } from '../../../../domu-kernel/guest-api/tcp.ts';
import type { Kernel } from '../../../../domu-kernel/kernel.ts';
import { TYPE_AAAA } from '../../../../domu-kernel/net/dns/message.ts';
import { IpAddress } from '../../../../domu-kernel/net/ip-address.ts';
import { Timers } from '../../../../domu-kernel/timers.ts';
import { TcpPair } from '../../../support/tcp-pair.ts';

/** `a` is a program's, `b` a name server and what it names. */
function world(ip6: boolean, { six: sixth = 'fd00::2', four = '10.0.0.2', lateMs = 0 } = {}) {
  const pair = new TcpPair({ ip6 });
  pair.a.dns.servers = [ip6 ? IpAddress.from('fd00::2') : IpAddress.from('10.0.0.2')];
  const server = pair.b.udp.bind(53);
  server.onMessage((query, from) => {
    const six = query[query.length - 3] === TYPE_AAAA;
    const data = new Uint8Array(16);
    IpAddress.from(six ? sixth : four).write(new DataView(data.buffer), 0);
    const bytes = six ? data : data.subarray(12);
    const answer = [0xc0, 12, 0, six ? 28 : 1, 0, 1, 0, 0, 0, 60, 0, bytes.length, ...bytes];
    const message = Uint8Array.from([...query, ...answer]);
    message[2] = 0x81;
    message[7] = 1;
    if (six && lateMs > 0) timers.after(lateMs, () => server.sendTo(message, from));
    else server.sendTo(message, from);
  });
  const timers = new Timers(pair.clock, () => {});
  pair.programs.push(() => timers.expire());
  // Of a kernel it needs no more.
  const net = netApi({ devices: { net: pair.a }, clock: pair.clock, timers } as unknown as Kernel);
  async function result<T>(work: Promise<T>): Promise<T> {
    let over = false;
    const mark = (): void => {
      over = true;
    };
    work.then(mark, mark);
    while (!over) {
      pair.pass(0.01);
      await new Promise(resolve => setImmediate(resolve));
    }
    return work;
  }
  return { pair, net, result, timers };
}

it('a name is all its addresses, of the families the interface has, IPv6 first', async () => {
  const both = world(true);
  expect(await both.result(both.net.resolve('x.example'))).toEqual(['fd00::2', '10.0.0.2']);
  expect(both.net.addresses).toEqual(['10.0.0.1', 'fe80::216:3eff:fe00:1', 'fd00::1']);
  const four = world(false);
  expect(await four.result(four.net.resolve('x.example'))).toEqual(['10.0.0.2']);
  expect(four.net.addresses).toEqual(['10.0.0.1']);
});
it('a connection to a name is one to the first address that answers', async () => {
  const { pair, net, result } = world(true);
  pair.b.tcp.listen(80);
  pair.b.tcp.listen(81, { address: IpAddress.from('10.0.0.2') });
  const reached = async (port: number): Promise<string> =>
    ((await result(net.connect('x.example', port))) as NetConnection).address;
  expect(await reached(80)).toBe('fd00::2');
  expect(await reached(81)).toBe('10.0.0.2');
  await expect(result(net.connect('x.example', 82))).rejects.toMatchObject({ code: 'ECONNREFUSED' });
});

/** How long it took, and to where it was. */
async function connecting(made: ReturnType<typeof world>, port = 80): Promise<[address: string, ms: number]> {
  const before = made.pair.clock.ns;
  const { address } = (await made.result(made.net.connect('x.example', port))) as NetConnection;
  return [address, (made.pair.clock.ns - before) / 1e6];
}
it.each<[string, Parameters<typeof world>[1], string, number, number]>([
  [
    'an address that is silent is waited for 250 ms, then the other family is tried',
    { six: 'fd00::77' },
    '10.0.0.2',
    250,
    350,
  ],
  [
    'the family that goes first is waited for, when its name server is a little late',
    { lateMs: 30 },
    'fd00::2',
    30,
    70,
  ],
  ['and no longer than 50 ms', { lateMs: 3000 }, '10.0.0.2', 50, 100],
  ['a silent address is in nobody’s way, though it is the second', { four: '10.0.0.77' }, 'fd00::2', 0, 50],
])('%s', async (_, options, address, least, most) => {
  const made = world(true, options);
  made.pair.b.tcp.listen(80);
  const [reached, ms] = await connecting(made);
  expect(reached).toBe(address);
  expect(ms).toBeGreaterThanOrEqual(least);
  expect(ms).toBeLessThanOrEqual(most);
  // Nothing of the attempts that lost is left.
  made.pair.pass(15);
  expect([...made.pair.a.tcp].map(({ remote }) => String(remote))).toEqual([address]);
  expect(made.timers.pending).toBe(0);
});
it('the other family is tried at once where the first refuses, and the first may still answer after 250 ms', async () => {
  const refusing = world(true);
  refusing.pair.b.tcp.listen(80, { address: IpAddress.from('10.0.0.2') });
  expect((await connecting(refusing))[1]).toBeLessThan(50);
  // IPv6 loses its first SYN, and IPv4 has nobody: the second SYN is answered.
  const slow = world(true, { four: '10.0.0.77' });
  slow.pair.b.tcp.listen(80);
  let lost = 0;
  slow.pair.wire.a.tap = frame => !(frame[20] === 6 && frame.length < 100 && lost++ === 0);
  const [address, ms] = await connecting(slow);
  expect([address, lost > 1]).toEqual(['fd00::2', true]);
  expect(ms).toBeGreaterThan(900);
});

// Names with addresses of both families, as a program has them.
import { expect, it } from 'vitest';
import { netApi } from '../../../../domu-kernel/guest-api/net.ts';
import type { NetConnection } from '../../../../domu-kernel/guest-api/tcp.ts';
import type { Kernel } from '../../../../domu-kernel/kernel.ts';
import { TYPE_AAAA } from '../../../../domu-kernel/net/dns/message.ts';
import { IpAddress } from '../../../../domu-kernel/net/ip-address.ts';
import { TcpPair } from '../../../support/tcp-pair.ts';

/** `a` is a program's, `b` a name server and what it names. */
function world(ip6: boolean) {
  const pair = new TcpPair({ ip6 });
  pair.a.dns.servers = [ip6 ? IpAddress.from('fd00::2') : IpAddress.from('10.0.0.2')];
  const server = pair.b.udp.bind(53);
  server.onMessage((query, from) => {
    const six = query[query.length - 3] === TYPE_AAAA;
    const data = new Uint8Array(16);
    IpAddress.from(six ? 'fd00::2' : '10.0.0.2').write(new DataView(data.buffer), 0);
    const bytes = six ? data : data.subarray(12);
    const answer = [0xc0, 12, 0, six ? 28 : 1, 0, 1, 0, 0, 0, 60, 0, bytes.length, ...bytes];
    const message = Uint8Array.from([...query, ...answer]);
    message[2] = 0x81;
    message[7] = 1;
    server.sendTo(message, from);
  });
  const net = netApi({ devices: { net: pair.a } } as unknown as Kernel); // of a kernel it needs no more
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
  return { pair, net, result };
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

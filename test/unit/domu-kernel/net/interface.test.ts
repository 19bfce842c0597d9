import { describe, expect, it } from 'vitest';
import { parseIpv4 } from '../../../../domu-kernel/net/address.ts';
import { addBytes, finish } from '../../../../domu-kernel/net/checksum.ts';
import { parseIpParameter } from '../../../../domu-kernel/net/ip-config.ts';
import { PROTOCOL_UDP, writeIpv4 } from '../../../../domu-kernel/net/ipv4.ts';
import { UDP_QUEUE_DATAGRAMS } from '../../../../domu-kernel/net/udp.ts';
import fc from '../../../support/properties.ts';
import { Stack } from '../../../support/stack.ts';
import { ManualClock, type WireEnd, wire } from './wire.ts';

const PROTOCOL_SCTP = 132;

interface Host {
  readonly end: WireEnd;
  readonly net: Stack;
}
interface Link {
  readonly clock: ManualClock;
  readonly a: Host;
  readonly b: Host;
  /** Let both ends run until neither has anything to do. */
  settle(): void;
  /** Settle, then move to the next deadline, until there is none. */
  run(): Promise<void>;
}

function link(options: { offload?: boolean; mtu?: number; offset?: number } = {}): Link {
  const clock = new ManualClock();
  const [ea, eb] = wire(options.offload, options.mtu);
  let seed = 1;
  const random = (): number => {
    seed = (seed * 48271) % 0x7fffffff;
    return seed / 0x7fffffff;
  };
  const host = (end: WireEnd, ip: string): Host => {
    const config = parseIpParameter(`${ip}::10.0.0.254:255.255.255.0`)!;
    return { end, net: new Stack({ device: end, config, clock, random }) };
  };
  const a = host(ea, '10.0.0.1');
  const b = host(eb, '10.0.0.2');
  const settle = (): void => {
    for (let i = 0; i < 10_000; i++) {
      const moved = [a, b].flatMap(h => [h.end.step(options.offset), h.net.step()]);
      if (!moved.includes('progress')) return;
    }
    throw new Error('the link never falls silent');
  };
  const run = async (): Promise<void> => {
    for (;;) {
      settle();
      await new Promise(resolve => setImmediate(resolve));
      const deadlines = [a, b].map(h => h.net.deadline()).filter(d => d !== undefined);
      if (deadlines.length === 0) return;
      clock.ns = Math.max(clock.ns, ...[Math.min(...deadlines)]);
    }
  };
  return { clock, a, b, settle, run };
}

const ip = (text: string): number => parseIpv4(text)!;
const bytes = (length: number, seed = 1): Uint8Array => Uint8Array.from({ length }, (_, i) => (i * 7 + seed) & 0xff);

describe('ping', () => {
  it('finds the neighbour by ARP and measures the round trip', async () => {
    const { a, clock, settle } = link();
    const reply = a.net.ping('10.0.0.2');
    a.end.step();
    clock.advanceMs(3);
    settle();
    expect(await reply).toEqual({ rttMs: 3, seq: 1 });
  });
  it('carries any size that fits a packet, and refuses more', async () => {
    const { a, settle } = link({ offset: 256 });
    for (const size of [0, 1, 2, 3, 56, 1471, 1472, 1473, 65_507]) {
      const reply = a.net.ping('10.0.0.2', { size });
      settle();
      expect((await reply).rttMs).toBe(0);
    }
    await expect(a.net.ping('10.0.0.2', { size: 65_508 })).rejects.toMatchObject({ code: 'EMSGSIZE' });
  });
  it('a host that does not answer is a time-out; one nobody knows is unreachable', async () => {
    const { a, b, run, settle } = link();
    const first = a.net.ping('10.0.0.2');
    settle();
    await first;
    const silent = a.net.ping('10.0.0.2', { timeoutMs: 250 });
    b.end.arriving.length = 0;
    const nobody = a.net.ping('10.0.0.77', { timeoutMs: 60_000 });
    const results = Promise.allSettled([silent, nobody]);
    await run();
    expect((await results).map(r => r.status === 'rejected' && [r.reason.code, r.reason.message])).toEqual([
      ['ETIMEDOUT', 'no echo from 10.0.0.2 within 250 ms'],
      ['EHOSTUNREACH', '10.0.0.77 cannot be reached: nobody on the link answers for it'],
    ]);
  });
  it('ourselves and 127.0.0.1 answer without a device', async () => {
    const { a, settle } = link();
    a.end.room = 0;
    const both = Promise.all([a.net.ping('10.0.0.1'), a.net.ping('127.0.0.1')]);
    settle();
    expect((await both).map(r => r.seq)).toEqual([1, 2]);
  });
  it('a host off the link goes by way of the gateway', () => {
    const { a, b, settle } = link();
    b.net.udp.bind(7);
    void a.net.ping('192.0.2.1').catch(() => {});
    settle();
    const asked = a.end.sent.at(-1)!.bytes;
    expect(new DataView(asked.buffer).getUint32(38)).toBe(ip('10.0.0.254'));
  });
  it('a broadcast echo is not answered', () => {
    const { a, b, settle } = link();
    void a.net.ping('10.0.0.255').catch(() => {});
    settle();
    expect(b.net.icmp.stats.echoes).toBe(0);
    expect(b.net.stats.delivered).toBe(2); // and the announcement
  });
});

describe.each([
  ['with checksums', false],
  ['with checksums left to the device', true],
])('UDP %s', (_how, offload) => {
  it('delivers datagrams of every size unchanged, with the sender', async () => {
    const { a, b, settle } = link({ offload });
    const server = b.net.udp.bind(53);
    const client = a.net.udp.bind();
    for (const size of [0, 1, 2, 17, 1000, 1471, 1472]) {
      expect(client.sendTo(bytes(size), { address: '10.0.0.2', port: 53 })).toBe(true);
      settle();
      expect(await server.receive()).toEqual({ data: bytes(size), address: '10.0.0.1', port: client.port });
    }
    expect(b.net.udp.stats).toEqual({ received: 7, sent: 0, bad: 0, noPort: 0, dropped: 0 });
  });
  it('an echo server answers, also to ourselves and to a broadcast', async () => {
    const { a, b, settle } = link({ offload });
    for (const host of [a, b]) {
      const echo = host.net.udp.bind(7);
      echo.onMessage((data, from) => echo.sendTo(data, from));
    }
    const client = a.net.udp.bind();
    for (const [address, from] of [
      ['10.0.0.2', '10.0.0.2'],
      ['10.0.0.1', '10.0.0.1'],
      ['127.0.0.1', '127.0.0.1'],
      ['10.0.0.255', '10.0.0.2'],
      ['255.255.255.255', '10.0.0.2'],
    ] as const) {
      client.sendTo(bytes(100), { address, port: 7 });
      settle();
      expect(await client.receive()).toEqual({ data: bytes(100), address: from, port: 7 });
    }
  });
});

describe('UDP', () => {
  it('a datagram to a port nobody has comes back as ECONNREFUSED', () => {
    const { a, settle } = link();
    const client = a.net.udp.bind();
    const errors: string[] = [];
    client.onError(error => errors.push(`${error.code}: ${error.message}`));
    client.sendTo(bytes(10), { address: '10.0.0.2', port: 9 });
    settle();
    expect(errors).toEqual(['ECONNREFUSED: udp: 10.0.0.2 port 9 did not take a datagram']);
  });
  it('a datagram nobody on the link takes comes back as EHOSTUNREACH', async () => {
    const { a, run } = link();
    const client = a.net.udp.bind();
    const errors: string[] = [];
    client.onError(error => errors.push(error.code));
    client.sendTo(bytes(10), { address: '10.0.0.9', port: 9 });
    await run();
    expect(errors).toEqual(['EHOSTUNREACH']);
  });
  it('a queue nobody empties is bounded and says what it dropped', () => {
    const { a, b, settle } = link();
    const server = b.net.udp.bind(53);
    const client = a.net.udp.bind();
    client.sendTo(bytes(1), { address: '10.0.0.2', port: 53 });
    settle();
    for (let i = 0; i < 1000; i++) {
      client.sendTo(bytes(100), { address: '10.0.0.2', port: 53 });
      settle();
    }
    expect(server.dropped).toBe(1001 - UDP_QUEUE_DATAGRAMS);
    let got = 0;
    server.onMessage(() => got++);
    expect(got).toBe(UDP_QUEUE_DATAGRAMS);
  });
  it('receive() ends with ETIMEDOUT, and with ECANCELED when the socket is closed', async () => {
    const { a, run } = link();
    const socket = a.net.udp.bind(5);
    const results = Promise.allSettled([socket.receive({ timeoutMs: 10 })]);
    await run();
    expect((await results)[0]).toMatchObject({ status: 'rejected', reason: { code: 'ETIMEDOUT' } });
    const waiting = socket.receive();
    socket.close();
    await expect(waiting).rejects.toMatchObject({ code: 'ECANCELED' });
    expect(a.net.udp.bind(5).port).toBe(5);
  });
  it('refuses what cannot work: a used port, too many bytes, no route, no address', () => {
    const { a } = link();
    const socket = a.net.udp.bind(5);
    const code = (what: () => unknown): unknown => {
      try {
        return what();
      } catch (error) {
        return (error as { code: unknown }).code;
      }
    };
    expect(code(() => a.net.udp.bind(5))).toBe('EADDRINUSE');
    expect(code(() => a.net.udp.bind(65536))).toBe('EINVAL');
    expect(code(() => socket.sendTo(bytes(65508), { address: '10.0.0.2', port: 1 }))).toBe('EMSGSIZE');
    expect(code(() => socket.sendTo(bytes(1), { address: 'ten', port: 1 }))).toBe('EINVAL');
    expect(code(() => socket.sendTo(bytes(1), { address: '10.0.0.2', port: 0 }))).toBe('EINVAL');
    const alone = new Stack({
      device: wire()[0],
      config: parseIpParameter('10.0.0.1:::255.255.255.0')!,
      clock: new ManualClock(),
      random: () => 0,
    });
    const s = alone.udp.bind();
    expect(code(() => s.sendTo(bytes(1), { address: '192.0.2.1', port: 1 }))).toBe('ENETUNREACH');
  });
  it('a full device refuses the datagram; nothing is lost silently', () => {
    const { a, b, settle } = link();
    b.net.udp.bind(53);
    const client = a.net.udp.bind();
    client.sendTo(bytes(1), { address: '10.0.0.2', port: 53 });
    settle();
    a.end.room = 2;
    const results = [1, 2, 3].map(() => client.sendTo(bytes(1), { address: '10.0.0.2', port: 53 }));
    expect(results).toEqual([true, true, false]);
  });
});

/** An IPv4 frame to host b as a hostile or broken sender may make it. */
function frame(protocol: number, payload: Uint8Array, change: (view: DataView) => void = () => {}): Uint8Array {
  const out = new Uint8Array(34 + payload.length);
  const view = new DataView(out.buffer);
  out.set([0x00, 0x16, 0x3e, 0, 0, 2, 0x00, 0x16, 0x3e, 0, 0, 1, 8, 0]);
  out.set(payload, 34);
  writeIpv4(view, 14, payload.length, 1, 64, protocol, ip('10.0.0.1'), ip('10.0.0.2'));
  change(view);
  return out;
}
/** Make the header checksum good again. */
function seal(view: DataView): void {
  view.setUint16(24, 0);
  const length = Math.min((view.getUint8(14) & 15) * 4, view.byteLength - 14);
  view.setUint16(24, finish(addBytes(view, 14, length)));
}

describe('what comes in', () => {
  it.each([
    ['version 6', 'malformed', (v: DataView) => v.setUint8(14, 0x65)],
    ['a header of 16 bytes', 'malformed', (v: DataView) => v.setUint8(14, 0x44)],
    ['a header longer than the packet', 'malformed', (v: DataView) => v.setUint8(14, 0x4f)],
    ['a total length beyond the frame', 'malformed', (v: DataView) => v.setUint16(16, 1000)],
    ['a total length below the header', 'malformed', (v: DataView) => v.setUint16(16, 19)],
    ['TTL 0', 'malformed', (v: DataView) => v.setUint8(22, 0)],
    ['a part that is no multiple of 8 bytes, and not the last', 'malformed', (v: DataView) => v.setUint16(20, 0x2000)],
    ['a later fragment', 'fragments', (v: DataView) => v.setUint16(20, 0x0010)],
    ['somebody else’s address', 'notForUs', (v: DataView) => v.setUint32(30, 0x0a000003)],
    ['a group that nobody has joined', 'notForUs', (v: DataView) => v.setUint32(30, 0xe0000005)],
    ['127.0.0.1 from the wire', 'martians', (v: DataView) => v.setUint32(30, 0x7f000001)],
    ['our own address as its source', 'martians', (v: DataView) => v.setUint32(26, 0x0a000002)],
    ['a broadcast source', 'martians', (v: DataView) => v.setUint32(26, 0xffffffff)],
    ['a subnet broadcast source', 'martians', (v: DataView) => v.setUint32(26, 0x0a0000ff)],
    ['a multicast source', 'martians', (v: DataView) => v.setUint32(26, 0xe0000001)],
  ] as const)('a packet with %s is counted as %s and not answered', (_what, counter, change) => {
    const { b, settle } = link();
    settle();
    const sent = b.end.sent.length;
    b.end.arriving.push({
      bytes: frame(PROTOCOL_UDP, bytes(20), view => {
        change(view);
        seal(view);
      }),
      flags: 0,
    });
    settle();
    expect(b.net.stats[counter]).toBe(1);
    expect(b.end.sent).toHaveLength(sent);
  });
  it('a bad header checksum is malformed', () => {
    const { b, settle } = link();
    b.end.arriving.push({ bytes: frame(PROTOCOL_UDP, bytes(20), view => view.setUint16(24, 0x1234)), flags: 0 });
    settle();
    expect(b.net.stats.malformed).toBe(1);
  });
  it('a header with options is read and its options are ignored', async () => {
    const { a, b, settle } = link();
    const server = b.net.udp.bind(53);
    const udp = new Uint8Array(4 + 8 + 5);
    const u = new DataView(udp.buffer);
    u.setUint32(0, 0x01010101); // four no-operations
    u.setUint16(4, 1000);
    u.setUint16(6, 53);
    u.setUint16(8, 13);
    udp.set(bytes(5), 12);
    b.end.arriving.push({
      bytes: frame(PROTOCOL_UDP, udp, view => {
        view.setUint8(14, 0x46);
        seal(view);
      }),
      flags: 0,
    });
    settle();
    expect(await server.receive()).toEqual({ data: bytes(5), address: '10.0.0.1', port: 1000 });
    expect(a.net.stats.malformed).toBe(0);
  });
  it('padding behind a short packet is no payload', async () => {
    const { b, settle } = link();
    const server = b.net.udp.bind(53);
    const udp = new Uint8Array(9);
    const u = new DataView(udp.buffer);
    u.setUint16(0, 1000);
    u.setUint16(2, 53);
    u.setUint16(4, 9);
    udp[8] = 42;
    const padded = new Uint8Array(60).fill(0xee);
    padded.set(frame(PROTOCOL_UDP, udp));
    b.end.arriving.push({ bytes: padded, flags: 0 });
    settle();
    expect((await server.receive()).data).toEqual(Uint8Array.of(42));
  });
  it('a protocol nobody speaks is answered by ICMP, at a bounded rate', () => {
    const { a, b, clock, settle } = link();
    settle();
    const before = b.end.sent.length;
    for (let i = 0; i < 1000; i++) {
      b.end.arriving.push({ bytes: frame(PROTOCOL_SCTP, bytes(20)), flags: 0 });
      settle();
    }
    expect(b.net.icmp.stats.errorsOut).toBe(10);
    expect(b.net.icmp.stats.errorsSuppressed).toBe(990);
    clock.advanceMs(1000);
    b.end.arriving.push({ bytes: frame(PROTOCOL_SCTP, bytes(20)), flags: 0 });
    settle();
    expect(b.net.icmp.stats.errorsOut).toBe(11);
    expect(b.end.sent.length - before).toBe(12); // one of them asks where a is
    // They quote packets a never sent: no socket, no ping hears of them.
    expect(a.net.icmp.stats.errorsIn).toBe(11);
  });
  it('frames to another station or of another type are dropped before anything is read', () => {
    const { b, settle } = link();
    const other = frame(PROTOCOL_UDP, bytes(20));
    other[5] = 9;
    const ipv6 = frame(PROTOCOL_UDP, bytes(20));
    ipv6[12] = 0x86;
    ipv6[13] = 0xdd;
    b.end.arriving.push({ bytes: other, flags: 0 }, { bytes: ipv6, flags: 0 });
    settle();
    expect(b.net.stats).toMatchObject({ notForUs: 1, unknownType: 1 });
  });
  it('a forged ICMP error hits only the ping it quotes exactly', async () => {
    const { a, b, settle, run } = link();
    const first = a.net.ping('10.0.0.2');
    settle();
    await first;
    const ping = a.net.ping('10.0.0.2', { timeoutMs: 100 });
    const outcome = Promise.allSettled([ping]);
    const echo = b.end.arriving.splice(0)[0]!.bytes;
    const error = (quoted: Uint8Array): Uint8Array => {
      const icmp = new Uint8Array(8 + quoted.length);
      icmp.set([3, 1]);
      icmp.set(quoted, 8);
      const view = new DataView(icmp.buffer);
      view.setUint16(2, finish(addBytes(view, 0, icmp.length)));
      const out = frame(1, icmp, v => {
        v.setUint32(26, ip('10.0.0.2'));
        v.setUint32(30, ip('10.0.0.1'));
        seal(v);
      });
      out[5] = 1;
      return out;
    };
    const quoted = echo.slice(14, 14 + 28);
    const wrongSeq = quoted.slice();
    wrongSeq[27]! ^= 1;
    const wrongDestination = quoted.slice();
    wrongDestination[19]! ^= 1;
    for (const q of [wrongSeq, wrongDestination, quoted.slice(0, 27), new Uint8Array(28)]) {
      a.end.arriving.push({ bytes: error(q), flags: 0 });
    }
    settle();
    expect(await Promise.race([outcome, 'waits'])).toBe('waits');
    a.end.arriving.push({ bytes: error(quoted), flags: 0 });
    await run();
    expect((await outcome)[0]).toMatchObject({ status: 'rejected', reason: { code: 'EHOSTUNREACH' } });
  });
});

describe('fuzz', () => {
  it('no frame makes the stack throw, and none is answered by more than two', () => {
    const { b, clock, settle } = link();
    b.net.udp.bind(53);
    settle();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 128 }), fc.boolean(), fc.nat(3), (body, toUs, kind) => {
        const raw = new Uint8Array(14 + body.length);
        raw.set(toUs ? b.end.mac : [255, 255, 255, 255, 255, 255]);
        raw.set([0, 0x16, 0x3e, 0, 0, 1], 6);
        raw.set(
          [
            [8, 0],
            [8, 6],
            [0x86, 0xdd],
            [8, 0],
          ][kind]!,
          12,
        );
        raw.set(body, 14);
        const before = b.end.sent.length;
        b.net.input(raw, 0, raw.length, 0);
        b.net.step();
        clock.advanceMs(1);
        expect(b.end.sent.length - before).toBeLessThanOrEqual(2);
      }),
      { numRuns: 2000 },
    );
  });
  it('a good packet with one byte changed, or cut short, is delivered unchanged or not at all', () => {
    const { a, b, settle } = link();
    const server = b.net.udp.bind(53);
    const client = a.net.udp.bind();
    client.sendTo(bytes(64), { address: '10.0.0.2', port: 53 });
    settle();
    const good = a.end.sent.at(-1)!.bytes;
    server.onMessage(data => expect(data).toEqual(bytes(64)));
    fc.assert(
      fc.property(fc.nat(good.length - 1), fc.nat(255), fc.nat(good.length), (at, value, cut) => {
        const frame = good.slice();
        frame[at] = value;
        b.net.input(frame, 0, frame.length, 0);
        b.net.input(good, 0, cut, 0);
        b.net.step();
      }),
      { numRuns: 3000 },
    );
    expect(server.dropped).toBe(0);
  });
  it('lengths and offsets a device must not report are refused', () => {
    const { b } = link();
    const page = new Uint8Array(4096);
    for (const [offset, length] of [
      [0, 0],
      [0, 13],
      [0, 4097],
      [4000, 200],
      [4095, 14],
    ] as const) {
      b.net.input(page, offset, length, 0);
    }
    expect(b.net.stats.malformed).toBe(5);
  });
});

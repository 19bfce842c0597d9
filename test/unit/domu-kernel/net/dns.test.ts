import { describe, expect, it } from 'vitest';
import { MAX_ANSWERS } from '../../../../domu-kernel/net/dns/answer-cache.ts';
import { type Answer, encodeQuery, readAnswer, TYPE_A, TYPE_AAAA } from '../../../../domu-kernel/net/dns/message.ts';
import { processLookup } from '../../../../domu-kernel/net/dns/process-lookup.ts';
import { IpAddress } from '../../../../domu-kernel/net/ip-address.ts';
import type { TcpConnection } from '../../../../domu-kernel/net/tcp/connection.ts';
import fc from '../../../support/properties.ts';
import { TcpPair } from '../../../support/tcp-pair.ts';

type Line = readonly [name: string, type: number, data: Uint8Array];
const label = (name: string): number[] =>
  name === '' ? [0] : [...name.split('.').flatMap(part => [part.length, ...Buffer.from(part)]), 0];
/** What a server says to a question, names written out. */
function reply(query: Uint8Array, lines: readonly Line[], code = 0): Uint8Array {
  const head = query.slice();
  head[2] = 0x81;
  head[3] = 0x80 | code;
  head[7] = lines.length;
  const records = lines.flatMap(([name, type, data]) => [
    ...label(name),
    0,
    type,
    0,
    1,
    0,
    0,
    0,
    60,
    0,
    data.length,
    ...data,
  ]);
  return Uint8Array.from([...head, ...records]);
}
const TEN = Uint8Array.of(10, 0, 0, 9);

/** A name server over TCP at b. */
function byTcp(pair: TcpPair, answer: ((query: Uint8Array) => Uint8Array) | 'end' | 'silence') {
  const server = { asked: 0 };
  const listener = pair.b.tcp.listen(53);
  const open: TcpConnection[] = [];
  pair.programs.push(() => {
    const next = listener.accept();
    if (next !== undefined) open.push(next);
    for (const connection of open) {
      if (connection.readable === 0) continue;
      const query = new Uint8Array(600);
      const n = connection.read(query);
      server.asked++;
      if (answer === 'end') connection.close();
      else if (answer !== 'silence') {
        const message = answer(query.slice(2, n));
        connection.write(Uint8Array.of(message.length >> 8, message.length & 255));
        connection.write(message);
        connection.close();
      }
    }
    return next !== undefined;
  });
  return server;
}

/** A resolver at a, a server at b that answers as it is told. */
function world(answer: (query: Uint8Array, count: number) => Uint8Array | undefined) {
  const pair = new TcpPair();
  const server = pair.b.udp.bind(53);
  const seen: { id: number; port: number }[] = [];
  server.onMessage((query, from) => {
    seen.push({ id: query[0]! * 256 + query[1]!, port: from.port });
    const bytes = answer(query, seen.length);
    if (bytes) server.sendTo(bytes, from);
  });
  pair.a.dns.servers = [IpAddress.v4(pair.b.address)];
  return { pair, seen, dns: pair.a.dns };
}

/** It says so, and not for how long. */
const NOTHING: Answer = { addresses: [], nameExists: true, ttl: 0 };

describe('a resolver', () => {
  it('finds the addresses of a name, through its aliases', () => {
    const { pair, dns } = world(query =>
      reply(query, [
        ['www.example.org', 5, Uint8Array.from(label('a.example.org'))],
        ['a.example.org', 5, Uint8Array.from(label('b.example.org'))],
        ['b.example.org', 1, TEN],
        ['b.example.org', 1, Uint8Array.of(10, 0, 0, 10)],
        ['evil.example.org', 1, Uint8Array.of(6, 6, 6, 6)],
      ]),
    );
    const lookup = dns.lookup('WWW.example.org.');
    expect(lookup.addresses()).toBeUndefined();
    pair.pass(0.01);
    expect(lookup.addresses()?.map(String)).toEqual(['10.0.0.9', '10.0.0.10']);
  });
  it('gives processes the addresses as bytes', () => {
    const { pair, dns } = world(query => reply(query, [['x.org', 1, TEN]]));
    const lookup = processLookup(dns, 'x.org');
    expect(lookup.addresses()).toBeUndefined();
    let woken = 0;
    lookup.queue.add(() => woken++);
    pair.pass(0.01);
    expect([woken, lookup.addresses()]).toEqual([1, [TEN]]);
    expect(() => processLookup(undefined, 'x.org')).toThrow(expect.objectContaining({ code: 'ENOENT' }));
  });
  it('knows what is an address, and localhost, without asking', () => {
    const { dns, seen } = world(() => undefined);
    expect(['1.2.3.4', '::1', 'localhost'].map(name => dns.lookup(name).addresses()?.map(String))).toEqual([
      ['1.2.3.4'],
      ['::1'],
      ['127.0.0.1'],
    ]);
    expect(seen).toEqual([]);
  });
  it('says that there is no such name, or no address of it', () => {
    const { pair, dns } = world(query => reply(query, [], query.includes(120) ? 3 : 0));
    const lookups = [dns.lookup('x.org'), dns.lookup('y.org')];
    pair.pass(0.01);
    for (const lookup of lookups) expect(() => lookup.addresses()).toThrow(expect.objectContaining({ code: 'ENOENT' }));
    dns.servers = [];
    expect(() => dns.lookup('z.org').addresses()).toThrow('there is no name server');
    dns.servers = [IpAddress.v4(1)];
    expect(() => dns.lookup('no name').addresses()).toThrow(expect.objectContaining({ code: 'EINVAL' }));
  });
  it('asks again, each time with another id and from another port, and the next server when one fails', () => {
    const { pair, dns, seen } = world((query, count) =>
      count < 3 ? undefined : reply(query, [['x.org', 1, TEN]], count === 3 ? 2 : 0),
    );
    const lookup = dns.lookup('x.org');
    pair.pass(10);
    expect(lookup.addresses()?.map(String)).toEqual(['10.0.0.9']);
    expect(seen).toHaveLength(4);
    expect(new Set(seen.map(({ id }) => id)).size).toBe(4);
    expect(new Set(seen.map(({ port }) => port)).size).toBe(4);
    const silent = world(() => undefined);
    const nothing = silent.dns.lookup('x.org');
    silent.pair.pass(15);
    expect(() => nothing.addresses()).toThrow(expect.objectContaining({ code: 'ETIMEDOUT' }));
    expect(silent.pair.a.deadline()).toBeUndefined();
  });
  it('believes nobody but the one it asked, and nothing but an answer to its question', () => {
    const wrong: ((query: Uint8Array) => Uint8Array)[] = [
      query =>
        reply(
          Uint8Array.from(query, (byte, i) => (i === 1 ? byte ^ 1 : byte)),
          [['x.org', 1, TEN]],
        ),
      query =>
        reply(
          Uint8Array.from(query, (byte, i) => (i === 13 ? byte + 1 : byte)),
          [['y.org', 1, TEN]],
        ),
      query => query,
      query => reply(query, [['x.org', 1, TEN]]).slice(0, 11),
    ];
    const { pair, dns } = world((query, count) => wrong[count - 1]?.(query));
    const other = pair.b.udp.bind(54);
    const lookup = dns.lookup('x.org');
    pair.pass(0.01);
    other.sendTo(reply(encodeQuery(lookup.id, 'x.org', TYPE_A), [['x.org', 1, TEN]]), {
      address: '10.0.0.1',
      port: lookup.socket!.port,
    });
    pair.pass(20);
    expect(() => lookup.addresses()).toThrow(expect.objectContaining({ code: 'ETIMEDOUT' }));
    expect(dns.stats.ignored).toBe(5);
  });
  it('reads IPv6 addresses, compressed names, and answers that are cut off', () => {
    const query = encodeQuery(7, 'x.org', TYPE_AAAA);
    const address = Uint8Array.of(0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1);
    const plain = reply(query, []);
    plain[7] = 2;
    const record = [0xc0, 12, 0, 28, 0, 1, 0, 0, 0, 60, 0, 16, ...address];
    const message = Uint8Array.from([...plain, ...record, ...record.slice(0, 10)]);
    expect(readAnswer(message, 7, 'x.org', TYPE_AAAA)).toEqual({
      ...{ addresses: [expect.anything()], nameExists: true, ttl: 60 },
    });
    const answer = readAnswer(message, 7, 'x.org', TYPE_AAAA) as Answer;
    expect(String(answer.addresses[0])).toBe('2001:db8::1');
  });
  it('asks again by TCP where an answer is cut, and takes what there is where that fails', () => {
    const many: Line[] = Array.from({ length: 200 }, (_, i) => ['x.org', 1, Uint8Array.of(10, 1, 0, i)] as const);
    const cut = (query: Uint8Array): Uint8Array => {
      const message = reply(query, [['x.org', 1, TEN]]);
      message[2]! |= 2;
      return message;
    };
    const { pair, dns, seen } = world(cut);
    const whole = byTcp(pair, query => reply(query, many));
    const lookup = dns.lookup('x.org');
    pair.pass(1);
    expect(lookup.addresses()).toHaveLength(200);
    expect([seen.length, dns.stats.byTcp, whole.asked, pair.a.tcp.stats.opened]).toEqual([1, 1, 1, 1]);
    pair.pass(120);
    expect([...pair.a.tcp]).toEqual([]);
    // Nobody listens; somebody ends it; somebody says what was not asked; somebody says nothing.
    for (const answer of [
      undefined,
      'end',
      (query: Uint8Array) =>
        reply(
          query.map((byte, i) => (i < 2 ? byte ^ 1 : byte)),
          many,
        ),
      'silence',
    ] as const) {
      const poor = world(cut);
      if (answer !== undefined) byTcp(poor.pair, answer);
      const one = poor.dns.lookup('x.org');
      poor.pair.pass(10);
      expect(one.addresses()?.map(String)).toEqual(['10.0.0.9']);
      poor.pair.pass(200);
      expect(poor.pair.a.deadline()).toBeUndefined();
    }
  });
  it('asks no more for a name while its answer holds, of which not any number is kept', () => {
    const { pair, dns, seen } = world(query => reply(query, [['x.org', 1, TEN]]));
    const found = (name: string): string[] | undefined => {
      const lookup = dns.lookup(name);
      pair.pass(0.01);
      return lookup.addresses()?.map(String);
    };
    expect([found('x.org'), found('X.org.'), seen.length]).toEqual([['10.0.0.9'], ['10.0.0.9'], 1]);
    pair.pass(60);
    expect([found('x.org'), seen.length]).toEqual([['10.0.0.9'], 2]);
    dns.servers = [...dns.servers];
    expect([found('x.org'), seen.length]).toEqual([['10.0.0.9'], 2]);
    dns.servers = [...dns.servers, IpAddress.v4(pair.b.address)];
    expect([found('x.org'), seen.length]).toEqual([['10.0.0.9'], 3]);
    for (let i = 0; i < 2 * MAX_ANSWERS; i++)
      dns.cache.keep(`${i}.org`, TYPE_A, { addresses: [], nameExists: true, ttl: 60 });
    expect(dns.cache.size).toBe(MAX_ANSWERS);
    dns.cache.keep('0.org', TYPE_A, { addresses: [], nameExists: true, ttl: 0 });
    expect(dns.cache.find('0.org', TYPE_A)).toBeUndefined();
  });
  it('asks no more for what is not there while its zone says so, five minutes at most', () => {
    const soa = (zone: string, minimum: number): Uint8Array => {
      const numbers = new DataView(new ArrayBuffer(20));
      numbers.setUint32(16, minimum);
      const data = [...label('ns.org'), ...label('root.org'), ...new Uint8Array(numbers.buffer)];
      return Uint8Array.from([...label(zone), 0, 6, 0, 1, 0, 0, 0x0e, 0x10, 0, data.length, ...data]);
    };
    let [code, zone, minimum, cut, alias] = [3, 'org', 30, 0, false];
    const { pair, dns, seen } = world(query => {
      const lines: Line[] = alias ? [['x.org', 5, Uint8Array.from(label('y.net'))]] : [];
      const answer = reply(query, lines, code);
      answer[9] = 1;
      const authority = soa(zone, minimum);
      return Uint8Array.from([...answer, ...authority.subarray(0, authority.length - cut)]);
    });
    /** How many questions a name costs, and what is said. */
    const asks = (name: string, family: 4 | 6 = 4): [number, string] => {
      const before = seen.length;
      const lookup = dns.lookup(name, family);
      pair.pass(0.01);
      try {
        return [seen.length - before, String(lookup.addresses())];
      } catch (error) {
        return [seen.length - before, (error as Error).message];
      }
    };
    expect([asks('x.org'), asks('x.org'), asks('X.org.')]).toEqual([
      [1, 'x.org: there is no such name'],
      [0, 'x.org: there is no such name'],
      [0, 'x.org: there is no such name'],
    ]);
    pair.pass(31);
    code = 0;
    expect([asks('x.org'), asks('x.org'), asks('x.org', 6)]).toEqual([
      [1, 'x.org: it has no such address'],
      [0, 'x.org: it has no such address'],
      [1, 'x.org: it has no such address'],
    ]);
    minimum = 0xffffffff;
    dns.cache.clear();
    expect([asks('x.org')[0], asks('x.org')[0]]).toEqual([1, 0]);
    pair.pass(301);
    expect(asks('x.org')[0]).toBe(1);
    // The root's zone has every name; another's has not, and what is no whole record says nothing.
    for (const [theirs, without, kept] of [
      ['', 0, true],
      ['x.org', 0, true],
      ['rg', 0, false],
      ['www.x.org', 0, false],
      ['net', 0, false],
      ['org', 1, false],
    ] as const) {
      dns.cache.clear();
      [zone, cut] = [theirs, without];
      expect([theirs, asks('x.org')[0], asks('x.org')[0]]).toEqual([theirs, 1, kept ? 0 : 1]);
    }
    // Of an alias it is the zone of the name behind it that says so, and the alias is no older than it may be.
    [alias, zone, cut] = [true, 'net', 0];
    dns.cache.clear();
    expect([asks('x.org')[0], asks('x.org')[0]]).toEqual([1, 0]);
    pair.pass(61);
    expect(asks('x.org')[0]).toBe(1);
    // Nobody's zone: not kept.
    zone = 'org';
    dns.cache.clear();
    expect([asks('x.org')[0], asks('x.org')[0]]).toEqual([1, 1]);
  });
  it('is not hurt by any message: loops of pointers and aliases end', () => {
    const query = encodeQuery(7, 'x.org', TYPE_A);
    const loop = reply(query, [
      ['x.org', 5, Uint8Array.from(label('y.org'))],
      ['y.org', 5, Uint8Array.from(label('x.org'))],
    ]);
    expect(readAnswer(loop, 7, 'x.org', TYPE_A)).toEqual(NOTHING);
    const self = Uint8Array.from([...reply(query, []), 0xc0, query.length, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4]);
    self[7] = 1;
    expect(readAnswer(self, 7, 'x.org', TYPE_A)).toEqual(NOTHING);
    const good = reply(query, [
      ['x.org', 5, Uint8Array.from(label('y.org'))],
      ['y.org', 1, TEN],
    ]);
    const change = fc.array(fc.tuple(fc.nat(good.length + 20), fc.constantFrom(0, 1, 63, 64, 192, 255, 12)), {
      maxLength: 6,
    });
    fc.assert(
      fc.property(change, fc.nat(good.length), fc.uint8Array({ maxLength: 300 }), (changes, cut, noise) => {
        const message = Uint8Array.from([...good.subarray(0, good.length - (cut % 4)), ...noise]);
        for (const [at, value] of changes) if (at > 1 && at < message.length) message[at] = value;
        const answer = readAnswer(message, 7, 'x.org', TYPE_A);
        if (typeof answer === 'object') expect(answer.addresses.length).toBeLessThan(50);
      }),
      { numRuns: 2000 },
    );
  });
});

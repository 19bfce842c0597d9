// RFC 9110, RFC 9112.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import type { HttpHandler, HttpOptions } from 'xenolith';
import {
  DEFAULT_LIMITS,
  HttpError,
  type ParsedRequest,
  RequestParser,
} from '../../../../domu-kernel/guest-api/http/request-parser.ts';
import { httpApi, splitTarget } from '../../../../domu-kernel/guest-api/http/server.ts';
import { Timers } from '../../../../domu-kernel/timers.ts';
import type { Clock } from '../../../../pvbus/clock.ts';
import { PairListener } from '../../../support/connection-pair.ts';
import fc from '../../../support/properties.ts';

const bytes = (s: string): Uint8Array => Buffer.from(s, 'latin1');
const text = (b: Uint8Array): string => Buffer.from(b).toString('latin1');

/** Every request in `stream`, cut into pieces of `size`; the status where it is refused. */
function parse(stream: string, size = stream.length, limits = DEFAULT_LIMITS): (ParsedRequest | number)[] {
  const parser = new RequestParser(limits);
  const all: (ParsedRequest | number)[] = [];
  try {
    for (let at = 0; at < stream.length; at += Math.max(1, size)) {
      parser.push(bytes(stream.slice(at, at + Math.max(1, size))));
      for (let request = parser.next(); request; request = parser.next()) all.push(request);
    }
  } catch (error) {
    if (!(error instanceof HttpError)) throw error;
    all.push(error.status);
  }
  return all;
}

const GET = 'GET /x HTTP/1.1\r\nHost: h\r\n\r\n';
const POST = 'POST /n HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello';
const CHUNKED =
  'POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\nTrailer: x\r\n\r\n';

describe('request parser', () => {
  it('reads requests one after the other, however the bytes are cut', () => {
    for (const size of [1, 2, 3, 7, 64, 1000]) {
      const all = parse(`${GET}\r\n${POST}${CHUNKED}${GET}`, size) as ParsedRequest[];
      expect(all.map(r => `${r.method} ${r.target} ${text(r.body)}`)).toEqual([
        'GET /x ',
        'POST /n hello',
        'POST /c hello world',
        'GET /x ',
      ]);
    }
  });

  it('joins fields of one name and lowers names', () => {
    const [request] = parse('GET / HTTP/1.1\r\nHOST: h\r\nAccept:  a \r\naccept:b\r\n\r\n') as ParsedRequest[];
    expect([...request!.headers]).toEqual([
      ['host', 'h'],
      ['accept', 'a, b'],
    ]);
  });

  it.each([
    ['no HTTP', 'hello\r\n\r\n', 400],
    ['a TLS hello', '\x16\x03\x01\x02\x00\x01\n', 400],
    ['no Host', 'GET / HTTP/1.1\r\n\r\n', 400],
    ['two Hosts', 'GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n', 400],
    ['HTTP/2', 'GET / HTTP/2.0\r\nHost: a\r\n\r\n', 505],
    ['a bare LF', 'GET / HTTP/1.1\nHost: a\n\n', 400],
    ['a folded field', 'GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n', 400],
    ['a blank before the colon', 'GET / HTTP/1.1\r\nHost : a\r\n\r\n', 400],
    ['a control character in a field', 'GET / HTTP/1.1\r\nHost: a\x00b\r\n\r\n', 400],
    ['a CR inside a field', 'GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n', 400],
    ['two lengths', 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx', 400],
    ['a signed length', 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx', 400],
    ['a list of lengths', 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\nx', 400],
    ['length and chunks', 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n', 400],
    ['an unknown coding', 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n', 501],
    ['a chunk without a size', 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\r\n', 400],
    ['a negative chunk', 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n', 400],
    ['a chunk longer than it said', 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n', 400],
    ['a huge chunk', 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n', 413],
    ['a huge length', 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n', 413],
    ['a blank in the target', 'GET /a b HTTP/1.1\r\nHost: a\r\n\r\n', 400],
  ])('refuses %s', (_what, stream, status) => {
    expect(parse(stream)).toEqual([status]);
    expect(parse(stream, 1)).toEqual([status]);
  });

  it('refuses a head that is too long or has too many fields, before it keeps more', () => {
    const parser = new RequestParser();
    parser.push(bytes('GET / HTTP/1.1\r\n'));
    let pushed = 0;
    expect(() => {
      for (; pushed < 1 << 20; pushed += 1000) {
        parser.push(bytes('x'.repeat(1000)));
        parser.next();
      }
    }).toThrow(HttpError);
    expect(pushed).toBeLessThan(DEFAULT_LIMITS.maxHead + 2000);
    expect(parse(`GET / HTTP/1.1\r\nHost: h\r\n${'a: b\r\n'.repeat(200)}\r\n`)).toEqual([431]);
    expect(parse(`GET /${'x'.repeat(20_000)} HTTP/1.1\r\n`)).toEqual([431]);
  });

  it('refuses a trailer and chunk extensions without end', () => {
    const head = 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n';
    expect(parse(`${head}0\r\n${'x: y\r\n'.repeat(5000)}\r\n`)).toEqual([431]);
    expect(parse(`${head}1;${'x'.repeat(5000)}\r\n`)).toEqual([400]);
  });

  it('costs no more for a field of blanks than for one of letters', () => {
    const cpu = (filling: string): number => {
      const stream = `GET / HTTP/1.1\r\nHost: h\r\nX: a${filling.repeat(15_000)}b\r\n\r\n`;
      const before = process.cpuUsage();
      for (let i = 0; i < 60; i++) expect(parse(stream)).toHaveLength(1);
      const { user, system } = process.cpuUsage(before);
      return user + system;
    };
    const TICK = 10_000; // of what the kernel counts
    // One that looks again from each blank takes a thousand times as long.
    expect(cpu(' ')).toBeLessThan(50 * (cpu('x') + TICK));
  });

  it('keeps a body in as much memory as it has bytes, in whatever parts they come', () => {
    setFlagsFromString('--expose-gc');
    const clearAway = runInNewContext('gc') as () => void;
    setFlagsFromString('--no-expose-gc'); // other tests have the same engine
    const used = (): number => {
      clearAway();
      const { heapUsed, arrayBuffers } = process.memoryUsage();
      return heapUsed + arrayBuffers;
    };
    const BYTES = 200_000;
    const parser = new RequestParser();
    const chunks = bytes('1\r\nx\r\n'.repeat(1000));
    const before = used();
    parser.push(bytes('POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n'));
    for (let sent = 0; sent < BYTES; sent += 1000) {
      parser.push(chunks);
      expect(parser.next()).toBeUndefined();
    }
    expect(used() - before).toBeLessThan(10 * BYTES);
    parser.push(bytes('0\r\n\r\n'));
    expect(text(parser.next()!.body)).toBe('x'.repeat(BYTES));
  });

  it.each([
    [
      'a trailer that is no field',
      'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nGET / HTTP/1.1\r\n\r\n',
    ],
    [
      'a trailer that is a length',
      'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n',
    ],
    ['one length twice', 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx'],
    ['a target with more than ASCII', 'GET /\x80 HTTP/1.1\r\nHost: a\r\n\r\n'],
  ])('refuses what other readers refuse: %s', (_what, stream) => {
    expect(parse(stream)).toEqual([400]);
  });

  it('takes a value of any bytes that are no control characters, as they are', () => {
    const value = text(Uint8Array.from({ length: 128 }, (_, i) => 128 + i));
    const [request] = parse(`GET / HTTP/1.1\r\nHost: h\r\nX: ${value}\r\n\r\n`) as ParsedRequest[];
    expect(request!.headers.get('x')).toBe(value);
  });

  it('never throws anything but an HttpError, whatever comes', () => {
    const piece = fc.oneof(
      fc.constantFrom(
        GET,
        POST,
        CHUNKED,
        '\r\n',
        'GET ',
        ' HTTP/1.1',
        'Host: h',
        ':',
        '5\r\n',
        'Content-Length: ',
        '\0',
      ),
      fc.string({ maxLength: 20 }),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), fc.integer({ min: 1, max: 50 }), (pieces, size) => {
        const whole = parse(pieces.join(''));
        const cut = parse(pieces.join(''), size);
        expect(cut).toEqual(whole);
      }),
      { numRuns: 500 },
    );
  });
});

describe('request target', () => {
  it('is decoded, and refused when it cannot be', () => {
    expect(splitTarget('/a%20b?x=1&y=%2F').path).toBe('/a b');
    expect(splitTarget('/a?x=1&y=%2F').query.get('y')).toBe('/');
    expect(splitTarget('http://h:1/z').path).toBe('/z');
    for (const bad of ['/%zz', '/%00', 'x', '/%ff']) expect(() => splitTarget(bad)).toThrow(HttpError);
  });
});

class HandClock implements Clock {
  ns = 1e9;
  now(): number {
    return this.ns;
  }
  wallMs(): number {
    return Date.UTC(2026, 10, 21) + this.ns / 1e6;
  }
}

/** A server whose time stands still until it is moved. */
async function serve(handler: HttpHandler, options?: HttpOptions, listeners = [new PairListener()]) {
  const clock = new HandClock();
  const timers = new Timers(clock, () => {});
  const [listener] = listeners as [PairListener];
  let listens = 0;
  const logged: string[] = [];
  const log = { info() {}, warn() {}, error: (line: string) => void logged.push(line) };
  const server = await httpApi({ clock, timers, log, listen: async () => listeners[listens++]! }).serve(
    80,
    handler,
    options,
  );
  const settle = async (): Promise<void> => {
    for (let i = 0; i < 50; i++) await new Promise(resolve => setImmediate(resolve));
  };
  return {
    clock,
    timers,
    listener,
    logged,
    server,
    settle,
    listens: () => listens,
    async wait(ms: number): Promise<void> {
      for (let left = ms; left > 0; left -= 1000) {
        clock.ns += Math.min(left, 1000) * 1e6;
        timers.expire();
        await settle();
      }
    },
    /** What comes back for bytes sent on a connection of their own, until it is closed or nothing more comes. */
    async exchange(sent: string): Promise<string> {
      const client = listener.connect();
      void client.write(bytes(sent)).catch(() => {});
      let got = '';
      void (async () => {
        for await (const part of client) got += text(part);
      })();
      await settle();
      return got;
    },
  };
}
const bodyOf = (response: string): string => response.slice(response.indexOf('\r\n\r\n') + 4);

describe('http server', () => {
  it('answers, keeps the connection, and answers pipelined requests in their order', async () => {
    const { exchange } = await serve(({ path, method }) => `${method} ${path}`);
    const got = await exchange(`${GET}${POST}GET /last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n`);
    expect(got.match(/HTTP\/1\.1 200 OK/g)).toHaveLength(3);
    expect(got).toMatch(/Content-Length: 6\r\n\r\nGET \/xHTTP.*POST \/nHTTP.*Connection: close\r\n\r\nGET \/last$/s);
    expect(got).toContain('Date: Sat, 21 Nov 2026 00:00:01 GMT');
  });

  it('sends no body for HEAD, but its length', async () => {
    const { exchange } = await serve(() => 'twelve bytes');
    const got = await exchange('HEAD / HTTP/1.1\r\nHost: h\r\n\r\n');
    expect(got).toContain('Content-Length: 12');
    expect(bodyOf(got)).toBe('');
  });

  it('takes what a handler may return', async () => {
    const { exchange } = await serve(({ path }) => {
      if (path === '/bytes') return new Uint8Array([65, 66]);
      if (path === '/nothing') return undefined;
      return { status: 201, headers: { Location: '/there' }, body: 'made' };
    });
    expect(await exchange('GET /bytes HTTP/1.1\r\nHost: h\r\n\r\n')).toMatch(/octet-stream\r\n.*\r\n\r\nAB$/s);
    expect(await exchange('GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n')).toMatch(/^HTTP\/1\.1 204 No Content/);
    expect(await exchange(GET)).toMatch(/^HTTP\/1\.1 201 Created\r\n.*Location: \/there\r\n/s);
  });

  it('answers HTTP/1.0 and closes', async () => {
    const { exchange } = await serve(() => 'old');
    expect(await exchange('GET / HTTP/1.0\r\n\r\n')).toContain('Connection: close\r\n\r\nold');
  });

  it('says 100 Continue to who waits for it', async () => {
    const { listener, settle } = await serve(({ body }) => text(body));
    const client = listener.connect();
    await client.write('POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n');
    await settle();
    expect(text((await client.read())!)).toBe('HTTP/1.1 100 Continue\r\n\r\n');
    await client.write('ok');
    expect(text((await client.read())!)).toMatch(/200 OK.*ok$/s);
  });

  it('turns a handler that throws into a 500 and a line in the log, and goes on', async () => {
    const { exchange, logged } = await serve(({ path }) => {
      if (path === '/bad') throw new Error('secret details');
      return { headers: { 'X-Bad': 'a\r\nSet-Cookie: stolen' } };
    });
    const got = await exchange('GET /bad HTTP/1.1\r\nHost: h\r\n\r\n');
    expect(got).toMatch(/^HTTP\/1\.1 500/);
    expect(got).not.toContain('secret');
    expect(await exchange(GET)).toMatch(/^HTTP\/1\.1 500/);
    expect(logged.join()).toContain('secret details');
  });

  it('answers what is malformed with its status, and closes', async () => {
    const { exchange } = await serve(() => 'never');
    const got = await exchange('GET / HTTP/1.1\r\n\r\nGET /x HTTP/1.1\r\nHost: h\r\n\r\n');
    expect(got.match(/HTTP\/1\.1/g)).toHaveLength(1);
    expect(got).toMatch(/^HTTP\/1\.1 400 Bad Request.*Connection: close/s);
  });

  it('gives a client a bounded time for a head, whatever it trickles', async () => {
    const { listener, wait, settle } = await serve(() => 'never', { requestTimeoutMs: 10_000 });
    const client = listener.connect();
    await client.write('GET / HT');
    await settle();
    for (let i = 0; i < 9; i++) {
      await wait(1000);
      await client.write('T');
    }
    await wait(2000);
    expect(text((await client.read())!)).toMatch(/^HTTP\/1\.1 408/);
    expect(await client.read()).toBe(null);
  });

  it('gives a body a time of its own, and an idle connection another', async () => {
    const { listener, wait, settle } = await serve(() => 'ok', { requestTimeoutMs: 5000, idleTimeoutMs: 20_000 });
    const slow = listener.connect();
    await slow.write('POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nabc');
    const idle = listener.connect();
    await idle.write(GET);
    await settle();
    expect(text((await idle.read())!)).toMatch(/ok$/);
    await wait(6000);
    expect(text((await slow.read())!)).toMatch(/^HTTP\/1\.1 408/);
    await idle.write(GET);
    await settle();
    expect(text((await idle.read())!)).toMatch(/ok$/);
    await wait(21_000);
    expect(await idle.read()).toBe(null);
  });

  it('lets go of a client that takes nothing of its response', async () => {
    const { listener, wait, settle, server } = await serve(() => 'x'.repeat(1 << 20));
    const client = listener.connect();
    await client.write(GET);
    await settle();
    await wait(31_000);
    await server.close();
    expect(client.input.ended).toBe(true);
  });

  it('serves a bounded number of connections; others wait their turn', async () => {
    const release: (() => void)[] = [];
    let now = 0;
    let most = 0;
    const { listener, settle } = await serve(
      async () => {
        most = Math.max(most, ++now);
        await new Promise<void>(resolve => release.push(resolve));
        now--;
        return 'done';
      },
      { maxConnections: 2 },
    );
    const clients = Array.from({ length: 5 }, () => listener.connect());
    for (const client of clients) await client.write(GET.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n'));
    for (let i = 0; i < 5; i++) {
      await settle();
      release.shift()?.();
    }
    await settle();
    for (const client of clients) expect(text((await client.read())!)).toContain('done');
    expect(most).toBe(2);
  });

  it('opens its port anew when the backend of its sockets was started again', async () => {
    const second = new PairListener();
    const { listener, settle, server, logged } = await serve(() => 'up', {}, [new PairListener(), second]);
    listener.lose();
    await settle();
    const client = second.connect();
    await client.write('GET / HTTP/1.1\r\nHost: h\r\n\r\n');
    expect(text((await client.read())!)).toContain('200 OK');
    await server.close();
    expect(logged).toEqual([]);
  });

  it('goes on after one that went away before it was accepted', async () => {
    const { listener, wait, settle, exchange, logged } = await serve(() => 'still here');
    listener.refuse('ECONNABORTED', 3);
    await settle();
    await wait(3000);
    expect(await exchange(GET)).toContain('still here');
    expect([listener.closed, logged]).toEqual([false, []]);
  });

  it('closes a port where nobody can be accepted, says so once, and opens it again, later and later', async () => {
    const listeners = Array.from({ length: 4 }, () => new PairListener());
    const [first, second, third, last] = listeners as [PairListener, PairListener, PairListener, PairListener];
    const { listens, wait, settle, logged } = await serve(() => 'back', {}, listeners);
    // A backend that was started again is the first thing to think of.
    first.refuse('ECONNRESET');
    await settle();
    expect([first.closed, listens()]).toEqual([true, 2]);
    for (const [listener, seconds, before] of [[second, 2, 2] as const, [third, 4, 3] as const]) {
      listener.refuse('ENOSPC');
      await settle();
      await wait(1000 * (seconds - 1));
      expect([listener.closed, listens()]).toEqual([true, before]);
      await wait(1000);
      expect(listens()).toBe(before + 1);
    }
    expect(logged).toEqual(['http: port 80 is not served for now: ENOSPC: refused']);
    const client = last.connect();
    await client.write(GET);
    expect(text((await client.read())!)).toMatch(/200 OK.*back$/s);
  });

  it('says it of clients too when there are no others', async () => {
    const { listener, wait, logged } = await serve(() => 'never');
    listener.refuse('ECONNABORTED', 8);
    await wait(8000);
    expect(listener.closed).toBe(true);
    expect(logged[0]).toBe('http: port 80 is not served for now: ECONNABORTED: refused');
  });

  it('closes what it opens again while it ends', async () => {
    const opened: number[] = [];
    for (let turns = 0; turns < 20; turns++) {
      const [first, second] = [new PairListener(), new PairListener()];
      const { server, listens } = await serve(() => 'never', {}, [first, second]);
      first.lose();
      for (let n = 0; n < turns; n++) await Promise.resolve();
      await server.close();
      opened.push(listens());
      expect([first.closed, second.closed]).toEqual([true, listens() === 2]);
    }
    // It ended before, and after, that was begun.
    expect([opened[0], opened.at(-1)]).toEqual([1, 2]);
  });

  it('ends at once where it waits to open its port again', async () => {
    const { listener, server, settle, timers } = await serve(() => 'never');
    listener.refuse('EPERM');
    await settle();
    expect(timers.pending).toBe(1);
    await server.close();
    expect(timers.pending).toBe(0);
  });

  it('closes at once what only rests', async () => {
    const { listener, server, settle } = await serve(() => 'ok');
    const client = listener.connect();
    await client.write(GET);
    await settle();
    await server.close();
    expect(text((await client.read())!)).toMatch(/ok$/);
    expect(await client.read()).toBe(null);
  });

  it('closes after what is being answered was answered', async () => {
    const { listener, server, settle } = await serve(async () => {
      await settle();
      return 'late';
    });
    const client = listener.connect();
    await client.write(GET.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n'));
    await settle();
    await server.close();
    expect(text((await client.read())!)).toContain('late');
  });
});

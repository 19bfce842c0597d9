// Requests of HTTP, some bytes changed, cut anywhere. The parser says the same however they are cut, keeps no more than its
// limits, and reads what it takes as Node's own does: what two readers understand in two ways is how one request is smuggled in
// another. And a server that such clients are connected to: others are answered, and of none is anything left.
// @ts-expect-error: it has no types.
import { HTTPParser, methods } from 'node:_http_common';
import { METHODS } from 'node:http';
import { setImmediate } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import {
  DEFAULT_LIMITS,
  HttpError,
  type ParsedRequest,
  type ParserLimits,
  RequestParser,
} from '../../../domu-kernel/guest-api/http/request-parser.ts';
import { httpApi, splitTarget } from '../../../domu-kernel/guest-api/http/server.ts';
import { Timers } from '../../../domu-kernel/timers.ts';
import { type PairEnd, PairListener } from '../../support/connection-pair.ts';
import { VirtualClock } from '../../support/lossy-wire.ts';
import fc from '../../support/properties.ts';

const rarely = <T>(usual: T, ...others: T[]): fc.Arbitrary<T> =>
  fc.oneof({ weight: 30, arbitrary: fc.constant(usual) }, { weight: 1, arbitrary: fc.constantFrom(...others) });
const end = rarely('\r\n', '\n', '\r', '\r\r\n', '\n\r\n', '');
const blank = rarely(' ', '', '  ', '\t', '\x0b', '\x0c', '\xa0', '\x85');
const requestLine = fc
  .tuple(
    fc.constantFrom('GET', 'GET', 'POST', 'PUT', 'HEAD', 'DELETE', 'G\0T', 'P@ST', ''),
    blank,
    rarely('/', '/a?b=c', '*', 'http://h/x', '/\x80', '/a b', '/\t', '', '/\x7f', 'h:1'),
    blank,
    rarely('HTTP/1.1', 'HTTP/1.0', 'HTTP/1.2', 'HTTP/2.0', 'http/1.1', 'HTTP/1.1 ', 'HTTP/01.1', ''),
    end,
  )
  .map(parts => parts.join(''));
const length = fc.constantFrom(
  '0',
  '1',
  '5',
  '5',
  '05',
  '+5',
  '-1',
  '5 ',
  '5,5',
  '0x5',
  '5e0',
  '99999999999',
  '65',
  '',
);
const coding = rarely(
  'chunked',
  'Chunked',
  'chunked ',
  'gzip, chunked',
  'chunked, chunked',
  '"chunked"',
  'xchunked',
  '',
);
const field = fc
  .tuple(
    rarely('', ' ', '\t', '\0', '\r'),
    fc.oneof(
      fc.tuple(rarely('Host', 'host', 'Host ', 'Hos\0t'), fc.constantFrom('h', 'h', '', 'a b')),
      fc.tuple(rarely('Content-Length', 'content-length', 'Content-Length ', 'Content_Length'), length),
      fc.tuple(rarely('Transfer-Encoding', 'Transfer-Encoding\t', 'Transfer-encoding'), coding),
      fc.tuple(fc.constant('Connection'), fc.constantFrom('close', 'keep-alive', 'x, close')),
      fc.tuple(
        fc.constantFrom('X', 'X', 'A-b', 'X:', '', 'x\x80'),
        fc.constantFrom('1', '', ' \t ', 'a  b', '\x80\xff', 'a\0b', 'a\rb', 'b'.repeat(90), 'c'.repeat(3000)),
      ),
    ),
    rarely(':', ': ', ' :', ':\t', ':\r\n ', ''),
    rarely('', ' ', '\t', '  '),
    end,
  )
  .map(([before, [name, value], colon, after, eol]) => `${before}${name}${colon}${value}${after}${eol}`);
const chunk = fc
  .tuple(
    rarely('5', '0', '1', '05', '00000005', '000000005', '5 ', ' 5', '0x5', '-5', 'ffffffff', '41', ''),
    rarely('', ';a=b', ';', ' ;x', ';\r', `;${'y'.repeat(300)}`),
    end,
    rarely('hello', 'hell', 'hello!', '', '0\r\n\r\n'),
    end,
  )
  .map(parts => parts.join(''));
const body = fc.oneof(
  fc.constantFrom('', '', 'hello', 'hello', 'GET /inner HTTP/1.1\r\nHost: i\r\n\r\n', 'x'.repeat(70)),
  fc
    .tuple(
      fc.array(chunk, { maxLength: 3 }),
      rarely('0', '00', '0;x', '', '-0'),
      end,
      rarely('', 'T: x\r\n', `T: ${'z'.repeat(9000)}\r\n`, 'Content-Length: 5\r\n', '\0\r\n'),
      end,
    )
    .map(([chunks, ...rest]) => chunks.join('') + rest.join('')),
);
/** One that is right, so that what follows it is looked at. */
const right = fc.constantFrom(
  'GET /x HTTP/1.1\r\nHost: h\r\n\r\n',
  'POST /n HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello',
  'POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;e\r\n world\r\n0\r\nT: x\r\n\r\n',
);
const drawn = fc
  .tuple(requestLine, fc.array(field, { maxLength: 5 }), end, body)
  .map(([line, fields, eol, rest]) => `${line}Host: h\r\n${fields.join('')}${eol}${rest}`);
const stream = fc
  .tuple(
    fc.array(fc.oneof({ weight: 1, arbitrary: right }, { weight: 3, arbitrary: drawn }), {
      minLength: 1,
      maxLength: 4,
    }),
    fc.array(fc.tuple(fc.nat(4000), fc.oneof(fc.nat(255), fc.constantFrom(0, 9, 10, 13, 32, 58))), { maxLength: 3 }),
  )
  .map(([requests, changes]) => {
    const bytes = Buffer.from(requests.join(''), 'latin1');
    for (const [at, byte] of changes) if (at < bytes.length) bytes[at] = byte;
    return bytes;
  });
const cuts = fc.array(fc.nat(300), { maxLength: 6 });

/** What it reads: requests, and the status of the first that it refuses. */
function ours(bytes: Uint8Array, ends: readonly number[], limits: ParserLimits): (ParsedRequest | number)[] {
  const parser = new RequestParser(limits);
  const all: (ParsedRequest | number)[] = [];
  let from = 0;
  try {
    for (const to of [...ends.toSorted((a, b) => a - b), bytes.length]) {
      parser.push(bytes.subarray(from, Math.max(from, to)));
      from = Math.max(from, to);
      for (let request = parser.next(); request; request = parser.next()) {
        const { body, headers } = request;
        if (body.length > limits.maxBody || headers.size > limits.maxFields) throw new Error('more than its limits');
        all.push(request);
      }
    }
  } catch (error) {
    if (!(error instanceof HttpError)) throw error;
    all.push(error.status);
  }
  return all;
}

const limitsOf = fc.constantFrom(
  DEFAULT_LIMITS,
  DEFAULT_LIMITS,
  { maxHead: 120, maxFields: 4, maxBody: 64 },
  { maxHead: 60, maxFields: 2, maxBody: 4 },
);

export const httpCuts = fc.property(stream, cuts, limitsOf, (bytes, ends, limits) => {
  const whole = ours(bytes, [], limits);
  if (!isDeepStrictEqual(ours(bytes, ends, limits), whole)) throw new Error('another cut is another request');
  for (const status of whole) {
    if (typeof status === 'number' && ![400, 413, 431, 501, 505].includes(status)) throw new Error(`status ${status}`);
  }
});

interface Plain {
  readonly method: string | undefined;
  readonly target: string | undefined;
  readonly fields: string;
  readonly body: string;
}
const flat = (headers: Iterable<readonly [string, string]>): string =>
  [...headers]
    .map(([name, value]) => `${name}: ${value}`)
    .sort()
    .join('\n');

/** Field lines as the parser keeps them: of one name together. */
function folded(raw: readonly string[]): Map<string, string> {
  const all = new Map<string, string>();
  for (let i = 0; i < raw.length; i += 2) {
    const [name, value] = [raw[i]!.toLowerCase(), raw[i + 1]!.replace(/[ \t]+$/, '')];
    const before = all.get(name);
    all.set(name, before === undefined ? value : `${before}, ${value}`);
  }
  return all;
}

/** What Node's own parser reads, up to what it refuses or what is another protocol's. */
function theirs(bytes: Uint8Array): { readonly requests: readonly Plain[]; readonly ended: boolean } {
  const requests: Plain[] = [];
  const parser = new HTTPParser();
  parser.initialize(HTTPParser.REQUEST, {}, 1 << 20);
  let head: Omit<Plain, 'body'> | undefined;
  let body: Buffer[] = [];
  parser[HTTPParser.kOnHeadersComplete] = (
    ...[, , raw, method, target]: [number, number, string[], number, string]
  ) => {
    head = { method: methods[method], target, fields: flat(folded(raw)) };
    return 0;
  };
  parser[HTTPParser.kOnBody] = (part: Buffer) => body.push(Buffer.from(part));
  parser[HTTPParser.kOnMessageComplete] = () => {
    requests.push({ ...head!, body: Buffer.concat(body).toString('latin1') }); // its head came before
    body = [];
  };
  const read = parser.execute(Buffer.from(bytes));
  // It reads nothing behind a request that wants the connection closed; our server neither.
  const ended = typeof read === 'number' ? read < bytes.length : read.code === 'HPE_CLOSED_CONNECTION';
  return { requests, ended };
}

/** Node's knows no other methods, and refuses by itself the targets that our server does. */
function isForBoth({ method, target }: ParsedRequest): boolean {
  try {
    splitTarget(target);
    return METHODS.includes(method);
  } catch (error) {
    if (!(error instanceof HttpError)) throw error;
    return false;
  }
}

export const httpReaders = fc.property(stream, bytes => {
  // Of what follows a chunk's size it takes less.
  if (/[0-9a-f][ \t]*(;|[ \t]\r)/i.test(bytes.toString('latin1'))) return;
  const here = ours(bytes, [], DEFAULT_LIMITS);
  const there = theirs(bytes);
  for (const [i, mine] of here.entries()) {
    const other = there.requests[i];
    if (typeof mine === 'number' || (other === undefined && there.ended) || !isForBoth(mine)) return;
    const { method, target, headers, body } = mine;
    const own = { method, target, fields: flat(headers), body: Buffer.from(body).toString('latin1') };
    if (other === undefined || !isDeepStrictEqual(own, other))
      throw new Error(`here it is ${JSON.stringify(own)}, there ${JSON.stringify(other)}`);
  }
  const more = there.requests[here.length];
  if (more !== undefined) throw new Error(`there it has one more: ${JSON.stringify(more)}`);
});

const client = fc.record({
  bytes: stream,
  ends: cuts,
  /** It ends its side when it has said all; it takes what it is told. */
  leaves: fc.boolean(),
  reads: fc.boolean(),
  ms: fc.constantFrom(0, 0, 9000, 16_000),
});

async function turns(done: () => boolean = () => false): Promise<boolean> {
  for (let turn = 0; turn < 12 && !done(); turn++) await setImmediate();
  return done();
}

async function takeAll(end: PairEnd): Promise<void> {
  while ((await end.read()) !== null);
}

export const httpClients = fc.asyncProperty(fc.array(client, { minLength: 1, maxLength: 4 }), async clients => {
  const clock = new VirtualClock();
  const timers = new Timers(clock, () => {});
  const listener = new PairListener();
  const told: string[] = [];
  const tell = (line: string): void => void told.push(line);
  const log = { info: tell, warn: tell, error: tell };
  const server = await httpApi({ clock, timers, log, listen: async () => listener }).serve(80, ({ path }) => path);
  const pass = async (ms: number): Promise<void> => {
    clock.ns += ms * 1e6;
    timers.expire();
    await turns();
  };
  const ends = clients.map(() => listener.connect());
  for (const [i, { bytes, ends: parts, leaves, reads, ms }] of clients.entries()) {
    const end = ends[i]!;
    let from = 0;
    for (const to of [...parts.toSorted((a, b) => a - b), bytes.length]) {
      if (to <= from) continue;
      end.write(bytes.subarray(from, to)).catch(() => {}); // it may have been hung up on
      from = to;
      await turns();
    }
    if (leaves) await end.end();
    if (reads) void takeAll(end);
    await pass(ms);
  }
  const innocent = listener.connect();
  await innocent.write('GET /innocent HTTP/1.1\r\nHost: h\r\n\r\n');
  const answer = (): string => Buffer.concat(innocent.input.chunks).toString();
  if (!(await turns(() => answer().endsWith('/innocent')))) throw new Error(`another is told ${answer() || 'nothing'}`);
  for (let s = 0; s < 60; s += 6) await pass(6000);
  let over = false;
  void server.close().then(() => {
    over = true;
  });
  if (!(await turns(() => over))) throw new Error('the server does not end');
  for (const end of [...ends, innocent]) if (!end.input.ended) throw new Error('a connection is left');
  if (timers.pending !== 0) throw new Error(`${timers.pending} timers are left`);
  if (told.length > 0) throw new Error(told.join('\n'));
});

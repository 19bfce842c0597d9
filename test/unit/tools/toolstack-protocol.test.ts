import { Packr } from 'msgpackr';
import { describe, expect, it } from 'vitest';
import {
  checkReply,
  checkRequest,
  checkResult,
  encodeFrame,
  FrameDecoder,
  MAX_FRAME,
  requestId,
  TOOLSTACK_VERSION,
  XenError,
} from '#pvbus';
import fc from '../../support/properties.ts';

const frame = (body: Uint8Array): Uint8Array => {
  const { length } = body;
  return Uint8Array.from([TOOLSTACK_VERSION, length & 0xff, (length >> 8) & 0xff, length >> 16, ...body]);
};
const errorOf = (body: () => unknown): XenError => {
  try {
    body();
  } catch (error) {
    if (error instanceof XenError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
};

describe('frames', () => {
  const plain = fc.letrec(tie => ({
    value: fc.oneof(
      { depthSize: 'small' },
      fc.constantFrom(null, true, false),
      fc.integer(),
      fc.double({ noNaN: true }).map(n => n + 0), // no -0: MessagePack may have one zero
      fc.string(),
      fc.array(tie('value'), { maxLength: 5 }),
      fc.dictionary(
        fc.string({ minLength: 1 }).filter(key => key !== '__proto__'),
        tie('value'),
        { maxKeys: 5 },
      ),
    ),
  })).value;

  it('the bytes in a message stay what they are while others are decoded, wherever the stream is cut', () => {
    const sent = Array.from({ length: 40 }, (_, i) => new Uint8Array(3000 + i).fill(i));
    const stream = Buffer.concat(sent.map(records => encodeFrame({ records })));
    for (const cut of [1000, 3500, 4096, 65536]) {
      const decoder = new FrameDecoder();
      const got: unknown[] = [];
      for (let at = 0; at < stream.length; at += cut) got.push(...decoder.push(stream.subarray(at, at + cut)));
      expect(got.map(message => new Uint8Array((message as { records: Uint8Array }).records))).toEqual(sent);
    }
  });
  it('any messages survive any cut of the byte stream', () => {
    fc.assert(
      fc.property(
        fc.array(plain, { maxLength: 6 }),
        fc.array(fc.nat({ max: 40 }), { maxLength: 30 }),
        (messages, cuts) => {
          const stream = Buffer.concat(messages.map(encodeFrame));
          const decoder = new FrameDecoder();
          const got: unknown[] = [];
          let at = 0;
          for (const cut of cuts) {
            got.push(...decoder.push(stream.subarray(at, at + cut)));
            at += cut;
          }
          got.push(...decoder.push(stream.subarray(at)));
          expect(got).toEqual(messages);
          expect(decoder.idle).toBe(true);
        },
      ),
    );
  });

  it('the chunk that was pushed may be used again at once', () => {
    const decoder = new FrameDecoder();
    const chunk = Buffer.from(encodeFrame('hello').subarray(0, 6));
    decoder.push(chunk);
    const rest = encodeFrame('hello').subarray(6);
    chunk.fill(0xff);
    expect(decoder.push(rest)).toEqual(['hello']);
  });

  it('a frame that comes byte by byte costs no more than its bytes', () => {
    const message = 'x'.repeat(200_000);
    const decoder = new FrameDecoder();
    const got: unknown[] = [];
    for (const byte of encodeFrame(message)) got.push(...decoder.push(Uint8Array.of(byte)));
    expect(got).toEqual([message]);
  });

  it('another version is told by the first byte', () => {
    expect(errorOf(() => new FrameDecoder().push(Uint8Array.of(2)))).toMatchObject({
      ...{ code: 'EPROTO', message: 'toolstack protocol version 2, this side speaks 1' },
    });
  });

  it('a length above the limit is refused by the header alone', () => {
    expect(errorOf(() => new FrameDecoder().push(Uint8Array.of(1, 1, 0, 0x10))).code).toBe('EMSGSIZE');
    expect(new FrameDecoder().push(Uint8Array.of(1, 0, 0, 0x10))).toEqual([]);
    expect(errorOf(() => encodeFrame('x'.repeat(MAX_FRAME))).code).toBe('EMSGSIZE');
  });

  it('once broken, a stream stays broken', () => {
    const decoder = new FrameDecoder();
    expect(errorOf(() => decoder.push(Uint8Array.of(9)))).toBe(errorOf(() => decoder.push(encodeFrame(1))));
  });

  it.each<[string, unknown]>([
    ['a date', new Date()],
    ['a regular expression', /x/],
    ['an error', new Error('x')],
    ['a set', new Set([1])],
    ['a typed array of words', new Uint32Array(4)],
  ])('%s is refused: only plain values travel', (_, value) => {
    const body = new Packr({ useRecords: false, moreTypes: true, structuredClone: true }).pack(value);
    if (body[0] !== 0xc4) expect(errorOf(() => new FrameDecoder().push(frame(body))).code).toBe('EPROTO');
  });

  it('records, which the codec would compile, are refused', () => {
    const body = new Packr({ useRecords: true }).pack({ a: 1, b: 2 });
    expect(errorOf(() => new FrameDecoder().push(frame(body))).code).toBe('EPROTO');
  });

  it.each<[string, number[]]>([
    ['nested deeper than any message', [...new Array(64).fill(0x91), 0xc0]],
    ['a list of more than it holds', [0xdd, 0xff, 0xff, 0xff, 0xff]],
    ['a map of more than it holds', [0xdf, 0xff, 0xff, 0xff, 0xff]],
    ['text that ends early', [0xda, 0xff, 0xff, 0x61]],
    ['no value at all', []],
    ['two values', [0xc0, 0xc0]],
    ['a number cut short', [0xcf, 0]],
    ['the type that MessagePack never uses', [0xc1]],
  ])('a body with %s is refused', (_, body) => {
    expect(errorOf(() => new FrameDecoder().push(frame(Uint8Array.from(body)))).code).toBe('EPROTO');
  });

  it('rubbish never does more than break the stream', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (bytes, framed) => {
        const decoder = new FrameDecoder();
        try {
          decoder.push(framed ? frame(bytes) : bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(XenError);
        }
      }),
      { numRuns: 2_000 },
    );
  });
});

describe('messages', () => {
  const domid = { id: 1, op: 'pause', args: { domid: 3 } };

  it('a good request comes out as it went in, without what does not belong', () => {
    expect(checkRequest({ ...domid, more: 1, args: { domid: 3, evil: true } })).toEqual(domid);
    expect(checkRequest({ id: 0, op: 'info' })).toEqual({ id: 0, op: 'info', args: {} });
  });

  it.each<[unknown, string, RegExp]>([
    [{ id: 1, op: 'nosuch', args: {} }, 'ENOSYS', /no request 'nosuch'/],
    [{ id: 1, op: 'toString', args: {} }, 'ENOSYS', /toString/],
    [{ op: 'info', args: {} }, 'EINVAL', /^request\.id: expected an integer/],
    [{ id: -1, op: 'info' }, 'EINVAL', /^request\.id/],
    [{ id: 1.5, op: 'info' }, 'EINVAL', /^request\.id/],
    [[], 'EINVAL', /^request: expected a map/],
    [null, 'EINVAL', /^request: expected a map/],
    [{ ...domid, args: { domid: '3' } }, 'EINVAL', /^pause\.domid: expected an integer from 0 to 32751/],
    [{ ...domid, args: { domid: 99_999 } }, 'EINVAL', /^pause\.domid/],
    [{ ...domid, args: [3] }, 'EINVAL', /^pause: expected a map/],
    [{ id: 1, op: 'wait', args: { domid: 1, until: 'doomsday' } }, 'EINVAL', /^wait\.until: expected one of shutdown/],
    [{ id: 1, op: 'create', args: { paused: 1 } }, 'EINVAL', /^create\.config: expected a map/],
  ])('%j is refused with %s', (message, code, text) => {
    const error = errorOf(() => checkRequest(message));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(text);
  });

  it('a key of the prototype is no field', () => {
    const hostile = JSON.parse('{"id":1,"op":"pause","args":{"__proto__":{"domid":3}}}');
    expect(errorOf(() => checkRequest(hostile)).message).toMatch(/^pause\.domid/);
  });

  it('the id of a bad request is known when it has one', () => {
    expect([{ id: 7, op: 1 }, { id: 'x' }, 3, null].map(requestId)).toEqual([7, null, null, null]);
  });

  it('replies are results, errors or events', () => {
    expect(checkReply({ id: 1 })).toEqual({ id: 1, result: null });
    const error = { code: 'ENOENT', message: 'no', rc: -3 };
    expect(checkReply({ id: 1, error })).toEqual({ id: 1, error });
    const event = { event: 'phase', phase: 'memory', ms: 1.5 };
    expect(checkReply({ id: 1, event })).toEqual({ id: 1, event });
    expect(errorOf(() => checkReply({ id: 1, error: { code: 'E', message: 'm', rc: 0 } })).code).toBe('EINVAL');
    expect(errorOf(() => checkReply({ id: 1, event: { event: 'party' } })).code).toBe('EINVAL');
  });

  it('results are checked by what was asked', () => {
    expect(checkResult('domid', { domid: 4 })).toEqual({ domid: 4 });
    expect(errorOf(() => checkResult('list', [{ domid: 4 }])).message).toMatch(/^list\[0\]\./);
    expect(errorOf(() => checkResult('console', { path: 'x'.repeat(200) })).code).toBe('EINVAL');
  });
});

// What a server says before the first request, byte by byte, and what none may say.
import { describe, expect, it } from 'vitest';
import { type NbdExport, Negotiation } from '../../../../../dom0/backends/nbd/negotiation.ts';

const u16 = (n: number): Buffer => {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(n);
  return bytes;
};
const u32 = (n: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(n);
  return bytes;
};
const u64 = (n: bigint): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(n);
  return bytes;
};
const ERROR = 2 ** 31;
const greeting = (flags = 3): Buffer => Buffer.concat([Buffer.from('NBDMAGICIHAVEOPT'), u16(flags)]);
const reply = (option: number, type: number, data: Buffer = Buffer.alloc(0)): Buffer =>
  Buffer.concat([u64(0x0003e889045565a9n), u32(option), u32(type), u32(data.length), data]);
const noStructured = reply(8, ERROR + 1);
const info = (size: bigint, flags: number): Buffer => reply(7, 3, Buffer.concat([u16(0), u64(size), u16(flags)]));
const blocks = (min: number, preferred: number, max: number): Buffer =>
  reply(7, 3, Buffer.concat([u16(3), u32(min), u32(preferred), u32(max)]));

function talk(bytes: Buffer, pieces: number): { found: NbdExport | undefined; sent: Buffer } {
  const sent: Uint8Array[] = [];
  const negotiation = new Negotiation('disk', part => sent.push(part));
  let found: NbdExport | undefined;
  for (let at = 0; at < bytes.length; at += pieces) found = negotiation.feed(bytes.subarray(at, at + pieces)) ?? found;
  return { found, sent: Buffer.concat(sent) };
}

describe('a handshake', () => {
  const whole = Buffer.concat([
    ...[greeting(), reply(8, 1), info(1n << 40n, 0b1_0110_1101), blocks(512, 4096, 1 << 20)],
    ...[reply(7, 3, Buffer.concat([u16(1), Buffer.from('a name')])), reply(7, 1)],
  ]);

  it.each([1, 7, 1000])('is the same in pieces of %i bytes', pieces => {
    const { found, sent } = talk(whole, pieces);
    expect(found).toEqual({
      ...{ sizeBytes: 2 ** 40, readOnly: false, flush: true, fua: true, trim: true, writeZeroes: true },
      ...{ multiConn: true, structuredReplies: true, minBlock: 512, preferredBlock: 4096, maxBlock: 1 << 20 },
    });
    expect(sent.toString('latin1')).toBe(
      Buffer.concat([
        ...[u32(3), Buffer.from('IHAVEOPT'), u32(8), u32(0)],
        ...[Buffer.from('IHAVEOPT'), u32(7), u32(12), u32(4), Buffer.from('disk'), u16(1), u16(3)],
      ]).toString('latin1'),
    );
  });

  it('needs no structured replies and no word of blocks', () => {
    const { found } = talk(Buffer.concat([greeting(1), noStructured, info(512n, 3), reply(7, 1)]), 5);
    expect(found).toMatchObject({ structuredReplies: false, readOnly: true, flush: false, minBlock: 1 });
    expect(found!.maxBlock).toBe(32 << 20);
  });

  it.each<[string, Buffer, RegExp]>([
    ['another protocol', Buffer.from('HTTP/1.1 400 Bad'), /no NBD server/],
    ['half a magic', Buffer.from('NBDMAGIChello world'), /no NBD server/],
    ['the oldstyle handshake', Buffer.concat([Buffer.from('NBDMAGIC'), u64(0x0000420281861253n)]), /oldstyle/],
    ['no fixed newstyle', greeting(0), /fixed newstyle/],
    ['a reply without its magic', Buffer.concat([greeting(), Buffer.alloc(20)]), /is none/],
    ['a reply to another option', Buffer.concat([greeting(), reply(3, 1)]), /answers option 3, not 8/],
    ['a reply of 4 GiB', Buffer.concat([greeting(), reply(8, 1).subarray(0, 16), u32(0xffffffff)]), /4294967295 bytes/],
    ['a reply of no known type', Buffer.concat([greeting(), reply(8, 77)]), /type 77/],
    [
      'no such export',
      Buffer.concat([greeting(), noStructured, reply(7, ERROR + 6, Buffer.from('try\nanother'))]),
      /"disk": it has no such export \(try another\)/,
    ],
    ['a wish for TLS', Buffer.concat([greeting(), noStructured, reply(7, ERROR + 5)]), /TLS/],
    ['a size of 2^63', Buffer.concat([greeting(), noStructured, info(1n << 63n, 1)]), /9223372036854775808/],
    ['an export without a size', Buffer.concat([greeting(), noStructured, reply(7, 1)]), /size/],
    ['half a size', Buffer.concat([greeting(), noStructured, reply(7, 3, u32(0))]), /in 4 bytes/],
    ['nothing as information', Buffer.concat([greeting(), noStructured, reply(7, 3)]), /nothing of its export/],
    ['blocks of 3 bytes', Buffer.concat([greeting(), noStructured, blocks(3, 4096, 4096)]), /blocks have 3/],
    [
      'blocks that are larger than a request',
      Buffer.concat([greeting(), noStructured, blocks(4096, 4096, 512)]),
      /blocks have/,
    ],
    [
      'information without an end',
      Buffer.concat([greeting(), noStructured, ...Array(65).fill(info(512n, 1))]),
      /does not stop/,
    ],
  ])('is over with %s', (_, bytes, message) => {
    expect(() => talk(bytes, bytes.length)).toThrow(message);
    expect(() => talk(bytes, 3)).toThrow(message);
  });

  it('is over with an answer before the first question', () => {
    const input = Buffer.concat([greeting(), noStructured, info(512n, 1), reply(7, 1), u32(0x67446698)]);
    expect(() => talk(input, input.length)).toThrow(/not asked/);
  });
});

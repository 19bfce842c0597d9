// Answers of a server, taken apart in pieces of any length; and what no server may answer.
import { describe, expect, it } from 'vitest';
import { Command } from '../../../../../dom0/backends/nbd/command.ts';
import { ReplyParser } from '../../../../../dom0/backends/nbd/replies.ts';

const bytes = (...parts: (number | string | Buffer)[]): Buffer =>
  Buffer.concat(
    parts.map(p => (typeof p === 'number' ? Buffer.from([p >>> 24, p >>> 16, p >>> 8, p]) : Buffer.from(p as string))),
  );
const simple = (error: number, slot: number, data: string | Buffer = ''): Buffer =>
  bytes(0x67446698, error, 9, slot, data);
const chunk = (flags: number, type: number, slot: number, data: Buffer, length = data.length): Buffer =>
  bytes(0x668e33ef, (flags << 16) | type, 9, slot, length, data);
const where = (at: number): Buffer => bytes(0, at);

/** Slot 0 reads 8 bytes at 100, slot 1 writes, slot 2 reads 4 bytes at 0. */
function parse(structured: boolean, input: Buffer, pieces: number) {
  const memory = new Uint8Array(64).fill(0x2e);
  const make = (slot: number, type: number, at: number, length: number, start: number): Command => {
    const command = new Command(slot).reset(type, at, length, { answered: () => {} });
    command.addPiece(memory, start, length >> 1);
    command.addPiece(memory, start + 20, length - (length >> 1));
    return command;
  };
  const commands = [make(0, 0, 100, 8, 0), make(1, 1, 0, 8, 40), make(2, 0, 0, 4, 10)];
  const answers: [number, number][] = [];
  const there = new Set(commands);
  const parser = new ReplyParser<Command>(
    {
      find: (hi, lo) => (hi === 9 && there.has(commands[lo]!) ? commands[lo] : undefined),
      answered: (command, error) => {
        there.delete(command);
        answers.push([command.slot, error]);
      },
    },
    structured,
  );
  for (let at = 0; at < input.length; at += pieces) parser.feed(input.subarray(at, at + pieces));
  return { answers, text: Buffer.from(memory.subarray(0, 40)).toString('latin1') };
}

describe.each([1, 3, 17, 1000])('in pieces of %i bytes', pieces => {
  it('simple answers come in any order, their data where it belongs', () => {
    const { answers, text } = parse(
      false,
      bytes(simple(0, 2, 'abcd'), simple(28, 1), simple(0, 0, '01234567')),
      pieces,
    );
    expect(answers).toEqual([
      [2, 0],
      [1, 28],
      [0, 0],
    ]);
    expect(text).toBe('0123......ab........4567......cd........');
  });

  it('chunks come in any order, mixed with those of others, with holes, and may end with nothing', () => {
    const input = bytes(
      chunk(0, 1, 0, bytes(where(106), '67')),
      chunk(1, 1, 2, bytes(where(0), 'abcd')),
      chunk(0, 2, 0, bytes(where(100), 4)),
      simple(0, 1),
      chunk(0, 1, 0, bytes(where(104), '45')),
      chunk(1, 0, 0, Buffer.alloc(0)),
    );
    const { answers, text } = parse(true, input, pieces);
    expect(answers).toEqual([
      [2, 0],
      [1, 0],
      [0, 0],
    ]);
    expect(text).toBe('\0\0\0\0......ab........4567......cd........');
  });

  it('an error in the middle of a read is its answer, with a text that is passed over', () => {
    const text = (n: number) => bytes(5, Buffer.from([0, n]), 'x'.repeat(n));
    const input = bytes(
      chunk(0, 1, 0, bytes(where(100), '01')),
      chunk(0, 0x8002, 0, bytes(text(11), where(102))),
      chunk(1, 0x8001, 0, bytes(text(0))),
      chunk(1, 0x8009, 2, bytes(text(3), 'of the future')),
    );
    expect(parse(true, input, pieces).answers).toEqual([
      [0, 5],
      [2, 5],
    ]);
  });

  it.each<[string, boolean, Buffer, RegExp]>([
    ['another magic', true, bytes(0x12345678, 0, 0), /0x12345678/],
    ['a chunk that was not agreed upon', false, chunk(1, 0, 0, Buffer.alloc(0)), /0x668e33ef/],
    ['an answer to nobody', false, simple(0, 3), /9\/3, which is not in flight/],
    ['an answer from another life', false, bytes(0x67446698, 0, 8, 0), /8\/0/],
    ['a second answer', false, bytes(simple(0, 1), simple(0, 1)), /9\/1/],
    ['a simple answer to a read among chunks', true, simple(0, 0, '01234567'), /chunks are agreed/],
    ['data before the read', true, chunk(1, 1, 0, bytes(where(99), 'x')), /1 bytes at -1/],
    ['data beyond the read', true, chunk(1, 1, 0, bytes(where(104), 'xxxxx')), /5 bytes at 4/],
    ['data at 2^64 - 1', true, chunk(1, 1, 0, bytes(-1, -1, 'x')), /in answer to a read/],
    ['a hole beyond the read', true, chunk(1, 2, 0, bytes(where(100), 9)), /9 bytes at 0/],
    [
      'the same bytes twice',
      true,
      bytes(chunk(0, 1, 0, bytes(where(100), '01234567')), chunk(1, 1, 0, bytes(where(100), 'x'))),
      /twice/,
    ],
    ['too few bytes', true, chunk(1, 1, 0, bytes(where(100), '0123')), /4 bytes in answer to a read of 8/],
    ['nothing, as a read', true, chunk(1, 0, 0, Buffer.alloc(0)), /0 bytes in answer/],
    ['nothing that is not the last', true, chunk(0, 0, 0, Buffer.alloc(0)), /not the last/],
    ['a chunk of nothing with bytes', true, chunk(1, 0, 0, bytes('x')), /type 0 with 1 bytes/],
    ['data without an offset', true, chunk(1, 1, 0, bytes('xxxxxxxx')), /type 1 with 8 bytes/],
    ['a hole of 13 bytes', true, chunk(1, 2, 0, bytes(where(100), 1, 'x')), /type 2 with 13/],
    ['data for a write', true, chunk(1, 1, 1, bytes(where(0), 'x')), /command 1/],
    ['the extents nobody asked for', true, chunk(1, 5, 0, Buffer.alloc(12)), /type 5/],
    ['an error of 4 GiB', true, chunk(1, 0x8001, 0, bytes(5, 'xx'), 0xffffffff), /4294967295 bytes/],
    [
      'an error whose text is longer than it',
      true,
      chunk(1, 0x8001, 0, bytes(5, Buffer.from([1, 0]), 'x')),
      /256 bytes/,
    ],
    ['an error that is none', true, chunk(1, 0x8001, 0, bytes(0, Buffer.from([0, 0]))), /is none/],
  ])('%s is refused', (_, structured, input, message) => {
    expect(() => parse(structured, input, pieces)).toThrow(message);
  });
});

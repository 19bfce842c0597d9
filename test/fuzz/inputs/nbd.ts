// What NBD servers say: a handshake and answers, some bytes changed, cut anywhere. No memory but that of a read in flight
// is written, nothing is answered twice, and what may not be said is EPROTO. And what clients say to the server that exports
// disks: no byte outside of the disk is touched, nor any of one that is read-only, and nobody is told more than was asked for.

import { parseNbdTarget, XenError } from '#pvbus';
import { Command } from '../../../dom0/backends/nbd/command.ts';
import { Negotiation } from '../../../dom0/backends/nbd/negotiation.ts';
import { ReplyParser } from '../../../dom0/backends/nbd/replies.ts';
import { NbdConversation } from '../../../tools/nbd-server/conversation.ts';
import fc from '../../support/properties.ts';

const READS = 4;
const LENGTH = 64;
/** Between the memory of two reads lie as many bytes that are nobody's. */
const GUARD = 64;
const MARK = 0x5a;

const u32 = (...words: number[]): Buffer =>
  Buffer.concat(words.map(w => Buffer.from([w >>> 24, w >>> 16, w >>> 8, w])));
const changes = fc.array(fc.tuple(fc.nat(300), fc.nat(255)), { maxLength: 4 });
const cuts = fc.array(fc.nat(400), { maxLength: 4 });

const answer = fc.record({
  slot: fc.nat(READS),
  type: fc.constantFrom(-1, -1, 0, 1, 1, 1, 2, 5, 0x8001, 0x8002, 0x8003),
  done: fc.boolean(),
  offset: fc.nat(LENGTH + 4),
  length: fc.oneof(fc.constant(LENGTH), fc.nat(LENGTH + 8), fc.constantFrom(0xffffffff, 0x7fffffff)),
  error: fc.constantFrom(0, 5, 28, 108),
});

function encode({
  slot,
  type,
  done,
  offset,
  length,
  error,
}: Record<string, number | boolean> & { type: number }): Buffer {
  const cookie = u32(1, slot as number);
  const data = Buffer.alloc(Math.min(length as number, LENGTH), 0x11);
  if (type < 0) return Buffer.concat([u32(0x67446698, error as number), cookie, data]);
  const where = u32(0, (slot as number) * LENGTH + (offset as number));
  const body =
    type === 1
      ? Buffer.concat([where, data])
      : type === 2
        ? Buffer.concat([where, u32(length as number)])
        : type >= 0x8000
          ? Buffer.concat([
              u32(error as number),
              Buffer.from([0, 3]),
              Buffer.from('why'),
              type === 0x8002 ? where : Buffer.alloc(0),
            ])
          : Buffer.alloc(0);
  return Buffer.concat([u32(0x668e33ef, ((done ? 1 : 0) << 16) | type), cookie, u32(body.length), body]);
}

function feed(bytes: Buffer, changed: [number, number][], where: number[], take: (part: Buffer) => void): void {
  for (const [at, byte] of changed) if (at < bytes.length) bytes[at] = byte;
  let from = 0;
  try {
    for (const to of [...where.toSorted((a, b) => a - b), bytes.length]) {
      take(bytes.subarray(from, Math.max(from, to)));
      from = Math.max(from, to);
    }
  } catch (error) {
    if (!(error instanceof XenError)) throw error;
  }
}

export const nbdReplies = fc.property(
  fc.record({ answers: fc.array(answer, { maxLength: 8 }), structured: fc.boolean(), changes, cuts }),
  ({ answers, structured, changes: changed, cuts: where }) => {
    const memory = new Uint8Array(READS * (LENGTH + GUARD)).fill(MARK);
    const there = new Map<number, Command>();
    for (let slot = 0; slot < READS; slot++) {
      const command = new Command(slot).reset(0, slot * LENGTH, LENGTH, { answered: () => {} });
      command.addPiece(memory, slot * (LENGTH + GUARD), LENGTH);
      there.set(slot, command);
    }
    const answered: number[] = [];
    const parser = new ReplyParser<Command>(
      {
        find: (hi, lo) => (hi === 1 ? there.get(lo) : undefined),
        answered: ({ slot }) => {
          there.delete(slot);
          answered.push(slot);
        },
      },
      structured,
    );
    feed(Buffer.concat(answers.map(encode)), changed, where, part => parser.feed(part));
    if (new Set(answered).size !== answered.length) throw new Error('answered twice');
    for (let slot = 0; slot < READS; slot++) {
      const guard = memory.subarray(slot * (LENGTH + GUARD) + LENGTH, (slot + 1) * (LENGTH + GUARD));
      if (!guard.every(byte => byte === MARK)) throw new Error(`memory behind read ${slot} was written`);
    }
  },
);

const info = fc.oneof(
  fc.uint8Array({ maxLength: 20 }),
  fc.constantFrom([0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 1].map(Number)),
);
export const nbdHandshakes = fc.property(
  fc.record({
    flags: fc.nat(0xffff),
    replies: fc.array(
      fc.record({ option: fc.constantFrom(7, 7, 8), type: fc.constantFrom(1, 3, 3, 0x80000001, 0x80000006, 9), info }),
      {
        maxLength: 5,
      },
    ),
    changes,
    cuts,
  }),
  ({ flags, replies, changes: changed, cuts: where }) => {
    const head = Buffer.concat([Buffer.from('NBDMAGICIHAVEOPT'), Buffer.from([flags >> 8, flags])]);
    const parts = replies.map(({ option, type, info: data }) =>
      Buffer.concat([u32(0x0003e889, 0x045565a9, option, type, data.length), Buffer.from(data)]),
    );
    let sent = 0;
    const negotiation = new Negotiation('x', part => {
      sent += part.length;
    });
    feed(Buffer.concat([head, ...parts]), changed, where, part => {
      const found = negotiation.feed(part);
      if (found !== undefined && !(Number.isSafeInteger(found.sizeBytes) && found.maxBlock >= found.minBlock))
        throw new Error(`let in with ${JSON.stringify(found)}`);
    });
    if (sent > 200) throw new Error('it talks too much');
  },
);

export const nbdTargets = fc.property(
  fc.oneof(
    fc.string(),
    fc
      .array(
        fc.constantFrom(
          'nbd',
          ':',
          '/',
          '//',
          'unix',
          '+unix',
          '?socket=',
          '/run/x',
          'host',
          '1',
          '%',
          '[::1]',
          '&',
          'reconnect=',
          ':exportname=',
          '@',
          '#',
        ),
      )
      .map(parts => `nbd${parts.join('')}`),
  ),
  text => {
    try {
      const { server } = parseNbdTarget(text);
      if ('path' in server ? !server.path.startsWith('/') : server.host === '' || !(server.port > 0))
        throw new Error(`${text} is no server`);
    } catch (error) {
      if (!(error instanceof XenError) || error.code !== 'EINVAL') throw error;
    }
  },
);

const DISK = 8192;
const clientOption = fc.record({
  number: fc.constantFrom(1, 2, 3, 6, 7, 7, 7, 8, 9),
  name: fc.constantFrom('', 'xvda', 'other'),
  infos: fc.nat(2),
});
const clientRequest = fc.record({
  flags: fc.constantFrom(0, 0, 0, 1, 2, 0xffff),
  type: fc.constantFrom(0, 0, 0, 1, 1, 2, 3, 4, 6, 99),
  high: fc.constantFrom(0, 0, 0, 1, 0xffffffff),
  at: fc.oneof(fc.nat(DISK + 10), fc.constant(0xffffffff)),
  length: fc.oneof(fc.nat(600), fc.constantFrom(0x2000001, 0xffffffff)),
});

export const nbdClients = fc.property(
  fc.record({
    flags: fc.constantFrom(0, 1, 3, 3, 3, 4),
    options: fc.array(clientOption, { maxLength: 3 }),
    requests: fc.array(clientRequest, { maxLength: 8 }),
    readOnly: fc.boolean(),
    changes,
    cuts,
  }),
  ({ flags, options, requests, readOnly, changes: changed, cuts: where }) => {
    const told: string[] = [];
    let read = 0;
    const touch = (bytes: Uint8Array, at: number): void => {
      if (!(at >= 0 && at + bytes.length <= DISK)) told.push(`${bytes.length} bytes at ${at}`);
    };
    const disk = {
      ...{ name: 'xvda', sizeBytes: DISK, readOnly },
      read: (bytes: Uint8Array, at: number): void => {
        touch(bytes, at);
        read += bytes.length;
      },
      write: (bytes: Uint8Array, at: number): void => {
        if (readOnly) told.push('a write');
        touch(bytes, at);
      },
      flush: () => {},
    };
    let sent = 0;
    const write = (bytes: Uint8Array): void => {
      sent += bytes.length;
    };
    const stream = { isFull: false, write };
    const head = options.map(({ number, name, infos }) => {
      const data = Buffer.concat([
        u32(name.length),
        Buffer.from(name),
        Buffer.from([0, infos]),
        Buffer.alloc(2 * infos),
      ]);
      return Buffer.concat([Buffer.from('IHAVEOPT'), u32(number, data.length), data]);
    });
    const body = requests.map(({ flags: f, type, high, at, length }) =>
      Buffer.concat([
        u32(0x25609513, (f << 16) | type, 1, 2, high, at, length),
        Buffer.alloc(type === 1 ? Math.min(length, 600) : 0),
      ]),
    );
    const bytes = Buffer.concat([u32(flags), ...head, ...body]);
    const conversation = new NbdConversation(disk, stream);
    feed(bytes, changed, where, part => conversation.feed(part));
    if (told.length > 0) throw new Error(told.join(', '));
    if (sent - read > 300 + 20 * bytes.length) throw new Error('it talks too much');
  },
);

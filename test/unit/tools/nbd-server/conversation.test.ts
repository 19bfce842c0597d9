// What a server of `xl block-export` says to its clients: dom0's own client beside it in one thread, and raw bytes.

import { describe, expect, it } from 'vitest';
import { Command } from '../../../../dom0/backends/nbd/command.ts';
import { type NbdExport, Negotiation } from '../../../../dom0/backends/nbd/negotiation.ts';
import { writeRequest } from '../../../../dom0/backends/nbd/protocol.ts';
import { ReplyParser } from '../../../../dom0/backends/nbd/replies.ts';
import { type ExportedDisk, NbdConversation } from '../../../../tools/nbd-server/conversation.ts';
import fc from '../../../support/properties.ts';

const SIZE = 4096;
class MemoryDisk implements ExportedDisk {
  readonly name = 'xvda';
  readonly sizeBytes = SIZE;
  readonly readOnly: boolean;
  readonly bytes = Buffer.alloc(SIZE, 0x2e);
  flushes = 0;
  broken: string | undefined;
  constructor(readOnly = false) {
    this.readOnly = readOnly;
  }
  #works(): void {
    if (this.broken !== undefined) throw Object.assign(new Error('broken'), { code: this.broken });
  }
  read(into: Uint8Array, at: number): void {
    this.#works();
    into.set(this.bytes.subarray(at, at + into.length));
  }
  write(from: Uint8Array, at: number): void {
    this.#works();
    this.bytes.set(from, at);
  }
  flush(): void {
    this.#works();
    this.flushes++;
  }
}
class Talk {
  readonly said: Buffer[] = [];
  isFull = false;
  readonly conversation: NbdConversation;
  constructor(disk: ExportedDisk) {
    this.conversation = new NbdConversation(disk, this);
  }
  write(bytes: Uint8Array): void {
    this.said.push(Buffer.from(bytes));
  }
  hears(...parts: (Uint8Array | string | number)[]): this {
    this.conversation.feed(bytes(...parts));
    return this;
  }
  take(): Buffer {
    return Buffer.concat(this.said.splice(0));
  }
}
const word = (n: number): Buffer => {
  const b = Buffer.alloc(4);
  b.writeUInt32BE(n >>> 0);
  return b;
};
const bytes = (...parts: (Uint8Array | string | number)[]): Buffer =>
  Buffer.concat(parts.map(p => (typeof p === 'number' ? word(p) : Buffer.from(p as string))));
const option = (number: number, data: Uint8Array | string = ''): Buffer =>
  bytes('IHAVEOPT', number, Buffer.from(data as string).length, data);
const go = (name: string, number = 7): Buffer => option(number, bytes(name.length, name, Buffer.alloc(2)));
const request = (type: number, at: number, length: number, flags = 0, data: Uint8Array = Buffer.alloc(0)): Buffer => {
  const head = new Uint8Array(28);
  writeRequest(new DataView(head.buffer), 0, { type, flags, cookieHi: 7, cookieLo: 9, at, length });
  return bytes(head, data);
};
const reply = (error: number, data: Uint8Array | string = ''): Buffer => bytes(0x67446698, error, 7, 9, data);
/** Past the handshake. */
function serving(disk: ExportedDisk): Talk {
  const talk = new Talk(disk).hears(3, go('xvda'));
  talk.take();
  return talk;
}
const [READ, WRITE, DISC, FLUSH, TRIM] = [0, 1, 2, 3, 4];

describe('the handshake', () => {
  it.each([1, 5, 64])("lets dom0's own client in, in pieces of %i bytes, and says what the disk is", pieces => {
    let found: NbdExport | undefined;
    const talk = new Talk(new MemoryDisk());
    const negotiation = new Negotiation('xvda', said => talk.hears(said));
    while (found === undefined) {
      const said = talk.take();
      expect(said.length).toBeGreaterThan(0);
      for (let at = 0; at < said.length; at += pieces) found = negotiation.feed(said.subarray(at, at + pieces));
    }
    expect(found).toMatchObject({ sizeBytes: SIZE, readOnly: false, flush: true, fua: true, trim: false });
    expect(found).toMatchObject({ multiConn: true, structuredReplies: false, minBlock: 1, maxBlock: 32 << 20 });
  });

  it('lists the export, tells of it, and knows no other', () => {
    const talk = new Talk(new MemoryDisk(true));
    talk.hears(3);
    talk.take();
    expect(talk.hears(option(3)).take().toString('latin1')).toContain('xvda');
    expect(talk.hears(go('xvdb', 6)).take().readUInt32BE(12)).toBe(0x80000006);
    const told = talk.hears(go('', 6)).take();
    expect(told.readUInt32BE(12)).toBe(3);
    expect(told.readUInt16BE(20 + 10) & 0b1111).toBe(0b0011); // has flags, read-only, no flush, no FUA
    expect(talk.hears(option(8)).take().readUInt32BE(12)).toBe(0x80000001);
    expect(talk.hears(option(6, 'x')).take().readUInt32BE(12)).toBe(0x80000003);
    expect(talk.hears(option(2)).conversation.isOver).toBe(true);
  });

  it('is understood from clients of before NBD_OPT_GO, with and without their zeroes', () => {
    for (const [flags, length] of [
      [1, 134],
      [3, 10],
    ] as const) {
      const talk = new Talk(new MemoryDisk()).hears(flags);
      talk.take();
      expect(talk.hears(option(1, 'xvda')).take()).toHaveLength(length);
      expect(talk.hears(request(READ, 0, 2)).take()).toEqual(reply(0, '..'));
    }
  });

  it.each([
    ['flags that there are not', [4]],
    ['no option', [3, 'IHAVENOT', 7, 0]],
    ['an option that is too long', [3, 'IHAVEOPT', 7, 8193]],
    ['an export that there is not, by the option that has no answer', [3, option(1, 'xvdb')]],
    ['no request', [3, go(''), Buffer.alloc(28)]],
    ['a write of more than may be written at once', [3, go(''), request(WRITE, 0, (32 << 20) + 1)]],
  ])('a client is cut off that says %s', (_, said) => {
    expect(() => new Talk(new MemoryDisk()).hears(...said)).toThrow(expect.objectContaining({ code: 'EPROTO' }));
  });
});

describe('requests', () => {
  it('read, write and flush, at any place', () => {
    const disk = new MemoryDisk();
    const talk = serving(disk);
    expect(talk.hears(request(WRITE, 1000, 3, 0, Buffer.from('abc'))).take()).toEqual(reply(0));
    expect(disk.flushes).toBe(0);
    expect(talk.hears(request(WRITE, SIZE - 1, 1, 1, Buffer.from('z'))).take()).toEqual(reply(0));
    expect(disk.flushes).toBe(1);
    expect(talk.hears(request(FLUSH, 0, 0)).take()).toEqual(reply(0));
    expect(disk.flushes).toBe(2);
    expect(talk.hears(request(READ, 999, 5)).take()).toEqual(reply(0, '.abc.'));
    expect(talk.hears(request(READ, 5, 0)).take()).toEqual(reply(0));
    expect(talk.hears(request(DISC, 0, 0), request(WRITE, 0, 1, 0, Buffer.from('!'))).take()).toHaveLength(0);
    expect([talk.conversation.isOver, disk.bytes[0]]).toEqual([true, 0x2e]);
  });

  it('are refused outside of the disk, with flags, and where there is no such command', () => {
    const talk = serving(new MemoryDisk());
    const answer = (...said: Buffer[]): number =>
      talk
        .hears(...said)
        .take()
        .readUInt32BE(4);
    expect(answer(request(READ, SIZE - 1, 2))).toBe(22);
    expect(answer(request(READ, 2 ** 63, 1))).toBe(22);
    expect(answer(request(READ, 0, 0xffffffff))).toBe(22);
    expect(answer(request(WRITE, SIZE - 1, 2, 0, Buffer.from('ab')))).toBe(28);
    expect(answer(request(WRITE, 2 ** 64 - 2048, 2, 0, Buffer.from('ab')))).toBe(28);
    expect(answer(request(READ, 0, 1, 1 << 2))).toBe(22);
    expect(answer(request(TRIM, 0, 512))).toBe(22);
    expect(answer(request(FLUSH, 0, 1))).toBe(22);
    expect(answer(request(77, 0, 1))).toBe(22);
    expect(talk.hears(request(READ, 0, 1)).take()).toEqual(reply(0, '.'));
  });

  it('that write to what is exported for reading are EPERM, and the next one is understood', () => {
    const disk = new MemoryDisk(true);
    const talk = serving(disk);
    expect(talk.hears(request(WRITE, 0, 4, 0, request(WRITE, 0, 4).subarray(0, 4))).take()).toEqual(reply(1));
    expect(talk.hears(request(FLUSH, 0, 0)).take()).toEqual(reply(0));
    expect(talk.hears(request(READ, 0, 4)).take()).toEqual(reply(0, '....'));
    expect(disk.flushes).toBe(0);
  });

  it.each([
    ['EIO', 5],
    ['ENOSPC', 28],
    ['EBADF', 5],
  ])('that the file fails with %s are error %i', (code, error) => {
    const disk = new MemoryDisk();
    const talk = serving(disk);
    disk.broken = code;
    const all = bytes(request(READ, 0, 1), request(WRITE, 0, 1, 0, Buffer.from('a')), request(FLUSH, 0, 0));
    expect(talk.hears(all).take()).toEqual(bytes(reply(error), reply(error), reply(error)));
  });

  it('wait while the client does not take the answers, and go on then', () => {
    const talk = serving(new MemoryDisk());
    talk.isFull = true;
    talk.hears(request(READ, 0, 1), request(READ, 0, 2));
    expect([talk.said.length, talk.conversation.waits]).toEqual([0, true]);
    talk.isFull = false;
    talk.conversation.resume();
    expect(talk.take()).toEqual(bytes(reply(0, '.'), reply(0, '..')));
    expect(talk.conversation.waits).toBe(false);
  });

  it('leave the disk as if each was done in its turn, however the bytes are cut', () => {
    const act = fc.record({
      write: fc.boolean(),
      at: fc.nat(SIZE - 1),
      data: fc.uint8Array({ minLength: 1, maxLength: 64 }),
    });
    fc.assert(
      fc.property(fc.array(act, { maxLength: 20 }), fc.array(fc.nat(900), { maxLength: 6 }), (acts, cuts) => {
        const disk = new MemoryDisk();
        const model = Buffer.from(disk.bytes);
        const talk = serving(disk);
        const commands: Command[] = [];
        const memory = Buffer.alloc(64 * 20);
        const expected: Buffer[] = [];
        const said = acts.map(({ write, at, data }, slot) => {
          const length = Math.min(data.length, SIZE - at);
          const command = new Command(slot).reset(write ? 1 : 0, at, length, { answered: () => {} });
          command.addPiece(memory, slot * 64, length);
          commands.push(command);
          const head = new Uint8Array(28);
          const type = write ? WRITE! : READ!;
          writeRequest(new DataView(head.buffer), 0, { type, flags: 0, cookieHi: 1, cookieLo: slot, at, length });
          if (!write) expected[slot] = Buffer.from(model.subarray(at, at + length));
          else model.set(data.subarray(0, length), at);
          return write ? bytes(head, data.subarray(0, length)) : Buffer.from(head);
        });
        const all = Buffer.concat(said);
        let from = 0;
        for (const to of [...cuts.toSorted((a, b) => a - b), all.length]) {
          if (to <= from) continue;
          talk.hears(all.subarray(from, to));
          from = to;
        }
        const answered: number[] = [];
        const parser = new ReplyParser<Command>(
          { find: (_, lo) => commands[lo], answered: ({ slot }, error) => answered.push(slot, error) },
          false,
        );
        parser.feed(talk.take());
        expect(answered).toEqual(acts.flatMap((_, slot) => [slot, 0]));
        expect(disk.bytes.equals(model)).toBe(true);
        for (const [slot, read] of expected.entries())
          if (read !== undefined) expect(memory.subarray(slot * 64, slot * 64 + read.length).equals(read)).toBe(true);
      }),
      { numRuns: 200 },
    );
  });
});

import { describe, expect, it } from 'vitest';
import {
  ByteRingReader,
  ByteRingWriter,
  consoleRing,
  emptyXenstoreRing,
  pageAt,
  privatePage,
  xencons_interface,
  xenstore_domain_interface,
  xenstoreRing,
} from '#pvbus';
import fc from '../../support/properties.ts';

const text = (s: string) => new TextEncoder().encode(s);
const NEAR_WRAP = 0xfffffff0;

/** Both ends of a stream of `size` bytes whose indices start at `from`. */
function stream(size: number, from = 0) {
  const page = privatePage();
  page.view.setUint32(2048, from, true);
  page.view.setUint32(2052, from, true);
  return {
    page,
    reader: new ByteRingReader(page, 0, size, 2048, 2052),
    writer: new ByteRingWriter(page, 0, size, 2048, 2052),
    set: (cons: number, prod: number) => {
      page.view.setUint32(2048, cons, true);
      page.view.setUint32(2052, prod, true);
    },
    cons: () => page.view.getUint32(2048, true),
    prod: () => page.view.getUint32(2052, true),
  };
}

describe.each([0, NEAR_WRAP, 0x7ffffff0])('a byte ring whose indices start at %i', from => {
  it('hands over what was written, and room comes back with reading', () => {
    const s = stream(16, from);
    expect(s.writer.writable()).toBe(16);
    expect(s.writer.write(text('hello world'))).toBe(11);
    expect(s.reader.readable()).toBe(11);
    const into = new Uint8Array(5);
    expect(s.reader.read(into)).toBe(5);
    expect(into).toEqual(text('hello'));
    expect(s.writer.writable()).toBe(10);
    expect(s.writer.write(text('0123456789abc'))).toBe(10);
    expect(s.writer.writable()).toBe(0);
    expect(s.writer.write(text('x'))).toBe(0);
    const rest = new Uint8Array(99);
    expect(s.reader.read(rest)).toBe(16);
    expect(rest.subarray(0, 16)).toEqual(text(' world0123456789'));
    expect(s.reader.read(rest)).toBe(0);
    expect(s.cons()).toBe((from + 21) >>> 0);
    expect(s.prod()).toBe((from + 21) >>> 0);
  });

  it.each([
    ['a producer beyond the ring', 0, 17],
    ['a consumer ahead of the producer', 1, 0],
    ['a producer half the number space ahead', 0, 0x80000000],
  ])('%s is -1 at both ends, and nothing moves', (_, cons, prod) => {
    const s = stream(16, from);
    s.set(from + cons, from + prod);
    const before = s.page.bytes.slice();
    expect(s.reader.readable()).toBe(-1);
    expect(s.reader.read(new Uint8Array(8))).toBe(-1);
    expect(s.writer.writable()).toBe(-1);
    expect(s.writer.write(text('x'))).toBe(-1);
    expect(s.page.bytes).toEqual(before);
  });
});

describe('a byte ring', () => {
  it('writes nothing outside its own bytes', () => {
    const page = privatePage();
    page.bytes.fill(0xee);
    const writer = new ByteRingWriter(page, 64, 32, 2048, 2052);
    page.view.setUint32(2048, 0x12345670, true);
    page.view.setUint32(2052, 0x12345670, true);
    expect(writer.write(new Uint8Array(100))).toBe(32);
    expect(page.bytes.subarray(0, 64).every(b => b === 0xee)).toBe(true);
    expect(page.bytes.subarray(64, 96).every(b => b === 0)).toBe(true);
    expect(page.bytes.subarray(96, 2048).every(b => b === 0xee)).toBe(true);
  });

  it('may have its bytes in other memory than its indices', () => {
    const page = privatePage();
    const data = new Uint8Array(8192);
    const writer = new ByteRingWriter(page, 4096, 4096, 64, 68, data);
    const reader = new ByteRingReader(page, 4096, 4096, 64, 68, data);
    expect(writer.write(text('abc'))).toBe(3);
    expect(data.subarray(4096, 4099)).toEqual(text('abc'));
    expect(page.bytes.subarray(72).every(b => b === 0)).toBe(true);
    expect(reader.readable()).toBe(3);
  });

  it('refuses a size that is no power of two or does not fit', () => {
    expect(() => new ByteRingReader(privatePage(), 0, 1000, 2048, 2052)).toThrow('1000');
    expect(() => new ByteRingReader(privatePage(), 2048, 4096, 0, 4)).toThrow('does not fit');
    expect(() => new ByteRingReader(privatePage(), 0, 0, 0, 4)).toThrow('0 bytes');
  });

  it('is a queue of bytes', () => {
    const op = fc.oneof(
      fc.uint8Array({ maxLength: 80 }),
      fc.nat(80), // read so many
    );
    fc.assert(
      fc.property(
        fc.oneof(fc.constantFrom(0, NEAR_WRAP, 0xffffffff), fc.nat(0xffffffff)),
        fc.constantFrom(1, 16, 64, 1024),
        fc.array(op, { maxLength: 200 }),
        (from, size, script) => {
          const s = stream(size, from);
          const queue: number[] = [];
          for (const step of script) {
            if (typeof step === 'number') {
              const into = new Uint8Array(step);
              const n = s.reader.read(into);
              expect(n).toBe(Math.min(step, queue.length));
              expect([...into.subarray(0, n)]).toEqual(queue.splice(0, n));
            } else {
              const n = s.writer.write(step);
              expect(n).toBe(Math.min(step.length, size - queue.length));
              queue.push(...step.subarray(0, n));
            }
            expect(s.reader.readable()).toBe(queue.length);
            expect(s.writer.writable()).toBe(size - queue.length);
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  it('never moves a byte or throws, whatever impossible indices a peer writes', () => {
    fc.assert(
      fc.property(fc.nat(0xffffffff), fc.nat(0xffffffff), (cons, prod) => {
        const s = stream(1024);
        s.set(cons, prod);
        const possible = (prod - cons) >>> 0 <= 1024;
        expect(s.reader.readable() >= 0).toBe(possible);
        expect(s.writer.writable() >= 0).toBe(possible);
      }),
    );
  });
});

describe('the console page', () => {
  it('carries `in` to the guest and `out` from it (io/console.h)', () => {
    const page = privatePage();
    const guest = consoleRing(page, 'front');
    const daemon = consoleRing(page, 'back');
    expect(guest.writer.write(text('login: '))).toBe(7);
    expect(page.bytes.subarray(xencons_interface.at.out, xencons_interface.at.out + 7)).toEqual(text('login: '));
    expect(page.view.getUint32(xencons_interface.at.out_prod, true)).toBe(7);
    const into = new Uint8Array(99);
    expect(daemon.reader.read(into)).toBe(7);
    expect(daemon.writer.write(text('root\n'))).toBe(5);
    expect(page.bytes.subarray(0, 5)).toEqual(text('root\n'));
    expect(guest.reader.read(into)).toBe(5);
    expect(guest.writer.writable()).toBe(2048);
    expect(daemon.writer.writable()).toBe(1024);
  });
});

describe('the xenstore page', () => {
  it('carries `req` to the daemon and `rsp` from it (io/xs_wire.h)', () => {
    const page = privatePage();
    const guest = xenstoreRing(page, 'front');
    const daemon = xenstoreRing(page, 'back');
    expect(guest.writer.write(text('request'))).toBe(7);
    expect(page.bytes.subarray(0, 7)).toEqual(text('request'));
    expect(page.view.getUint32(xenstore_domain_interface.at.req_prod, true)).toBe(7);
    expect(daemon.reader.readable()).toBe(7);
    expect(daemon.writer.write(text('reply'))).toBe(5);
    expect(page.bytes.subarray(1024, 1029)).toEqual(text('reply'));
    expect(guest.reader.readable()).toBe(5);
  });

  it('is emptied for a reconnection, and only its indices change', () => {
    const page = privatePage();
    page.bytes.fill(0x11);
    emptyXenstoreRing(page);
    const expected = new Uint8Array(4096).fill(0x11).fill(0, 2048, 2064);
    expect(page.bytes).toEqual(expected);
  });
});

it('works at any page of a larger buffer', () => {
  const buffer = new ArrayBuffer(3 * 4096);
  consoleRing(pageAt(buffer, 4096), 'front').writer.write(text('x'));
  expect(new Uint8Array(buffer).indexOf('x'.charCodeAt(0))).toBe(4096 + 1024);
});

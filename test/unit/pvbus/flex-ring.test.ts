// Xen: io/ring.h, DEFINE_XEN_FLEX_RING; io/pvcalls.h.

import { describe, expect, it } from 'vitest';
import { dataRing, flexRingSize } from '../../../pvbus/flex-ring.ts';
import { type Page, privatePage } from '../../../pvbus/page.ts';
import fc from '../../support/properties.ts';

const pages = (order: number): Uint8Array[] => Array.from({ length: 1 << order }, () => privatePage().bytes);
const setIndices = (intf: Page, value: number): void => {
  for (const word of [0, 1, 16, 17]) intf.words[word] = value | 0;
};

describe('flex ring', () => {
  it('has the sizes of XEN_FLEX_RING_SIZE', () => {
    expect([0, 1, 4].map(flexRingSize)).toEqual([2048, 4096, 32768]);
  });

  it('carries every byte in order both ways, across the end of the data and the wrap of the index', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 3 }),
        fc.constantFrom(0, 0xfffffff0, 0x7ffffffe),
        fc.array(fc.uint8Array({ maxLength: 5000 }), { maxLength: 20 }),
        (order, start, chunks) => {
          const intf = privatePage();
          setIndices(intf, start);
          const data = pages(order);
          const front = dataRing(intf, data, 'front');
          const back = dataRing(intf, data, 'back');
          for (const [writer, reader] of [
            [front.writer, back.reader],
            [back.writer, front.reader],
          ] as const) {
            const sent: number[] = [];
            const got: number[] = [];
            const into = new Uint8Array(1777);
            for (const chunk of chunks) {
              for (let done = 0; done < chunk.length; ) {
                done += writer.write(chunk.subarray(done));
                const n = reader.read(into);
                got.push(...into.subarray(0, n));
              }
              sent.push(...chunk);
            }
            for (let n = reader.read(into); n > 0; n = reader.read(into)) got.push(...into.subarray(0, n));
            expect(got).toEqual(sent);
          }
        },
      ),
      { numRuns: 60 },
    );
  });

  it('holds exactly its size and no byte more', () => {
    const intf = privatePage();
    const data = pages(1);
    const { writer } = dataRing(intf, data, 'front');
    const { reader } = dataRing(intf, data, 'back');
    expect(writer.write(new Uint8Array(10_000))).toBe(4096);
    expect(writer.writable()).toBe(0);
    expect(writer.write(new Uint8Array(1))).toBe(0);
    expect(reader.readable()).toBe(4096);
    expect(reader.read(new Uint8Array(1))).toBe(1);
    expect(writer.writable()).toBe(1);
  });

  it('keeps the two streams on their own halves of the data', () => {
    const intf = privatePage();
    const data = pages(0);
    dataRing(intf, data, 'front').writer.write(new Uint8Array(2048).fill(2));
    dataRing(intf, data, 'back').writer.write(new Uint8Array(2048).fill(1));
    expect(data[0]!.subarray(0, 2048).every(b => b === 1)).toBe(true);
    expect(data[0]!.subarray(2048).every(b => b === 2)).toBe(true);
  });

  it('refuses a producer that claims more than the ring holds, or that moved backwards', () => {
    for (const claimed of [4097, 0x80000000, -1]) {
      const intf = privatePage();
      const { reader } = dataRing(intf, pages(1), 'back');
      intf.words[17] = claimed | 0;
      expect(reader.readable()).toBe(-1);
      expect(reader.read(new Uint8Array(16))).toBe(-1);
    }
  });

  it('refuses a consumer that took what was never there', () => {
    const intf = privatePage();
    const { writer } = dataRing(intf, pages(1), 'front');
    intf.words[16] = 1;
    expect(writer.writable()).toBe(-1);
    expect(writer.write(new Uint8Array(16))).toBe(-1);
  });

  it('uses its own index, whatever the peer writes over the shared one', () => {
    const intf = privatePage();
    const data = pages(1);
    const { writer } = dataRing(intf, data, 'front');
    const { reader } = dataRing(intf, data, 'back');
    writer.write(new Uint8Array([1, 2, 3]));
    intf.words[16] = 0x1234; // out_cons, the reader's own
    expect(reader.readable()).toBe(3);
    const into = new Uint8Array(3);
    reader.read(into);
    expect([...into]).toEqual([1, 2, 3]);
    expect(intf.words[16]).toBe(3);
  });

  it('delivers what was written before the stream ended, then its error', () => {
    const intf = privatePage();
    const data = pages(1);
    const { reader } = dataRing(intf, data, 'front');
    const { writer } = dataRing(intf, data, 'back');
    writer.write(new Uint8Array([7]));
    writer.fail(107);
    expect(reader.error).toBe(-107);
    expect(reader.readable()).toBe(1);
  });
});

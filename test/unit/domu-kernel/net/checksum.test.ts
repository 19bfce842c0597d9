import { describe, expect, it } from 'vitest';
import { addBytes, finish, verifies } from '../../../../domu-kernel/net/checksum.ts';
import fc from '../../../support/properties.ts';

/** RFC 1071, word by word, as the RFC's own C code has it. */
function reference(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) {
    sum += (bytes[i]! << 8) | (bytes[i + 1] ?? 0);
    if (sum > 0xffff) sum = (sum & 0xffff) + 1;
  }
  return ~sum & 0xffff;
}

describe('the Internet checksum', () => {
  it('is that of the example in RFC 1071, section 3', () => {
    const view = new DataView(Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7).buffer);
    expect(finish(addBytes(view, 0, 8))).toBe(~0xddf2 & 0xffff);
  });
  it('equals the sum word by word for any bytes at any offset', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 1600 }), fc.nat(7), (bytes, at) => {
        const padded = new Uint8Array(at + bytes.length);
        padded.set(bytes, at);
        expect(finish(addBytes(new DataView(padded.buffer), at, bytes.length))).toBe(reference(bytes));
      }),
    );
  });
  it('verifies what it was put into, and finds any single changed byte', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 4, maxLength: 200 }),
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        (b, n, x) => {
          const view = new DataView(b.buffer, b.byteOffset, b.length);
          view.setUint16(0, 0);
          view.setUint16(0, finish(addBytes(view, 0, b.length)));
          expect(verifies(view, 0, b.length)).toBe(true);
          const i = n % b.length;
          b[i]! ^= x;
          expect(verifies(view, 0, b.length)).toBe(false);
        },
      ),
    );
  });
});

import { describe, expect, it } from 'vitest';
import { cursorOf, getI64, getU64, setI64, setU64, struct, union } from '#pvbus';
import fc from '../../support/properties.ts';

describe('struct', () => {
  it('places fields at multiples of their alignment and rounds the size up to the widest', () => {
    const s = struct('s', 24, { a: 'u8', b: 'u32', c: 'u8', d: 'u64' });
    expect(s.at).toEqual({ a: 0, b: 4, c: 8, d: 16 });
    expect(s.align).toBe(8);
  });

  it('nests structs and arrays at their own alignment', () => {
    const inner = struct('inner', 6, { x: 'u16', y: 'u8', z: 'u16' });
    const outer = struct('outer', 24, { a: 'u8', b: { of: inner, count: 3 }, c: 'u32' });
    expect(outer.at).toEqual({ a: 0, b: 2, c: 20 });
  });

  it('refuses a size that differs from C', () => {
    expect(() => struct('wrong', 12, { a: 'u64', b: 'u32' })).toThrow('wrong: 16 bytes, Xen has 12');
    expect(() => union('wrong', 4, { a: 'u64' })).toThrow('wrong: 8 bytes, Xen has 4');
  });

  it('lays the members of a union on top of one another', () => {
    const u = union('u', 8, { a: { of: 'u8', count: 5 }, b: 'u32' });
    expect(u.at).toEqual({ a: 0, b: 0 });
    expect(u.align).toBe(4);
  });
});

describe('a cursor', () => {
  const s = struct('all', 32, {
    u8: 'u8',
    i8: 'i8',
    u16: 'u16',
    i16: 'i16',
    u32: 'u32',
    i32: 'i32',
    u64: 'u64',
    array: { of: 'u16', count: 3 },
  });
  const Cursor = cursorOf(s);

  it('reads and writes little-endian words of either sign, a u64 as two halves', () => {
    const view = new DataView(new ArrayBuffer(100));
    const at = new Cursor(view, 8);
    Object.assign(at, {
      u8: 0xfe,
      i8: -2,
      u16: 0xfffe,
      i16: -2,
      u32: 0xfffffffe,
      i32: -2,
      u64_lo: 1,
      u64_hi: 0x80000000,
    });
    expect([at.u8, at.i8, at.u16, at.i16, at.u32, at.i32]).toEqual([254, -2, 65534, -2, 4294967294, -2]);
    expect([at.u64_lo, at.u64_hi]).toEqual([1, 0x80000000]);
    expect([...new Uint8Array(view.buffer, 8, 32)].map(b => b.toString(16).padStart(2, '0')).join('')).toBe(
      'fefefefffeff0000feffffff' + 'feffffff' + '0100000000000080' + '0000000000000000',
    );
  });

  it('moves by its base and touches nothing else', () => {
    const view = new DataView(new ArrayBuffer(120));
    const at = new Cursor(view);
    at.base = 40;
    at.u32 = 0x01020304;
    at.base = 80;
    at.u32 = 0x05060708;
    expect(view.getUint32(40 + s.at.u32, true)).toBe(0x01020304);
    expect(view.getUint32(80 + s.at.u32, true)).toBe(0x05060708);
    expect(new Uint8Array(view.buffer).filter(b => b !== 0).length).toBe(8);
  });
});

describe('64-bit numbers', () => {
  it('come back as they were below 2^53, and as the bytes BigInt would store', () => {
    const view = new DataView(new ArrayBuffer(16));
    fc.assert(
      fc.property(fc.maxSafeNat(), n => {
        setU64(view, 3, n);
        expect(view.getBigUint64(3, true)).toBe(BigInt(n));
        expect(getU64(view, 3)).toBe(n);
      }),
    );
    fc.assert(
      fc.property(fc.maxSafeInteger(), n => {
        setI64(view, 5, n);
        expect(view.getBigInt64(5, true)).toBe(BigInt(n));
        expect(getI64(view, 5)).toBe(n);
      }),
    );
  });
});

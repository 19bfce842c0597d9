import { describe, expect, it } from 'vitest';
import { NETRXF_csum_blank, NETRXF_data_validated } from '#pvbus';
import { fillChecksum } from '../../../../../dom0/backends/netback/checksum.ts';
import { Frame, SourcePage } from '../../../../../dom0/backends/netback/frame.ts';
import { addBytes, verifies } from '../../../../../domu-kernel/net/checksum.ts';
import { writeIpv4 } from '../../../../../domu-kernel/net/ipv4.ts';
import fc from '../../../../support/properties.ts';

describe('a frame in parts', () => {
  it('is copied as if it were in one piece, from anywhere, for any length', () => {
    const parts = fc.array(fc.tuple(fc.nat(300), fc.integer({ min: 1, max: 200 })), { minLength: 1, maxLength: 18 });
    fc.assert(
      fc.property(parts, fc.nat(), fc.nat(), (shape, a, b) => {
        const frame = new Frame();
        frame.begin(0, 0);
        const whole: number[] = [];
        for (const [offset, size] of shape) {
          const bytes = new Uint8Array(offset + size).map(() => whole.length * 7 + size);
          whole.push(...bytes.subarray(offset));
          frame.add(new SourcePage(bytes), offset, size);
        }
        if (whole.length < 14) return;
        frame.readHeader();
        expect(frame.length).toBe(whole.length);
        expect([...frame.header.subarray(0, Math.min(18, whole.length))]).toEqual(whole.slice(0, 18));
        const from = a % 2 === 0 ? 0 : 14 + (a % (whole.length - 13));
        const length = from === 0 ? whole.length : b % (whole.length - from + 1);
        const into = new Uint8Array(whole.length + 5);
        frame.copy(from, length, into, 5);
        expect([...into.subarray(5, 5 + length)]).toEqual(whole.slice(from, from + length));
      }),
    );
  });
  it('is delivered with the header that was looked at, whatever the sender writes meanwhile', () => {
    const bytes = new Uint8Array(60).fill(1);
    const frame = new Frame();
    frame.begin(0, 0);
    frame.add(new SourcePage(bytes), 0, 60);
    frame.readHeader();
    bytes.fill(2);
    const into = new Uint8Array(60);
    frame.copy(0, 60, into, 0);
    expect([...into]).toEqual([...new Array(18).fill(1), ...new Array(42).fill(2)]);
  });
});

describe('a blank checksum', () => {
  const blank = (protocol: number, payload: Uint8Array, options = 0): Uint8Array => {
    const header = 20 + options;
    const frame = new Uint8Array(14 + header + payload.length);
    const view = new DataView(frame.buffer);
    view.setUint16(12, 0x0800);
    writeIpv4(view, 14, payload.length + options, 1, 64, protocol, 0x0a000001, 0x0a000002);
    frame[14] = 0x40 | (header / 4);
    frame.set(payload, 14 + header);
    return frame;
  };
  it.each([
    ['UDP', 17, 8, 0],
    ['TCP', 6, 20, 0],
    ['UDP behind IP options', 17, 8, 8],
  ])('of %s is filled in for any payload', (_what, protocol, header, options) => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: header, maxLength: 600 }), payload => {
        const frame = blank(protocol, payload, options);
        fillChecksum(frame, frame.length);
        const sum = 0x0a000001 + 0x0a000002 + protocol + payload.length;
        const view = new DataView(frame.buffer);
        expect(verifies(view, 34 + options, payload.length, sum)).toBe(true);
        expect(addBytes(view, 0, 34)).toBe(addBytes(new DataView(blank(protocol, payload, options).buffer), 0, 34));
      }),
    );
  });
  it('fuzz: no bytes make it throw or write outside the frame', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 14, maxLength: 80 }), fc.nat(80), (bytes, cut) => {
        const frame = new Uint8Array(200).fill(0x45);
        frame.set(bytes);
        frame[12] = 8;
        frame[13] = 0;
        const length = Math.max(14, Math.min(cut, bytes.length));
        fillChecksum(frame, length);
        expect(frame.subarray(bytes.length).every(b => b === 0x45)).toBe(true);
      }),
    );
  });
  it('completing a frame leaves its parts alone and clears the flag', () => {
    const bytes = blank(17, new Uint8Array(40).fill(9));
    const before = bytes.slice();
    const frame = new Frame();
    frame.begin(NETRXF_csum_blank | NETRXF_data_validated, 0);
    frame.add(new SourcePage(bytes), 0, 30);
    frame.add(new SourcePage(bytes.slice(30)), 0, bytes.length - 30);
    frame.readHeader();
    frame.complete();
    expect(bytes).toEqual(before);
    expect([frame.flags, frame.length]).toEqual([NETRXF_data_validated, bytes.length]);
    const into = new Uint8Array(frame.length);
    frame.copy(0, frame.length, into, 0);
    const sum = 0x0a000001 + 0x0a000002 + 17 + 40;
    expect(verifies(new DataView(into.buffer), 34, 40, sum)).toBe(true);
  });
});

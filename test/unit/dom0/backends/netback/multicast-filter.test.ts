import { describe, expect, it } from 'vitest';
import { MAX_GROUPS, MulticastFilter } from '../../../../../dom0/backends/netback/multicast-filter.ts';

const group = (n: number): Uint8Array => Uint8Array.of(1, 0, 0x5e, n >> 16, (n >> 8) & 255, n & 255);
const header = (destination: Uint8Array): Uint8Array => Uint8Array.from([...destination, 0, 0, 0, 0, 0, 1, 8, 0]);

describe('a multicast filter', () => {
  it('lets everything pass while it is off', () => {
    expect(new MulticastFilter(false).passes(header(group(1)))).toBe(true);
  });
  it('lets unicast, broadcast and the groups that were asked for pass', () => {
    const filter = new MulticastFilter(true);
    expect(filter.add(group(1))).toBe(true);
    expect(filter.passes(header(group(1)))).toBe(true);
    expect(filter.passes(header(group(2)))).toBe(false);
    expect(filter.passes(header(new Uint8Array(6).fill(255)))).toBe(true);
    expect(filter.passes(header(Uint8Array.of(0, 0x16, 0x3e, 0, 0, 1)))).toBe(true);
    filter.remove(group(1));
    expect(filter.passes(header(group(1)))).toBe(false);
  });
  it('is bounded: a guest that asks for 10^5 groups has some of them (act 23)', () => {
    const filter = new MulticastFilter(true);
    let added = 0;
    for (let i = 0; i < 100_000; i++) if (filter.add(group(i))) added++;
    expect(added).toBe(MAX_GROUPS);
    expect(filter.add(group(0))).toBe(true);
    expect(filter.add(Uint8Array.of(0, 0x16, 0x3e, 0, 0, 1))).toBe(false);
  });
});

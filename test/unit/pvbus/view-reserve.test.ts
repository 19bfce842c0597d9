import { readFileSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { Arena, PAGE_SIZE, reservedViewsLeft, reserveViews } from '#pvbus';

afterEach(() => reserveViews(PAGE_SIZE));

/** Private memory that may be written to, in MiB: what RLIMIT_DATA limits. */
const dataMib = (): number =>
  Number(/^VmData:\s+([0-9]+) kB$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1]) / 1024;

describe('memory mapped into views made in advance', () => {
  it('is none of this process until something is mapped there', () => {
    const before = dataMib();
    reserveViews(1024 * 256 * PAGE_SIZE);
    expect(dataMib() - before).toBeLessThan(256);
  });

  it('is the memory of its file, next to that of others, page by page', () => {
    reserveViews(8 * PAGE_SIZE);
    const one = Arena.create('one', 2 * PAGE_SIZE);
    const two = Arena.create('two', 3 * PAGE_SIZE);
    expect(reservedViewsLeft()).toBe(3 * PAGE_SIZE);
    expect(two.bytes.buffer).toBe(one.bytes.buffer);
    one.bytes.fill(1);
    two.bytes.fill(2);
    const elsewhere = two.again();
    expect([...new Set(elsewhere.bytes)]).toEqual([2]);
    two.page(2).words[0] = 77;
    expect(elsewhere.view.getInt32(2 * PAGE_SIZE, true)).toBe(77);
    expect([...new Set(one.bytes)]).toEqual([1]);
    for (const arena of [one, two, elsewhere]) arena.release();
  });

  it('takes pages of others and gives them back', () => {
    reserveViews(8 * PAGE_SIZE);
    Arena.create('first', PAGE_SIZE).release();
    const ram = Arena.create('ram', 4 * PAGE_SIZE);
    const pool = Arena.create('pool', PAGE_SIZE);
    pool.bytes[0] = 5;
    ram.overlay(3, pool, 0, 1);
    expect(ram.page(3).bytes[0]).toBe(5);
    ram.restore(3, 1);
    expect(ram.page(3).bytes[0]).toBe(0);
    for (const arena of [ram, pool]) arena.release();
  });

  it('is given to nobody else after its release: a view of it that was kept reads zeros', () => {
    reserveViews(4 * PAGE_SIZE);
    const gone = Arena.create('gone', 2 * PAGE_SIZE);
    gone.bytes[7] = 7;
    const kept = gone.bytes;
    gone.release();
    const next = Arena.create('next', 2 * PAGE_SIZE);
    next.bytes.fill(9);
    expect([...new Set(kept)]).toEqual([0]);
    next.release();
  });

  it('has views of its own where the reserve is too small or used up', () => {
    reserveViews(2 * PAGE_SIZE);
    const large = Arena.create('large', 3 * PAGE_SIZE);
    expect(reservedViewsLeft()).toBe(2 * PAGE_SIZE);
    expect(large.bytes.buffer.byteLength).toBe(3 * PAGE_SIZE);
    large.bytes[3 * PAGE_SIZE - 1] = 1;
    large.release();
  });
});

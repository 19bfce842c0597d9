import { expect, it } from 'vitest';
import { Arena, dupFd, PAGE_SIZE, POOL_SIZE } from '#pvbus';
import { PoolView } from '../../../pvbus/pool-view.ts';

const pool = (): { file: Arena; view: PoolView } => {
  const file = Arena.create('pool', POOL_SIZE);
  return { file, view: new PoolView(file.fd) };
};

it("a page of a pool is the granter's page, wherever in the pool it lies", () => {
  const { file, view } = pool();
  for (const offset of [0, PAGE_SIZE, POOL_SIZE / 2 - PAGE_SIZE, POOL_SIZE / 2, POOL_SIZE - PAGE_SIZE]) {
    const seen = view.at(offset);
    file.view.setUint32(offset + 8, offset + 1, true);
    expect(seen.page.view.getUint32(8, true)).toBe(offset + 1);
    expect(seen.part.subarray(seen.offset + 8, seen.offset + 9)[0]).toBe((offset + 1) & 0xff);
    seen.page.bytes[100] = 7;
    expect(file.bytes[offset + 100]).toBe(7);
    expect(view.at(offset).page).toBe(seen.page);
  }
});

it('neighbours lie in the same part, one after the other', () => {
  const { view } = pool();
  const [a, b] = [view.at(5 * PAGE_SIZE), view.at(6 * PAGE_SIZE)];
  expect(a.part).toBe(b.part);
  expect(b.offset - a.offset).toBe(PAGE_SIZE);
});

it('views of a released pool stay valid and read zeros; the granter keeps its memory', () => {
  const { file, view } = pool();
  const { page } = view.at(PAGE_SIZE);
  page.bytes[0] = 9;
  view.release();
  view.release();
  expect(page.bytes[0]).toBe(0);
  page.bytes[0] = 5;
  expect(file.bytes[PAGE_SIZE]).toBe(9);
  expect(() => view.at(POOL_SIZE - PAGE_SIZE)).toThrow('a pool that is gone');
});

it('a released pool gives its address space back, what was looked at once nobody can reach it', () => {
  const { view } = pool();
  const other = Arena.createUnseen('other', POOL_SIZE);
  view.at(0);
  view.release();
  // New mappings may take the addresses at once: nothing of the old pool touches them again.
  const again = Array.from({ length: 8 }, () => Arena.adopt(dupFd(other.fd), POOL_SIZE));
  again[0]!.bytes.fill(3, 0, PAGE_SIZE);
  view.release();
  for (const arena of again) expect(arena.bytes[PAGE_SIZE - 1]).toBe(3);
});

import { expect, it } from 'vitest';
import { pageAt, privatePage } from '#pvbus';

it('a page has three views of the same 4096 bytes', () => {
  const buffer = new SharedArrayBuffer(3 * 4096);
  const page = pageAt(buffer, 4096);
  page.view.setUint32(8, 0x04030201, true);
  expect([...page.bytes.subarray(8, 12)]).toEqual([1, 2, 3, 4]);
  expect(page.words[2]).toBe(0x04030201);
  expect([page.bytes.length, page.words.length, page.view.byteLength]).toEqual([4096, 1024, 4096]);
  expect(new Uint8Array(buffer).findIndex(b => b !== 0)).toBe(4096 + 8);
});

it('a page that does not lie inside its buffer is refused', () => {
  expect(() => pageAt(new ArrayBuffer(4096), 4)).toThrow(RangeError);
  expect(() => pageAt(new ArrayBuffer(8192), 2)).toThrow(RangeError);
});

it('private pages are zeroed and separate', () => {
  const a = privatePage();
  const b = privatePage();
  a.bytes.fill(1);
  expect(b.bytes.every(byte => byte === 0)).toBe(true);
});

import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { discardGranularity, RawFile } from '../../../../../dom0/backends/blkback/disk-image.ts';

const MIB = 1 << 20;
let dir: string;
let path: string;
let fd: number;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'disk-image-'));
  path = join(dir, 'image');
  writeFileSync(path, Buffer.alloc(MIB, 7));
  fd = openSync(path, 'r+');
});
afterEach(() => {
  closeSync(fd);
  rmSync(dir, { recursive: true });
});

describe('a raw file', () => {
  it('moves bytes between the file and the middle of a buffer', () => {
    const image = new RawFile(fd, MIB);
    const from = new Uint8Array(64).map((_, i) => i);
    image.write(from, 8, 16, 1000);
    const into = new Uint8Array(64);
    image.read(into, 4, 20, 998);
    expect([...into.subarray(3, 26)]).toEqual([0, 7, 7, ...from.subarray(8, 24), 7, 7, 0, 0]);
    expect(readFileSync(path).subarray(1000, 1016)).toEqual(Buffer.from(from.subarray(8, 24)));
    image.flush();
  });

  it('fault 26: that became shorter than it was fails the read instead of inventing bytes', () => {
    const image = new RawFile(fd, MIB);
    ftruncateSync(fd, 4096);
    expect(() => image.read(new Uint8Array(8192), 0, 8192, 0)).toThrow(/ends at 4096/);
  });

  it('gives memory of the file system back at a discard and reads zeros there', () => {
    const granularity = discardGranularity(fd);
    expect(granularity).toBeGreaterThan(0);
    expect(statSync(path).size).toBe(MIB); // asking has changed nothing
    const image = new RawFile(fd, MIB);
    const before = statSync(path).blocks;
    image.discard(64 * 1024, 512 * 1024);
    expect(statSync(path).blocks).toBeLessThan(before);
    const into = new Uint8Array(MIB);
    image.read(into, 0, MIB, 0);
    expect(into.subarray(0, 64 * 1024).every(b => b === 7)).toBe(true);
    expect(into.subarray(64 * 1024, 576 * 1024).every(b => b === 0)).toBe(true);
    expect(into.subarray(576 * 1024).every(b => b === 7)).toBe(true);
  });

  it('that is open for reading only offers no discard', () => {
    const readOnly = openSync(path, 'r');
    expect(discardGranularity(readOnly)).toBe(0);
    closeSync(readOnly);
  });
});

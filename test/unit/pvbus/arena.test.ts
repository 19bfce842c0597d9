import { describe, expect, it } from 'vitest';
import { Arena, FrameAllocator, gfn, PAGE_SIZE, receiveControl, sendControl, socketPair } from '#pvbus';

describe('arenas', () => {
  it('a page laid over another shows in every view, neighbours stay, and restoring brings the old bytes back', () => {
    const ram = Arena.create('ram', 16 * PAGE_SIZE);
    const pool = Arena.create('pool', 4 * PAGE_SIZE);
    ram.bytes[5 * PAGE_SIZE] = 0xaa;
    ram.bytes[4 * PAGE_SIZE] = 1;
    pool.bytes[2 * PAGE_SIZE] = 0xbb;
    const kept = ram.page(5);
    ram.overlay(5, pool, 2, 1);
    expect(kept.bytes[0]).toBe(0xbb);
    expect(ram.bytes[4 * PAGE_SIZE]).toBe(1);
    kept.bytes[1] = 7;
    expect(pool.bytes[2 * PAGE_SIZE + 1]).toBe(7);
    ram.restore(5, 1);
    expect([...kept.bytes.subarray(0, 2)]).toEqual([0xaa, 0]);
    ram.release();
    pool.release();
  });

  it('its size cannot be changed by whoever holds the descriptor (act 55)', async () => {
    const { ftruncateSync } = await import('node:fs');
    const arena = Arena.create('sealed', PAGE_SIZE);
    expect(() => ftruncateSync(arena.fd, 0)).toThrow(/EPERM/);
    expect(() => ftruncateSync(arena.fd, 2 * PAGE_SIZE)).toThrow(/EPERM/);
    arena.release();
  });

  it('discarded pages read as zero for everybody who maps them', () => {
    const one = Arena.create('discard', 2 * PAGE_SIZE);
    const two = one.again();
    one.bytes[PAGE_SIZE] = 9;
    expect(two.bytes[PAGE_SIZE]).toBe(9);
    one.discard(1, 1);
    expect(two.bytes[PAGE_SIZE]).toBe(0);
    one.release();
    two.release();
  });

  it('views of a released arena stay valid and read zeros', () => {
    const arena = Arena.create('released', PAGE_SIZE);
    const { bytes } = arena;
    bytes[0] = 1;
    arena.release();
    expect(bytes[0]).toBe(0);
  });

  it('memory travels over a control socket, with its numbers', () => {
    const [near, far] = socketPair();
    const arena = Arena.create('sent', PAGE_SIZE);
    arena.words[3] = 4242;
    sendControl(near, 3, 2 ** 40 + 5, 7, arena.fd);
    const message = receiveControl(far)!;
    expect(message).toMatchObject({ kind: 3, a: 2 ** 40 + 5, b: 7 });
    const received = Arena.adopt(message.fd, PAGE_SIZE);
    expect(received.words[3]).toBe(4242);
    sendControl(near, 5, 1, 2, -1);
    expect(receiveControl(far)).toEqual({ kind: 5, a: 1, b: 2, fd: -1 });
    received.release();
    arena.release();
  });
});

describe('frames', () => {
  it('are given out from the top, and neighbours join again when freed', () => {
    const frames = new FrameAllocator(10, 20);
    const a = frames.alloc(4);
    const b = frames.alloc(4);
    expect([a, b]).toEqual([16, 12]);
    expect(() => frames.alloc(3)).toThrow(/ENOMEM|no 3 free frames/);
    frames.free(gfn(16), 4);
    frames.free(gfn(12), 4);
    expect(frames.alloc(10)).toBe(10);
  });
});

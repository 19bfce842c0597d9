// Memory that vCPUs share, and values on their way between them: each thread has a mapping and buffers of its own.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Arena, FrameAllocator, PAGE_SIZE } from '#pvbus';
import { SmpArea } from '../../../../domu-kernel/smp/area.ts';
import { Channel, carried, carry } from '../../../../domu-kernel/smp/channel.ts';
import { Lock, Semaphore } from '../../../../domu-kernel/smp/locks.ts';
import { decode, encode, type Values } from '../../../../domu-kernel/smp/message.ts';
import { SharedHeap, SharedViews } from '../../../../domu-kernel/smp/shared-views.ts';
import { seeded } from '../../../support/random.ts';

const FRAMES = 128;
let memory: Arena;
let again: Arena;
let here: Values;
let there: Values;
let heap: SharedHeap;
const kicks = (id: number) => ({ id, wait() {}, forget() {}, kick() {}, runs: () => false });
beforeEach(() => {
  memory = Arena.create('smp', FRAMES * PAGE_SIZE);
  again = memory.again();
  here = { views: new SharedViews(memory), kicks: kicks(0) };
  there = { views: new SharedViews(again), kicks: kicks(1) };
  heap = new SharedHeap(memory, here.views, new FrameAllocator(8, FRAMES));
});
afterEach(() => {
  memory.release();
  again.release();
});
const over = (value: unknown): unknown => decode(encode(value, here), there);
const words = (n: number): Int32Array => {
  const { buffer, offset } = heap.alloc(4 * n);
  return new Int32Array(buffer, offset, n);
};

describe('shared memory', () => {
  it('is zeroed, never given out twice, and free again afterwards', () => {
    const random = seeded(1);
    const had: Int32Array[] = [];
    for (let i = 0; i < 2000; i++) {
      if (had.length > 20 || (had.length > 0 && random() < 0.4)) {
        const [mine] = had.splice(Math.floor(random() * had.length), 1);
        expect(mine!.every(word => word === mine![0])).toBe(true);
        heap.free(mine!);
      } else {
        const mine = words(1 + Math.floor(random() * 3000));
        expect(mine.every(word => word === 0)).toBe(true);
        had.push(mine.fill(i + 1));
      }
    }
  });
  it('ends with the domain’s frames', () => {
    expect(() => words((FRAMES * PAGE_SIZE) / 4)).toThrow(expect.objectContaining({ code: 'ENOMEM' }));
    expect(words(100)).toHaveLength(100);
  });
  it('takes back only what it gave', () => {
    expect(() => heap.free(new Int32Array(4))).toThrow(expect.objectContaining({ code: 'EINVAL' }));
    expect(() => heap.free(words(64).subarray(1))).toThrow(expect.objectContaining({ code: 'EINVAL' }));
  });
});

describe('a value on its way', () => {
  it('is a copy, but for shared arrays, which are the same memory', () => {
    const shared = words(8);
    const own = Float64Array.of(1, 2);
    const got = over({ shared: shared.subarray(2, 4), own, list: [1n, 'x', null] }) as {
      shared: Int32Array;
      own: Float64Array;
      list: unknown[];
    };
    expect(got.list).toEqual([1n, 'x', null]);
    got.shared[1] = 42;
    got.own[0] = 7;
    expect([shared[3], own[0], got.shared.length]).toEqual([42, 1, 2]);
    expect(got.shared.buffer).not.toBe(shared.buffer);
  });
  it.each([
    new Int8Array([1, -2]),
    new Uint8ClampedArray([1, 255]),
    new Uint16Array([1, 65535]),
    new Float32Array([1.5]),
    new BigInt64Array([-5n]),
    new DataView(new ArrayBuffer(3)),
    Buffer.from('text'),
  ])('keeps the kind of a view: %s', view => {
    const got = over(view) as ArrayBufferView;
    const kind = Buffer.isBuffer(view) ? Uint8Array : view.constructor;
    expect([got.constructor, got.byteLength]).toEqual([kind, view.byteLength]);
    expect(new Uint8Array(got.buffer)).toEqual(new Uint8Array(view.buffer, view.byteOffset, view.byteLength));
  });
  it('may be a lock, which is the same one for the other vCPU', () => {
    const lock = new Lock(words(16), here.kicks);
    const semaphore = new Semaphore(words(16), here.kicks);
    semaphore.release(2);
    const [theirs, { deep }] = over([lock, { deep: semaphore }]) as [Lock, { deep: Semaphore }];
    expect([theirs.tryAcquire(), lock.tryAcquire()]).toEqual([true, false]);
    theirs.release();
    expect([deep.tryAcquire(), semaphore.tryAcquire(), deep.tryAcquire()]).toEqual([true, true, false]);
  });
  it('may refer to itself', () => {
    const ring: { self?: unknown; lock: Lock } = { lock: new Lock(words(16), here.kicks) };
    ring.self = ring;
    const got = over(ring) as typeof ring;
    expect(got.self).toBe(got);
  });
  it('is no function', () => {
    expect(() => encode({ f: () => 1 }, here)).toThrow('could not be cloned');
  });
  it('may be an error with its words, its stack and its code', () => {
    const error = Object.assign(new RangeError('no'), { code: 'EIO' });
    const got = carried(over(carry(error)) as ReturnType<typeof carry>);
    expect(got).toMatchObject({ name: 'RangeError', message: 'no', code: 'EIO', stack: error.stack });
    expect(carried(carry('text')).message).toBe('text');
  });
});

describe('the channel between two vCPUs', () => {
  function pair() {
    const area = SmpArea.create(memory, PAGE_SIZE, 1, undefined);
    expect(SmpArea.mappedAt(memory.fd, PAGE_SIZE)).toBe(memory.address);
    const notes = { near: 0, far: 0 };
    const near = new Channel<string, string>(area.streams(0, 'near'), here, () => notes.far++);
    const far = new Channel<string, string>(new SmpArea(again, PAGE_SIZE).streams(0, 'far'), there, () => notes.near++);
    return { near, far, notes };
  }
  it('carries messages of any length both ways, and nobody waits for room', () => {
    const { near, far } = pair();
    const random = seeded(7);
    const sent: string[][] = [[], []];
    const got: string[][] = [[], []];
    for (let i = 0; i < 300; i++) {
      const text = String(i).padEnd(random() < 0.05 ? 40_000 : Math.floor(random() * 500), '.');
      const side = random() < 0.5 ? 0 : 1;
      sent[side]!.push(text);
      (side === 0 ? near : far).send(text);
      if (random() < 0.5) far.step(message => got[0]!.push(message));
      if (random() < 0.5) near.step(message => got[1]!.push(message));
    }
    for (let idle = false; !idle; ) {
      idle = !far.step(message => got[0]!.push(message));
      if (near.step(message => got[1]!.push(message))) idle = false;
    }
    expect(got).toEqual(sent);
    expect([near.flushed, far.flushed]).toEqual([true, true]);
  });
  it('tells the other end that there is something, and that there is room again', () => {
    const { near, far, notes } = pair();
    near.send('x'.repeat(20_000));
    expect([notes, near.flushed]).toEqual([{ near: 0, far: 1 }, false]);
    far.step(() => {});
    expect(notes.near).toBe(1);
    near.step(() => {});
    expect(notes.far).toBe(2);
  });
  it('goes on when the writer fills what the reader is just emptying', () => {
    const area = SmpArea.create(memory, PAGE_SIZE, 1, undefined);
    const told = { near: false, far: false };
    const take = (end: 'near' | 'far'): boolean => {
      const was = told[end];
      told[end] = false;
      return was;
    };
    const near = new Channel<string, string>(area.streams(0, 'near'), here, () => (told.far = true));
    const streams = new SmpArea(again, PAGE_SIZE).streams(0, 'far');
    const { reader } = streams;
    const read = reader.read.bind(reader);
    reader.read = into => {
      if (take('near')) near.step(() => {});
      return read(into);
    };
    const far = new Channel<string, string>(streams, there, () => (told.near = true));
    near.send('x'.repeat(100_000));
    near.send('y');
    const got: number[] = [];
    // Each looks only when it was told to.
    while (told.near || told.far) {
      if (take('far')) far.step(({ length }) => got.push(length));
      if (take('near')) near.step(() => {});
    }
    expect(got).toEqual([100_000, 1]);
  });
});

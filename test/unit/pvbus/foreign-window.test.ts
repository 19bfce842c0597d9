import { fstatSync } from 'node:fs';
import { expect, it } from 'vitest';
import { Arena, domainLayout, dupFd, ForeignWindow, PAGE_SIZE } from '#pvbus';

const layout = domainLayout(64, 1);
const domain = (): Arena => Arena.create('domain', layout.frames * PAGE_SIZE);
const isOpen = (fd: number): boolean => {
  try {
    fstatSync(fd);
    return true;
  } catch {
    return false;
  }
};

it('shows and changes any frames of a domain, several at a time', () => {
  const memory = domain();
  memory.bytes.fill(1, 3 * PAGE_SIZE, 5 * PAGE_SIZE);
  const window = new ForeignWindow();
  const sum = window.look({ fd: dupFd(memory.fd), layout }, 6, ({ frames }) => {
    const first = frames(3, 2);
    const last = frames(layout.frames - 1, 1);
    last.view.setUint32(0, 77, true);
    first.bytes[PAGE_SIZE] = 9;
    return first.bytes.reduce((a, b) => a + b, 0);
  });
  expect(sum).toBe(2 * PAGE_SIZE + 8);
  expect(memory.view.getUint32((layout.frames - 1) * PAGE_SIZE, true)).toBe(77);
  expect(memory.bytes[4 * PAGE_SIZE]).toBe(9);
});

it('writes what it is given, wherever that lies in the domain', () => {
  const memory = domain();
  const window = new ForeignWindow();
  const text = Buffer.from('ab'.repeat(3000));
  const end = layout.frames * PAGE_SIZE;
  window.look({ fd: dupFd(memory.fd), layout }, 0, ({ write }) => {
    write(PAGE_SIZE - 10, text);
    write(end - 2, text.subarray(0, 2));
    expect(() => write(end - 2, text)).toThrow('are not in a domain');
    expect(() => write(2 ** 40, text)).toThrow('are not in a domain');
  });
  expect(Buffer.from(memory.bytes.slice(PAGE_SIZE - 10, PAGE_SIZE - 10 + text.length))).toEqual(text);
  expect(memory.bytes.slice(PAGE_SIZE - 11 + text.length, PAGE_SIZE - 8 + text.length)).toEqual(
    Uint8Array.of(0x62, 0, 0),
  );
  expect(memory.bytes.slice(end - 2)).toEqual(Uint8Array.of(0x61, 0x62));
});

it('keeps nothing of a domain that was looked at: not its memory, not its descriptor, also when the look failed', () => {
  const memory = domain();
  memory.bytes.fill(1);
  const window = new ForeignWindow();
  let kept: Uint8Array = new Uint8Array(0);
  const fd = dupFd(memory.fd);
  const look = () =>
    window.look({ fd, layout }, 1, ({ frames }) => {
      kept = frames(0, 1).bytes;
      throw new Error('no');
    });
  expect(look).toThrow('no');
  expect(kept.every(byte => byte === 0)).toBe(true);
  kept.fill(5);
  expect(memory.bytes[0]).toBe(1);
  expect(isOpen(fd)).toBe(false);
});

it('is the same for the next domain, and larger for a larger one', () => {
  const window = new ForeignWindow();
  for (const frames of [1, 3, 64, 2]) {
    const memory = domain();
    memory.bytes.fill(frames, 0, 64 * PAGE_SIZE);
    const seen = window.look({ fd: dupFd(memory.fd), layout }, frames, foreign =>
      foreign.frames(0, frames).bytes.slice(),
    );
    expect(seen.length).toBe(frames * PAGE_SIZE);
    expect(seen.every(byte => byte === frames)).toBe(true);
  }
});

it('shows no more than it was asked for, and nothing beyond the domain', () => {
  const window = new ForeignWindow();
  const memory = domain();
  expect(() => window.look({ fd: dupFd(memory.fd), layout }, 2, ({ frames }) => frames(0, 3))).toThrow('do not fit');
  expect(() => window.look({ fd: dupFd(memory.fd), layout }, 9, ({ frames }) => frames(layout.frames - 1, 2))).toThrow(
    'do not fit',
  );
});

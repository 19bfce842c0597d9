import { beforeEach, expect, it } from 'vitest';
import { FileSystemBusy } from '../../../../domu-kernel/fs/file-system.ts';
import { nullFile } from '../../../../domu-kernel/process/null-file.ts';
import type { OpenFile } from '../../../../domu-kernel/process/open-file.ts';
import { Pipe } from '../../../../domu-kernel/process/pipe.ts';
import { Wait } from '../../../../domu-kernel/process/wait.ts';
import { WaitQueue } from '../../../../domu-kernel/wait-queue.ts';
import * as abi from '../../../../domu-kernel/wasi/abi.ts';
import { WasiRig } from '../../../support/wasi-rig.ts';

const { EVENTTYPE_CLOCK: CLOCK, EVENTTYPE_FD_READ: READ, EVENTTYPE_FD_WRITE: WRITE } = abi;
const OUTSIDE = 4 * 65536 - 2;

let rig: WasiRig;
beforeEach(() => {
  rig = new WasiRig();
});

interface Sub {
  readonly type: number;
  readonly id?: number;
  readonly timeout?: bigint;
  readonly flags?: number;
  readonly fd?: number;
}
const clock = (timeout: bigint, id = abi.CLOCKID_MONOTONIC, flags = 0): Sub => ({ type: CLOCK, id, timeout, flags });
const fd = (type: number, number: number): Sub => ({ type, fd: number });

/** A poll whose arguments are in memory once, so that it can be made again. userdata is 100 and the index. */
function poll(...subs: Sub[]) {
  const { at } = abi.subscription;
  const from = rig.alloc(subs.length * abi.subscription.size);
  for (const [i, sub] of subs.entries()) {
    const base = from + i * abi.subscription.size;
    const u = base + at.u + abi.subscription_u.at.u;
    rig.view.setBigUint64(base, 100n + BigInt(i), true);
    rig.view.setUint8(base + at.u, sub.type);
    if (sub.fd !== undefined) rig.view.setInt32(u, sub.fd, true);
    if (sub.id !== undefined) rig.view.setUint32(u + abi.subscription_clock.at.id, sub.id, true);
    if (sub.timeout !== undefined) rig.view.setBigUint64(u + abi.subscription_clock.at.timeout, sub.timeout, true);
    if (sub.flags !== undefined) rig.view.setUint16(u + abi.subscription_clock.at.flags, sub.flags, true);
  }
  const into = rig.alloc(Math.max(1, subs.length) * abi.event.size);
  const result = rig.alloc(4);
  return () => {
    const outcome = rig.call('poll_oneoff', from, into, subs.length, result);
    if (outcome !== 'SUCCESS') return outcome;
    return Array.from({ length: rig.u32(result) }, (_, i) => {
      const base = into + i * abi.event.size;
      return {
        sub: Number(rig.u64(base)) - 100,
        error: rig.view.getUint16(base + abi.event.at.error, true),
        type: rig.view.getUint8(base + abi.event.at.type),
        nbytes: Number(rig.u64(base + abi.event.at.fd_readwrite)),
        flags: rig.view.getUint16(base + abi.event.at.fd_readwrite + abi.event_fd_readwrite.at.flags, true),
      };
    });
  };
}
const event = (sub: number, type: number, nbytes = 0, flags = 0, error = 0) => ({ sub, error, type, nbytes, flags });

it('a time to come is waited for from the first try on', () => {
  const look = poll(clock(1000n), clock(500n));
  expect(look()).toEqual(new Wait([], 5e9 + 500));
  rig.clock.ns += 499;
  expect(look()).toEqual(new Wait([], 5e9 + 500));
  rig.clock.ns += 1;
  expect(look()).toEqual([event(1, CLOCK)]);
});
it('a time may be absolute, by either clock', () => {
  const later = poll(clock(5_000_000_100n, abi.CLOCKID_MONOTONIC, 1));
  expect(later()).toEqual(new Wait([], 5_000_000_100));
  rig.process.call = undefined;
  expect(poll(clock(5_000_000_000n, abi.CLOCKID_MONOTONIC, 1))()).toEqual([event(0, CLOCK)]);
  const now = 1_700_000_000_000_000_000n;
  expect(poll(clock(now, abi.CLOCKID_REALTIME, 1))()).toEqual([event(0, CLOCK)]);
  const wall = poll(clock(now + 300_000_000n, abi.CLOCKID_REALTIME, 1));
  expect(wall()).toEqual(new Wait([], 5e9 + 300e6));
  rig.process.call = undefined;
  expect(poll(clock(10n, abi.CLOCKID_REALTIME))()).toEqual(new Wait([], 5e9 + 10));
});
it('who waits for a time of the wall clock notices that it is stepped', () => {
  const look = poll(clock(1_700_003_600_000_000_000n, abi.CLOCKID_REALTIME, 1));
  expect(look()).toEqual(new Wait([], 6e9)); // an hour, but a look each second
  rig.clock.ns += 1e9;
  rig.clock.ms += 3_600_000;
  expect(look()).toEqual([event(0, CLOCK)]);
});
it('a clock that stands still is an error of its event, one that does not exist too', () => {
  const [notsup] = [58];
  expect(poll(clock(1n, abi.CLOCKID_PROCESS_CPUTIME_ID))()).toEqual([event(0, CLOCK, 0, 0, notsup)]);
  expect(poll(clock(1n, 77))()).toEqual([event(0, CLOCK, 0, 0, notsup)]);
});
it('files are always ready', () => {
  const file = rig.file('a', 'abc');
  expect(poll(fd(READ, file), clock(1000n))()).toEqual([event(0, READ, 3)]);
  rig.read(file);
  expect(poll(fd(READ, file), fd(WRITE, file))()).toMatchObject([event(0, READ), { sub: 1, type: WRITE, error: 0 }]);
});
it('a file of a file system that is busy with another call is waited for, and no longer than a time says', () => {
  const idle = new WaitQueue();
  const file: OpenFile = {
    ...nullFile,
    readable(): number {
      throw new FileSystemBusy('size', idle);
    },
  };
  const look = poll(fd(READ, rig.give(file)), clock(1000n));
  expect(look()).toEqual(new Wait([idle], 5e9 + 1000));
  rig.clock.ns += 999;
  expect(look()).toEqual(new Wait([idle], 5e9 + 1000));
  rig.clock.ns += 1;
  expect(look()).toEqual([event(1, CLOCK)]);
  const other = rig.file('a', 'abc');
  rig.process.call = undefined;
  expect(poll(fd(READ, rig.give(file)), fd(READ, other))()).toEqual([event(1, READ, 3)]);
});
it('a pipe is waited for until it has bytes, has room, or its other end is closed', () => {
  const pipe = new Pipe();
  const reader = rig.give(pipe.reader);
  const writer = rig.give(pipe.writer);
  const reading = poll(fd(READ, reader));
  expect(reading()).toEqual(new Wait([pipe.queue]));
  rig.write(writer, 'abc');
  expect(reading()).toEqual([event(0, READ, 3)]);
  expect(poll(fd(WRITE, writer))()).toMatchObject([{ sub: 0, type: WRITE, flags: 0 }]);
  pipe.put(new Uint8Array(65536));
  const writing = poll(fd(WRITE, writer), clock(7n));
  expect(writing()).toEqual(new Wait([pipe.queue], 5e9 + 7));
  pipe.reader.release();
  expect(writing()).toMatchObject([{ sub: 0, flags: abi.EVENTRWFLAGS_FD_READWRITE_HANGUP }]);
});
it('the end of a pipe is an event with the hangup flag', () => {
  const pipe = new Pipe();
  const reader = rig.give(pipe.reader);
  pipe.writer.release();
  expect(poll(fd(READ, reader))()).toMatchObject([{ sub: 0, flags: abi.EVENTRWFLAGS_FD_READWRITE_HANGUP }]);
});
it('a descriptor that is not open, or has not the right, is an error of its event alone', () => {
  const file = rig.file('a', 'abc');
  const other = rig.open('a', { rights: abi.RIGHTS_FD_READ }) as number;
  const unpolled = rig.open('a', { rights: abi.RIGHTS_FD_WRITE | abi.RIGHTS_POLL_FD_READWRITE }) as number;
  const [badf, notcapable] = [8, 76];
  expect(poll(fd(READ, 99), fd(READ, -1), fd(READ, other), fd(READ, unpolled), fd(READ, file))()).toEqual([
    event(0, READ, 0, 0, badf),
    event(1, READ, 0, 0, badf),
    event(2, READ, 0, 0, notcapable),
    event(3, READ, 0, 0, notcapable),
    event(4, READ, 3),
  ]);
});
it('no subscriptions, too many, or of no kind there is are EINVAL', () => {
  expect(poll()()).toBe('EINVAL');
  expect(rig.call('poll_oneoff', 64, 64, -1, 64)).toBe('EINVAL');
  expect(poll({ type: 3 })()).toBe('EINVAL');
  expect(poll(clock(1n, 0, 2))()).toBe('EINVAL');
  expect(rig.call('poll_oneoff', OUTSIDE, 64, 1, 64)).toBe('EFAULT');
  expect(rig.call('poll_oneoff', 64, OUTSIDE, 1, 64)).toBe('EFAULT');
  expect(rig.call('poll_oneoff', 64, 64, 1, OUTSIDE)).toBe('EFAULT');
});
it('events may be put where the subscriptions are', () => {
  const file = rig.file('a', 'abc');
  const subs = rig.alloc(96);
  for (const base of [subs, subs + 48]) {
    rig.view.setBigUint64(base, 9n, true);
    rig.view.setUint8(base + 8, READ);
    rig.view.setInt32(base + 16, file, true);
  }
  const result = rig.alloc(4);
  expect(rig.call('poll_oneoff', subs, subs, 2, result)).toBe('SUCCESS');
  expect([rig.u32(result), rig.u64(subs), rig.u64(subs + 32)]).toEqual([2, 9n, 9n]);
});
it('snapshot 0 has an identifier in front of the clock', () => {
  const subs = rig.alloc(56);
  rig.view.setUint8(subs + 8, CLOCK);
  rig.view.setBigUint64(subs + 16, 0xffffn, true);
  rig.view.setUint32(subs + 24, abi.CLOCKID_MONOTONIC, true);
  rig.view.setBigUint64(subs + 32, 42n, true);
  expect(rig.raw('poll_oneoff', [subs, rig.alloc(32), 1, rig.alloc(4)], 'wasi_unstable')).toEqual(
    new Wait([], 5e9 + 42),
  );
});

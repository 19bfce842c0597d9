import { beforeEach, describe, expect, it } from 'vitest';
import { ProcessExit } from '../../../../domu-kernel/process/process.ts';
import { Wait } from '../../../../domu-kernel/process/wait.ts';
import { WasiRig } from '../../../support/wasi-rig.ts';

const OUTSIDE = 4 * 65536 - 2;

let rig: WasiRig;
beforeEach(() => {
  rig = new WasiRig({ argv: ['prog', 'a b', '', 'ü'], env: { HOME: '/', EMPTY: '' } });
});

describe.each([
  ['args', ['prog', 'a b', '', 'ü']],
  ['environ', ['HOME=/', 'EMPTY=']],
] as const)('%s', (name, strings) => {
  const size = strings.reduce((sum, s) => sum + Buffer.byteLength(s) + 1, 0);
  it('has its number and size, then its strings', () => {
    const [count, total] = [rig.alloc(4), rig.alloc(4)];
    rig.ok(`${name}_sizes_get`, count, total);
    expect([rig.u32(count), rig.u32(total)]).toEqual([strings.length, size]);
    const table = rig.alloc(4 * strings.length);
    const text = rig.alloc(size);
    rig.ok(`${name}_get`, table, text);
    const got = strings.map((s, i) => rig.text(rig.u32(table + 4 * i), Buffer.byteLength(s) + 1));
    expect(got).toEqual(strings.map(s => `${s}\0`));
    expect(rig.u32(table)).toBe(text);
  });
  it('is EFAULT where there is no memory', () => {
    expect(rig.call(`${name}_sizes_get`, OUTSIDE, 64)).toBe('EFAULT');
    expect(rig.call(`${name}_sizes_get`, 64, OUTSIDE)).toBe('EFAULT');
    expect(rig.call(`${name}_get`, OUTSIDE, 64)).toBe('EFAULT');
    expect(rig.call(`${name}_get`, 64, OUTSIDE)).toBe('EFAULT');
  });
});
it('no arguments and no environment are none', () => {
  rig = new WasiRig({ argv: [] });
  rig.ok('args_sizes_get', 64, 68);
  expect([rig.u32(64), rig.u32(68)]).toEqual([0, 0]);
  rig.ok('environ_get', 4 * 65536, 4 * 65536);
});

describe('clocks', () => {
  const time = (id: number) => {
    rig.ok('clock_time_get', id, 1n, 64);
    return rig.u64(64);
  };
  it('say the time that the kernel has', () => {
    rig.clock.ms += 0.5;
    expect(time(0)).toBe(1_700_000_000_000_500_000n);
    expect(time(1)).toBe(5_000_000_000n);
    rig.process.cpuNs = 77.5;
    expect(time(2)).toBe(77n);
    expect(time(3)).toBe(77n);
    for (const id of [0, 1, 2, 3]) {
      rig.ok('clock_res_get', id, 64);
      expect(rig.u64(64)).toBeGreaterThan(0n);
    }
  });
  it('that do not exist are EINVAL', () => {
    for (const id of [4, -1]) {
      expect(rig.call('clock_time_get', id, 1n, 64)).toBe('EINVAL');
      expect(rig.call('clock_res_get', id, 64)).toBe('EINVAL');
    }
    expect(rig.call('clock_time_get', 0, 1n, OUTSIDE)).toBe('EFAULT');
    expect(rig.call('clock_res_get', 0, OUTSIDE)).toBe('EFAULT');
  });
});

describe('random_get', () => {
  it('fills what it is given and nothing more', () => {
    rig.ok('random_get', 64, 100_001);
    expect(rig.process.bytes.subarray(64, 64 + 100_001).every(byte => byte === 7)).toBe(true);
    expect([rig.process.bytes[63], rig.process.bytes[64 + 100_001]]).toEqual([0, 0]);
    rig.ok('random_get', 4 * 65536, 0);
    expect(rig.call('random_get', 64, 4 * 65536)).toBe('EFAULT');
    expect(rig.call('random_get', 64, -1)).toBe('EFAULT');
  });
});

describe('proc', () => {
  const ends = (name: string, n: number) => {
    try {
      return rig.call(name, n);
    } catch (error) {
      return error instanceof ProcessExit ? error.status : error;
    }
  };
  it('exits with its code', () => {
    expect(ends('proc_exit', 33)).toEqual({ code: 33 });
  });
  it('raises what signals do by default, by the numbers of WASI', () => {
    expect(ends('proc_raise', 6)).toEqual({ code: 0, signal: 'SIGABRT' });
    expect(ends('proc_raise', 15)).toEqual({ code: 0, signal: 'SIGTERM' });
    expect(ends('proc_raise', 0)).toBe('SUCCESS');
    for (const ignored of [16, 17, 22, 27]) expect(ends('proc_raise', ignored)).toBe('SUCCESS');
    for (const none of [31, -1]) expect(ends('proc_raise', none)).toBe('EINVAL');
  });
  it('that raises SIGSTOP goes on behind it when it has been continued', () => {
    expect(ends('proc_raise', 18)).toBeInstanceOf(Wait);
    expect(rig.process.pending).toEqual(['SIGSTOP']);
    expect(ends('proc_raise', 18)).toBe('SUCCESS');
  });
  it('yields once to the others', () => {
    expect(rig.call('sched_yield')).toEqual(new Wait([], 0));
    expect(rig.call('sched_yield')).toBe('SUCCESS');
    expect(rig.call('sched_yield')).toBeInstanceOf(Wait);
  });
});

it('there are the 46 calls of preview1', () => {
  const names =
    'args_get args_sizes_get environ_get environ_sizes_get clock_res_get clock_time_get fd_advise fd_allocate fd_close ' +
    'fd_datasync fd_fdstat_get fd_fdstat_set_flags fd_fdstat_set_rights fd_filestat_get fd_filestat_set_size ' +
    'fd_filestat_set_times fd_pread fd_prestat_get fd_prestat_dir_name fd_pwrite fd_read fd_readdir fd_renumber fd_seek ' +
    'fd_sync fd_tell fd_write path_create_directory path_filestat_get path_filestat_set_times path_link path_open ' +
    'path_readlink path_remove_directory path_rename path_symlink path_unlink_file poll_oneoff proc_exit proc_raise ' +
    'random_get sched_yield sock_accept sock_recv sock_send sock_shutdown';
  expect(Object.keys(rig.modules.wasi_snapshot_preview1!).sort()).toEqual(names.split(' ').sort());
  expect(Object.keys(rig.modules.wasi_unstable!).sort()).toEqual(names.split(' ').sort());
});

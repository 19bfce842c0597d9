import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  type DomainConfig,
  domid,
  runPaths,
  SHUTDOWN_crash,
  SHUTDOWN_poweroff,
  SHUTDOWN_reboot,
  SHUTDOWN_suspend,
  SHUTDOWN_watchdog,
} from '#pvbus';
import type { DomainRecord } from '../../../../dom0/toolstack/domain-records.ts';
import { Monitor, type MonitorNotes } from '../../../../dom0/toolstack/monitor.ts';
import { ListLog, StandingClock } from '../../../support/xenstore-rig.ts';
import { domainConfig } from './domain-config.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'monitor-'));
  mkdirSync(join(dir, 'log'));
});
afterEach(() => {
  vi.useRealTimers();
  rmSync(dir, { recursive: true });
});
const logged = (name = 'xl-web.log'): string[] =>
  readFileSync(join(dir, 'log', name), 'utf8')
    .split('\n')
    .slice(0, -1);

function rig(
  config: Partial<DomainConfig> = {},
  options: { monitor?: boolean; message?: string; noRoom?: boolean; noKernel?: boolean } = {},
) {
  const log = new ListLog();
  const clock = new StandingClock();
  const done: string[] = [];
  const noted: string[] = [];
  const shortLives = new Map<string, number>();
  const notes: MonitorNotes = {
    acted: ({ domid }) => void noted.push(`dom${domid} acted upon`),
    comes: ({ domid }, { config, at }) =>
      void noted.push(`after dom${domid}, ${config.name} in ${(at - clock.now()) / 1e6} ms`),
    gaveUp: name => void noted.push(`gave up ${name}`),
    shortLives: {
      get: name => shortLives.get(name),
      note: (name, count) => void shortLives.set(name, count),
      delete: name => void shortLives.delete(name),
    },
  };
  const monitor = new Monitor(
    {
      crashMessage: () => options.message,
      destroy: async record => void done.push(`destroy dom${record.domid}`),
      create: async (config, ended) => {
        done.push(`create ${config.name} for dom${ended}`);
        if (options.noKernel) throw new Error('kernel: /k.js does not exist');
        monitor.watch(domid(4), config, true);
      },
      preserveAs: async (record, name) => void done.push(`preserve dom${record.domid} as ${name}`),
      dumpCore: async record => {
        done.push(`dump dom${record.domid}`);
        if (options.noRoom) throw new Error('no room');
      },
    },
    { log, clock, paths: runPaths(dir), notes },
  );
  const record: DomainRecord = {
    domid: domid(3),
    config: domainConfig({ name: 'web', ...config }),
    monitor: options.monitor ?? true,
    startedAt: clock.now(),
    phase: 'there',
    paused: false,
    run: false,
    ended: true,
    acted: false,
  };
  clock.advance(60e9);
  return { log, clock, done, noted, monitor, record };
}

describe('a domain that has shut down', () => {
  it.each([
    ['poweroff', SHUTDOWN_poweroff, { on_poweroff: 'destroy' }, ['destroy dom3']],
    ['reboot', SHUTDOWN_reboot, { on_reboot: 'restart' }, ['destroy dom3', 'create web for dom3']],
    ['crash', SHUTDOWN_crash, { on_crash: 'preserve' }, []],
    ['watchdog', SHUTDOWN_watchdog, { on_watchdog: 'destroy' }, ['destroy dom3']],
    [
      'crash',
      SHUTDOWN_crash,
      { on_crash: 'rename-restart' },
      ['preserve dom3 as web-19700101T0001Z', 'create web for dom3'],
    ],
    ['crash', SHUTDOWN_crash, { on_crash: 'coredump-restart' }, ['dump dom3', 'destroy dom3', 'create web for dom3']],
    ['crash', SHUTDOWN_crash, { on_crash: 'coredump-destroy' }, ['dump dom3', 'destroy dom3']],
    ['an unknown reason', 77, { on_poweroff: 'destroy' }, ['destroy dom3']],
  ] as const)('after %s is dealt with as its config says', async (_name, reason, config, expected) => {
    const { monitor, record, done } = rig(config);
    await monitor.shutdown(record, reason);
    expect(done).toEqual(expected);
  });

  it('is left alone when it suspended itself, for whoever saves it', async () => {
    const { monitor, record, done } = rig({ on_poweroff: 'destroy' });
    await monitor.shutdown(record, SHUTDOWN_suspend);
    expect(done).toEqual([]);
  });

  it('is left alone when it was created without a monitor (xl create -e)', async () => {
    const { monitor, record, done, log } = rig({}, { monitor: false });
    await monitor.shutdown(record, SHUTDOWN_poweroff);
    expect(done).toEqual([]);
    expect(log.lines).toEqual([`domain 'web' (dom3) has shut down; nobody acts on it`]);
  });

  it('is named in one log line, with its last words when it crashed', async () => {
    const { monitor, record, log } = rig({ on_crash: 'destroy' }, { message: 'Error: out of teapots' });
    await monitor.shutdown(record, SHUTDOWN_crash);
    expect(log.lines).toEqual([`domain 'web' (dom3) has crashed: Error: out of teapots; on_crash=destroy`]);
  });
});

describe('a domain that keeps ending soon after its start', () => {
  it('is restarted at once, then later and later', async () => {
    vi.useFakeTimers();
    const { monitor, record, done, clock } = rig({ on_crash: 'restart' });
    const crash = async (): Promise<void> => {
      await monitor.shutdown({ ...record, startedAt: clock.now() }, SHUTDOWN_crash);
    };
    await crash();
    expect(done.splice(0)).toEqual(['destroy dom3', 'create web for dom3']);
    for (const delay of [250, 500, 1000, 2000]) {
      await crash();
      expect(done.splice(0)).toEqual(['destroy dom3']);
      await vi.advanceTimersByTimeAsync(delay - 1);
      expect(done).toEqual([]);
      await vi.advanceTimersByTimeAsync(1);
      expect(done.splice(0)).toEqual(['create web for dom3']);
    }
  });

  it('is not restarted any more when the host goes down', async () => {
    vi.useFakeTimers();
    const { monitor, record, done, clock } = rig({ on_crash: 'restart' });
    for (let i = 0; i < 2; i++) await monitor.shutdown({ ...record, startedAt: clock.now() }, SHUTDOWN_crash);
    done.length = 0;
    monitor.stop();
    await vi.advanceTimersByTimeAsync(60_000);
    await monitor.shutdown(record, SHUTDOWN_crash);
    expect(done).toEqual([]);
  });
});

describe("the monitor's log of a domain", () => {
  const waiting = (id: number): string => `Waiting for domain web (domid ${id}) to die [pid ${process.pid}]`;

  it('has the lines of the real one', async () => {
    const { monitor, record } = rig();
    monitor.watch(record.domid, record.config, true);
    await monitor.shutdown(record, SHUTDOWN_poweroff);
    expect(logged()).toEqual([
      waiting(3),
      'Domain 3 has shut down, reason code 0 0x0',
      'Action for shutdown reason code 0 is destroy',
      'Domain 3 needs to be cleaned up: destroying the domain',
      'Done. Exiting now',
    ]);
  });
  it('goes on with the domain that takes its place, and a new domain has a new one', async () => {
    const { monitor, record } = rig({ on_crash: 'coredump-restart' }, { noRoom: true });
    monitor.watch(record.domid, record.config, true);
    await monitor.shutdown(record, SHUTDOWN_crash);
    monitor.destroyed(domid(4));
    monitor.destroyed(domid(4));
    expect(logged()).toEqual([
      waiting(3),
      'Domain 3 has shut down, reason code 3 0x3',
      'Action for shutdown reason code 3 is coredump-restart',
      `dumping core to ${join(dir, 'dump/web')}`,
      'core dump failed (rc=-3).',
      'Domain 3 needs to be cleaned up: destroying the domain',
      'Done. Rebooting now',
      waiting(4),
      'Domain 4 has been destroyed.',
    ]);
    for (let id = 5; id < 20; id++) monitor.watch(domid(id), record.config, true);
    expect(logged()).toEqual([waiting(19)]);
    expect(logged('xl-web.log.1')).toEqual([waiting(18)]);
    expect(readdirSync(join(dir, 'log')).length).toBe(11);
  });
  it('ends with the reason where the domain that is to take its place cannot be made, at once or later', async () => {
    vi.useFakeTimers();
    const { monitor, record, clock } = rig({}, { noKernel: true });
    monitor.watch(record.domid, record.config, true);
    await monitor.shutdown(record, SHUTDOWN_reboot);
    const end = ['Done. Rebooting now', 'libxl: error: kernel: /k.js does not exist'];
    expect(logged().slice(-2)).toEqual(end);
    for (let i = 0; i < 2; i++) {
      monitor.watch(record.domid, record.config, true);
      await monitor.shutdown({ ...record, startedAt: clock.now() }, SHUTDOWN_reboot);
    }
    expect(logged().at(-1)).toBe(end[0]);
    await vi.advanceTimersByTimeAsync(250);
    expect(logged().slice(-2)).toEqual(end);
  });
  it('says what else there is to say', async () => {
    const { monitor, record } = rig({ on_crash: 'preserve', on_reboot: 'rename-restart' });
    monitor.watch(record.domid, record.config, true);
    await monitor.shutdown(record, SHUTDOWN_suspend);
    expect(logged().slice(1)).toEqual([
      ...['Domain 3 has shut down, reason code 2 0x2', 'Domain has suspended.', 'Done. Exiting now'],
    ]);
    monitor.watch(record.domid, record.config, true);
    await monitor.shutdown(record, 77);
    expect(logged().slice(1, 4)).toEqual([
      'Domain 3 has shut down, reason code 77 0x4d',
      'Unknown shutdown reason code 77. Destroying domain.',
      'Action for shutdown reason code 77 is destroy',
    ]);
    monitor.watch(record.domid, record.config, true);
    await monitor.shutdown(record, SHUTDOWN_reboot);
    expect(logged()[3]).toMatch(/^Preserving domain 3 web with suffix-19700101T0001Z$/);
  });
});

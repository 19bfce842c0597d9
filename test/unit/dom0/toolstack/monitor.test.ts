import { describe, expect, it, vi } from 'vitest';
import {
  type DomainConfig,
  domid,
  SHUTDOWN_crash,
  SHUTDOWN_poweroff,
  SHUTDOWN_reboot,
  SHUTDOWN_suspend,
  SHUTDOWN_watchdog,
} from '#pvbus';
import type { DomainRecord } from '../../../../dom0/toolstack/domain-records.ts';
import { Monitor } from '../../../../dom0/toolstack/monitor.ts';
import { ListLog, StandingClock } from '../../../support/xenstore-rig.ts';
import { domainConfig } from './domain-config.ts';

function rig(config: Partial<DomainConfig> = {}, options: { monitor?: boolean; message?: string } = {}) {
  const log = new ListLog();
  const clock = new StandingClock();
  const done: string[] = [];
  const monitor = new Monitor(
    {
      crashMessage: () => options.message,
      destroy: async record => void done.push(`destroy dom${record.domid}`),
      create: async ({ name }) => done.push(`create ${name}`),
      preserveAs: async (record, name) => void done.push(`preserve dom${record.domid} as ${name}`),
    },
    log,
    clock,
  );
  const record: DomainRecord = {
    domid: domid(3),
    config: domainConfig({ name: 'web', ...config }),
    monitor: options.monitor ?? true,
    startedAt: clock.now(),
    ended: true,
  };
  clock.advance(60e9);
  return { log, clock, done, monitor, record };
}

describe('a domain that has shut down', () => {
  it.each([
    ['poweroff', SHUTDOWN_poweroff, { on_poweroff: 'destroy' }, ['destroy dom3']],
    ['reboot', SHUTDOWN_reboot, { on_reboot: 'restart' }, ['destroy dom3', 'create web']],
    ['crash', SHUTDOWN_crash, { on_crash: 'preserve' }, []],
    ['watchdog', SHUTDOWN_watchdog, { on_watchdog: 'destroy' }, ['destroy dom3']],
    ['crash', SHUTDOWN_crash, { on_crash: 'rename-restart' }, ['preserve dom3 as web-19700101T0001Z', 'create web']],
    ['crash', SHUTDOWN_crash, { on_crash: 'coredump-restart' }, ['destroy dom3', 'create web']],
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
    expect(done.splice(0)).toEqual(['destroy dom3', 'create web']);
    for (const delay of [250, 500, 1000, 2000]) {
      await crash();
      expect(done.splice(0)).toEqual(['destroy dom3']);
      await vi.advanceTimersByTimeAsync(delay - 1);
      expect(done).toEqual([]);
      await vi.advanceTimersByTimeAsync(1);
      expect(done.splice(0)).toEqual(['create web']);
    }
    vi.useRealTimers();
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
    vi.useRealTimers();
  });
});

// What the toolstack says to the two ends of a device, and to a guest it wants to end, over a real xenstored.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { domid, XenbusState, XenstoreClient } from '#pvbus';
import {
  addDevices,
  backendClosed,
  backendReady,
  pathsOf,
  removeDeviceNodes,
  unplug,
} from '../../../../dom0/toolstack/add-device.ts';
import { vbd } from '../../../../dom0/toolstack/devices.ts';
import { requestShutdown } from '../../../../dom0/toolstack/shutdown-domain.ts';
import { ListLog, rigTransport, XenstoreRig } from '../../../support/xenstore-rig.ts';
import { disk } from './domain-config.ts';

const faults: Parameters<typeof addDevices>[0]['faults'] = { making: (_domid, _devices, write) => write([]) };
const scriptHost = (xs: XenstoreClient) => ({ xs, log: new ListLog(), runDir: '/nonexistent', faults });
const DOM = domid(5);
const device = vbd(disk(), domid(0));
const paths = pathsOf(DOM, device);
let xs: XenstoreClient;
let peer: XenstoreClient;
beforeEach(async () => {
  const rig = new XenstoreRig();
  xs = new XenstoreClient(rigTransport(rig));
  peer = new XenstoreClient(rigTransport(rig));
  await xs.write('/local/domain/5/control/shutdown', '');
});

describe('a backend', () => {
  it('is ready in InitWait or any state beyond it', async () => {
    for (const state of [XenbusState.InitWait, XenbusState.Connected]) {
      await addDevices(scriptHost(xs), DOM, [device]);
      const ready = backendReady({ xs, runDir: '/nonexistent', startedMs: 0 }, DOM, device);
      await peer.write(`${paths.backend}/state`, String(state));
      await ready;
    }
  });

  it('that refuses the device is quoted, with the code it gave', async () => {
    await addDevices(scriptHost(xs), DOM, [device]);
    const ready = backendReady({ xs, runDir: '/nonexistent', startedMs: 0 }, DOM, device);
    await peer.write('/local/domain/0/error/backend/vbd/5/51712/error', 'EBUSY vbd 51712 of dom5: its image is in use');
    await peer.write(`${paths.backend}/state`, String(XenbusState.Closing));
    await expect(ready).rejects.toMatchObject({ code: 'EBUSY', message: 'vbd 51712 of dom5: its image is in use' });
  });

  it('that refuses it without a word is named', async () => {
    await addDevices(scriptHost(xs), DOM, [device]);
    await peer.write(`${paths.backend}/state`, String(XenbusState.Closed));
    await expect(backendReady({ xs, runDir: '/nonexistent', startedMs: 0 }, DOM, device)).rejects.toThrow(
      'vbd 51712 of dom5: its backend went to Closed',
    );
  });

  const row = 'exit code 1; 5 in a row did not serve, another one comes in 0.25 s';
  it.each([
    ['keeps ending', '2026', row, `; dom3: driver-domain.js, process 8, has ended: ${row}`],
    ['kept ending on the host before this one', '2025', row, ''],
    ['ended once, and another one serves', '2026', 'SIGKILL; another one takes its place', ''],
  ])('whose driver domain %s is missed with what the hypervisor has logged of that', async (_, year, how, why) => {
    const runDir = mkdtempSync(join(tmpdir(), 'xl-log-'));
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      const ended = (pid: number, how: string) =>
        `${year}-01-01T00:00:01.000Z xen: warning: dom3: driver-domain.js, process ${pid}, has ended: ${how}\n`;
      const forged = '2026-01-01T00:00:01.000Z dom3: error: dom3: driver-domain.js, process 9, has ended: of joy\n';
      writeFileSync(join(runDir, 'host.log'), `${ended(7, row)}${ended(8, how)}${forged}`);
      const theirs = vbd(disk(), domid(3));
      await addDevices(scriptHost(xs), DOM, [theirs]);
      const startedMs = Date.parse('2026-01-01');
      const late = backendReady({ xs, runDir, startedMs }, DOM, theirs).catch(error => error.message);
      await vi.advanceTimersByTimeAsync(60_000);
      expect(await late).toBe(`vbd 51712 of dom5: no backend has taken care of it${why}`);
    } finally {
      vi.useRealTimers();
      rmSync(runDir, { recursive: true });
    }
  });

  it('is asked to close once; a device that is closed, or gone, is left as it is', async () => {
    await addDevices(scriptHost(xs), DOM, [device]);
    await unplug(xs, paths);
    expect(await xs.read(`${paths.backend}/online`)).toBe('0');
    expect(await xs.read(`${paths.backend}/state`)).toBe(String(XenbusState.Closing));
    await peer.write(`${paths.backend}/state`, String(XenbusState.Closed));
    await unplug(xs, paths);
    expect(await xs.read(`${paths.backend}/state`)).toBe(String(XenbusState.Closed));
    // Its frontend asks for no other connection then.
    await peer.write(`${paths.backend}/online`, '1');
    await unplug(xs, paths);
    expect(await xs.read(`${paths.backend}/online`)).toBe('0');
    expect(await xs.read(`${paths.backend}/state`)).toBe(String(XenbusState.Closed));
    await removeDeviceNodes(xs, paths);
    await unplug(xs, paths);
    expect(await xs.exists(paths.backend)).toBe(false);
  });

  it('is closed when it says so or when its nodes are gone, and not before; waiting for it has an end', async () => {
    await addDevices(scriptHost(xs), DOM, [device]);
    expect(await backendClosed(xs, paths, 20)).toBe(false);
    const closed = backendClosed(xs, paths, 10_000);
    await peer.write(`${paths.backend}/state`, String(XenbusState.Closed));
    expect(await closed).toBe(true);
    const gone = backendClosed(xs, paths, 10_000);
    await removeDeviceNodes(xs, paths);
    expect(await gone).toBe(true);
  });
});

describe('a request to shut down', () => {
  it.each(['poweroff', 'reboot'] as const)('says %s, and is over when the guest has emptied it', async how => {
    const asked = requestShutdown(xs, DOM, how);
    await new Promise<void>(resolve => {
      void peer.watch('/local/domain/5/control/shutdown', 'guest', async path => {
        if ((await peer.read(path)) !== how) return;
        await peer.write(path, '');
        resolve();
      });
    });
    await asked;
  });

  it('is over when the domain went away', async () => {
    const asked = requestShutdown(xs, DOM, 'poweroff');
    await peer.rm('/local/domain/5');
    await asked;
  });

  it('that the guest ignores fails in time, and is taken back, so that it is not obeyed later', async () => {
    await expect(requestShutdown(xs, DOM, 'poweroff', 30)).rejects.toMatchObject({
      code: 'ETIMEDOUT',
      message: 'dom5 did not take note of the poweroff request in 0.03 s',
    });
    expect(await xs.read('/local/domain/5/control/shutdown')).toBe('');
  });
});

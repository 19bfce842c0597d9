import { describe, expect, test } from 'vitest';
import {
  errorPath,
  parseDecimal,
  readState,
  reportFatal,
  stateName,
  switchState,
  XenbusState,
  XenError,
  XenstoreClient,
} from '#pvbus';
import { ListLog, rigTransport, XenstoreRig } from '../../support/xenstore-rig.ts';

const PATH = '/local/domain/3/device/vbd/51712';

function host(): { rig: XenstoreRig; xs: XenstoreClient; other: XenstoreClient } {
  const rig = new XenstoreRig();
  return { rig, xs: new XenstoreClient(rigTransport(rig)), other: new XenstoreClient(rigTransport(rig)) };
}

describe('xenbus', () => {
  test('reads a state; what is missing or senseless is Unknown', async () => {
    const { xs } = host();
    expect(await readState(xs, PATH)).toBe(XenbusState.Unknown);
    for (const [text, state] of [
      ['4', XenbusState.Connected],
      ['8', XenbusState.Reconfigured],
      ['9', XenbusState.Unknown],
      ['-1', XenbusState.Unknown],
      ['', XenbusState.Unknown],
      ['4 ', XenbusState.Unknown],
      ['0x4', XenbusState.Unknown],
      ['99999999999999999999', XenbusState.Unknown],
    ] as const) {
      await xs.write(`${PATH}/state`, text);
      expect(await readState(xs, PATH)).toBe(state);
    }
  });

  test('switches a state, but never brings a vanished device back', async () => {
    const { xs } = host();
    await expect(switchState(xs, PATH, XenbusState.Closed)).rejects.toMatchObject({
      code: 'ENOENT',
      message: expect.stringContaining('Closed'),
    });
    expect(await xs.exists(PATH)).toBe(false);
    await xs.write(`${PATH}/state`, '1');
    await switchState(xs, PATH, XenbusState.Initialised);
    expect(await xs.read(`${PATH}/state`)).toBe('3');
  });

  test('switching to the state it has is no change that anybody hears of', async () => {
    const { xs } = host();
    await xs.write(`${PATH}/state`, '4');
    let events = 0;
    await xs.watch(PATH, 't', () => events++);
    await switchState(xs, PATH, XenbusState.Connected);
    await xs.read('/');
    expect(events).toBe(1);
  });

  test('says why a device was given up, and takes it to Closing', async () => {
    const { xs } = host();
    const log = new ListLog();
    await xs.write(`${PATH}/state`, '4');
    await reportFatal(xs, PATH, new XenError('EINVAL', 'ring-ref 7 is not granted'), log);
    expect(await readState(xs, PATH)).toBe(XenbusState.Closing);
    expect(await xs.read('/local/domain/3/error/device/vbd/51712/error')).toBe('EINVAL ring-ref 7 is not granted');
    expect(log.lines).toEqual([`error: ${PATH}: EINVAL: ring-ref 7 is not granted`]);
    // A device that is gone meanwhile is no reason to fail.
    await xs.rm(PATH);
    await reportFatal(xs, PATH, new XenError('EINVAL', 'again'), log);
    expect(await xs.exists(PATH)).toBe(false);
  });

  test('names things', () => {
    expect(stateName(XenbusState.InitWait)).toBe('InitWait');
    expect(errorPath('/local/domain/0/backend/vbd/3/51712')).toBe('/local/domain/0/error/backend/vbd/3/51712/error');
    expect(errorPath('device/vif/0')).toBe('error/device/vif/0/error');
    expect([undefined, '', '7', '007', '1e3', '4294967295', '4294967296'].map(v => parseDecimal(v))).toEqual([
      undefined,
      undefined,
      7,
      7,
      undefined,
      4294967295,
      undefined,
    ]);
  });
});

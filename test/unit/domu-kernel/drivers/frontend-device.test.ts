import { beforeEach, describe, expect, it } from 'vitest';
import { domid, type Routine, XenbusState, XenError } from '#pvbus';
import {
  Frontend,
  type FrontendDevice,
  type FrontendInstance,
  findDevices,
  type Keys,
} from '../../../../domu-kernel/drivers/frontend-device.ts';
import { StoppedClock } from '../../../support/core-rig.ts';
import { type DeviceNodes, PaperToolstack, settle } from '../../../support/xenbus-device.ts';
import { ListLog, XenstoreRig } from '../../../support/xenstore-rig.ts';

const S = XenbusState;

/** A kind of device with nothing in it: what is tested is the life around it. */
class Thing implements FrontendInstance {
  readonly device: FrontendDevice;
  readonly acts: string[] = [];
  waits = false;
  constructor(device: FrontendDevice) {
    this.device = device;
  }
  *setup(): Routine<Keys> {
    const size = yield* this.device.backendNumber('feature-size', 100, 0);
    this.acts.push(`setup ${size} with dom${this.device.backendDomid}`);
    return { 'ring-ref': 5 };
  }
  // biome-ignore lint/correctness/useYield: a thing has nothing to read
  *connected(): Routine<void> {
    this.acts.push('connected');
  }
  disconnect(): void {
    this.acts.push('disconnect');
  }
  remove(reason: XenError): void {
    this.acts.push(`remove ${reason.code}`);
  }
  release(): void {
    this.acts.push('release');
  }
}

let tools: PaperToolstack;
let log: ListLog;
let clock: StoppedClock;
let frontend: Frontend;
let things: Map<number, Thing>;
let find: () => Promise<void>;
const back = (nodes: DeviceNodes, state: XenbusState, keys: Keys = {}): Promise<void> =>
  tools.xs.transaction(async tx => {
    for (const [key, value] of Object.entries({ ...keys, state })) {
      await tools.xs.write(`${nodes.backend}/${key}`, String(value), tx);
    }
  });
const becomes = (nodes: DeviceNodes, state: XenbusState): Promise<void> =>
  settle(async () => (await tools.state(nodes.frontend)) === String(state));
async function connected(devid: number): Promise<DeviceNodes> {
  const nodes = await tools.plug('thing', 1, devid);
  await back(nodes, S.InitWait);
  await becomes(nodes, S.Initialised);
  await back(nodes, S.Connected);
  await becomes(nodes, S.Connected);
  await frontend.settled();
  return nodes;
}

beforeEach(async () => {
  const rig = new XenstoreRig();
  rig.domain(1);
  rig.domain(2);
  tools = new PaperToolstack(rig);
  log = new ListLog();
  things = new Map();
  const xs = tools.client(log);
  find = () => findDevices(xs, domid(1), [frontend]);
  clock = new StoppedClock();
  frontend = new Frontend({
    xs,
    log,
    clock,
    type: 'thing',
    domid: domid(1),
    create: device => {
      const thing = new Thing(device);
      things.set(device.devid, thing);
      return thing;
    },
  });
});

describe('the life of a frontend device', () => {
  it('waits for InitWait, publishes its ring with Initialised, then connects', async () => {
    const nodes = await tools.plug('thing', 1, 0);
    await find();
    await frontend.settled();
    expect(await tools.state(nodes.frontend)).toBe(String(S.Initialising));
    await back(nodes, S.InitWait, { 'feature-size': 7 });
    await becomes(nodes, S.Initialised);
    expect(await tools.xs.read(`${nodes.frontend}/ring-ref`)).toBe('5');
    await back(nodes, S.Connected);
    await becomes(nodes, S.Connected);
    await frontend.find(0)?.ready();
    expect(things.get(0)?.acts).toEqual(['setup 7 with dom0', 'connected']);
  });

  it('finds devices that are plugged in later', async () => {
    await find();
    await connected(4);
    await connected(2);
    expect(frontend.devices().map(device => device.devid)).toEqual([2, 4]);
  });

  it('closes with its backend, and gives back what it shared when it is unplugged', async () => {
    await find();
    const nodes = await connected(0);
    await tools.askToClose(nodes);
    await becomes(nodes, S.Closed);
    expect(things.get(0)?.acts).toEqual(['setup 0 with dom0', 'connected', 'disconnect']);
    await back(nodes, S.Closed);
    await frontend.settled();
    expect(await tools.state(nodes.frontend)).toBe(String(S.Closed)); // online is 0: not asked to start again
    await tools.remove(nodes);
    await settle(() => frontend.devices().length === 0);
    expect(things.get(0)?.acts.slice(-3)).toEqual(['disconnect', 'remove ENODEV', 'release']);
    expect(await tools.xs.exists(nodes.frontend)).toBe(false);
  });

  it.each([
    ['comes back after a crash', [S.InitWait]],
    ['closes, then comes back', [S.Closing, S.Closed, S.InitWait]],
    ['starts from the beginning', [S.Initialising, S.InitWait]],
  ])('connects again to a backend that %s', async (_, states) => {
    await find();
    const nodes = await connected(0);
    for (const state of states) {
      await back(nodes, state);
      await frontend.settled();
    }
    await becomes(nodes, S.Initialised);
    await back(nodes, S.Connected);
    await becomes(nodes, S.Connected);
    expect(things.get(0)?.acts).toEqual([
      'setup 0 with dom0',
      'connected',
      'disconnect',
      'setup 0 with dom0',
      'connected',
    ]);
  });

  it('fault 36: is not stuck when the backend vanishes during the handshake', async () => {
    await find();
    const nodes = await tools.plug('thing', 1, 0);
    await back(nodes, S.InitWait);
    await becomes(nodes, S.Initialised);
    await tools.xs.rm(nodes.backend);
    await becomes(nodes, S.Initialising);
    await back(nodes, S.InitWait);
    await becomes(nodes, S.Initialised);
    await back(nodes, S.Connected);
    await becomes(nodes, S.Connected);
  });

  it('follows the toolstack to a backend in another domain', async () => {
    await find();
    const nodes = await connected(0);
    const elsewhere = '/local/domain/2/backend/thing/1/0';
    await tools.xs.rm(nodes.backend);
    await tools.xs.transaction(async tx => {
      await tools.xs.write(`${nodes.frontend}/backend`, elsewhere, tx);
      await tools.xs.write(`${nodes.frontend}/backend-id`, '2', tx);
      await tools.xs.write(`${elsewhere}/state`, String(S.InitWait), tx);
    });
    await settle(() => things.get(0)?.acts.includes('setup 0 with dom2') === true);
    await tools.xs.write(`${elsewhere}/state`, String(S.Connected));
    await becomes(nodes, S.Connected);
  });

  it('act 39: asks a backend that closed on it to start again, but not for ever', async () => {
    await find();
    const nodes = await connected(0);
    for (let i = 0; i < 3; i++) {
      await back(nodes, S.Closing);
      await becomes(nodes, S.Closed);
      await back(nodes, S.Closed);
      await becomes(nodes, S.Initialising);
      await back(nodes, S.InitWait);
      await becomes(nodes, S.Initialised);
    }
    await back(nodes, S.Closing);
    await becomes(nodes, S.Closed);
    await back(nodes, S.Closed);
    // News comes in order: that of Closed has been answered when those of another device are.
    await connected(1);
    expect(await tools.state(nodes.frontend)).toBe(String(S.Closed));
    expect(things.get(0)?.acts.filter(act => act.startsWith('setup'))).toHaveLength(4);
  });

  it('made anew before anybody looked is another device, and nothing of the old one is its own', async () => {
    await find();
    await connected(0);
    const old = things.get(0)!;
    const nodes = await connected(0);
    expect(old.acts.slice(-3)).toEqual(['disconnect', 'remove ENODEV', 'release']);
    expect(things.get(0)).not.toBe(old);
    expect(things.get(0)?.acts).toEqual(['setup 0 with dom0', 'connected']);
    expect(await tools.state(nodes.frontend)).toBe(String(S.Connected));
    expect(frontend.devices()).toHaveLength(1);
  });

  it('given up by its driver closes, says why, and releases its pages when the backend has left', async () => {
    await find();
    const nodes = await connected(0);
    frontend.find(0)?.fail(new XenError('EPROTO', 'the backend talks nonsense'));
    await becomes(nodes, S.Closed);
    await frontend.settled();
    expect(await tools.xs.read('/local/domain/1/error/device/thing/0/error')).toBe('EPROTO the backend talks nonsense');
    expect(things.get(0)?.acts.slice(-2)).toEqual(['disconnect', 'remove EPROTO']);
    await back(nodes, S.Closed);
    await settle(() => things.get(0)?.acts.at(-1) === 'release');
    await back(nodes, S.InitWait);
    await frontend.settled();
    expect(await tools.state(nodes.frontend)).toBe(String(S.Closed));
  });

  it('closed by its own domain stays closed', async () => {
    await find();
    const nodes = await connected(0);
    await frontend.close();
    expect(await tools.state(nodes.frontend)).toBe(String(S.Closed));
    await back(nodes, S.Closed);
    await settle(() => things.get(0)?.acts.at(-1) === 'release');
  });

  it('act 39: survives a backend whose state flaps', async () => {
    await find();
    const nodes = await connected(0);
    for (let i = 0; i < 200; i++) {
      await tools.xs.write(`${nodes.backend}/state`, ['5', '2', '4', '6', '0', 'x', '99'][i % 7] ?? '');
    }
    await back(nodes, S.Closing);
    await becomes(nodes, S.Closed);
    await back(nodes, S.InitWait);
    await becomes(nodes, S.Initialised);
    await back(nodes, S.Connected);
    await becomes(nodes, S.Connected);
  });

  it('act 39: is not kept busy by a backend that flaps for ever, and connects to it when it has calmed down', async () => {
    await find();
    const nodes = await connected(0);
    const { acts } = things.get(0)!;
    const before = acts.length;
    // Each is seen: no time passes in which turns would be allowed again.
    for (let i = 0; i < 500; i++) {
      await back(nodes, i % 2 === 0 ? S.InitWait : S.Connected);
      await frontend.settled();
    }
    // A turn connects, disconnects or sets up; 64 were free.
    expect(acts.length - before).toBeGreaterThan(20);
    expect(acts.length - before).toBeLessThanOrEqual(2 * 64);
    expect(frontend.deadline()).toBeGreaterThan(clock.now());
    await back(nodes, S.InitWait);
    for (let i = 0; i < 5; i++) {
      clock.ns += 1e9;
      frontend.tick(clock.now());
      await frontend.settled();
    }
    await becomes(nodes, S.Initialised);
    await back(nodes, S.Connected);
    await becomes(nodes, S.Connected);
    expect(frontend.deadline()).toBeUndefined();
  });

  it('act 38: refuses a backend whose numbers are none', async () => {
    await find();
    const nodes = await tools.plug('thing', 1, 0, { 'feature-size': '12 apples' });
    await back(nodes, S.InitWait);
    await becomes(nodes, S.Closed);
    await expect(frontend.find(0)?.ready()).rejects.toThrow(/feature-size is "12 apples"/);
  });
});

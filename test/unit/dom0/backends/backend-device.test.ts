import { beforeEach, describe, expect, it } from 'vitest';
import { XenbusState, XenError } from '#pvbus';
import {
  Backend,
  type BackendDevice,
  type BackendInstance,
  type Keys,
} from '../../../../dom0/backends/backend-device.ts';
import { type DeviceNodes, PaperToolstack, settle } from '../../../support/xenbus-device.ts';
import { ListLog, XenstoreRig } from '../../../support/xenstore-rig.ts';

const S = XenbusState;

/** A kind of device with nothing in it: what is tested is the life around it. */
class Thing implements BackendInstance {
  readonly device: BackendDevice;
  readonly acts: string[] = [];
  failProbe: XenError | undefined;
  failConnect: XenError | undefined;
  /** What happens elsewhere while it probes or connects. */
  meanwhile: (() => Promise<void>) | undefined;
  constructor(device: BackendDevice) {
    this.device = device;
  }
  async probe(): Promise<Keys> {
    this.acts.push('probe');
    await this.meanwhile?.();
    if (this.failProbe) throw this.failProbe;
    return { 'feature-thing': 1 };
  }
  async connect(): Promise<Keys> {
    const ref = await this.device.frontendNumber('ring-ref');
    if (this.failConnect) throw this.failConnect;
    this.acts.push(`connect ${ref}`);
    await this.meanwhile?.();
    return { size: 42 };
  }
  async disconnect(): Promise<void> {
    this.acts.push('disconnect');
  }
  async reconsider(): Promise<Keys | undefined> {
    await this.meanwhile?.();
    return { size: 43 };
  }
  async remove(): Promise<void> {
    this.acts.push('remove');
  }
}

let rig: XenstoreRig;
let tools: PaperToolstack;
let log: ListLog;
let backend: Backend;
let things: Map<string, Thing>;
const newBackend = (): Backend =>
  new Backend({
    xs: tools.client(log),
    log,
    type: 'thing',
    create: device => {
      const thing = new Thing(device);
      things.set(`${device.frontendDomid}/${device.devid}`, thing);
      return thing;
    },
  });
const front = (nodes: DeviceNodes, state: XenbusState, keys: Keys = {}): Promise<void> =>
  tools.xs.transaction(async tx => {
    for (const [key, value] of Object.entries({ ...keys, state })) {
      await tools.xs.write(`${nodes.frontend}/${key}`, String(value), tx);
    }
  });
const becomes = (nodes: DeviceNodes, state: XenbusState): Promise<void> =>
  settle(async () => (await tools.state(nodes.backend)) === String(state));
/** A device whose both ends are connected. */
async function connected(id: number, devid: number, ref = 5): Promise<DeviceNodes> {
  const nodes = await tools.plug('thing', id, devid);
  await becomes(nodes, S.InitWait);
  await front(nodes, S.Initialised, { 'ring-ref': ref });
  await becomes(nodes, S.Connected);
  await front(nodes, S.Connected);
  await backend.settled();
  return nodes;
}

beforeEach(async () => {
  rig = new XenstoreRig();
  rig.domain(1);
  rig.domain(2);
  tools = new PaperToolstack(rig);
  log = new ListLog();
  things = new Map();
  backend = newBackend();
  await backend.start();
});

describe('the life of a backend device', () => {
  it('goes Initialising, InitWait with features, Connected with properties', async () => {
    const nodes = await tools.plug('thing', 1, 0);
    await becomes(nodes, S.InitWait);
    expect(await tools.xs.read(`${nodes.backend}/feature-thing`)).toBe('1');
    expect(await tools.xs.exists(`${nodes.backend}/size`)).toBe(false);
    await front(nodes, S.Initialised, { 'ring-ref': 5 });
    await becomes(nodes, S.Connected);
    expect(await tools.xs.read(`${nodes.backend}/size`)).toBe('42');
    await front(nodes, S.Connected);
    await backend.settled();
    expect(things.get('1/0')?.acts).toEqual(['probe', 'connect 5']);
  });

  it('serves devices that were there before it started', async () => {
    await backend.stop();
    const nodes = await tools.plug('thing', 1, 3);
    backend = newBackend();
    await backend.start();
    await becomes(nodes, S.InitWait);
  });

  it.each([
    ['Connected', S.Connected],
    ["the next one's InitWait", S.InitWait],
  ])('takes no rings of a frontend that is Connected to one that died and left %s', async (_what, left) => {
    const nodes = await connected(1, 0);
    await backend.stop();
    await tools.xs.write(`${nodes.backend}/state`, String(left));
    backend = newBackend();
    await backend.start();
    await becomes(nodes, S.InitWait);
    await backend.settled();
    expect(things.get('1/0')?.acts).toEqual(['probe']);
    // It has seen that, and comes with new ones.
    await front(nodes, S.Initialising);
    await front(nodes, S.Initialised, { 'ring-ref': 6 });
    await becomes(nodes, S.Connected);
    expect(things.get('1/0')?.acts).toEqual(['probe', 'connect 6']);
  });

  it('serves a frontend that is ahead of it', async () => {
    const nodes = await tools.plug('thing', 1, 0);
    await front(nodes, S.Initialised, { 'ring-ref': 9 });
    await becomes(nodes, S.Connected);
    expect(things.get('1/0')?.acts).toEqual(['probe', 'connect 9']);
  });

  it('follows its frontend through Closing to Closed, and to a new connection', async () => {
    const nodes = await connected(1, 0);
    await front(nodes, S.Closing);
    await becomes(nodes, S.Closing);
    expect(things.get('1/0')?.acts.at(-1)).toBe('disconnect');
    await front(nodes, S.Closed);
    await becomes(nodes, S.Closed);
    await front(nodes, S.Initialising);
    await becomes(nodes, S.InitWait);
    await front(nodes, S.Initialised, { 'ring-ref': 6 });
    await becomes(nodes, S.Connected);
    expect(things.get('1/0')?.acts).toEqual(['probe', 'connect 5', 'disconnect', 'probe', 'connect 6']);
  });

  it('waits for its frontend when the toolstack unplugs it, then is forgotten with its nodes', async () => {
    const nodes = await connected(1, 0);
    await tools.askToClose(nodes);
    await backend.settled();
    expect(things.get('1/0')?.acts).toEqual(['probe', 'connect 5']);
    await front(nodes, S.Closing);
    await front(nodes, S.Closed);
    await becomes(nodes, S.Closed);
    await tools.remove(nodes);
    await settle(() => backend.devices().length === 0);
    expect(things.get('1/0')?.acts).toEqual(['probe', 'connect 5', 'disconnect', 'remove']);
    expect(await tools.xs.exists(nodes.backend)).toBe(false);
  });

  // A Closing may come at any moment. One that is written over is never heard of by the frontend.
  it('unplugged while it probes closes', async () => {
    const nodes = await tools.plug('thing', 1, 0);
    await settle(() => things.get('1/0') !== undefined);
    things.get('1/0')!.meanwhile = () => tools.askToClose(nodes);
    await becomes(nodes, S.Closed);
    await backend.settled();
    expect(things.get('1/0')?.acts).toEqual(['probe']);
  });
  it('removed while it probes is no failure, whatever it has not found', async () => {
    things.set = function (key, thing) {
      thing.meanwhile = () => tools.remove(nodes);
      thing.failProbe = new XenError('ENODEV', 'it has no image');
      return Map.prototype.set.call(this, key, thing) as typeof things;
    };
    const nodes = await tools.plug('thing', 1, 0);
    await settle(() => backend.find(1, 0) === undefined && things.size === 1);
    await backend.settled();
    expect(things.get('1/0')?.acts).toEqual(['probe', 'remove']);
    expect(log.lines.filter(line => line.startsWith('error'))).toEqual([]);
  });

  it('unplugged while it connects lets go and closes', async () => {
    const nodes = await tools.plug('thing', 1, 0);
    await becomes(nodes, S.InitWait);
    things.get('1/0')!.meanwhile = () => tools.askToClose(nodes);
    await front(nodes, S.Initialised, { 'ring-ref': 5 });
    await becomes(nodes, S.Closed);
    await backend.settled();
    expect(things.get('1/0')?.acts).toEqual(['probe', 'connect 5', 'disconnect']);
  });
  it('unplugged while it finds out what it has become still tells its frontend', async () => {
    const nodes = await connected(1, 0);
    things.get('1/0')!.meanwhile = () => tools.askToClose(nodes);
    await tools.xs.write(`${nodes.backend}/resize`, '');
    await becomes(nodes, S.Closing);
    await backend.settled();
    expect(await tools.state(nodes.backend)).toBe(String(S.Closing));
    await front(nodes, S.Closed);
    await becomes(nodes, S.Closed);
  });

  it('unplugged takes no turns while its frontend is Closing, however long that takes', async () => {
    const nodes = await connected(1, 0);
    await tools.askToClose(nodes);
    await front(nodes, S.Closing);
    await settle(() => things.get('1/0')!.acts.at(-1) === 'disconnect');
    let rests = false;
    void backend.settled().then(() => {
      rests = true;
    });
    await settle(() => rests);
    await front(nodes, S.Closed);
    await becomes(nodes, S.Closed);
  });

  it('unplugged before its frontend came goes to Closed at once', async () => {
    const nodes = await tools.plug('thing', 1, 0);
    await becomes(nodes, S.InitWait);
    await tools.askToClose(nodes);
    await becomes(nodes, S.Closed);
  });

  it('whose nodes are removed by force disconnects and writes nothing back', async () => {
    const nodes = await connected(1, 0);
    await tools.remove(nodes);
    await settle(() => backend.devices().length === 0);
    expect(things.get('1/0')?.acts).toEqual(['probe', 'connect 5', 'disconnect', 'remove']);
    expect(await tools.xs.exists(nodes.backend)).toBe(false);
  });

  it('made anew at the same place starts again', async () => {
    const nodes = await connected(1, 0);
    await tools.remove(nodes);
    await tools.plug('thing', 1, 0);
    await becomes(nodes, S.InitWait);
    expect(backend.devices().length).toBe(1);
  });

  // Act 29.
  it('whose frontend removes its node while connected closes cleanly', async () => {
    const nodes = await connected(1, 0);
    await tools.xs.rm(nodes.frontend);
    await becomes(nodes, S.Closed);
    expect(things.get('1/0')?.acts.at(-1)).toBe('disconnect');
  });

  it('whose domain is gone disconnects, and another domain does not notice', async () => {
    const nodes = await connected(1, 0);
    const other = await connected(2, 0);
    tools.destroy(1);
    await becomes(nodes, S.Closed);
    expect(things.get('1/0')?.acts.at(-1)).toBe('disconnect');
    expect(await tools.state(other.backend)).toBe(String(S.Connected));
    expect(things.get('2/0')?.acts).toEqual(['probe', 'connect 5']);
    expect(log.lines.filter(line => /dom1: its domain is gone/.test(line)).length).toBe(1);
  });

  // Act 27.
  it.each([
    ['missing', undefined],
    ['not a number', 'abc'],
    ['negative', '-1'],
    ['too large', '4294967296'],
    ['followed by rubbish', '5 '],
  ])('whose frontend has a ring-ref that is %s goes to Closing and says why', async (_, ref) => {
    const nodes = await tools.plug('thing', 1, 0);
    await becomes(nodes, S.InitWait);
    await front(nodes, S.Initialised, ref === undefined ? {} : { 'ring-ref': ref });
    await becomes(nodes, S.Closing);
    const error = await tools.xs.read('/local/domain/0/error/backend/thing/1/0/error');
    expect(error).toMatch(/EINVAL thing 0 of dom1: the frontend's ring-ref is/);
    expect(log.lines.filter(line => line.includes('ring-ref')).length).toBe(1);
    expect(things.get('1/0')?.acts).toEqual(['probe', 'disconnect']);
  });

  it('whose domain is still being made does not take the end of another for its own', async () => {
    const nodes = await tools.plug('thing', 3, 0);
    await becomes(nodes, S.InitWait);
    tools.destroy(2);
    await backend.settled();
    rig.domain(3);
    await front(nodes, S.Initialised, { 'ring-ref': 5 });
    await becomes(nodes, S.Connected);
    tools.destroy(3);
    await becomes(nodes, S.Closed);
  });

  it('leaves no error behind in xenstore when it goes, nor one of the backend before it', async () => {
    const errors = async (): Promise<string[]> =>
      await tools.xs.directory('/local/domain/0/error/backend/thing').catch(() => []);
    for (const restart of [false, true]) {
      const nodes = await connected(1, 0);
      things.get('1/0')!.device.fail(new XenError('EIO', 'the act'));
      await settle(async () => (await errors()).includes('1'));
      await backend.settled();
      if (restart) {
        await backend.stop();
        backend = newBackend();
        await backend.start();
      }
      await tools.remove(nodes);
      await settle(async () => (await errors()).length === 0);
    }
  });

  it('that failed serves its frontend again after it has closed and come back', async () => {
    const nodes = await tools.plug('thing', 1, 0);
    await becomes(nodes, S.InitWait);
    await front(nodes, S.Initialised, { 'ring-ref': 'abc' });
    await becomes(nodes, S.Closing);
    await front(nodes, S.Closed);
    await becomes(nodes, S.Closed);
    await front(nodes, S.Initialising);
    await becomes(nodes, S.InitWait);
    await front(nodes, S.Initialised, { 'ring-ref': 7 });
    await becomes(nodes, S.Connected);
    await tools.remove(nodes);
    await settle(() => backend.devices().length === 0);
    expect(await tools.xs.exists('/local/domain/0/error/backend/thing/1/0')).toBe(false);
  });

  it('whose worker gave it up goes to Closing; the other devices go on', async () => {
    const nodes = await connected(1, 0);
    const other = await connected(1, 1);
    backend.find(1, 0)?.fail(new XenError('EINVAL', 'the ring is nonsense'));
    await becomes(nodes, S.Closing);
    expect(await tools.xs.read('/local/domain/0/error/backend/thing/1/0/error')).toBe('EINVAL the ring is nonsense');
    expect(await tools.state(other.backend)).toBe(String(S.Connected));
  });

  it('whose probe fails stays in Closing instead of trying for ever', async () => {
    await backend.stop();
    let probes = 0;
    backend = new Backend({
      xs: tools.client(log),
      log,
      type: 'thing',
      create: () => ({
        probe: async () => {
          probes++;
          throw new XenError('ENOENT', 'there is no image');
        },
        connect: async () => ({}),
        disconnect: async () => {},
      }),
    });
    await backend.start();
    const nodes = await tools.plug('thing', 1, 0);
    await becomes(nodes, S.Closing);
    await backend.settled();
    for (let i = 0; i < 50; i++) await new Promise(resolve => setImmediate(resolve));
    expect(probes).toBe(1);
  });

  it('refuses a frontend path outside the domain it is for', async () => {
    const nodes = await tools.plug('thing', 1, 0, { frontend: '/local/domain/2/device/thing/0' });
    await becomes(nodes, S.Closing);
    expect(things.get('1/0')?.acts).toEqual([]);
  });

  it('after its backend died does not use the rings of the old connection, but waits for new ones', async () => {
    const nodes = await connected(1, 0);
    await backend.stop(); // its nodes stay as a crash leaves them
    things.clear();
    backend = newBackend();
    await backend.start();
    await becomes(nodes, S.InitWait);
    await backend.settled();
    expect(things.get('1/0')?.acts).toEqual(['probe']);
    await front(nodes, S.Initialised, { 'ring-ref': 6 });
    await becomes(nodes, S.Connected);
    expect(things.get('1/0')?.acts).toEqual(['probe', 'connect 6']);
  });

  it('sees only where a racing frontend is, not where it was', async () => {
    const nodes = await connected(1, 0);
    for (let i = 0; i < 300; i++) await tools.xs.write(`${nodes.frontend}/state`, String(1 + (i % 6)));
    await front(nodes, S.Closed);
    await becomes(nodes, S.Closed);
    await backend.settled();
    expect(backend.find(1, 0)?.connected).toBe(false);
    expect(log.lines.filter(line => line.startsWith('error')).length).toBeLessThan(20);
  });

  it('ignores names that are no domid and no device number', async () => {
    await tools.xs.write('/local/domain/0/backend/thing/x/0/state', '1');
    await tools.xs.write('/local/domain/0/backend/thing/1/y/state', '1');
    await tools.xs.write('/local/domain/0/backend/thing/99999/0/state', '1');
    await backend.settled();
    expect(backend.devices()).toEqual([]);
  });

  it('that is not written in full waits for the rest', async () => {
    await tools.xs.write('/local/domain/0/backend/thing/1/0/state', '1');
    await backend.settled();
    await tools.xs.write('/local/domain/1/device/thing/0/state', '1');
    await tools.xs.write('/local/domain/0/backend/thing/1/0/frontend', '/local/domain/1/device/thing/0');
    await becomes({ backend: '/local/domain/0/backend/thing/1/0', frontend: '' }, S.InitWait);
  });
});

// Both ends of a device, the real ones, and a toolstack that takes it away at every moment of its life.
import { beforeEach, describe, expect, it } from 'vitest';
import { domid, type Routine, XenbusState } from '#pvbus';
import { Backend, type BackendInstance } from '../../dom0/backends/backend-device.ts';
import { Frontend, type FrontendInstance, findDevices } from '../../domu-kernel/drivers/frontend-device.ts';
import { StoppedClock } from '../support/core-rig.ts';
import { PaperToolstack, settle } from '../support/xenbus-device.ts';
import { ListLog, XenstoreRig } from '../support/xenstore-rig.ts';

type Keys = Readonly<Record<string, string | number>>;
const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve));

/** Serves as soon as it is asked to, and knows whether it does. */
class Server implements BackendInstance {
  serves = false;
  async probe(): Promise<Keys> {
    await turn();
    return {};
  }
  async connect(): Promise<Keys> {
    this.serves = true;
    await turn(); // a worker is told
    return {};
  }
  async disconnect(): Promise<void> {
    await turn();
    this.serves = false;
  }
  async reconsider(): Promise<Keys> {
    await turn();
    return { size: 1 };
  }
}
/** Has nothing to read. */
class Client implements FrontendInstance {
  readonly waits = false;
  // biome-ignore lint/correctness/useYield: see above
  *setup(): Routine<Keys> {
    return { 'ring-ref': 1 };
  }
  *connected(): Routine<void> {}
  disconnect(): void {}
  remove(): void {}
}

let tools: PaperToolstack;
let backend: Backend;
let frontend: Frontend;
let servers: Server[];
let log: ListLog;
beforeEach(async () => {
  const rig = new XenstoreRig();
  rig.domain(1);
  tools = new PaperToolstack(rig);
  log = new ListLog();
  servers = [];
  backend = new Backend({
    xs: tools.client(log),
    log,
    type: 'thing',
    create: () => {
      const server = new Server();
      servers.push(server);
      return server;
    },
  });
  await backend.start();
  const xs = tools.client(log);
  const clock = new StoppedClock();
  frontend = new Frontend({ xs, log, clock, type: 'thing', domid: domid(1), create: () => new Client() });
  await findDevices(xs, domid(1), [frontend]);
});

describe('a device that is taken away', () => {
  // A whole life takes some forty turns of the event loop.
  it.each([
    ['at any moment since it was plugged in', false],
    ['at any moment while its backend publishes something new', true],
  ])('%s is closed, nobody serves it, and it can come again', async (_when, isNews) => {
    for (let moment = 0; moment < 50; moment++) {
      const nodes = await tools.plug('thing', 1, 0);
      if (isNews) {
        await settle(async () => (await tools.state(nodes.frontend)) === String(XenbusState.Connected));
        await tools.xs.write(`${nodes.backend}/resize`, '');
      }
      for (let i = 0; i < moment; i++) await turn();
      await tools.askToClose(nodes);
      const closed = async (): Promise<boolean> => (await tools.state(nodes.backend)) === String(XenbusState.Closed);
      await settle(closed).catch(async error => {
        const states = `${await tools.state(nodes.backend)} and ${await tools.state(nodes.frontend)}`;
        throw new Error(`asked after ${moment} turns, the ends stay in ${states}: ${error.message}`);
      });
      await tools.remove(nodes);
      await settle(() => backend.devices().length === 0 && frontend.devices().length === 0);
      expect(servers.some(({ serves }) => serves)).toBe(false);
    }
    expect(log.lines.filter(line => line.startsWith('error'))).toEqual([]);
  });
});

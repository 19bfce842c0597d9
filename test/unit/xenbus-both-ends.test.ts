// Both ends of a device, the real ones, and a toolstack that takes it away at every moment of its life.
import { beforeEach, describe, expect, it } from 'vitest';
import { domid, type Routine, stateName, XenbusState, XenError } from '#pvbus';
import { Backend, type BackendInstance } from '../../dom0/backends/backend-device.ts';
import { Frontend, type FrontendInstance, findDevices } from '../../domu-kernel/drivers/frontend-device.ts';
import { StoppedClock } from '../support/core-rig.ts';
import { type DeviceNodes, PaperToolstack, settle } from '../support/xenbus-device.ts';
import { ListLog, XenstoreRig } from '../support/xenstore-rig.ts';

type Keys = Readonly<Record<string, string | number>>;
/** A whole life takes some forty turns of the event loop. */
const LIFE = 50;
const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve));

/** Serves as soon as it is asked to, and knows whether it does. */
class Server implements BackendInstance {
  serves = false;
  #fails: boolean;
  /** `fails`: its first connection does. */
  constructor(fails: boolean) {
    this.#fails = fails;
  }
  async probe(): Promise<Keys> {
    await turn();
    return {};
  }
  async connect(): Promise<Keys> {
    this.serves = true;
    await turn(); // a worker is told
    if (this.#fails) {
      this.#fails = false;
      throw new XenError('EAGAIN', 'the event channel is refused');
    }
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
/** Of servers from now on. */
let failing: boolean;
beforeEach(async () => {
  const rig = new XenstoreRig();
  rig.domain(1);
  tools = new PaperToolstack(rig);
  log = new ListLog();
  servers = [];
  failing = false;
  backend = new Backend({
    xs: tools.client(log),
    log,
    type: 'thing',
    create: () => {
      const server = new Server(failing);
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
  const state = async (end: string): Promise<XenbusState> => Number(await tools.state(end)) as XenbusState;
  /** Asks after so many turns: both ends close, and stay so until its nodes are gone. */
  async function takeAway(nodes: DeviceNodes, moment: number): Promise<void> {
    for (let i = 0; i < moment; i++) await turn();
    await tools.askToClose(nodes);
    const ends = async () => `${stateName(await state(nodes.backend))} and ${stateName(await state(nodes.frontend))}`;
    await settle(async () => (await state(nodes.backend)) === XenbusState.Closed).catch(async error => {
      throw new Error(`asked after ${moment} turns, the ends stay in ${await ends()}: ${error.message}`);
    });
    for (let i = 0; i < LIFE; i++) await turn();
    await Promise.all([backend.settled(), frontend.settled()]);
    expect(await state(nodes.backend), `asked after ${moment} turns: ${await ends()}`).toBe(XenbusState.Closed);
    await tools.remove(nodes);
    await settle(() => backend.devices().length === 0 && frontend.devices().length === 0);
    expect(servers.some(({ serves }) => serves)).toBe(false);
  }
  const errors = (): string[] => log.lines.filter(line => line.startsWith('error'));

  it('at any moment since it was plugged in is closed, nobody serves it, and it can come again', async () => {
    for (let moment = 0; moment < LIFE; moment++) await takeAway(await tools.plug('thing', 1, 0), moment);
    expect(errors()).toEqual([]);
  });
  it('at any moment while its backend publishes something new is so too', async () => {
    for (let moment = 0; moment < LIFE; moment++) {
      const nodes = await tools.plug('thing', 1, 0);
      await settle(async () => (await state(nodes.frontend)) === XenbusState.Connected);
      await tools.xs.write(`${nodes.backend}/resize`, '');
      await takeAway(nodes, moment);
    }
    expect(errors()).toEqual([]);
  });
  it('at any moment while a connection that has failed is made anew is so too', async () => {
    failing = true;
    for (let moment = 0; moment < 2 * LIFE; moment++) await takeAway(await tools.plug('thing', 1, 0), moment);
    expect(errors().filter(line => !line.includes('the event channel is refused'))).toEqual([]);
  });
});

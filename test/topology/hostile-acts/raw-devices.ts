// Devices of a guest without their drivers: the handshake and the rings by hand.
import { domid, readKey } from '#pvbus';
import { HostileFrontend, type RawRequest } from '../../support/hostile-frontend.ts';
import { RawNetfront } from '../../support/raw-netfront.ts';
import type { Mallory } from './performer.ts';

const DOM0 = domid(0);
/** Xenbus states, as xenstore has them. */
export const [INIT_WAIT, INITIALISED, CONNECTED, CLOSING, CLOSED] = ['2', '3', '4', '5', '6'] as const;

export type Keys = Readonly<Record<string, string | number>>;

/** One device's end of the handshake over xenstore, by hand. */
export class Negotiation {
  readonly mallory: Mallory;
  readonly frontend: string;
  readonly #written = new Set<string>();

  constructor(mallory: Mallory, type: string, devid: number) {
    this.mallory = mallory;
    this.frontend = `${mallory.home}/device/${type}/${devid}`;
  }
  async backendState(): Promise<string | undefined> {
    const backend = await readKey(this.mallory.xs, `${this.frontend}/backend`);
    return backend === undefined ? undefined : readKey(this.mallory.xs, `${backend}/state`);
  }
  async awaitBackend(...states: (string | undefined)[]): Promise<string | undefined> {
    let state: string | undefined;
    await this.mallory.until(`${this.frontend}: the backend is in ${states}`, async () => {
      state = await this.backendState();
      return states.includes(state);
    });
    return state;
  }
  write(keys: Keys): Promise<void> {
    const { xs } = this.mallory;
    for (const key of Object.keys(keys)) if (key !== 'state' && key !== 'protocol') this.#written.add(key);
    return xs.transaction(async tx => {
      for (const [key, value] of Object.entries(keys)) await xs.write(`${this.frontend}/${key}`, String(value), tx);
    });
  }
  /** The state the backend goes to. */
  async publish(keys: Keys): Promise<string | undefined> {
    await this.awaitBackend(INIT_WAIT);
    await this.write({ ...keys, state: INITIALISED });
    const state = await this.awaitBackend(CONNECTED, CLOSING);
    if (state === CONNECTED) await this.write({ state: CONNECTED });
    return state;
  }
  /** Close in order, and be where it began. */
  async close(): Promise<void> {
    await this.write({ state: CLOSING });
    await this.awaitBackend(CLOSING, CLOSED);
    await this.write({ state: CLOSED });
    await this.awaitBackend(CLOSED);
  }
  async begin(): Promise<void> {
    for (const key of this.#written) await this.mallory.xs.rm(`${this.frontend}/${key}`);
    this.#written.clear();
    await this.write({ state: '1' });
    await this.awaitBackend(INIT_WAIT);
  }
}

/** A disk without a driver. */
export class RawDisk {
  readonly mallory: Mallory;
  readonly handshake: Negotiation;
  front!: HostileFrontend;

  constructor(mallory: Mallory, devid: number) {
    this.mallory = mallory;
    this.handshake = new Negotiation(mallory, 'vbd', devid);
  }
  async connect(keys: Keys = {}, before: (front: HostileFrontend) => void = () => {}): Promise<string | undefined> {
    this.front = new HostileFrontend(this.mallory.vcpu, DOM0);
    before(this.front);
    const [ringRef] = this.front.refs;
    const good = { 'ring-ref': ringRef!, 'event-channel': this.front.port, protocol: 'x86_64-abi' };
    return this.handshake.publish({ ...good, 'feature-persistent': 0, ...keys });
  }
  async leave(): Promise<void> {
    await this.handshake.close();
    this.front.release();
    await this.handshake.begin();
  }
  async responses(count: number): Promise<number[]> {
    const got: number[] = [];
    await this.mallory.until(`${count} responses`, () => {
      for (let r = this.front.response(); r !== undefined; r = this.front.response()) got.push(r.status);
      return got.length >= count;
    });
    return got;
  }
  async ask(fill: (index: number) => void): Promise<number> {
    this.front.send(fill);
    return (await this.responses(1))[0]!;
  }
  request(request: RawRequest): Promise<number> {
    return this.ask(index => this.front.write(index, request));
  }
  /** An honest one. */
  read(): Promise<number> {
    return this.request({ segments: [{ gref: this.front.refs[1]! }] });
  }
}

/** An interface without a driver. */
export class RawVif {
  readonly mallory: Mallory;
  readonly handshake: Negotiation;
  front!: RawNetfront;

  constructor(mallory: Mallory, handle: number) {
    this.mallory = mallory;
    this.handshake = new Negotiation(mallory, 'vif', handle);
  }
  async connect(keys: Keys = {}): Promise<string | undefined> {
    const text = await this.mallory.xs.read(`${this.handshake.frontend}/mac`);
    const mac = Uint8Array.from(text.split(':'), octet => Number.parseInt(octet, 16));
    this.front = new RawNetfront(this.mallory.vcpu, DOM0, mac);
    const [tx, rx] = this.front.refs;
    const good = { 'tx-ring-ref': tx!, 'rx-ring-ref': rx!, 'event-channel': this.front.port };
    return this.handshake.publish({ ...good, 'request-rx-copy': 1, 'feature-sg': 1, ...keys });
  }
  async leave(): Promise<void> {
    await this.handshake.close();
    this.front.release();
    await this.handshake.begin();
  }
  /** Publish what was put on the ring, and wait for so many responses. */
  async transmit(count: number): Promise<number[]> {
    const got: number[] = [];
    this.front.publishTx();
    await this.mallory.until(`${count} tx responses`, () => {
      got.push(...this.front.txResponses().map(({ status }) => status));
      return got.length >= count;
    });
    return got;
  }
}

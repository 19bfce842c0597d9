// The kernel of a domain that others have for a backend, and that has no driver: acts against frontends, numbered as in
// docs/hostile-acts.md. Each has a device of the victim's to itself.
import {
  BLKIF_OP_READ,
  BLKIF_OP_WRITE,
  type Domid,
  domid,
  type GrantMapping,
  NETRXF_more_data,
  PVCALLS_CONNECT,
  port,
  pvcalls_data_intf,
  readKey,
  sring,
  XenbusState,
} from '#pvbus';
import { HostileBackend, type SeenRequest } from '../../support/hostile-backend.ts';
import { RawNetback } from '../../support/raw-netback.ts';
import { RawPvcallsBack, type SeenCommand } from '../../support/raw-pvcallsback.ts';
import { type Acts, type Boot, type Mallory, type Outcome, perform } from '../hostile-acts/performer.ts';

const XVDA = 51712;
const GOOD = { sectors: 2048, 'sector-size': 512, info: 0, 'feature-flush-cache': 1 };
type Keys = Readonly<Record<string, string | number>>;
const STORM_NS = 200e6;
const STORM = 10_000;
const HONEST_DISKS = 6;
/** What a page is full of: before it is answered for, when it is, and from then on. */
const [FIRST, ANSWERED, LATER] = [1, 2, 3];

/** One disk of the victim's, from this end. */
class Vbd {
  readonly mallory: Mallory;
  readonly victim: Domid;
  readonly devid: number;
  back!: HostileBackend;
  readonly #seen: SeenRequest[] = [];

  constructor(mallory: Mallory, victim: Domid, number: number) {
    this.mallory = mallory;
    this.victim = victim;
    this.devid = XVDA + 16 * number;
  }
  async write(keys: Keys): Promise<void> {
    const { xs, home } = this.mallory;
    for (const [key, value] of Object.entries(keys))
      await xs.write(`${home}/backend/vbd/${this.victim}/${this.devid}/${key}`, String(value));
  }
  get #frontend(): string {
    return `/local/domain/${this.victim}/device/vbd/${this.devid}`;
  }
  /** The state its frontend goes to. */
  async becomes(...states: XenbusState[]): Promise<XenbusState> {
    let state: XenbusState = XenbusState.Unknown;
    await this.mallory.until(`vbd ${this.devid} in ${states}`, async () => {
      state = Number(await readKey(this.mallory.xs, `${this.#frontend}/state`)) as XenbusState;
      return states.includes(state);
    });
    return state;
  }
  async connect(keys: Keys = {}): Promise<XenbusState> {
    const { xs, vcpu } = this.mallory;
    await this.write({ state: XenbusState.InitWait });
    await this.becomes(XenbusState.Initialised);
    const [ringRef, port] = await Promise.all(
      ['ring-ref', 'event-channel'].map(key => xs.read(`${this.#frontend}/${key}`)),
    );
    this.back = new HostileBackend(vcpu, this.victim, Number(ringRef), Number(port));
    this.#seen.length = 0;
    await this.write({ ...GOOD, ...keys, state: XenbusState.Connected });
    return this.becomes(XenbusState.Connected, XenbusState.Closed);
  }
  /** Its next requests. */
  async take(count: number): Promise<SeenRequest[]> {
    await this.mallory.until(
      `${count} requests`,
      () => this.#seen.push(...this.back.take()) && this.#seen.length >= count,
    );
    return this.#seen.splice(0, count);
  }
  /** The page of a request. */
  map({ gref }: SeenRequest): GrantMapping {
    return this.mallory.vcpu.grants.map(this.victim, [gref])[0]!;
  }
  /** Do what loses it the device. */
  async lose(act: (request: SeenRequest) => void): Promise<Outcome> {
    await this.connect();
    const [request] = await this.take(2);
    act(request!);
    return { state: await this.becomes(XenbusState.Closed) };
  }
}

/** One pvcalls device of the victim's, from this end. */
class Sockets {
  readonly mallory: Mallory;
  readonly victim: Domid;
  readonly devid: number;
  back!: RawPvcallsBack;

  constructor(mallory: Mallory, victim: Domid, devid: number) {
    this.mallory = mallory;
    this.victim = victim;
    this.devid = devid;
  }
  async #write(keys: Keys): Promise<void> {
    const { xs, home } = this.mallory;
    for (const [key, value] of Object.entries(keys))
      await xs.write(`${home}/backend/pvcalls/${this.victim}/${this.devid}/${key}`, String(value));
  }
  get #frontend(): string {
    return `/local/domain/${this.victim}/device/pvcalls/${this.devid}`;
  }
  async becomes(state: XenbusState): Promise<XenbusState> {
    const { xs, until } = this.mallory;
    await until(
      `pvcalls ${this.devid} in ${state}`,
      async () => (await xs.read(`${this.#frontend}/state`)) === `${state}`,
    );
    return state;
  }
  async connect(): Promise<void> {
    const { xs, vcpu } = this.mallory;
    await this.#write({ versions: '1', 'function-calls': 1, 'max-page-order': 0, state: XenbusState.InitWait });
    await this.becomes(XenbusState.Initialised);
    const [ref, evtchn] = await Promise.all(['ring-ref', 'port'].map(key => xs.read(`${this.#frontend}/${key}`)));
    this.back = new RawPvcallsBack(vcpu, this.victim, Number(ref), Number(evtchn));
    await this.#write({ state: XenbusState.Connected });
  }
  /** Its next command. */
  async next(): Promise<SeenCommand> {
    let seen: SeenCommand | undefined;
    await this.mallory.until('a command', () => {
      [seen] = this.back.take();
      return seen !== undefined;
    });
    return seen!;
  }
  /** Do what loses it the device. */
  async lose(act: (seen: SeenCommand) => void): Promise<Outcome> {
    await this.connect();
    act(await this.next());
    return { state: await this.becomes(XenbusState.Closed) };
  }
  /** A connection stands, of which the guest is told that so many bytes are there; then all is served until it is released. */
  async stream(in_prod: number): Promise<void> {
    const { grants, events } = this.mallory.vcpu;
    for (;;) {
      const seen = await this.next();
      this.back.answer(seen);
      if (seen.cmd !== PVCALLS_CONNECT) continue;
      const [intf] = grants.map(this.victim, [seen.ref]);
      const evtchn = events.bindInterdomain(this.victim, port(seen.evtchn));
      intf!.page.words[pvcalls_data_intf.at.in_prod / 4] = in_prod;
      events.notify(evtchn);
      const release = await this.next();
      grants.unmap([intf!]);
      events.close(evtchn);
      this.back.answer(release);
      return;
    }
  }
}

function acts(mallory: Mallory, victim: Domid): Acts {
  const { vcpu, xs, home, until } = mallory;
  const vbd = (number: number): Vbd => new Vbd(mallory, victim, number);
  const vif = (number: number): RawNetback => {
    const nodes = {
      frontend: `/local/domain/${victim}/device/vif/${number}`,
      backend: `${home}/backend/vif/${victim}/${number}`,
    };
    return new RawNetback({ vcpu, xs, frontendDomid: victim, nodes, until: condition => until('the vif', condition) });
  };
  const offered = async (number: number): Promise<RawNetback> => {
    const back = vif(number);
    await back.offer({ 'feature-rx-copy': 1, 'feature-sg': 1 });
    await back.attach();
    return back;
  };
  const closed = (back: RawNetback): Promise<void> =>
    until('the vif is given up', async () => (await back.frontendState()) === XenbusState.Closed);
  const strange = (bytes: Uint8Array, isFine: (byte: number) => boolean): number =>
    bytes.reduce((count, byte) => count + (isFine(byte) ? 0 : 1), 0);
  const calm = vbd(4);
  const silent = vbd(5);
  const served: Vbd[] = [];

  return {
    30: () => {
      const disk = vbd(0);
      return disk.lose(() => disk.back.setRspProd(disk.back.prod + 40));
    },
    31: () => {
      const disk = vbd(1);
      return disk.lose(request => disk.back.answer({ ...request, id_lo: request.id_lo ^ 16 }));
    },
    32: () => {
      const disk = vbd(2);
      return disk.lose(request => disk.back.answer({ ...request, operation: BLKIF_OP_WRITE }));
    },
    33: async () => {
      const disk = vbd(3);
      let kept: GrantMapping | undefined;
      const outcome = await disk.lose(request => {
        kept = disk.map(request);
        disk.back.answer({ ...request, operation: BLKIF_OP_WRITE });
      });
      await disk.write({ state: XenbusState.Closed });
      return { ...outcome, kept: kept?.ref !== undefined };
    },
    40: async () => {
      await calm.connect();
      const requests = await calm.take(2);
      const pages = requests.map(request => calm.map(request));
      const disk = pages.reduce((count, { page }) => count + strange(page.bytes, byte => byte === 0), 0);
      vcpu.grants.unmap(pages);
      for (const request of requests) calm.back.answer(request);
      const net = await offered(0);
      await until('a frame', () => net.postedCount() > 0);
      let sent: { gref: number; id: number } | undefined;
      await until('a frame', () => {
        [sent] = net.sent();
        return sent !== undefined;
      });
      const pair = [net.map(sent!.gref), net.map(net.posted().gref)] as const;
      const frame = strange(pair[0].page.bytes.subarray(100), byte => byte === 0);
      const buffer = strange(pair[1].page.bytes, byte => byte === 0);
      vcpu.grants.unmap(pair);
      return { pages: requests.length + 2, disk, frame, buffer };
    },
    34: async () => {
      let [answered, odd] = [0, 0];
      for (let round = 0; round < 50; round++) {
        const requests = await calm.take(2);
        const pages = requests.map(request => calm.map(request));
        // Requests it still waits for, and answers it has had.
        calm.back.ring.page.bytes.fill(0xff, 64);
        for (const [i, request] of requests.entries()) {
          if (request.operation !== BLKIF_OP_READ || request.sector % 8 !== 0) odd++;
          pages[i]!.page.bytes.fill(FIRST);
          pages[i]!.page.bytes.fill(ANSWERED);
          calm.back.answer(request);
          pages[i]!.page.bytes.fill(LATER);
          answered++;
        }
        vcpu.grants.unmap(pages);
      }
      return { answered, odd };
    },
    35: async () => {
      const slots = [{ offset: 4000, status: 200 }, { status: -30000 }, { status: 4096, flags: NETRXF_more_data }];
      for (const [i, slot] of slots.entries()) {
        const net = await offered(3 + i);
        await until('buffers', () => net.postedCount() > 0);
        net.answerRx({ id: net.posted().id, ...slot });
        await closed(net);
      }
      return { closed: slots.length };
    },
    36: async () => {
      await silent.connect();
      await silent.take(2);
      return { waits: (await silent.becomes(XenbusState.Connected)) === XenbusState.Connected };
    },
    /** The device is reset: a backend that answers takes over. */
    reset: async () => {
      await silent.write({ state: XenbusState.Closing });
      await silent.becomes(XenbusState.Closed);
      vcpu.grants.unmap([silent.back.ring]);
      vcpu.events.close(silent.back.port);
      await silent.write({ state: XenbusState.Closed });
      await silent.connect();
      const again = await silent.take(2);
      for (const request of again) silent.back.answer(request);
      await silent.take(2);
      return { again: again.length };
    },
    37: async () => {
      const requests = await calm.take(2);
      const end = mallory.kernel.clock.now() + STORM_NS;
      let events = 0;
      for (; mallory.kernel.clock.now() < end || events < STORM; events++) vcpu.events.notify(calm.back.port);
      for (const request of requests) calm.back.answer(request);
      const next = await calm.take(2);
      for (const request of next) calm.back.answer(request);
      return { events };
    },
    38: async () => {
      const lies: Keys[] = [{ sectors: 0 }, { sectors: '9223372036854775808' }, { 'sector-size': 3 }, { info: 'none' }];
      const states: XenbusState[] = [];
      for (const [i, lie] of lies.entries()) states.push(await vbd(6 + i).connect(lie));
      return { states };
    },
    39: async () => {
      const disk = vbd(10);
      await disk.connect();
      await disk.take(2);
      let flaps = 0;
      for (; flaps < 10; flaps++) {
        for (const next of [XenbusState.Closing, XenbusState.InitWait, XenbusState.Closing, XenbusState.InitWait])
          await disk.write({ state: next });
        await disk.write({ state: XenbusState.Closed });
        await disk.becomes(XenbusState.Closed, XenbusState.Initialising);
      }
      vcpu.grants.unmap([disk.back.ring]);
      vcpu.events.close(disk.back.port);
      await disk.connect();
      const again = await disk.take(2);
      return { flaps, again: again.length };
    },
    calls30: () => {
      const sockets = new Sockets(mallory, victim, 0);
      return sockets.lose(() => {
        sockets.back.page.words[sring.at.rsp_prod / 4] = 7;
        sockets.back.notify();
      });
    },
    calls31: () => {
      const sockets = new Sockets(mallory, victim, 1);
      return sockets.lose(seen => sockets.back.answer({ ...seen, req_id: seen.req_id + 4242 }));
    },
    calls32: () => {
      const sockets = new Sockets(mallory, victim, 2);
      return sockets.lose(seen => sockets.back.answer({ ...seen, cmd: seen.cmd + 1 }));
    },
    calls35: () => {
      const sockets = new Sockets(mallory, victim, 3);
      return sockets.lose(seen => sockets.back.answer(seen, 1));
    },
    /** Connections with more bytes than a ring holds, with fewer than none, with one. */
    streams: async () => {
      const sockets = new Sockets(mallory, victim, 4);
      await sockets.connect();
      for (const in_prod of [1 << 20, -5, 1]) await sockets.stream(in_prod);
      return { streams: 3 };
    },
    calls36: async () => {
      const sockets = new Sockets(mallory, victim, 5);
      await sockets.connect();
      await sockets.next();
      return { waits: (await sockets.becomes(XenbusState.Connected)) === XenbusState.Connected };
    },
    net30: async () => {
      const net = await offered(1);
      net.setTxProd(300);
      await closed(net);
      return { closed: true };
    },
    net31: async () => {
      const net = await offered(2);
      await until('a frame', () => net.sent().length > 0);
      net.answerTx(9999);
      await closed(net);
      return { closed: true };
    },
    /** Some of the disks, as they ought to be served, without a sleep: what the benchmark holds the acts against. */
    honest: async () => {
      while (served.length < HONEST_DISKS) {
        const disk = vbd(served.length);
        await disk.connect();
        served.push(disk);
      }
      const end = mallory.kernel.clock.now() + STORM_NS;
      let answered = 0;
      while (mallory.kernel.clock.now() < end)
        for (const disk of served)
          for (const request of disk.back.take()) {
            const page = disk.map(request);
            page.page.bytes.fill(ANSWERED);
            vcpu.grants.unmap([page]);
            disk.back.answer(request);
            answered++;
          }
      return { answered };
    },
  };
}

/** The first word is the victim's number. */
export function start(boot: Boot): void {
  let known: Acts | undefined;
  perform(boot, mallory => ({
    serve: (_, victim) => {
      known = acts(mallory, domid(Number(victim)));
      return { serves: Number(victim) };
    },
    act: (_, name) => known![name!]!(mallory),
  }));
}

// The pvcalls backend against whatever a frontend can write: commands of any kind, its ring's indices, data rings, while real
// sockets of the host come and go. Each command is answered once at most; nothing stays mapped, bound or open, and another guest
// is served all the time.
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import {
  domid,
  FrontRing,
  PAGE_SIZE,
  PVCALLS_ACCEPT,
  PVCALLS_BIND,
  PVCALLS_CONNECT,
  PVCALLS_LISTEN,
  PVCALLS_POLL,
  PVCALLS_RELEASE,
  PVCALLS_SOCKET,
  pvcalls_data_intf,
  type SharedPages,
  sring,
  xen_pvcalls_response,
  xen_pvcalls_sring_entry,
} from '#pvbus';
import { type Fill, RequestSlot } from '../../../domu-kernel/drivers/pvcallsfront/request.ts';
import fc from '../../support/properties.ts';
import { type PvcallsGuest, PvcallsRig } from '../../support/pvcalls-rig.ts';
import { ScratchFolder } from '../../support/scratch-folder.ts';

const CASES_PER_RIG = 500;
const SLOTS = 32;
/** Pages of a data ring, its first one besides. */
const PAGES = 2;
const RINGS = 3;
const LISTENED = 80;
const [SERVED, REFUSED, FORBIDDEN] = [7, 8, 9];
const LOOPBACK = 0x7f000001;

const id = fc.oneof({ weight: 9, arbitrary: fc.nat(3) }, { weight: 1, arbitrary: fc.nat(0xffffffff) });
const wild = <T>(usual: T, ...others: T[]): fc.Arbitrary<T> =>
  fc.oneof({ weight: 12, arbitrary: fc.constant(usual) }, { weight: 1, arbitrary: fc.constantFrom(usual, ...others) });
const command = fc.record({
  act: fc.constant('command' as const),
  cmd: fc.oneof(
    { weight: 20, arbitrary: fc.constantFrom(0, 0, 1, 1, 2, 3, 3, 4, 4, 5, 5, 6) },
    { weight: 1, arbitrary: fc.nat(0xffffffff) },
  ),
  id,
  newId: id,
  domain: wild(2, 10, 0, 0xffffffff),
  type: wild(1, 2, 0xffffffff),
  protocol: wild(0, 6, 17, 0xffffffff),
  address: wild(LOOPBACK, 0, 0x08080808),
  port: fc.constantFrom(SERVED, SERVED, LISTENED, LISTENED, REFUSED, FORBIDDEN, 0),
  len: wild(16, 15, 28, 29, 0xffffffff),
  backlog: wild(4, 0, 0x7fffffff, 0xffffffff),
  ring: fc.nat(RINGS - 1),
  ref: wild(0, 1, 0x7fffffff, 0xffffffff),
  evtchn: wild(0, 1, 4000, 0xffffffff),
});
const act = fc.oneof(
  { weight: 8, arbitrary: command },
  { weight: 3, arbitrary: fc.record({ act: fc.constant('turns' as const), count: fc.nat(3) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      act: fc.constant('stream' as const),
      ring: fc.nat(RINGS - 1),
      word: fc.constantFrom(
        'in_cons' as const,
        'out_prod' as const,
        'out_prod' as const,
        'out_error' as const,
        'in_prod' as const,
      ),
      value: fc.oneof(fc.nat(3000), fc.integer()),
    }),
  },
  { weight: 1, arbitrary: fc.record({ act: fc.constant('dial' as const) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      act: fc.constant('scribble' as const),
      word: fc.nat(PAGE_SIZE / 4 - 1),
      value: fc.integer(),
    }),
  },
);
/** What there is before anything odd is done: a connection (socket 0), a listener (1), one that it accepted (2). */
const beginning = fc.constantFrom('nothing', 'connection', 'connection', 'listener', 'both');
const order = wild(1, 0, 4, 5, 0xffffffff);

/** A frontend without a driver over pages that are used again. */
class Frontend {
  readonly guest: PvcallsGuest;
  readonly pages: SharedPages;
  readonly ref: number;
  ring: FrontRing;
  port = 0;
  private readonly slot: RequestSlot;

  constructor(guest: PvcallsGuest) {
    this.guest = guest;
    this.pages = guest.vcpu.grants.allocShared(domid(0), 1);
    this.ref = guest.vcpu.grants.grantAccess(domid(0), this.pages.gfn);
    this.ring = FrontRing.init(this.pages.page(0), xen_pvcalls_sring_entry.size);
    this.slot = new RequestSlot(this.pages.page(0).view);
  }
  connect(path: string): void {
    const { guest, pages } = this;
    const port = guest.vcpu.events.allocUnbound(domid(0));
    guest.vcpu.events.on(port, () => {});
    this.port = port;
    pages.page(0).bytes.fill(0);
    this.ring = FrontRing.init(pages.page(0), xen_pvcalls_sring_entry.size);
    guest.attach({ ref: this.ref as never, port }, `0:${LISTENED}`, `${SERVED}=${path} ${REFUSED}=${path}-nobody`);
  }
  disconnect(): void {
    this.guest.detach();
    this.guest.vcpu.events.close(this.port as never);
  }
  send(cmd: number, id: number, fill: Fill): void {
    this.slot.begin(this.ring.requestOffset(), 1, cmd, id);
    fill(this.slot);
    this.ring.req_prod_pvt = (this.ring.req_prod_pvt + 1) >>> 0;
    this.ring.pushRequests();
  }
  /** Sockets 0 to 2, as an honest one gets them. */
  async begin(what: string, rings: readonly Stream[], ports: readonly number[], dial: () => void): Promise<number> {
    const honest = {
      domain: 2,
      type: 1,
      protocol: 0,
      address: LOOPBACK,
      len: 16,
      backlog: 4,
      ref: 0,
      evtchn: 0,
      newId: 2,
    };
    let sent = 0;
    const ask = async (cmd: number, id: number, port: number, ring = 0): Promise<void> => {
      this.send(cmd, id, slot => fill(slot, { ...honest, cmd, port }, rings[ring]!, ports[ring]!));
      this.guest.vcpu.events.notify(this.port as never);
      sent++;
      if (cmd === PVCALLS_ACCEPT) dial();
      for (let turn = 0; this.answers < sent; turn++) {
        if (turn > 10_000) throw new Error(`command ${cmd} is not answered`);
        this.guest.rig.pump();
        await setImmediate();
      }
    };
    if (what === 'connection' || what === 'both') {
      await ask(PVCALLS_SOCKET, 0, 0);
      await ask(PVCALLS_CONNECT, 0, SERVED);
    }
    if (what === 'listener' || what === 'both') {
      await ask(PVCALLS_SOCKET, 1, 0);
      await ask(PVCALLS_BIND, 1, LISTENED);
      await ask(PVCALLS_LISTEN, 1, 0);
      await ask(PVCALLS_ACCEPT, 1, 0, 1);
    }
    return sent;
  }
  get answers(): number {
    return Atomics.load(this.pages.page(0).words, sring.at.rsp_prod / 4) >>> 0;
  }
}
/** Pages for the bytes of a socket. */
class Stream {
  readonly refs: readonly number[];
  readonly pages: SharedPages;
  constructor({ vcpu }: PvcallsGuest) {
    this.pages = vcpu.grants.allocShared(domid(0), 1 + PAGES);
    this.refs = Array.from({ length: 1 + PAGES }, (_, i) => vcpu.grants.grantAccess(domid(0), this.pages.gfn + i));
  }
  fill(order: number): void {
    const { view, bytes } = this.pages.page(0);
    bytes.fill(0);
    view.setUint32(pvcalls_data_intf.at.ring_order, order, true);
    for (let i = 0; i < PAGES; i++) view.setUint32(pvcalls_data_intf.size + 4 * i, this.refs[1 + i]!, true);
  }
}

class Ground {
  readonly rig = new PvcallsRig();
  readonly hostile: Frontend;
  readonly innocent: Frontend;
  readonly streams: Stream[];
  readonly folder = new ScratchFolder();
  readonly path = join(this.folder.path, 's');
  readonly accepted = new Set<Socket>();
  private readonly server: Server;
  cases = 0;

  constructor() {
    const guest = this.rig.guest();
    this.hostile = new Frontend(guest);
    this.streams = Array.from({ length: RINGS }, () => new Stream(guest));
    this.innocent = new Frontend(this.rig.guest());
    this.innocent.connect(this.path);
    this.server = createServer(socket => {
      this.accepted.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => this.accepted.delete(socket));
      socket.on('data', () => {});
      socket.write('hello');
    });
  }
  listen(): Promise<void> {
    this.server.unref();
    return new Promise(resolve => this.server.listen(this.path, () => resolve()));
  }
  stop(): void {
    this.innocent.disconnect();
    this.server.close();
    this.folder.remove();
  }
}
let ground: Ground | undefined;

export const socketCommands = fc.asyncProperty(
  fc.array(act, { minLength: 1, maxLength: 24 }),
  fc.array(order, { minLength: RINGS, maxLength: RINGS }),
  beginning,
  async (acts, orders, what) => {
    let here = ground;
    ground = undefined; // after a failure there is a new one
    if (here === undefined) {
      here = new Ground();
      await here.listen();
    }
    const { rig, hostile, innocent, streams, accepted } = here;
    const { mappings } = rig.core.dom0.domain.grants;
    const ports = rig.core.dom0.domain.ports.open;
    const { vcpu } = hostile.guest;
    const dialled: Socket[] = [];
    rig.events.length = 0;
    rig.log.lines.length = 0;
    for (const [n, stream] of streams.entries()) stream.fill(orders[n]!);
    hostile.connect(here.path);
    const evtchns = streams.map(() => vcpu.events.allocUnbound(domid(0)));
    const page = hostile.pages.page(0);
    const dial = (): void => {
      for (const event of rig.events) {
        if (event.event !== 'listening' || dialled.length >= 8) continue;
        const socket = connect(event.hostPort, '127.0.0.1');
        socket.on('error', () => {});
        socket.on('data', () => {});
        socket.write('hello');
        dialled.push(socket);
      }
    };
    let sent = await hostile.begin(what, streams, evtchns, dial);
    let scribbled = false;
    for (const act of acts) {
      if (act.act === 'command') {
        if (sent - hostile.answers >= SLOTS && !scribbled) continue;
        sent++;
        hostile.send(act.cmd, act.id, slot => fill(slot, act, streams[act.ring]!, evtchns[act.ring]!));
        vcpu.events.notify(hostile.port as never);
      } else if (act.act === 'turns') {
        for (let i = 0; i < act.count; i++) await setImmediate();
      } else if (act.act === 'stream') {
        streams[act.ring]!.pages.page(0).words[pvcalls_data_intf.at[act.word] / 4] = act.value;
        vcpu.events.notify(evtchns[act.ring]!);
      } else if (act.act === 'scribble') {
        page.words[act.word] = act.value;
        scribbled = true;
        vcpu.events.notify(hostile.port as never);
      } else dial();
      rig.pump();
      if (!scribbled && hostile.answers > sent) throw new Error(`${hostile.answers} answers to ${sent} commands`);
    }
    const before = innocent.answers;
    innocent.send(PVCALLS_SOCKET, 1, slot => Object.assign(slot.socket, { domain: 2, type: 1 }));
    innocent.send(PVCALLS_RELEASE, 1, () => {});
    innocent.guest.vcpu.events.notify(innocent.port as never);
    rig.pump();
    if (innocent.answers - before !== 2) throw new Error('another guest is not served');
    const at = (n: number): number =>
      sring.size + ((before + n) % SLOTS) * xen_pvcalls_sring_entry.size + xen_pvcalls_response.at.ret;
    const { view } = innocent.pages.page(0);
    if (view.getInt32(at(0), true) !== 0 || view.getInt32(at(1), true) !== 0)
      throw new Error('another guest is refused');

    hostile.disconnect();
    for (const evtchn of evtchns) vcpu.events.close(evtchn);
    for (const socket of dialled) socket.destroy();
    rig.pump();
    if (rig.events.filter(({ event }) => event === 'failed').length > 1) throw new Error('it was given up twice');
    if (rig.log.lines.length > 40 + acts.length) throw new Error(`${rig.log.lines.length} lines are logged`);
    if (rig.core.dom0.domain.grants.mappings !== mappings) throw new Error('grants stay mapped');
    if (rig.core.dom0.domain.ports.open !== ports) throw new Error('ports stay bound');
    if (rig.core.internalErrors.length > 0) throw new Error(rig.core.internalErrors.join('\n'));
    // What a guest leaves is closed by the event loop.
    for (let turn = 0; accepted.size > 0; turn++) {
      if (turn > 10_000) throw new Error(`${accepted.size} sockets stay open`);
      await setImmediate();
    }
    if (++here.cases === CASES_PER_RIG) here.stop();
    else ground = here;
  },
);

type Command = Omit<typeof command extends fc.Arbitrary<infer A> ? A : never, 'act' | 'id' | 'ring'>;
function fill(slot: RequestSlot, given: Command, stream: Stream, port: number): void {
  const ref = given.ref === 0 ? stream.refs[0]! : given.ref;
  const evtchn = given.evtchn === 0 ? port : given.evtchn;
  const { cmd, domain, type, protocol, len, backlog } = given;
  if (cmd === PVCALLS_SOCKET) Object.assign(slot.socket, { domain, type, protocol });
  else if (cmd === PVCALLS_CONNECT) {
    slot.putAddress(given.address, given.port);
    Object.assign(slot.connect, { len, ref, evtchn });
  } else if (cmd === PVCALLS_BIND) {
    slot.putAddress(given.address, given.port === SERVED ? LISTENED : given.port);
    slot.bind.len = len;
  } else if (cmd === PVCALLS_LISTEN) slot.listen.backlog = backlog;
  else if (cmd === PVCALLS_ACCEPT) Object.assign(slot.accept, { id_new_lo: given.newId, ref, evtchn });
  else if (cmd !== PVCALLS_POLL && cmd !== PVCALLS_RELEASE) Object.assign(slot.accept, { ref, evtchn });
}

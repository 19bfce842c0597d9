// untrusted: everything a frontend writes. Xen: io/pvcalls.h.
import { afterEach, describe, expect, it } from 'vitest';
import {
  ERRNO,
  type FrontRing,
  PVCALLS_ACCEPT,
  PVCALLS_BIND,
  PVCALLS_CONNECT,
  PVCALLS_LISTEN,
  PVCALLS_POLL,
  PVCALLS_RELEASE,
  PVCALLS_SOCKET,
  pvcalls_data_intf,
  socketErrno,
  sring,
  xen_pvcalls_response,
} from '#pvbus';
import { MAX_SOCKETS } from '../../../../../dom0/backends/pvcalls/frontend-connection.ts';
import { parsePortPolicy, targetOf } from '../../../../../dom0/backends/pvcalls/port-policy.ts';
import { pvcalls } from '../../../../../dom0/toolstack/devices.ts';
import { type Fill, RequestSlot } from '../../../../../domu-kernel/drivers/pvcallsfront/request.ts';
import { domid } from '../../../../../pvbus/brands.ts';
import { dial, serveOn } from '../../../../support/host-peer.ts';
import { type PvcallsGuest, PvcallsRig } from '../../../../support/pvcalls-rig.ts';

const INADDR_LOOPBACK = 0x7f000001;
const nothing: Fill = () => {};

/** A frontend without a driver: says what a test says, and keeps every answer. */
class RawFrontend {
  readonly guest: PvcallsGuest;
  readonly ring: FrontRing;
  readonly words: Int32Array;
  readonly answers = new Map<number, number[]>();
  private readonly slot: RequestSlot;
  private readonly view: DataView;
  private readonly port: Parameters<PvcallsGuest['vcpu']['events']['notify']>[0];
  private next = 1;

  constructor(guest: PvcallsGuest, listen = '', connect = '', allow = '') {
    this.guest = guest;
    const { ring, pages, attachment } = guest.rawRing();
    this.ring = ring;
    this.port = attachment.port;
    this.view = pages.page(0).view;
    this.words = pages.page(0).words;
    this.slot = new RequestSlot(this.view);
    guest.attach(attachment, listen, connect, allow);
  }
  /** Its req_id. */
  send(cmd: number, id: number, fill: Fill = nothing): number {
    const req_id = this.next++;
    this.slot.begin(this.ring.requestOffset(), req_id, cmd, id);
    fill(this.slot);
    this.ring.req_prod_pvt = (this.ring.req_prod_pvt + 1) >>> 0;
    if (this.ring.pushRequests()) this.notify();
    return req_id;
  }
  notify(): void {
    this.guest.vcpu.events.notify(this.port);
  }
  collect(): void {
    this.guest.rig.pump();
    for (; this.ring.unconsumedResponses() > 0; this.ring.rsp_cons = (this.ring.rsp_cons + 1) >>> 0) {
      const at = this.ring.responseOffset();
      const req_id = this.view.getUint32(at + xen_pvcalls_response.at.req_id, true);
      const ret = this.view.getInt32(at + xen_pvcalls_response.at.ret, true);
      this.answers.set(req_id, [...(this.answers.get(req_id) ?? []), ret]);
    }
  }
  /** The one answer to a command. */
  async ask(cmd: number, id: number, fill?: Fill): Promise<number> {
    const req_id = this.send(cmd, id, fill);
    await this.guest.rig.until(() => {
      this.collect();
      return this.answers.has(req_id);
    });
    const answers = this.answers.get(req_id)!;
    expect(answers).toHaveLength(1);
    return answers[0]!;
  }
  socket(id: number): Promise<number> {
    return this.ask(PVCALLS_SOCKET, id, s => {
      s.socket.domain = 2;
      s.socket.type = 1;
    });
  }
  bind(id: number, port: number, address = 0): Promise<number> {
    return this.ask(PVCALLS_BIND, id, s => {
      s.putAddress(address, port);
      s.bind.len = 16;
    });
  }
  async passive(id: number, port: number): Promise<void> {
    expect(await this.socket(id)).toBe(0);
    expect(await this.bind(id, port)).toBe(0);
    expect(await this.ask(PVCALLS_LISTEN, id)).toBe(0);
  }
  /** Pages for a data ring, honest unless a test makes them otherwise. */
  dataRing(order = 1): { ref: number; evtchn: number; words: Int32Array; refs: number[] } {
    const { vcpu } = this.guest;
    const count = 1 + (1 << order);
    const pages = vcpu.grants.allocShared(domid(0), count);
    const refs = Array.from({ length: count }, (_, i) => vcpu.grants.grantAccess(domid(0), pages.gfn + i));
    const { view, words } = pages.page(0);
    view.setUint32(pvcalls_data_intf.at.ring_order, order, true);
    for (let i = 1; i < count; i++) view.setUint32(pvcalls_data_intf.size + 4 * (i - 1), refs[i]!, true);
    const evtchn = vcpu.events.allocUnbound(domid(0));
    return { ref: refs[0]!, evtchn, words, refs };
  }
  connect(id: number, port: number, ring: { ref: number; evtchn: number }, address = INADDR_LOOPBACK): Promise<number> {
    return this.ask(PVCALLS_CONNECT, id, s => {
      s.putAddress(address, port);
      s.connect.len = 16;
      s.connect.ref = ring.ref;
      s.connect.evtchn = ring.evtchn;
    });
  }
}
const minus = (name: string): number => -socketErrno(name);

let rig: PvcallsRig;
afterEach(() => {
  rig.stop();
  expect(rig.mapped).toBe(0);
  expect(rig.core.internalErrors).toEqual([]);
});
function frontend(listen?: string, connect?: string, allow?: string): RawFrontend {
  rig = new PvcallsRig();
  return new RawFrontend(rig.guest(), listen, connect, allow);
}
const failures = (): string[] =>
  rig.events.filter(e => e.event === 'failed').map(e => ('message' in e ? e.message : ''));

describe('a hostile pvcalls frontend', () => {
  it.each([
    ['more requests than the ring holds', 33],
    ['2^31 requests', 0x80000000],
    ['a producer that moved backwards', -1],
  ])('that claims %s loses its device, and the other guest keeps its connection', async (_what, claim) => {
    const f = frontend();
    const { port, server } = await serveOn(socket => socket.pipe(socket));
    const honest = rig.guest();
    const connection = await rig.run(honest.connect('', String(port)).connect(port));
    f.words[sring.at.req_prod / 4] = claim | 0;
    f.notify();
    rig.pump();
    expect(failures()).toHaveLength(1);
    expect(failures()[0]).toMatch(/dom\d+: impossible indices in its command ring/);
    await rig.run(connection.write('still'));
    expect(Buffer.from((await rig.run(connection.read()))!).toString()).toBe('still');
    server.close();
  });

  it('that flips its indices by turns is answered from private ones', async () => {
    const f = frontend('0:80');
    f.words[sring.at.rsp_prod / 4] = 0x7fffffff;
    f.words[sring.at.rsp_event / 4] = 0x1234;
    f.send(PVCALLS_POLL, 99);
    f.notify();
    rig.pump();
    expect(f.words[sring.at.rsp_prod / 4]).toBe(1);
    expect(failures()).toEqual([]);
  });

  it('gets an errno for every command it makes no sense of, each once', async () => {
    const f = frontend('0:80');
    expect(await f.ask(7, 1)).toBe(-ERRNO.EOPNOTSUPP);
    expect(await f.ask(0xffffffff, 1)).toBe(-ERRNO.EOPNOTSUPP);
    for (const cmd of [PVCALLS_CONNECT, PVCALLS_RELEASE, PVCALLS_BIND, PVCALLS_LISTEN, PVCALLS_ACCEPT, PVCALLS_POLL]) {
      expect(await f.ask(cmd, 77)).toBe(minus('ENOTSOCK'));
    }
    expect(await f.ask(PVCALLS_SOCKET, 1)).toBe(minus('EAFNOSUPPORT'));
    const kind =
      (domain: number, type: number, protocol: number): Fill =>
      s => {
        s.socket.domain = domain;
        s.socket.type = type;
        s.socket.protocol = protocol;
      };
    expect(await f.ask(PVCALLS_SOCKET, 1, kind(2, 2, 0))).toBe(minus('EPROTOTYPE'));
    expect(await f.ask(PVCALLS_SOCKET, 1, kind(2, 1, 17))).toBe(minus('EPROTONOSUPPORT'));
    expect(await f.ask(PVCALLS_SOCKET, 1, kind(10, 1, 6))).toBe(minus('EAFNOSUPPORT'));
    expect(await f.ask(PVCALLS_SOCKET, 1, kind(2, 1, 6))).toBe(0);
    expect(await f.socket(1)).toBe(-ERRNO.EEXIST);
    expect(await f.ask(PVCALLS_LISTEN, 1)).toBe(-ERRNO.EINVAL);
    expect(await f.ask(PVCALLS_ACCEPT, 1)).toBe(-ERRNO.EINVAL);
    expect(await f.ask(PVCALLS_POLL, 1)).toBe(-ERRNO.EINVAL);
    expect(await f.bind(1, 81)).toBe(-ERRNO.EACCES);
    expect(await f.bind(1, 80, 0x0a000001)).toBe(minus('EADDRNOTAVAIL'));
    const short: Fill = s => {
      s.putAddress(0, 80);
      s.bind.len = 4;
    };
    expect(await f.ask(PVCALLS_BIND, 1, short)).toBe(-ERRNO.EINVAL);
    const noFamily: Fill = s => {
      s.bind.len = 16;
    };
    expect(await f.ask(PVCALLS_BIND, 1, noFamily)).toBe(minus('EAFNOSUPPORT'));
    expect(await f.bind(1, 80)).toBe(0);
    expect(await f.bind(1, 80)).toBe(-ERRNO.EINVAL);
    expect(await f.ask(PVCALLS_RELEASE, 1)).toBe(0);
    expect(await f.ask(PVCALLS_RELEASE, 1)).toBe(minus('ENOTSOCK'));
    expect(failures()).toEqual([]);
  });

  it('may have a bounded number of sockets', async () => {
    const f = frontend();
    for (let id = 1; id <= MAX_SOCKETS; id++) expect(await f.socket(id)).toBe(0);
    expect(await f.socket(MAX_SOCKETS + 1)).toBe(-ERRNO.EMFILE);
    expect(await f.ask(PVCALLS_RELEASE, 1)).toBe(0);
    expect(await f.socket(MAX_SOCKETS + 1)).toBe(0);
  });

  it('that gives pages or ports that are not its own to give gets an error, and nothing stays mapped', async () => {
    rig = new PvcallsRig();
    const { port, server } = await serveOn(() => {});
    const f = new RawFrontend(rig.guest(), '', String(port));
    expect(await f.socket(1)).toBe(0);
    const before = rig.mapped;
    const bad = (ring: { ref: number; evtchn: number }): Promise<number> => f.connect(1, port, ring);
    expect(await bad({ ref: 0x7fffffff, evtchn: 1 })).toBeLessThan(0);
    expect(await bad({ ref: 9, evtchn: 0 })).toBeLessThan(0);
    const good = f.dataRing();
    expect(await bad({ ref: good.ref, evtchn: 4095 })).toBeLessThan(0);
    for (const order of [5, 31, 99, 0xffffffff]) {
      const ring = f.dataRing();
      ring.words[pvcalls_data_intf.at.ring_order / 4] = order | 0;
      expect(await bad(ring)).toBe(-ERRNO.EINVAL);
    }
    const half = f.dataRing();
    half.words[pvcalls_data_intf.size / 4 + 1] = 0x7fffffff;
    expect(await bad(half)).toBeLessThan(0);
    expect(rig.mapped).toBe(before);
    expect(await bad(good)).toBe(0);
    expect(await bad(good)).toBe(minus('EISCONN'));
    server.close();
  });

  it('that breaks one data ring loses that socket only', async () => {
    rig = new PvcallsRig();
    const closed: number[] = [];
    let nr = 0;
    const { port, server } = await serveOn(socket => {
      const n = nr++;
      socket.on('close', () => closed.push(n));
      socket.pipe(socket);
    });
    for (const [word, value] of [
      [pvcalls_data_intf.at.out_prod, 5000],
      [pvcalls_data_intf.at.out_prod, -1],
      [pvcalls_data_intf.at.in_cons, 7],
    ] as const) {
      const f = new RawFrontend(rig.guest(), '', String(port));
      expect(await f.socket(1)).toBe(0);
      expect(await f.socket(2)).toBe(0);
      const broken = f.dataRing();
      const sound = f.dataRing();
      expect(await f.connect(1, port, broken)).toBe(0);
      expect(await f.connect(2, port, sound)).toBe(0);
      broken.words[word / 4] = value;
      f.guest.vcpu.events.notify(broken.evtchn as never);
      await rig.until(() => broken.words[pvcalls_data_intf.at.in_error / 4] !== 0);
      expect(broken.words[pvcalls_data_intf.at.in_error / 4]).toBe(-ERRNO.EINVAL);
      sound.words[pvcalls_data_intf.at.out_prod / 4] = 3;
      f.guest.vcpu.events.notify(sound.evtchn as never);
      await rig.until(() => sound.words[pvcalls_data_intf.at.in_prod / 4] === 3);
      expect(await f.ask(PVCALLS_RELEASE, 1)).toBe(0);
      expect(await f.ask(PVCALLS_RELEASE, 2)).toBe(0);
    }
    expect(rig.worker.stats.badRings).toBe(3);
    expect(rig.log.lines.filter(line => line.includes('impossible indices'))).toHaveLength(3);
    expect(failures()).toEqual([]);
    server.close();
  });

  it('has one accept and one poll wait for a socket; a release answers both', async () => {
    const f = frontend('0:80');
    await f.passive(1, 80);
    const ring = f.dataRing();
    const fill: Fill = s => {
      s.accept.id_new_lo = 5;
      s.accept.ref = ring.ref;
      s.accept.evtchn = ring.evtchn;
    };
    const waiting = f.send(PVCALLS_ACCEPT, 1, fill);
    const polling = f.send(PVCALLS_POLL, 1);
    expect(await f.ask(PVCALLS_ACCEPT, 1, fill)).toBe(-ERRNO.EINTR);
    expect(await f.ask(PVCALLS_POLL, 1)).toBe(-ERRNO.EINTR);
    expect(await f.ask(PVCALLS_RELEASE, 1)).toBe(0);
    expect(f.answers.get(waiting)).toEqual([minus('ECONNABORTED')]);
    expect(f.answers.get(polling)).toEqual([minus('ECONNABORTED')]);
  });

  it('is told by poll of a connection, and may name only new sockets in accept', async () => {
    const f = frontend('0:80');
    await f.passive(1, 80);
    const event = rig.events[0]!;
    const polling = f.ask(PVCALLS_POLL, 1);
    const socket = await dial(event.event === 'listening' ? event.hostPort : 0);
    expect(await polling).toBe(0);
    const ring = f.dataRing();
    const accept = (id: number): Promise<number> =>
      f.ask(PVCALLS_ACCEPT, 1, s => {
        s.accept.id_new_lo = id;
        s.accept.ref = ring.ref;
        s.accept.evtchn = ring.evtchn;
      });
    expect(await accept(1)).toBe(-ERRNO.EEXIST);
    expect(await accept(2)).toBe(0);
    socket.destroy();
  });

  it('that releases what connects or opens gets every answer once', async () => {
    rig = new PvcallsRig();
    const { port, server } = await serveOn(() => {});
    const f = new RawFrontend(rig.guest(), '0:80', String(port));
    expect(await f.socket(1)).toBe(0);
    const ring = f.dataRing();
    const connecting = f.send(PVCALLS_CONNECT, 1, s => {
      s.putAddress(INADDR_LOOPBACK, port);
      s.connect.len = 16;
      s.connect.ref = ring.ref;
      s.connect.evtchn = ring.evtchn;
    });
    expect(await f.ask(PVCALLS_RELEASE, 1)).toBe(0);
    expect(f.answers.get(connecting)).toEqual([minus('ECONNABORTED')]);
    expect(await f.socket(2)).toBe(0);
    expect(await f.bind(2, 80)).toBe(0);
    const opening = f.send(PVCALLS_LISTEN, 2);
    expect(await f.ask(PVCALLS_RELEASE, 2)).toBe(0);
    await rig.until(() => {
      f.collect();
      return f.answers.has(opening);
    });
    expect(f.answers.get(opening)).toEqual([minus('ECONNABORTED')]);
    server.close();
  });

  it('goes round its ring a thousand times over', async () => {
    const f = frontend();
    for (let i = 0; i < 1000; i++) expect(await f.ask(PVCALLS_RELEASE, 1)).toBe(minus('ENOTSOCK'));
  });

  it('whose domain vanishes in the middle leaves nothing', async () => {
    rig = new PvcallsRig();
    const { port, server } = await serveOn(socket => void socket.write('x'.repeat(100_000)));
    const guest = rig.guest();
    const connection = await rig.run(guest.connect('0:80', String(port)).connect(port));
    await rig.run(connection.read());
    guest.detach();
    expect(rig.mapped).toBe(0);
    server.close();
  });
});

const nowhere = { listen: '', connect: '', allow: '', resolver: '' };
const address = (text: string): number => text.split('.').reduce((sum, octet) => sum * 256 + Number(octet), 0);

describe('a frontend that may go beyond the loopback', () => {
  it('gets where it is allowed, and nowhere else, whatever address and port it writes', async () => {
    const { port, server } = await serveOn(socket => void socket.end('there'), '127.0.0.2');
    const f = frontend('', '', `127.0.0.2:${port},10.0.0.0/8,0.0.0.0/0:80-90`);
    const ring = f.dataRing();
    let id = 0;
    const ask = async (to: string, at: number): Promise<number> => {
      expect(await f.socket(++id)).toBe(0);
      return f.connect(id, at, ring, address(to));
    };
    const refused: [string, number][] = [
      ['127.0.0.2', port === 65_535 ? 1 : port + 1], // another port
      ['127.0.0.3', port], // another address
      ['127.0.0.1', 80], // the loopback is nobody's by a network that holds it
      ['127.0.0.1', port],
      ['169.254.169.254', 80], // nor is what clouds keep there
      ['0.0.0.0', 80], // Linux: the loopback
      ['224.0.0.1', 80],
      ['255.255.255.255', 80],
      ['192.0.2.1', 79],
      ['192.0.2.1', 91],
      ['192.0.2.1', 0],
      ['11.0.0.1', 443],
    ];
    for (const [to, at] of refused) expect([to, at, await ask(to, at)]).toEqual([to, at, minus('EACCES')]);
    expect(rig.log.lines.join('\n')).toContain('connect to 169.254.169.254:80: not allowed by its configuration');
    expect(rig.log.lines.filter(line => line.includes('not allowed'))).toHaveLength(refused.length);
    expect(await ask('127.0.0.2', port)).toBe(0);
    expect(await f.ask(PVCALLS_RELEASE, id)).toBe(0);
    server.close();
  });
  it('is not allowed more by an address that is no IPv4', async () => {
    const f = frontend('', '', '0.0.0.0/0');
    expect(await f.socket(1)).toBe(0);
    const { ref, evtchn } = f.dataRing();
    const say = (family: number, len: number): Promise<number> =>
      f.ask(PVCALLS_CONNECT, 1, s => {
        s.putAddress(address('192.0.2.1'), 80);
        s.connect.len = len;
        s.connect.ref = ref;
        s.connect.evtchn = evtchn;
        const at = s.connect.base + 8;
        new DataView(s.connect.view.buffer, s.connect.view.byteOffset).setUint16(at, family, true);
      });
    expect(await say(10, 28)).toBe(minus('EAFNOSUPPORT'));
    expect(await say(2, 15)).toBe(minus('EINVAL'));
    expect(await say(2, 29)).toBe(minus('EINVAL'));
  });
});

describe('port policy', () => {
  it('knows the name server by a port of the loopback alone', () => {
    const policy = parsePortPolicy({ ...nowhere, connect: '80', resolver: '53' });
    expect(targetOf(policy, INADDR_LOOPBACK, 53)).toBe('name-server');
    expect(targetOf(policy, INADDR_LOOPBACK, 80)).toEqual({ host: '127.0.0.1', port: 80 });
    expect(targetOf(policy, INADDR_LOOPBACK + 1, 53)).toBeUndefined();
    expect(targetOf(policy, INADDR_LOOPBACK, 54)).toBeUndefined();
    for (const bad of ['0', 'x', '70000', '53 54']) {
      expect(() => parsePortPolicy({ ...nowhere, resolver: bad })).toThrow(/resolver/);
    }
    expect(() => parsePortPolicy({ ...nowhere, allow: '10.0.0.0/33' })).toThrow(/33 bits/);
  });
  it('has the paths of sockets as the toolstack has them', () => {
    const paths = ['/a b/x', '/a,b\n/x', '/ü/100%/%41=1', '/plain'];
    const sockets = paths.map((path, i) => ({ guest: i + 1, path }));
    const config = { devid: 0, backend: null, listen: [], connect: [80], sockets, allow: [], resolver: null };
    const { connect: written } = pvcalls(config, domid(0)).backend;
    const { connect } = parsePortPolicy({ ...nowhere, connect: String(written) });
    expect([...connect.values()]).toEqual([80, ...paths]);
    expect(written).toContain('4=/plain');
  });
  it('reads what the toolstack writes, and refuses anything else', () => {
    const { listen, connect } = parsePortPolicy({
      ...nowhere,
      ...{ listen: '8080:80, 9000 0:81', connect: '5432,6379=/run/x.sock' },
    });
    expect([...listen]).toEqual([
      [80, 8080],
      [9000, 9000],
      [81, 0],
    ]);
    expect([...connect]).toEqual([
      [5432, 5432],
      [6379, '/run/x.sock'],
    ]);
    for (const bad of ['x', '80:', ':80', '1:2:3', '70000', '80:0', '-1', '8080:80 8081:80']) {
      expect(() => parsePortPolicy({ ...nowhere, listen: bad })).toThrow(/listen/);
    }
    for (const bad of ['0', '1:2', 'all', '1=x', '=/x', '0=/x', '1=/%', '1=/%ff'])
      expect(() => parsePortPolicy({ ...nowhere, connect: bad })).toThrow(/connect/);
  });
});

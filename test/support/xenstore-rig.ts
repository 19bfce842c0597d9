// A whole xenstored in this thread: clients of dom0 as byte streams, domains as ring pages. What is not
// real is the hypervisor: a domain here is a page and a line in a table.
import {
  type Clock,
  type Domid,
  domid,
  type EvtchnPort,
  type Gfn,
  gfn,
  type Log,
  type Page,
  port,
  privatePage,
  XenError,
  XenstoreFrameReader,
  type XenstoreTransport,
  xenstoreFrame,
  xenstoreRing,
} from '#pvbus';
import type { JournalDisk } from '../../dom0/journal-file.ts';
import type { Connection } from '../../dom0/xenstored/connection.ts';
import { ControlFiles } from '../../dom0/xenstored/control-files.ts';
import type { DomainDoor, DomainInfo } from '../../dom0/xenstored/domains.ts';
import { Journal } from '../../dom0/xenstored/journal.ts';
import { Server } from '../../dom0/xenstored/server.ts';

/** A clock that stands until it is moved. */
export class StandingClock implements Clock {
  #now = 1e9;
  now(): number {
    return this.#now;
  }
  wallMs(): number {
    return this.#now / 1e6;
  }
  advance(ns: number): void {
    this.#now += ns;
  }
}

/** Log lines kept for a test to look at. */
export class ListLog implements Log {
  readonly lines: string[] = [];
  info(line: string): void {
    this.lines.push(line);
  }
  warn(line: string): void {
    this.lines.push(`warning: ${line}`);
  }
  error(line: string): void {
    this.lines.push(`error: ${line}`);
  }
}

interface PaperDomain {
  readonly page: Page;
  info: DomainInfo;
  /** Notifications the daemon has sent. */
  notified: number;
}

/** Domains on paper. Ports are numbered 100 + domid. */
export class PaperDoor implements DomainDoor {
  readonly domains = new Map<Domid, PaperDomain>();
  readonly mapped = new Set<Domid>();
  readonly bound = new Map<EvtchnPort, () => void>();
  #domExc: () => void = () => {};

  create(id: number): PaperDomain {
    const domain = {
      page: privatePage(),
      info: { dying: false, shutdown: false, shutdownReason: 0 },
      notified: 0,
    };
    this.domains.set(domid(id), domain);
    return domain;
  }
  shutDown(id: number, shutdownReason: number): void {
    this.#known(domid(id)).info = { dying: false, shutdown: true, shutdownReason };
    this.#domExc();
  }
  destroy(id: number): void {
    this.vanish(id);
    this.#domExc();
  }
  /** It is gone, and the daemon has not been told yet. */
  vanish(id: number): void {
    this.domains.delete(domid(id));
  }
  /** The domain notifies the daemon. */
  fromDomain(id: number): void {
    this.bound.get(port(100 + id))?.();
  }
  #known(id: Domid): PaperDomain {
    const domain = this.domains.get(id);
    if (!domain) throw new XenError('ESRCH', `no dom${id}`);
    return domain;
  }

  mapStorePage(id: Domid): Page {
    this.mapped.add(id);
    return this.#known(id).page;
  }
  unmapStorePage(id: Domid): void {
    this.mapped.delete(id);
  }
  bind(id: Domid, remotePort: EvtchnPort): EvtchnPort {
    this.#known(id);
    if (remotePort === 0) throw new XenError('EINVAL', 'port 0');
    const local = port(100 + id);
    this.bound.set(local, () => {});
    return local;
  }
  unbind(local: EvtchnPort): void {
    if (!this.bound.delete(local)) throw new XenError('EINVAL', `port ${local} is not bound`);
  }
  notify(local: EvtchnPort): void {
    this.#known(domid(local - 100)).notified++;
  }
  onEvent(local: EvtchnPort, cb: () => void): void {
    this.bound.set(local, cb);
  }
  domainInfo(id: Domid): DomainInfo | undefined {
    return this.domains.get(id)?.info;
  }
  adopt(id: Domid, _gfn: Gfn, local: EvtchnPort): Page | undefined {
    return this.bound.has(local) ? this.domains.get(id)?.page : undefined;
  }
  dropUnadopted(): void {}
  onDomExc(cb: () => void): void {
    this.#domExc = cb;
  }
}

export interface ReceivedFrame {
  readonly type: number;
  readonly req_id: number;
  readonly tx_id: number;
  readonly payload: Buffer;
}

/** One client's end: bytes in, frames out. */
export abstract class RigClient {
  readonly frames: ReceivedFrame[] = [];
  readonly #reader = new XenstoreFrameReader();
  #nextId = 1;

  /** Bytes as they are. */
  abstract raw(bytes: Uint8Array): void;
  /** Collect what the daemon has sent so far into `frames`. */
  abstract collect(): void;

  /** A well-formed request. Returns its req_id. */
  send(type: number, payload: string | Uint8Array, tx_id = 0): number {
    const id = this.#nextId++;
    this.raw(xenstoreFrame(type, id, tx_id, typeof payload === 'string' ? Buffer.from(payload, 'latin1') : payload));
    return id;
  }
  /** The frames that have come since the last call. */
  take(): ReceivedFrame[] {
    this.collect();
    return this.frames.splice(0);
  }
  /** The next frame, in order. */
  next(): ReceivedFrame | undefined {
    this.collect();
    return this.frames.shift();
  }
  protected received(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      const n = this.#reader.take(bytes, at);
      if (n < 0) throw new Error('the daemon has sent a frame that is too long');
      at += n;
      if (!this.#reader.complete) continue;
      const { type, req_id, tx_id, payload } = this.#reader.frame;
      this.frames.push({ type, req_id, tx_id, payload: Buffer.from(payload) });
    }
  }
}

export class SocketClient extends RigClient {
  readonly connection: Connection;
  readonly #rig: XenstoreRig;
  #left: Uint8Array = new Uint8Array(0);

  constructor(rig: XenstoreRig) {
    super();
    this.#rig = rig;
    this.connection = rig.server.accept(() => {});
  }
  raw(bytes: Uint8Array): void {
    this.#left = Buffer.concat([this.#left, bytes]);
    this.#push();
  }
  #push(): void {
    const n = this.connection.receive(this.#left);
    this.#rig.server.flush();
    this.#left = n < 0 ? this.#left.subarray(this.#left.length) : this.#left.subarray(n);
  }
  collect(): void {
    this.#rig.run();
    do {
      this.connection.drain(bytes => {
        this.received(bytes);
        return bytes.length;
      });
      if (this.#left.length > 0) this.#push();
    } while (!this.connection.output.empty);
  }
  close(): void {
    this.#rig.server.drop(this.connection);
  }
}

export class DomainClient extends RigClient {
  readonly domid: number;
  readonly page: Page;
  readonly #rig: XenstoreRig;
  readonly #chunk = new Uint8Array(1024);

  constructor(rig: XenstoreRig, id: number, page: Page) {
    super();
    this.#rig = rig;
    this.domid = id;
    this.page = page;
  }
  /** Waits for room as a real domain does, and reads what comes meanwhile. */
  raw(bytes: Uint8Array): void {
    const { writer } = xenstoreRing(this.page, 'front');
    for (let at = 0; at < bytes.length; ) {
      const n = writer.write(bytes.subarray(at));
      if (n < 0) return; // the test has broken this ring
      at += n;
      this.#rig.door.fromDomain(this.domid);
      this.#rig.run();
      if (n === 0) this.collect();
    }
  }
  collect(): void {
    const { reader } = xenstoreRing(this.page, 'front');
    for (;;) {
      this.#rig.run();
      const n = reader.read(this.#chunk);
      if (n <= 0) return;
      this.received(this.#chunk.subarray(0, n));
      this.#rig.door.fromDomain(this.domid);
    }
  }
}

export class XenstoreRig {
  readonly door = new PaperDoor();
  readonly clock = new StandingClock();
  readonly log = new ListLog();
  server: Server;
  /** False in a test that lets time pass itself. */
  passesTime = true;
  readonly #disk: JournalDisk | undefined;

  /** With a disk, a daemon that keeps a journal on it. */
  constructor(disk?: JournalDisk) {
    this.#disk = disk;
    this.server = this.#start();
  }
  #start(): Server {
    const { door, clock, log } = this;
    const journal = new Journal({ clock, log });
    const server = new Server({
      door,
      clock,
      log,
      onWork: () => {},
      recorder: journal,
      files: new ControlFiles(clock),
    });
    if (this.#disk) journal.recover(server, this.#disk);
    return server;
  }
  /** The daemon is no more; another one takes its place. Clients of sockets have to connect anew. */
  restart(): void {
    this.server = this.#start();
  }

  /** Serve the rings until nothing moves. Time passes only for clients that wait for each other. */
  run(): void {
    while (this.server.step() === 'progress');
    while (this.passesTime && this.server.deadline < Number.POSITIVE_INFINITY) {
      this.clock.advance(Math.max(0, this.server.deadline - this.clock.now()));
      while (this.server.step() === 'progress');
    }
  }
  dom0(): SocketClient {
    return new SocketClient(this);
  }
  /** A new domain, introduced, with a home of its own as a toolstack makes it. */
  domain(id: number): DomainClient {
    const { page } = this.door.create(id);
    this.server.domains.introduce(domid(id), gfn(1000), port(1));
    this.run();
    return new DomainClient(this, id, page);
  }
}

/** The byte stream of a rig's dom0 client as a transport for the real client library. */
/** A connection to its socket. `serve` is for clients that wait for each other's transactions: XenstoreRig.run. */
export function rigTransport(
  rig: { readonly server: Server },
  serve?: () => void,
): XenstoreTransport & { readonly connection: Connection } {
  let onData: (bytes: Uint8Array) => void = () => {};
  let left: Uint8Array = new Uint8Array(0);
  let scheduled = false;
  const turn = (): void => {
    scheduled = false;
    const n = connection.receive(left);
    left = left.subarray(n < 0 ? left.length : n);
    if (left.length > 0 && serve) {
      serve();
      later();
    }
    connection.drain(bytes => {
      onData(bytes);
      return bytes.length;
    });
  };
  const later = (): void => {
    if (scheduled) return;
    scheduled = true;
    setImmediate(turn);
  };
  const connection = rig.server.accept(later);
  return {
    connection,
    send(bytes) {
      left = Buffer.concat([left, bytes]);
      later();
    },
    onData(cb) {
      onData = cb;
    },
    onClose() {},
    close: () => rig.server.drop(connection),
  };
}

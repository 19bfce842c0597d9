// One pvcalls device: its command ring, and the sockets that were asked for over it.
import {
  type Domid,
  type EvtchnPort,
  FrontRing,
  type Gref,
  type Log,
  PVCALLS_ACCEPT,
  PVCALLS_BIND,
  PVCALLS_CONNECT,
  PVCALLS_LISTEN,
  PVCALLS_RELEASE,
  PVCALLS_SOCKET,
  type SharedPages,
  type Vcpu,
  XenError,
  xen_pvcalls_sring_entry,
} from '#pvbus';
import { formatIpv4 } from '../../net/address.ts';
import { WaitQueue } from '../../wait-queue.ts';
import { type DataRing, DataRings } from '../data-rings.ts';
import { HostConnection } from './connection.ts';
import { HostListener } from './listener.ts';
import { AF_INET, CommandRing, SOCK_STREAM, SOCKADDR_IN_SIZE } from './request.ts';
import type { PvcallsFrontStats } from './stats.ts';

/** Pages of a data ring: 2^3, 16 KiB each way. */
const DATARING_ORDER = 3;
const MAX_CONNECTIONS = 256;
/** Each waits in a slot of the command ring for its next connection. */
const MAX_LISTENERS = 16;
const DEFAULT_BACKLOG = 511;
/** Rings a backend may keep mapped although they are over. */
export const MAX_QUARANTINED = 32;
const INADDR_LOOPBACK = 0x7f000001;
/** What there is no room for now: a connection, pages of it, its grants and event channel. */
const FULL: ReadonlySet<string> = new Set(['EMFILE', 'ENOMEM', 'ENOSPC', 'EAGAIN', 'EBUSY']);
/** A second each, while no connection is there whose end would make room. */
const MAX_TRIES = 5;

export interface Attachment {
  readonly ref: Gref;
  readonly port: EvtchnPort;
}

interface Made {
  readonly connection: HostConnection;
  readonly ring: DataRing;
  readonly free: () => void;
}

function grantOrRelease({ grants }: Vcpu, pages: SharedPages): Gref {
  try {
    return grants.grantAccess(pages.peer, pages.gfn);
  } catch (error) {
    pages.release();
    throw error;
  }
}

/** Everything that ends with one connection to a backend. */
export class PvcallsFront {
  readonly stats: PvcallsFrontStats;
  private readonly vcpu: Vcpu;
  private readonly pages: SharedPages;
  private readonly ref: Gref;
  private readonly port: EvtchnPort;
  private readonly commands: CommandRing;
  private readonly rings: DataRings;
  /** Each with what gives its pages back. */
  private readonly connections = new Map<HostConnection, () => void>();
  /** Accepts that wait until there may be room. */
  private readonly room = new WaitQueue();
  private readonly onBroken: (error: XenError) => void;
  private readonly log: Log;
  private listeners = 0;
  private nextId = 1;
  private halfClose = false;
  private ended: XenError | undefined;
  private broken = false;
  private moved = false;

  /** `onBroken`: the backend broke the protocol of the command ring; told once. */
  constructor(
    vcpu: Vcpu,
    peer: Domid,
    maxOrder: number,
    log: Log,
    stats: PvcallsFrontStats,
    onBroken: (e: XenError) => void,
  ) {
    this.vcpu = vcpu;
    this.log = log;
    this.stats = stats;
    this.onBroken = onBroken;
    // order: the port first. What can fail then leaves nothing but it.
    this.port = vcpu.events.allocUnbound(peer);
    try {
      this.pages = vcpu.grants.allocShared(peer, 1);
      this.ref = grantOrRelease(vcpu, this.pages);
    } catch (error) {
      vcpu.events.close(this.port);
      throw error;
    }
    const page = this.pages.page(0);
    const ring = FrontRing.init(page, xen_pvcalls_sring_entry.size);
    this.commands = new CommandRing(ring, page.view, () => vcpu.events.notify(this.port));
    this.rings = new DataRings(vcpu, peer, Math.min(maxOrder, DATARING_ORDER));
    // Until idle: only then was the backend asked to notify of the next answer. Bounded by what we asked for.
    vcpu.events.on(this.port, () => this.drain());
  }
  get attachment(): Attachment {
    return { ref: this.ref, port: this.port };
  }
  /** The backend serves us from now on. `halfClose`: it knows our extension. */
  start(halfClose: boolean): void {
    this.halfClose = halfClose;
  }

  get waits(): boolean {
    return !this.ended && (this.commands.outstanding > 0 || this.connections.size > 0 || !this.room.isEmpty);
  }
  /** As if the backend had notified on every port, and there were room. */
  look(): void {
    this.drain();
    for (const connection of this.connections.keys()) connection.wake();
    this.room.wakeAll();
  }
  private drain(): void {
    while (this.step() === 'progress') this.moved = true;
  }
  /** True when an event since the last call brought something. */
  takeMoved(): boolean {
    const { moved } = this;
    this.moved = false;
    return moved;
  }

  step(): 'progress' | 'idle' {
    if (this.ended || this.broken) return 'idle';
    try {
      return this.commands.step();
    } catch (error) {
      const broken = error instanceof XenError ? error : new XenError('EIO', String(error), error);
      this.broken = true;
      this.commands.end(broken);
      this.onBroken(broken);
      return 'progress';
    }
  }

  /** Port `port` of an address as a number, the host's loopback unless said; the configuration must allow it. */
  async connect(port: number, address = INADDR_LOOPBACK): Promise<HostConnection> {
    const what = `connect to ${address === INADDR_LOOPBACK ? 'host' : formatIpv4(address)} port ${port}`;
    this.checkPort(what, port);
    const id = await this.socket(what);
    try {
      return await this.open(this.make(what, id), (ref, evtchn) =>
        this.command(PVCALLS_CONNECT, id, what, slot => {
          slot.putAddress(address, port);
          slot.connect.len = SOCKADDR_IN_SIZE;
          slot.connect.ref = ref;
          slot.connect.evtchn = evtchn;
        }),
      );
    } catch (error) {
      await this.release(id, what).catch(() => {}); // the first failure is the one to report
      throw error;
    }
  }

  /** Answer `port`, as the configuration names it. */
  async listen(port: number, backlog = DEFAULT_BACKLOG): Promise<HostListener> {
    const what = `listen on port ${port}`;
    this.checkPort(what, port);
    if (this.listeners >= MAX_LISTENERS)
      throw new XenError('EMFILE', `${what}: ${MAX_LISTENERS} ports are open already`);
    this.listeners++;
    try {
      const id = await this.socket(what);
      try {
        await this.command(PVCALLS_BIND, id, what, slot => {
          slot.putAddress(0, port);
          slot.bind.len = SOCKADDR_IN_SIZE;
        });
        await this.command(PVCALLS_LISTEN, id, what, slot => {
          slot.listen.backlog = backlog;
        });
      } catch (error) {
        await this.release(id, what).catch(() => {}); // the first failure is the one to report
        throw error;
      }
      let closed = false;
      return new HostListener(
        port,
        () => this.accept(what, id, () => closed),
        () => this.ended !== undefined,
        async () => {
          this.listeners--;
          closed = true;
          this.room.wakeAll();
          await this.release(id, what).catch(() => {}); // the device is gone, and the socket with it
        },
      );
    } catch (error) {
      this.listeners--;
      throw error;
    }
  }

  private async accept(what: string, id: number, closed: () => boolean): Promise<HostConnection> {
    const newId = this.nextId++;
    const made = await this.makeOrWait(`connection to port ${what.split(' ').at(-1)}`, newId, closed);
    return this.open(made, (ref, evtchn) =>
      this.command(PVCALLS_ACCEPT, id, what, slot => {
        slot.accept.id_new_lo = newId >>> 0;
        slot.accept.id_new_hi = Math.floor(newId / 2 ** 32);
        slot.accept.ref = ref;
        slot.accept.evtchn = evtchn;
      }),
    );
  }
  /** Whoever is to be accepted waits at the host's end until another connection ends, or a look finds room for a ring. */
  private async makeOrWait(what: string, id: number, closed: () => boolean): Promise<Made> {
    for (let tries = 0; ; tries++) {
      try {
        return this.make(what, id);
      } catch (error) {
        if (!(error instanceof XenError) || !FULL.has(error.code)) throw error;
        if (this.connections.size === 0 && tries >= MAX_TRIES) throw error;
      }
      await new Promise<void>(resolve => this.room.add(resolve));
      if (this.ended) throw this.ended;
      if (closed()) throw new XenError('ECANCELED', `${what}: the listener is closed`);
    }
  }

  /** A connection and its data ring, which the backend has not heard of. */
  private make(what: string, id: number): Made {
    if (this.connections.size >= MAX_CONNECTIONS) throw new XenError('EMFILE', `${what}: too many connections`);
    let made: HostConnection | undefined;
    const ring = this.rings.make(() => {
      if (made?.moved()) this.moved = true;
      made?.wake();
    });
    let freed = false;
    const free = (): void => {
      if (freed) return;
      freed = true;
      if (!ring.free()) {
        this.stats.quarantined++;
        this.log.warn(`pvcalls: the backend keeps the pages of a closed socket; they are not used again`);
        this.checkQuarantine();
      }
    };
    const connection = new HostConnection(what, ring, this.stats, this.halfClose, async () => {
      await this.release(id, what).catch(() => {}); // the device is gone, and the socket with it
      this.forget(connection, free);
    });
    made = connection;
    this.connections.set(connection, free);
    return { connection, ring, free };
  }
  private async open(
    { connection, ring, free }: Made,
    offer: (ref: Gref, evtchn: EvtchnPort) => Promise<void>,
  ): Promise<HostConnection> {
    try {
      await offer(ring.ref, ring.port);
    } catch (error) {
      this.forget(connection, free);
      throw error;
    }
    return connection;
  }
  private forget(connection: HostConnection, free: () => void): void {
    this.connections.delete(connection);
    free();
    this.room.wakeAll();
  }

  /** See HostConnection.deliver. */
  async deliver(): Promise<void> {
    await Promise.all([...this.connections.keys()].map(connection => connection.deliver()));
  }

  /** untrusted: a backend that keeps what it is given would get all of this domain's memory in time. */
  private checkQuarantine(): void {
    if (this.stats.quarantined < MAX_QUARANTINED || this.ended || this.broken) return;
    this.broken = true;
    const error = new XenError('ENOMEM', `the backend keeps ${this.stats.quarantined} things that were shared with it`);
    this.commands.end(error);
    this.onBroken(error);
  }

  /** Let go of everything. Called when the backend has let go, or never will. */
  end(reason: XenError): void {
    if (this.ended) return;
    this.ended = reason;
    this.commands.end(reason);
    for (const [connection, free] of this.connections) {
      connection.fail(reason);
      free();
    }
    this.connections.clear();
    this.room.wakeAll();
    this.vcpu.events.close(this.port);
    if (this.vcpu.grants.endAccess(this.ref)) this.pages.release();
    else this.stats.quarantined++;
    this.rings.close();
  }

  private async socket(what: string): Promise<number> {
    const id = this.nextId++;
    await this.command(PVCALLS_SOCKET, id, what, slot => {
      slot.socket.domain = AF_INET;
      slot.socket.type = SOCK_STREAM;
    });
    return id;
  }
  private release(id: number, what: string): Promise<void> {
    return this.command(PVCALLS_RELEASE, id, what, () => {});
  }
  private async command(
    cmd: number,
    id: number,
    what: string,
    fill: Parameters<CommandRing['issue']>[3],
  ): Promise<void> {
    this.stats.commands++;
    try {
      await this.commands.issue(cmd, id, what, fill);
    } catch (error) {
      this.stats.failed++;
      throw error;
    }
  }
  private checkPort(what: string, port: number): void {
    if (!Number.isInteger(port) || port < 1 || port > 65535) throw new XenError('EINVAL', `${what}: no such port`);
  }
}

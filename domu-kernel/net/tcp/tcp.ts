// TCP (RFC 9293) of one stack: who a segment is for, ports, and whose turn it is. A step sends what is due; nothing
// is sent from within a program's call.
import { type Clock, type Log, XenError } from '#pvbus';
import type { BoundName } from '../bound-name.ts';
import { addBytes, finish, verifies } from '../checksum.ts';
import { IpAddress } from '../ip-address.ts';
import { PROTOCOL_TCP } from '../ipv4.ts';
import type { Outlet, TransportLink } from '../transport-link.ts';
import { type BoundPort, BoundPorts } from './bound-ports.ts';
import { MemoryBudget } from './byte-ring.ts';
import { TcpConnection } from './connection.ts';
import { ConnectionTable } from './connection-table.ts';
import { type ConnectionName, OUR_SCALE, type TcpHost } from './control-block.ts';
import { Deadlines } from './deadlines.ts';
import { type InterceptedSyn, TcpInterceptor } from './interceptor.ts';
import { type Admission, DEFAULT_BACKLOG, type HalfOpen, TcpListener } from './listener.ts';
import { Secrets } from './secrets.ts';
import {
  ACK,
  RST,
  readSegment,
  Segment,
  SYN,
  TCP_HLEN,
  writeHeader,
  writeSynOptions,
  writeTimestamps,
} from './segment.ts';
import { add, isAfter } from './sequence.ts';

const FIRST_EPHEMERAL = 32768;
const EPHEMERAL_PORTS = 61000 - FIRST_EPHEMERAL;
/** RFC 6056: tries at random before every port is looked at. */
const RANDOM_TRIES = 32;
const BUCKETS = 4096;
const SYN_ACK_NS = 1e9;
const SYN_ACK_TRIES = 5;

export interface TcpLimits {
  /** Connections of every state, TIME-WAIT too. */
  readonly connections: number;
  readonly timeWait: number;
  /** SYNs that are remembered, of one listener; those beyond are answered with a cookie. */
  readonly halfOpen: number;
  /** Bytes of data of all connections together, half of it for each direction. */
  readonly memory: number;
}
export const TCP_LIMITS: TcpLimits = { connections: 16384, timeWait: 4096, halfOpen: 256, memory: 32 * 1024 * 1024 };

export interface TcpParts {
  readonly link: TransportLink;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log?: Log | undefined;
  readonly limits?: Partial<TcpLimits>;
}
export interface ConnectOptions {
  readonly local?: IpAddress;
  readonly localPort?: number;
}

export class Tcp implements TcpHost {
  readonly link: TransportLink;
  readonly budget: MemoryBudget;
  readonly sendBudget: MemoryBudget;
  nowNs: number;
  readonly stats = {
    segmentsIn: 0,
    segmentsOut: 0,
    retransmitted: 0,
    timeouts: 0,
    challenges: 0,
    outOfWindow: 0,
    duplicateBytes: 0,
    bad: 0,
    resetsOut: 0,
    synsDropped: 0,
    cookiesSent: 0,
    cookiesTaken: 0,
    opened: 0,
    accepted: 0,
  };
  private readonly clock: Clock;
  private readonly random: () => number;
  private readonly limits: TcpLimits;
  private readonly secrets: Secrets;
  private readonly connections: ConnectionTable<TcpConnection>;
  private readonly halfOpen: ConnectionTable<HalfOpen>;
  private readonly ports = new BoundPorts();
  private readonly listeners = new Map<number, TcpListener[]>();
  private interceptor: TcpInterceptor | undefined;
  private readonly deadlines = new Deadlines<TcpConnection>();
  private readonly handshakes = new Deadlines<HalfOpen>();
  private readonly timeWaits = new Set<TcpConnection>();
  private dueNow: TcpConnection[] = [];
  private dueNext: TcpConnection[] = [];
  /** Who waits for room, by where it goes: nobody else does. */
  private readonly full = new Map<Outlet, TcpConnection[]>();
  private readonly segment = new Segment();

  constructor({ link, clock, random, limits }: TcpParts) {
    this.link = link;
    this.clock = clock;
    this.random = random;
    this.limits = { ...TCP_LIMITS, ...limits };
    this.budget = new MemoryBudget(this.limits.memory / 2);
    this.sendBudget = new MemoryBudget(this.limits.memory / 2);
    this.secrets = new Secrets(random);
    this.connections = new ConnectionTable(BUCKETS, random);
    this.halfOpen = new ConnectionTable(BUCKETS, random);
    this.nowNs = clock.now();
  }

  /** Connections of every state. */
  get size(): number {
    return this.connections.size;
  }
  /** Bytes of memory that data of connections has. */
  get memoryUsed(): number {
    return this.budget.used + this.sendBudget.used;
  }
  /** Resolves when nothing of any connection is on its way, or waits to be. */
  async delivered(): Promise<void> {
    for (const connection of [...this.connections]) {
      while (!connection.isDelivered) await new Promise<void>(resolve => connection.changed.add(resolve));
    }
  }
  *[Symbol.iterator](): Iterator<TcpConnection> {
    yield* this.connections;
  }

  // ---- what its users do ----

  /**
   * Begin to connect: look at the connection's state when it has changed. Throws EINVAL, ENETUNREACH, EADDRINUSE,
   * EADDRNOTAVAIL, ENFILE.
   */
  connect(remote: IpAddress, remotePort: number, { local, localPort = 0 }: ConnectOptions = {}): TcpConnection {
    this.nowNs = this.clock.now();
    if (!isPort(remotePort) || remotePort === 0) throw new XenError('EINVAL', `tcp: ${remotePort} is no port`);
    if (!isPort(localPort)) throw new XenError('EINVAL', `tcp: ${localPort} is no port`);
    if (remote.isMulticast || remote.isUnspecified) throw new XenError('EINVAL', `tcp: ${remote} is no host`);
    if (local !== undefined) this.requireOurs(local);
    const source = this.link.sourceFor(remote, local);
    if (source === undefined || source.isUnspecified) throw new XenError('ENETUNREACH', `tcp: no route to ${remote}`);
    if (!this.hasRoom()) throw new XenError('ENFILE', `tcp: there are ${this.limits.connections} connections already`);
    const name = { local: source.clone(), localPort, remote: remote.clone(), remotePort };
    const port = localPort === 0 ? this.ephemeralPort(name) : localPort;
    if (this.isTaken({ ...name, localPort: port })) {
      throw new XenError('EADDRINUSE', `tcp: port ${port} has a connection to ${remote} port ${remotePort}`);
    }
    const connection = this.create({ ...name, localPort: port });
    this.stats.opened++;
    connection.open();
    return connection;
  }

  /** Throws EADDRINUSE, EADDRNOTAVAIL, EINVAL. Port 0: one that is free. */
  listen(port: number, { address = ANY, backlog = DEFAULT_BACKLOG }: { address?: IpAddress; backlog?: number } = {}) {
    const bound = this.bind({ address, ipv6Only: false }, port);
    return this.listenAt(bound, backlog, () => this.unbind(bound));
  }
  /** The port is this one's until `unbind`. Throws as `listen` does. */
  bind({ address, ipv6Only }: BoundName, port: number, reuseAddress = false): BoundPort {
    if (!isPort(port)) throw new XenError('EINVAL', `tcp: ${port} is no port`);
    this.requireOurs(address);
    const own = port === 0 ? this.freePort() : port;
    return this.ports.take({ port: own, address, ipv6Only, reuseAddress, listens: false });
  }
  unbind(bound: BoundPort): void {
    this.ports.give(bound);
  }
  /** Throws EADDRINUSE where another listens there, or is bound to it and does not share it. */
  listenAt(bound: BoundPort, backlog: number, onClose = (): void => {}): TcpListener {
    this.ports.listen(bound);
    const listener = new TcpListener(bound, backlog, closed => {
      this.forget(closed);
      bound.listens = false;
      onClose();
    });
    this.listeners.set(bound.port, [...(this.listeners.get(bound.port) ?? []), listener]);
    return listener;
  }

  private requireOurs(address: IpAddress): void {
    if (address.isUnspecified || this.link.isOurs(address)) return;
    throw new XenError('EADDRNOTAVAIL', `tcp: ${address} is no address of this domain`);
  }

  /** Somebody would accept a connection to it. */
  isListenedOn(address: IpAddress, port: number): boolean {
    return this.listenerOf(port, address) !== undefined;
  }

  /** SYNs that nobody listens for, to whatever address they are: see `foreign` of `input`. Throws EADDRINUSE. */
  intercept(onClose: () => void): TcpInterceptor {
    if (this.interceptor) throw new XenError('EADDRINUSE', 'tcp: connections to others are intercepted already');
    const door = {
      answer: (syn: InterceptedSyn) => this.answerHeld(syn),
      reset: ({ remote, remotePort, local, localPort, irs }: InterceptedSyn) =>
        this.sendReset(remote, remotePort, local, localPort, 0, add(irs, 1), RST | ACK),
    };
    this.interceptor = new TcpInterceptor(door, this.random, () => {
      this.interceptor = undefined;
      onClose();
    });
    return this.interceptor;
  }

  // ---- what the interface does ----

  /**
   * One segment in the private receive buffer, its addresses in words. They are the caller's. `foreign`: its destination
   * is no address of ours.
   */
  input(
    bytes: Uint8Array,
    view: DataView,
    at: number,
    length: number,
    source: IpAddress,
    destination: IpAddress,
    checksumGood: boolean,
    foreign = false,
  ): void {
    const { segment, stats } = this;
    this.nowNs = this.clock.now();
    stats.segmentsIn++;
    const sum = source.sum + destination.sum + PROTOCOL_TCP + length;
    if (!readSegment(view, at, length, segment) || (!checksumGood && !verifies(view, at, length, sum))) {
      stats.bad++;
      return;
    }
    const { sourcePort, destinationPort } = segment;
    const connection = this.connections.find(destination, destinationPort, source, sourcePort);
    if (connection !== undefined && !this.isReborn(connection)) {
      connection.input(segment, bytes);
      return;
    }
    const half = this.halfOpen.find(destination, destinationPort, source, sourcePort);
    if (half !== undefined) {
      this.inputHalfOpen(half, bytes);
      return;
    }
    const listener = foreign ? undefined : this.listenerOf(destinationPort, destination);
    if (listener !== undefined) this.inputListener(listener, bytes, source, destination);
    else if (this.interceptor === undefined || !this.inputIntercepted(this.interceptor, source, destination))
      this.refuse(source, destination);
  }

  /** ICMP says that a segment of ours did not arrive: the first bytes of its header are at `at`. False: it is not on its way. */
  undeliverable(code: string, view: DataView, at: number, local: IpAddress, remote: IpAddress, mtu = 0): boolean {
    this.nowNs = this.clock.now();
    const connection = this.connections.find(local, view.getUint16(at), remote, view.getUint16(at + 2));
    return connection?.unreachable(code, view.getUint32(at + 4), mtu) ?? false;
  }

  /** A link carries less than it did. */
  linkShrank(): void {
    this.nowNs = this.clock.now();
    for (const connection of this.connections) connection.linkShrank();
  }

  step(): 'progress' | 'idle' {
    this.nowNs = this.clock.now();
    let progress = false;
    for (let late = this.deadlines.take(this.nowNs); late; late = this.deadlines.take(this.nowNs)) {
      late.expire(this.nowNs);
      this.schedule(late);
      progress = true;
    }
    for (let late = this.handshakes.take(this.nowNs); late; late = this.handshakes.take(this.nowNs)) {
      this.repeat(late);
      progress = true;
    }
    if (this.dueNow.length === 0 && this.dueNext.length > 0) [this.dueNow, this.dueNext] = [this.dueNext, this.dueNow];
    const due = this.dueNow;
    if (due.length === 0) return progress ? 'progress' : 'idle';
    for (let i = 0; i < due.length; i++) {
      const connection = due[i]!;
      if (this.full.size > 0 && this.waitsWithOthers(connection)) continue;
      connection.isDue = false;
      if (connection.flush()) progress = true;
      else this.awaitRoom(connection);
    }
    due.length = 0;
    return progress ? 'progress' : 'idle';
  }
  private waitsWithOthers(connection: TcpConnection): boolean {
    const outlet = this.link.outlet(connection.local, connection.remote);
    const waiting = outlet && this.full.get(outlet);
    waiting?.push(connection);
    return waiting !== undefined;
  }
  private awaitRoom(connection: TcpConnection): void {
    const outlet = this.link.outlet(connection.local, connection.remote);
    if (outlet === undefined) return;
    // order: it goes on where it stopped, and nobody is passed over, when there is room.
    connection.isDue = true;
    const waiting = [connection];
    this.full.set(outlet, waiting);
    outlet.whenWritable(() => {
      this.full.delete(outlet);
      this.dueNext = [...waiting, ...this.dueNext];
    });
  }

  /** When step() has something to do, in monotonic ns. */
  deadline(): number | undefined {
    if (this.dueNow.length > 0 || this.dueNext.length > 0) return 0;
    const first = this.deadlines.next;
    const other = this.handshakes.next;
    if (first === undefined || other === undefined) return first ?? other;
    return Math.min(first, other);
  }

  // ---- what its connections do ----

  due(connection: TcpConnection): void {
    if (connection.isDue) return;
    connection.isDue = true;
    this.dueNext.push(connection);
  }
  schedule(connection: TcpConnection): void {
    this.deadlines.update(connection);
  }
  resting(connection: TcpConnection): void {
    this.timeWaits.add(connection);
    if (this.timeWaits.size <= this.limits.timeWait) return;
    const [oldest] = this.timeWaits;
    oldest?.abort();
  }
  ended(connection: TcpConnection): void {
    this.connections.remove(connection);
    this.deadlines.remove(connection);
    this.timeWaits.delete(connection);
  }

  // ---- segments of no connection ----

  /** RFC 9293, 3.6.1 and RFC 6191: a SYN that can be no old one ends TIME-WAIT. */
  private isReborn(connection: TcpConnection): boolean {
    const { segment } = this;
    if (connection.state !== 'TIME-WAIT' || (segment.flags & (SYN | ACK | RST)) !== SYN) return false;
    const newer = segment.hasTimestamps && connection.timestamps && isAfter(segment.tsVal, connection.tsRecent);
    if (!newer && !isAfter(segment.seq, connection.receiveNext)) return false;
    connection.abort();
    return true;
  }
  private listenerOf(port: number, address: IpAddress): TcpListener | undefined {
    const found = this.listeners.get(port);
    if (found === undefined) return undefined;
    for (const listener of found) if (listener.takes(address)) return listener;
    return undefined;
  }
  private inputListener(listener: TcpListener, bytes: Uint8Array, source: IpAddress, destination: IpAddress): void {
    const { segment } = this;
    if (segment.has(RST)) return;
    if (segment.has(ACK)) {
      if (segment.has(SYN) || !this.takeCookie(listener, bytes, source, destination)) this.refuse(source, destination);
      return;
    }
    if (!segment.has(SYN)) return;
    if (listener.isFull || !this.hasRoom()) {
      // RFC 5961 or not: the peer asks again, and by then there may be room.
      listener.dropped++;
      this.stats.synsDropped++;
      return;
    }
    const name = this.nameOf(source, destination);
    const syn = this.synOf();
    if (listener.halfOpen >= this.limits.halfOpen) {
      this.stats.cookiesSent++;
      const cookie = this.secrets.makeCookie(name, segment.seq, syn.mss, this.nowNs);
      this.answer(name, cookie, segment.seq, { scale: -1, sackPermitted: false, hasTimestamps: false, tsVal: 0 });
      return;
    }
    this.awaitAck(listener, name, segment.seq, syn);
  }
  /** False: it is to be refused. */
  private inputIntercepted(interceptor: TcpInterceptor, source: IpAddress, destination: IpAddress): boolean {
    const { segment } = this;
    const held = interceptor.held.find(destination, segment.destinationPort, source, segment.sourcePort);
    if (segment.has(RST)) {
      if (held !== undefined && segment.seq === add(held.irs, 1)) held.drop();
      return true;
    }
    if (!segment.has(SYN) || segment.has(ACK)) return false;
    if (held === undefined) interceptor.hold(this.nameOf(source, destination), segment.seq, this.synOf());
    else if (segment.seq !== held.irs) {
      // Another one from the same port: its sender has forgotten the first.
      held.irs = segment.seq;
      held.options = this.synOf();
    }
    return true;
  }
  private answerHeld(syn: InterceptedSyn): void {
    this.nowNs = this.clock.now();
    const { local, localPort, remote, remotePort, irs, options } = syn;
    if (!this.hasRoom()) {
      syn.gaveUp();
      return;
    }
    const name = { local, localPort, remote, remotePort };
    this.awaitAck(syn, name, irs, options);
  }
  private awaitAck(listener: Admission, name: ConnectionName, irs: number, syn: ReturnType<Tcp['synOf']>): void {
    const iss = this.secrets.initialSequence(name, this.nowNs);
    const place = { next: undefined, heapIndex: -1, heapNs: Number.POSITIVE_INFINITY };
    const half: HalfOpen = { ...name, ...syn, ...place, listener, irs, iss, tries: 0, deadlineNs: 0 };
    this.halfOpen.add(half);
    listener.halfOpen++;
    this.repeat(half);
  }
  private synOf(): Pick<HalfOpen, 'mss' | 'scale' | 'sackPermitted' | 'hasTimestamps' | 'tsVal'> {
    const { mss, scale, sackPermitted, hasTimestamps, tsVal } = this.segment;
    return { mss, scale, sackPermitted, hasTimestamps, tsVal };
  }
  private nameOf(source: IpAddress, destination: IpAddress): ConnectionName {
    const { destinationPort, sourcePort } = this.segment;
    return {
      local: destination.clone(),
      localPort: destinationPort,
      remote: source.clone(),
      remotePort: sourcePort,
    };
  }

  /** Answer the SYN, again if need be, and not for ever. */
  private repeat(half: HalfOpen): void {
    if (half.tries > SYN_ACK_TRIES) {
      this.dropHalfOpen(half);
      half.listener.gaveUp();
      return;
    }
    half.deadlineNs = this.nowNs + SYN_ACK_NS * 2 ** half.tries;
    half.tries++;
    this.handshakes.update(half);
    this.answer(half, half.iss, half.irs, half);
  }
  private dropHalfOpen(half: HalfOpen): void {
    this.halfOpen.remove(half);
    this.handshakes.remove(half);
    half.listener.halfOpen--;
  }
  private inputHalfOpen(half: HalfOpen, bytes: Uint8Array): void {
    const { segment } = this;
    const next = add(half.irs, 1);
    if (segment.has(RST)) {
      if (segment.seq !== next) return;
      this.dropHalfOpen(half);
      half.listener.gaveUp();
      return;
    }
    if (segment.has(SYN)) {
      // The same one again: our answer was lost. Its own timer says how often that is repeated.
      if (segment.seq === half.irs && half.tries <= SYN_ACK_TRIES) this.answer(half, half.iss, half.irs, half);
      return;
    }
    if (!segment.has(ACK)) return;
    if (segment.ack !== add(half.iss, 1)) {
      this.refuse(half.remote, half.local);
      return;
    }
    const { listener } = half;
    if (listener.isFull || !this.hasRoom()) {
      listener.dropped++; // our answer is repeated until there is room
      return;
    }
    this.dropHalfOpen(half);
    this.admit(listener, half, half.iss, half.irs, half, bytes);
  }
  private takeCookie(listener: TcpListener, bytes: Uint8Array, source: IpAddress, destination: IpAddress): boolean {
    // Only where SYNs were forgotten lately can there be a cookie of ours.
    if (this.stats.cookiesSent === 0) return false;
    const { segment } = this;
    const name = this.nameOf(source, destination);
    const [irs, cookie] = [add(segment.seq, -1), add(segment.ack, -1)];
    const mss = this.secrets.checkCookie(name, irs, cookie, this.nowNs);
    if (mss === undefined) return false;
    if (listener.isFull || !this.hasRoom()) return true;
    this.stats.cookiesTaken++;
    const syn = { mss, scale: -1, sackPermitted: false, hasTimestamps: false, tsVal: 0 };
    this.admit(listener, name, cookie, irs, syn, bytes);
    return true;
  }
  /** The handshake is complete; its last segment may bring data. */
  private admit(
    listener: Admission,
    { local, localPort, remote, remotePort }: ConnectionName,
    iss: number,
    irs: number,
    syn: Pick<HalfOpen, 'mss' | 'scale' | 'sackPermitted' | 'hasTimestamps' | 'tsVal'>,
    bytes: Uint8Array,
  ): void {
    const connection = this.create({ local, localPort, remote, remotePort }, iss);
    connection.negotiate(syn);
    connection.accept(irs, this.segment.window << Math.max(0, syn.scale));
    this.stats.accepted++;
    connection.input(this.segment, bytes);
    listener.offer(connection);
  }

  private create(name: ConnectionName, iss = this.secrets.initialSequence(name, this.nowNs)): TcpConnection {
    const connection = new TcpConnection(this, name, iss, this.secrets.timestampOffset(name));
    this.connections.add(connection);
    return connection;
  }
  private forget(listener: TcpListener): void {
    const left = (this.listeners.get(listener.port) ?? []).filter(other => other !== listener);
    if (left.length === 0) this.listeners.delete(listener.port);
    else this.listeners.set(listener.port, left);
    for (const half of [...this.halfOpen]) if (half.listener === listener) this.dropHalfOpen(half);
  }
  private hasRoom(): boolean {
    if (this.connections.size < this.limits.connections) return true;
    const [oldest] = this.timeWaits;
    oldest?.abort();
    return oldest !== undefined;
  }

  // ---- what is sent for nobody ----

  private answer(
    name: ConnectionName,
    iss: number,
    irs: number,
    syn: Pick<HalfOpen, 'scale' | 'sackPermitted' | 'hasTimestamps' | 'tsVal'>,
  ): void {
    const { link, nowNs } = this;
    const at = link.headerAt(name.remote);
    const { view } = link.tx;
    const mss = link.room(name.local, name.remote) - TCP_HLEN;
    const { sackPermitted } = syn;
    let options = writeSynOptions(view, at + TCP_HLEN, { mss, scale: syn.scale < 0 ? -1 : OUR_SCALE, sackPermitted });
    if (syn.hasTimestamps) {
      const stamp = (Math.floor(nowNs / 1e6) + this.secrets.timestampOffset(name)) >>> 0;
      options += writeTimestamps(view, at + TCP_HLEN + options, stamp, syn.tsVal);
    }
    writeHeader(view, at, name.localPort, name.remotePort, iss, add(irs, 1), SYN | ACK, 0xffff, options);
    this.send(name.local, name.remote, at, TCP_HLEN + options);
  }
  /** RFC 9293, 3.10.7.1. */
  private refuse(source: IpAddress, destination: IpAddress): void {
    const { segment } = this;
    if (segment.has(RST)) return;
    const { destinationPort, sourcePort } = segment;
    const acks = segment.has(ACK);
    const ack = acks ? 0 : add(segment.seq, segment.length);
    const flags = acks ? RST : RST | ACK;
    this.sendReset(source, sourcePort, destination, destinationPort, acks ? segment.ack : 0, ack, flags);
  }
  private sendReset(
    remote: IpAddress,
    remotePort: number,
    local: IpAddress,
    localPort: number,
    seq: number,
    ack: number,
    flags: number,
  ): void {
    const { link } = this;
    this.stats.resetsOut++;
    const at = link.headerAt(remote);
    writeHeader(link.tx.view, at, localPort, remotePort, seq, ack, flags, 0, 0);
    this.send(local, remote, at, TCP_HLEN);
  }
  private send(local: IpAddress, remote: IpAddress, at: number, length: number): void {
    const { link } = this;
    const { view } = link.tx;
    const sum = local.sum + remote.sum + PROTOCOL_TCP + length;
    const blank = link.leavesChecksum(local, remote);
    view.setUint16(at + 16, blank ? ~finish(sum) & 0xffff : finish(addBytes(view, at, length, sum)));
    link.send(local, remote, length, blank, 0);
    this.stats.segmentsOut++;
  }

  // ---- ports ----

  private isTaken({ local, localPort, remote, remotePort }: ConnectionName): boolean {
    return this.connections.find(local, localPort, remote, remotePort) !== undefined;
  }
  /** RFC 6056: which one comes next is not to be guessed. */
  private ephemeralPort(name: ConnectionName): number {
    const free = (localPort: number): boolean => !this.ports.has(localPort) && !this.isTaken({ ...name, localPort });
    for (let i = 0; i < RANDOM_TRIES; i++) {
      const port = FIRST_EPHEMERAL + Math.floor(this.random() * EPHEMERAL_PORTS);
      if (free(port)) return port;
    }
    for (let i = 0; i < EPHEMERAL_PORTS; i++) if (free(FIRST_EPHEMERAL + i)) return FIRST_EPHEMERAL + i;
    throw new XenError('EADDRNOTAVAIL', `tcp: every port has a connection to ${name.remote} port ${name.remotePort}`);
  }
  private freePort(): number {
    for (let i = 0; i < EPHEMERAL_PORTS; i++) {
      const port = FIRST_EPHEMERAL + Math.floor(this.random() * EPHEMERAL_PORTS);
      if (!this.ports.has(port)) return port;
    }
    throw new XenError('EADDRINUSE', 'tcp: every port is in use');
  }
}

const ANY = new IpAddress();
const isPort = (port: number): boolean => Number.isInteger(port) && port >= 0 && port <= 0xffff;

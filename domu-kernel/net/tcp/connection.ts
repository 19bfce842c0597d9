// One connection (RFC 9293, 3.10): what a segment does to it, and what time does. What it sends: output.ts.
import { XenError } from '#pvbus';
import { WaitQueue } from '../../wait-queue.ts';
import type { IpAddress } from '../ip-address.ts';
import type { MemoryBudget } from './byte-ring.ts';
import { Congestion } from './congestion.ts';
import type { TcpLink } from './link.ts';
import { Output } from './output.ts';
import { ReceiveQueue } from './receive-queue.ts';
import { RetransmissionTimeout } from './rto.ts';
import { DUP_THRESH, Scoreboard } from './scoreboard.ts';
import { ACK, FIN, RST, type Segment, SYN, TIMESTAMPS_LENGTH } from './segment.ts';
import { SendQueue } from './send-queue.ts';
import { add, distance, earliest, isAfter, isBefore, latest } from './sequence.ts';

export type TcpState =
  | 'SYN-SENT'
  | 'SYN-RECEIVED'
  | 'ESTABLISHED'
  | 'FIN-WAIT-1'
  | 'FIN-WAIT-2'
  | 'CLOSE-WAIT'
  | 'CLOSING'
  | 'LAST-ACK'
  | 'TIME-WAIT'
  | 'CLOSED';

/** Twice RFC 9293's maximum segment lifetime, taken as half a minute. */
export const TIME_WAIT_NS = 60e9;
/** How long the peer of a connection nobody has any more may take to end its side. */
const ORPHAN_NS = 60e9;
export const DELAYED_ACK_NS = 40e6;
const SYN_RETRIES = 6;
const RETRIES = 15;
/** Of what was closed before it was sent. */
const ORPHAN_RETRIES = 8;
/** RFC 5961, 7: answers to what may be an attack, of one connection. */
const CHALLENGES = 10;
const CHALLENGE_INTERVAL_NS = 1e9;
/** RFC 7323, 5.5: a timestamp older than this says nothing. */
const PAWS_IDLE_NS = 24 * 86400e9;
const NEVER = Number.POSITIVE_INFINITY;

/** Bytes either way that a connection begins with, and may come to. */
export const FIRST_BUFFER = 65536;
export const MAX_BUFFER = 1024 * 1024;
/** A window of MAX_BUFFER in a field of 16 bits. */
export const OUR_SCALE = 5;

export interface KeepAlive {
  readonly idleMs: number;
  readonly intervalMs: number;
  readonly probes: number;
}
/** RFC 9293, 3.8.4: not less than two hours unless asked for. */
export const KEEP_ALIVE: KeepAlive = { idleMs: 7_200_000, intervalMs: 75_000, probes: 9 };

/** What a connection needs of the stack it is one of. */
export interface TcpHost {
  readonly link: TcpLink;
  /** For what is received, and for what is sent: neither keeps the other from going on. */
  readonly budget: MemoryBudget;
  readonly sendBudget: MemoryBudget;
  /** Monotonic ns, as of the segment or step in hand. */
  readonly nowNs: number;
  readonly stats: TcpStats;
  /** Have `output` called by the next step. */
  due(connection: TcpConnection): void;
  /** Its deadline may be earlier than it was. */
  schedule(connection: TcpConnection): void;
  /** It keeps nothing but its name: TIME-WAIT. */
  resting(connection: TcpConnection): void;
  /** Nothing is left of it. */
  ended(connection: TcpConnection): void;
}
export interface TcpStats {
  segmentsIn: number;
  segmentsOut: number;
  retransmitted: number;
  timeouts: number;
  challenges: number;
  outOfWindow: number;
  duplicateBytes: number;
}

export interface ConnectionName {
  readonly local: IpAddress;
  readonly localPort: number;
  readonly remote: IpAddress;
  readonly remotePort: number;
}

export class TcpConnection implements ConnectionName {
  readonly local: IpAddress;
  readonly localPort: number;
  readonly remote: IpAddress;
  readonly remotePort: number;
  /** Woken when anything a reader, a writer or one who connects waits for may have come. */
  readonly changed = new WaitQueue();
  state: TcpState = 'SYN-SENT';
  /** Why it ended, when it did not end well. */
  error: XenError | undefined;
  noDelay = false;
  /** Of the table of connections. */
  next: TcpConnection | undefined;
  /** Of the heap of deadlines: -1 when it is not in it. */
  heapIndex = -1;
  heapNs = NEVER;
  isDue = false;

  // ---- what output.ts works with ----

  readonly host: TcpHost;
  readonly out: SendQueue;
  readonly in: ReceiveQueue;
  readonly iss: number;
  /** The oldest number not acknowledged. */
  una: number;
  /** Behind the last number sent. */
  max: number;
  /** What the peer takes, in bytes, and the most it ever took. */
  wnd = 0;
  maxWnd = 0;
  /** Payload of a segment without options: the peer's word, and what the path carries. */
  mss: number;
  sackOk = true;
  timestamps = true;
  sendScale = 0;
  /** -1: no scaling on this connection. */
  receiveScale = OUR_SCALE;
  tsOffset: number;
  tsRecent = 0;
  readonly congestion: Congestion;
  readonly rto = new RetransmissionTimeout();
  readonly scoreboard = new Scoreboard();
  phase: 'open' | 'recovery' | 'loss' = 'open';
  /** All before this that the peer has not is taken for lost, */
  lostEdge: number;
  /** and all before this has been sent again. */
  rtx: number;
  /** Without SACK: bytes that duplicate acknowledgements say have left the network. */
  dupBytes = 0;
  /** Behind the last byte the peer was told it may send. */
  edge: number;
  lastAck = 0;
  ackNow = false;
  synDue = false;
  finReceived = false;
  /** When the segment that is timed was sent, and what acknowledges it; 0: none. */
  timedNs = 0;
  timedSeq = 0;
  lastSendNs = 0;
  /** Behind the last segment that was not a full one. */
  smallEnd: number;
  rtoAtNs = NEVER;
  persistAtNs = NEVER;
  delayedAckAtNs = NEVER;

  private irs = 0;
  private wl1 = 0;
  private wl2 = 0;
  private tsRecentNs = 0;
  private recoveryPoint = 0;
  private dupAcks = 0;
  private retries = 0;
  private unacked = 0;
  private finAt: number | undefined;
  private orphan = false;
  private readShut = false;
  private challenges = 0;
  private challengeNs = 0;
  private softError: XenError | undefined;
  private keepAlive: KeepAlive | undefined;
  private keepProbes = 0;
  private heardNs: number;
  private restAtNs = NEVER;
  private periodNs = 0;
  private periodBytes = 0;
  private readonly output: Output;

  constructor(host: TcpHost, name: ConnectionName, iss: number, tsOffset: number) {
    this.host = host;
    this.local = name.local;
    this.localPort = name.localPort;
    this.remote = name.remote;
    this.remotePort = name.remotePort;
    this.iss = iss;
    this.una = iss;
    this.max = iss;
    this.lostEdge = iss;
    this.rtx = iss;
    this.smallEnd = iss;
    this.edge = 0;
    this.tsOffset = tsOffset;
    this.mss = host.link.room(name.remote) - 20;
    this.congestion = new Congestion(this.mss);
    this.out = new SendQueue(add(iss, 1), FIRST_BUFFER, host.sendBudget);
    this.in = new ReceiveQueue(0, FIRST_BUFFER, host.budget);
    this.heardNs = host.nowNs;
    this.output = new Output(this);
  }

  // ---- opening ----

  /** An active open. */
  open(): void {
    this.synDue = true;
    this.host.due(this);
  }
  /** A passive open whose handshake somebody else has made up to its last segment, which is to be given to `input`. */
  accept(irs: number, wnd: number): void {
    this.synchronized(irs);
    this.una = add(this.iss, 1);
    this.max = this.una;
    this.lostEdge = this.una;
    this.rtx = this.una;
    this.smallEnd = this.una;
    this.wnd = wnd;
    this.maxWnd = wnd;
    this.wl2 = this.una;
    this.state = 'ESTABLISHED';
  }
  /** What the peer's SYN said. */
  negotiate(syn: { mss: number; scale: number; sackPermitted: boolean; hasTimestamps: boolean; tsVal: number }): void {
    const { host, remote } = this;
    const most = host.link.room(remote) - 20;
    const theirs = syn.mss === 0 ? (remote.isV4 ? 536 : 1220) : syn.mss;
    this.sackOk = syn.sackPermitted;
    this.timestamps = syn.hasTimestamps;
    if (syn.scale >= 0) this.sendScale = syn.scale;
    else this.receiveScale = -1;
    if (syn.hasTimestamps) this.heardTimestamp(syn.tsVal);
    // untrusted: a peer that wants segments of no size does not get them.
    this.setMss(Math.max(MIN_MSS, Math.min(theirs, most)));
    this.congestion.cwnd = new Congestion(this.congestion.mss).cwnd;
  }
  private setMss(mss: number): void {
    this.mss = mss;
    this.congestion.mss = mss - (this.timestamps ? TIMESTAMPS_LENGTH : 0);
  }
  private synchronized(irs: number): void {
    this.irs = irs;
    this.in.next = add(irs, 1);
    this.edge = add(this.in.next, Math.min(this.in.limit, 0xffff));
    this.lastAck = this.in.next;
    this.wl1 = irs;
  }

  // ---- what its user does ----

  /** Bytes read, 0 at the end of what the peer sends, -1 when there is nothing now. Throws what the connection ended of. */
  read(into: Uint8Array, at = 0, length = into.length - at): number {
    const n = this.in.read(into, at, length);
    if (n > 0) {
      this.tune(n);
      if (this.opensWindow()) this.host.due(this);
      if (this.in.readable === 0 && (this.state === 'CLOSED' || this.state === 'TIME-WAIT')) this.in.release();
      return n;
    }
    if (this.readShut || this.finReceived) return 0;
    if (this.error !== undefined) throw this.error;
    return this.state === 'CLOSED' ? 0 : -1;
  }
  /** The same, and they stay. */
  peek(into: Uint8Array): number {
    const n = this.in.peek(into);
    return n > 0 ? n : this.read(into);
  }
  get readable(): number {
    return this.in.readable;
  }
  /** Nothing more comes after what is readable. */
  get readEnded(): boolean {
    return this.readShut || this.finReceived || this.state === 'CLOSED';
  }
  /** Bytes taken, 0 when there is no room now. Throws EPIPE when this side has ended, else what the connection ended of. */
  write(from: Uint8Array, at = 0, length = from.length - at): number {
    if (this.error !== undefined) throw this.error;
    if (this.out.ended || this.state === 'CLOSED') throw this.failure('EPIPE', 'write after the end');
    if (this.state === 'SYN-SENT' || this.state === 'SYN-RECEIVED') return 0;
    this.out.limit = Math.min(MAX_BUFFER, Math.max(FIRST_BUFFER, 2 * this.congestion.cwnd));
    const taken = this.out.write(from, at, length);
    if (taken > 0) this.host.due(this);
    return taken;
  }
  get writable(): number {
    return this.isOpening || this.out.ended || this.state === 'CLOSED' ? 0 : this.out.room;
  }
  get isOpening(): boolean {
    return this.state === 'SYN-SENT' || this.state === 'SYN-RECEIVED';
  }
  /** Everything written has been acknowledged. */
  get isDelivered(): boolean {
    return this.out.length === 0;
  }

  /** Nothing more will be written. */
  endWrite(): void {
    if (this.out.ended) return;
    switch (this.state) {
      case 'SYN-SENT':
        this.finish();
        return;
      case 'SYN-RECEIVED':
        break; // goes on when the peer has answered
      case 'ESTABLISHED':
        this.state = 'FIN-WAIT-1';
        break;
      case 'CLOSE-WAIT':
        this.state = 'LAST-ACK';
        break;
      default:
        return;
    }
    this.out.ended = true;
    this.host.due(this);
  }
  /** Nothing more will be read; what comes is thrown away. */
  endRead(): void {
    this.readShut = true;
    this.in.readable = 0;
    this.changed.wakeAll();
  }
  /** Nobody has it any more. What was written is still delivered; what was not read is the peer's to hear of. */
  close(): void {
    if (this.orphan) return;
    this.orphan = true;
    this.keepAlive = undefined;
    // RFC 2525, 2.17: an end in good order would be a lie.
    if (this.in.readable > 0 && this.state !== 'CLOSED' && this.state !== 'TIME-WAIT') {
      this.abort();
      return;
    }
    this.endWrite();
    this.readShut = true;
    if (this.state === 'FIN-WAIT-2') this.rest(ORPHAN_NS);
    if (this.state === 'CLOSED' || this.state === 'TIME-WAIT') this.in.release();
    this.host.schedule(this);
  }
  /** End it now, on both sides. */
  abort(error?: XenError): void {
    if (this.state === 'CLOSED') return;
    if (this.state !== 'SYN-SENT' && this.state !== 'TIME-WAIT') this.output.reset();
    this.finish(error);
  }
  setKeepAlive(keepAlive: KeepAlive | undefined): void {
    this.keepAlive = keepAlive;
    this.keepProbes = 0;
    this.host.schedule(this);
  }

  // ---- time ----

  get deadlineNs(): number {
    const own = Math.min(this.rtoAtNs, this.persistAtNs, this.delayedAckAtNs, this.restAtNs);
    return this.keepAlive === undefined ? own : Math.min(own, this.keepAliveAtNs);
  }
  private get keepAliveAtNs(): number {
    const { keepAlive } = this;
    if (keepAlive === undefined || this.isOpening || this.state === 'CLOSED' || this.state === 'TIME-WAIT')
      return NEVER;
    return this.heardNs + (keepAlive.idleMs + this.keepProbes * keepAlive.intervalMs) * 1e6;
  }

  /** Its deadline has come. */
  expire(now: number): void {
    if (this.restAtNs <= now) {
      this.finish();
      return;
    }
    if (this.rtoAtNs <= now) this.timedOut();
    if (this.persistAtNs <= now) this.persist(now);
    if (this.delayedAckAtNs <= now) {
      this.delayedAckAtNs = NEVER;
      this.ackNow = true;
      this.host.due(this);
    }
    if (this.keepAliveAtNs <= now) this.probeSilence();
  }

  private timedOut(): void {
    this.rtoAtNs = NEVER;
    const limit = this.isOpening ? SYN_RETRIES : this.orphan ? ORPHAN_RETRIES : RETRIES;
    if (++this.retries > limit) {
      this.finish(this.softError ?? this.failure('ETIMEDOUT', 'the peer does not answer'));
      return;
    }
    this.host.stats.timeouts++;
    this.rto.backOff();
    this.timedNs = 0; // Karn: what is sent twice is not timed
    if (this.isOpening) this.synDue = true;
    else {
      if (this.phase !== 'loss') this.congestion.timedOut(distance(this.max, this.una));
      else this.congestion.cwnd = this.congestion.mss;
      this.phase = 'loss';
      this.recoveryPoint = this.max;
      this.scoreboard.clear();
      this.dupAcks = 0;
      this.dupBytes = 0;
      this.lostEdge = this.max;
      this.rtx = this.una;
    }
    this.host.due(this);
  }
  private persist(now: number): void {
    if (++this.retries > ORPHAN_RETRIES && this.orphan) {
      this.abort();
      return;
    }
    if (this.retries > RETRIES) {
      this.finish(this.failure('ETIMEDOUT', 'the peer does not answer'));
      return;
    }
    this.rto.backOff();
    if (this.output.override()) return;
    this.persistAtNs = now + this.rto.ns;
    this.output.probe();
  }
  private probeSilence(): void {
    const { probes } = this.keepAlive!;
    if (this.keepProbes >= probes) {
      this.abort(this.failure('ETIMEDOUT', 'the peer has fallen silent'));
      return;
    }
    this.keepProbes++;
    this.output.probe();
  }

  /** Send what may be sent. False: the link is full. */
  flush(): boolean {
    if (this.state === 'CLOSED' || this.state === 'TIME-WAIT') {
      if (this.ackNow) this.output.acknowledge();
      return true;
    }
    const done = this.output.flush();
    this.host.schedule(this);
    return done;
  }

  // ---- a segment ----

  /** One segment for this connection; its payload is in `bytes`. */
  input(segment: Segment, bytes: Uint8Array): void {
    if (this.state === 'SYN-SENT') {
      this.inputSynSent(segment, bytes);
      return;
    }
    if (this.state === 'CLOSED') return;
    if (this.state === 'SYN-RECEIVED' && segment.has(SYN) && segment.seq === this.irs) {
      // Both have opened: of the peer's SYN and ACK only the ACK is new.
      segment.seq = add(segment.seq, 1);
      segment.flags &= ~SYN;
    }
    if (!this.isAcceptable(segment)) return;
    if (segment.has(RST)) {
      this.inputReset(segment);
      return;
    }
    if (segment.has(SYN)) {
      this.challenge(); // RFC 5961, 4
      return;
    }
    if (!segment.has(ACK)) return;
    this.heard(segment);
    if (this.state === 'SYN-RECEIVED' && !this.inputHandshake(segment)) return;
    if (!this.inputAck(segment)) return;
    this.inputText(segment, bytes);
  }

  private inputSynSent(segment: Segment, bytes: Uint8Array): void {
    const acks = segment.has(ACK);
    if (acks && segment.ack !== add(this.iss, 1)) {
      if (!segment.has(RST)) this.output.refuse(segment);
      return;
    }
    if (segment.has(RST)) {
      if (acks) this.finish(this.failure('ECONNREFUSED', 'refused'));
      return;
    }
    if (!segment.has(SYN)) return;
    this.synchronized(segment.seq);
    this.negotiate(segment);
    this.heard(segment);
    if (!acks) {
      // Both have opened.
      this.state = 'SYN-RECEIVED';
      this.synDue = true;
      this.host.due(this);
      return;
    }
    // order: the window of a SYN is not scaled.
    this.wnd = segment.window;
    this.maxWnd = segment.window;
    this.wl2 = segment.ack;
    this.established(segment.ack);
    this.ackNow = true;
    this.host.due(this);
    if (segment.dataLength > 0 || segment.has(FIN)) {
      segment.seq = add(segment.seq, 1);
      segment.flags &= ~SYN;
      this.inputText(segment, bytes);
    }
  }
  private inputHandshake(segment: Segment): boolean {
    if (segment.ack !== add(this.iss, 1)) {
      this.output.refuse(segment);
      return false;
    }
    this.wnd = segment.window << this.sendScale;
    this.maxWnd = this.wnd;
    this.wl1 = segment.seq;
    this.wl2 = segment.ack;
    this.established(segment.ack);
    return true;
  }
  private established(ack: number): void {
    if (this.timedNs > 0) this.rto.sample(this.host.nowNs - this.timedNs);
    this.timedNs = 0;
    this.rto.resetBackoff();
    this.state = this.out.ended ? 'FIN-WAIT-1' : 'ESTABLISHED';
    this.una = ack;
    this.max = ack;
    this.lostEdge = ack;
    this.rtx = ack;
    this.smallEnd = ack;
    this.synDue = false;
    this.retries = 0;
    this.rtoAtNs = NEVER;
    this.changed.wakeAll();
    this.host.due(this);
  }

  /** RFC 9293, 3.10.7.4, first; and RFC 7323's protection against old numbers. What is not is answered, and dropped. */
  private isAcceptable(segment: Segment): boolean {
    const { seq } = segment;
    const end = add(seq, segment.length);
    const next = this.receiveNext;
    if (isBefore(end, next) || isAfter(seq, this.edge)) {
      this.host.stats.outOfWindow++;
      // The peer that repeats its SYN and ACK, or its FIN, has not heard from us.
      if (!segment.has(RST)) this.challenge();
      if (this.state === 'TIME-WAIT' && segment.has(FIN)) this.rest(TIME_WAIT_NS);
      return false;
    }
    if (segment.has(RST) || !this.timestamps) return true;
    if (!segment.hasTimestamps) return true; // RFC 7323 would drop it; Linux does not
    const old = isBefore(segment.tsVal, this.tsRecent) && this.host.nowNs - this.tsRecentNs < PAWS_IDLE_NS;
    if (!old) return true;
    this.host.stats.outOfWindow++;
    this.challenge();
    return false;
  }
  private inputReset(segment: Segment): void {
    if (this.state === 'TIME-WAIT') return; // RFC 1337
    // RFC 5961, 3.2.
    if (segment.seq !== this.receiveNext) {
      this.challenge();
      return;
    }
    const refused = this.state === 'SYN-RECEIVED';
    this.finish(refused ? this.failure('ECONNREFUSED', 'refused') : this.failure('ECONNRESET', 'reset by the peer'));
  }
  private heard(segment: Segment): void {
    this.heardNs = this.host.nowNs;
    this.keepProbes = 0;
    // RFC 7323, 4.3.
    if (segment.hasTimestamps && !isAfter(segment.seq, this.lastAck) && !isBefore(segment.tsVal, this.tsRecent)) {
      this.heardTimestamp(segment.tsVal);
    }
  }
  private heardTimestamp(tsVal: number): void {
    this.tsRecent = tsVal;
    this.tsRecentNs = this.host.nowNs;
  }

  // ---- acknowledgements ----

  /** False: the segment is not looked at any further. */
  private inputAck(segment: Segment): boolean {
    const { ack } = segment;
    // RFC 5961, 5: what acknowledges the future, or long ago, is forged.
    if (isAfter(ack, this.max) || distance(this.una, ack) > Math.max(this.maxWnd, 65535)) {
      this.challenge();
      return false;
    }
    const sackedBefore = this.scoreboard.sacked;
    if (this.sackOk) this.heardSack(segment);
    const advanced = distance(ack, this.una);
    const windowChanged = this.updateWindow(segment);
    if (advanced > 0) this.advance(ack, advanced);
    else if (
      advanced === 0 &&
      this.una !== this.max &&
      segment.length === 0 &&
      !windowChanged &&
      (!this.sackOk || this.scoreboard.sacked > sackedBefore)
    ) {
      this.dupAcks++;
      if (!this.sackOk) this.dupBytes += this.congestion.mss;
    }
    if (this.wnd > 0 && advanced >= 0) this.persistAtNs = NEVER;
    else if (this.wnd === 0) this.retries = 0; // it is there, and wants nothing: not a reason to give up
    this.judge(advanced);
    if (advanced > 0 || windowChanged || this.dupAcks > 0) this.host.due(this);
    if (advanced > 0 && this.out.ended && isAfter(ack, this.out.end)) return this.finAcknowledged();
    return true;
  }
  private heardSack(segment: Segment): void {
    for (let i = 0; i < segment.sackBlocks; i++) {
      const start = segment.sackStart[i]!;
      const end = segment.sackEnd[i]!;
      // untrusted: only what is on its way counts. A block below that is a report of duplicates (RFC 2883).
      if (isAfter(end, this.max) || isBefore(start, latest(segment.ack, this.una))) continue;
      this.scoreboard.add(start, end);
    }
  }
  private updateWindow(segment: Segment): boolean {
    const { seq, ack } = segment;
    const newer = isBefore(this.wl1, seq) || (this.wl1 === seq && !isAfter(this.wl2, ack));
    if (!newer) return false;
    const before = this.wnd;
    this.wnd = segment.window << this.sendScale;
    this.maxWnd = Math.max(this.maxWnd, this.wnd);
    this.wl1 = seq;
    this.wl2 = ack;
    return this.wnd !== before;
  }
  private advance(ack: number, advanced: number): void {
    const { host, rto } = this;
    const now = host.nowNs;
    if (this.timedNs > 0 && !isBefore(ack, this.timedSeq)) {
      rto.sample(now - this.timedNs);
      this.timedNs = 0;
    }
    rto.resetBackoff();
    this.retries = 0;
    this.softError = undefined;
    const flight = distance(this.max, this.una);
    const { congestion } = this;
    // RFC 7661: a window nobody filled has proved nothing.
    const limited =
      flight + congestion.mss >= congestion.cwnd ||
      (congestion.cwnd < congestion.ssthresh && 2 * flight >= congestion.cwnd);
    const full = this.out.room < this.out.limit / 2;
    this.una = ack;
    this.out.acknowledge(ack);
    this.scoreboard.acknowledge(ack);
    this.lostEdge = latest(this.lostEdge, ack);
    this.rtx = latest(this.rtx, ack);
    this.dupBytes = Math.max(0, this.dupBytes - Math.max(0, advanced - congestion.mss));
    this.rtoAtNs = ack === this.max ? NEVER : now + rto.ns;
    if (limited && this.phase !== 'recovery') congestion.acknowledged(advanced);
    // Who waits for room is woken when there is much of it: each wake costs a turn of the program.
    if (!full || this.out.room >= this.out.limit / 2) this.changed.wakeAll();
  }

  /** What is lost, and whether that is news (RFC 6675, RFC 6582). */
  private judge(advanced: number): void {
    const { congestion, scoreboard, una } = this;
    if (this.phase !== 'open' && !isBefore(una, this.recoveryPoint)) {
      if (this.phase === 'recovery') congestion.cwnd = congestion.ssthresh;
      this.phase = 'open';
      this.dupAcks = 0;
      this.dupBytes = 0;
    }
    if (this.phase === 'open') {
      if (advanced > 0 && scoreboard.isEmpty) {
        this.dupAcks = 0;
        this.dupBytes = 0;
      }
      const lost = this.sackOk
        ? scoreboard.lostBefore(una, congestion.mss)
        : this.dupAcks >= DUP_THRESH
          ? this.segmentBehind(una)
          : una;
      if (lost === una) return;
      congestion.lost(distance(this.max, una));
      this.phase = 'recovery';
      this.recoveryPoint = this.max;
      this.rtx = una;
      this.lostEdge = lost;
      this.timedNs = 0;
      this.host.due(this);
    } else if (this.phase === 'recovery') {
      if (this.sackOk) this.lostEdge = latest(this.lostEdge, scoreboard.lostBefore(una, congestion.mss));
      else if (advanced > 0) {
        // RFC 6582: a partial acknowledgement says that the next one is lost too.
        this.rtx = una;
        this.lostEdge = this.segmentBehind(una);
      }
    }
  }
  private segmentBehind(seq: number): number {
    return earliest(add(seq, this.congestion.mss), this.max);
  }

  /** False: nothing is left to look at. */
  private finAcknowledged(): boolean {
    switch (this.state) {
      case 'FIN-WAIT-1':
        this.state = 'FIN-WAIT-2';
        if (this.orphan) this.rest(ORPHAN_NS);
        return true;
      case 'CLOSING':
        this.timeWait();
        return false;
      case 'LAST-ACK':
        this.finish();
        return false;
      default:
        return true;
    }
  }

  // ---- data ----

  private inputText(segment: Segment, bytes: Uint8Array): void {
    const { host } = this;
    let { seq, dataAt, dataLength } = segment;
    let fin = segment.has(FIN);
    if (dataLength === 0 && !fin) return;
    if (this.state === 'TIME-WAIT' || this.state === 'CLOSING' || this.state === 'LAST-ACK' || this.finReceived) {
      this.ackNow = true; // all of it came before
      if (this.state === 'TIME-WAIT' && fin) this.rest(TIME_WAIT_NS);
      host.due(this);
      return;
    }
    if (this.orphan && dataLength > 0 && isAfter(add(seq, dataLength), this.in.next)) {
      this.abort(); // RFC 9293, 3.10.7.4: there is nobody to take it
      return;
    }
    const old = distance(this.in.next, seq);
    if (old > 0) {
      const cut = Math.min(old, dataLength);
      seq = add(seq, cut);
      dataAt += cut;
      dataLength -= cut;
      host.stats.duplicateBytes += cut;
    }
    // untrusted: nothing beyond the window, and nothing behind the end.
    const last = this.finAt === undefined ? this.edge : earliest(this.edge, this.finAt);
    const beyond = distance(add(seq, dataLength), last);
    if (beyond > 0) {
      dataLength = Math.max(0, dataLength - beyond);
      fin = false;
    }
    const inOrder = seq === this.in.next && !this.in.hasGaps;
    const moved = this.in.insert(seq, bytes, dataAt, dataLength);
    if (this.readShut) this.in.readable = 0;
    if (fin) this.finAt ??= add(seq, dataLength);
    if (this.finAt === this.in.next) this.inputFin();
    if (moved > 0) this.changed.wakeAll();
    this.unacked += moved;
    if (!inOrder || moved === 0) {
      // RFC 5681, 4.2: what is out of order, and what fills a gap, is answered at once.
      this.output.acknowledge();
      if (this.ackNow) host.due(this);
    } else if (this.ackNow || this.unacked >= 2 * this.congestion.mss) {
      this.ackNow = true;
      host.due(this);
    } else if (this.delayedAckAtNs === NEVER) {
      this.delayedAckAtNs = host.nowNs + DELAYED_ACK_NS;
      host.schedule(this);
    }
  }
  private inputFin(): void {
    this.finReceived = true;
    this.ackNow = true;
    this.host.due(this);
    this.changed.wakeAll();
    switch (this.state) {
      case 'ESTABLISHED':
        this.state = 'CLOSE-WAIT';
        break;
      case 'FIN-WAIT-1':
        this.state = 'CLOSING';
        break;
      case 'FIN-WAIT-2':
        this.timeWait();
        break;
    }
  }
  get receiveNext(): number {
    return this.finReceived ? add(this.in.next, 1) : this.in.next;
  }
  /** An acknowledgement of everything was sent. */
  acknowledgedAll(): void {
    this.unacked = 0;
    this.ackNow = false;
    this.delayedAckAtNs = NEVER;
    this.lastAck = this.receiveNext;
  }
  /** Where the window the peer is told of should end now: RFC 9293, 3.8.6.2.2, not a little further. */
  newEdge(): number {
    const { edge } = this;
    const open = add(this.in.next, this.in.window);
    const further = distance(open, edge);
    return further >= Math.min(this.in.limit / 2, 2 * this.mss) ? open : edge;
  }
  private opensWindow(): boolean {
    if (this.state === 'CLOSED' || this.finReceived || this.isOpening) return false;
    const opens = distance(this.newEdge(), this.edge);
    // Half of what the peer may have on its way: else it will hear of it with an acknowledgement.
    if (opens < Math.min(this.in.limit / 2, distance(this.edge, this.in.next) + 2 * this.mss)) return false;
    this.ackNow = true;
    return true;
  }
  /** A reader that empties half a window in a round trip would take more. */
  private tune(bytes: number): void {
    if (this.in.limit >= MAX_BUFFER) return;
    const now = this.host.nowNs;
    this.periodBytes += bytes;
    if (now - this.periodNs < Math.max(1e6, this.rto.srttNs)) return;
    if (this.periodNs > 0 && this.periodBytes > this.in.limit / 2) this.in.limit *= 2;
    this.periodNs = now;
    this.periodBytes = 0;
  }

  // ---- the end ----

  /** ICMP says that `seq` did not arrive (RFC 5927: believed only where nothing is lost by it). */
  unreachable(code: string, seq: number, mtu: number): void {
    if (isBefore(seq, this.una) || !isBefore(seq, this.max)) return;
    if (code === 'EMSGSIZE') {
      const mss = mtu - (this.remote.isV4 ? 40 : 60);
      if (mss >= this.mss) return;
      this.setMss(Math.max(PATH_MSS, mss));
      if (this.phase === 'open') {
        this.phase = 'loss';
        this.recoveryPoint = this.max;
      }
      this.lostEdge = this.max;
      this.rtx = this.una;
      this.host.due(this);
      return;
    }
    const error = this.failure(code, 'not reachable');
    if (this.state === 'SYN-SENT') this.finish(error);
    else this.softError = error;
  }
  private timeWait(): void {
    this.state = 'TIME-WAIT';
    this.rtoAtNs = NEVER;
    this.persistAtNs = NEVER;
    this.rest(TIME_WAIT_NS);
    this.out.release();
    if (this.in.readable === 0) this.in.release();
    this.host.resting(this);
  }
  private rest(ns: number): void {
    this.restAtNs = this.host.nowNs + ns;
    this.host.schedule(this);
  }
  private finish(error?: XenError): void {
    if (this.state === 'CLOSED') return;
    this.state = 'CLOSED';
    this.error ??= error;
    this.rtoAtNs = NEVER;
    this.persistAtNs = NEVER;
    this.delayedAckAtNs = NEVER;
    this.restAtNs = NEVER;
    this.keepAlive = undefined;
    this.ackNow = false;
    this.out.release();
    // What came before the end may still be read; after a failure there is nothing to rely on.
    if (this.error !== undefined || this.orphan || this.in.readable === 0) this.in.release();
    this.host.ended(this);
    this.changed.wakeAll();
  }
  /** RFC 5961: an answer that tells an honest peer where we are, and nothing to others; not many of them. */
  private challenge(): void {
    const now = this.host.nowNs;
    if (now - this.challengeNs >= CHALLENGE_INTERVAL_NS) {
      this.challengeNs = now;
      this.challenges = 0;
    }
    if (this.challenges >= CHALLENGES) return;
    this.challenges++;
    this.host.stats.challenges++;
    this.output.acknowledge();
  }
  private failure(code: string, what: string): XenError {
    return new XenError(code, `tcp: ${this.remote} port ${this.remotePort}: ${what}`);
  }
}

/** Of what a peer says of itself, and of what a path is said to carry (RFC 1191: 576 bytes in any case). */
const MIN_MSS = 64;
const PATH_MSS = 536 - 12;

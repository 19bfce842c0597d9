// One connection (RFC 9293, 3.10): what its user does, what a segment does, and the states it goes through.
import { XenError } from '#pvbus';
import { Acknowledgements } from './acknowledgements.ts';
import { Congestion } from './congestion.ts';
import {
  type ConnectionName,
  ControlBlock,
  FIRST_BUFFER,
  type KeepAlive,
  MAX_BUFFER,
  NEVER,
  type TcpHost,
  TIME_WAIT_NS,
} from './control-block.ts';
import { Output } from './output.ts';
import { ACK, FIN, RST, type Segment, SYN } from './segment.ts';
import { add, isAfter, isBefore } from './sequence.ts';
import { Text } from './text.ts';
import { Timers } from './timers.ts';

/** How long the peer of a connection nobody has any more may take to end its side. */
const ORPHAN_NS = 60e9;
/** RFC 5961, 7: answers to what may be an attack, of one connection. */
const CHALLENGES = 10;
const CHALLENGE_INTERVAL_NS = 1e9;
/** RFC 7323, 5.5: a timestamp older than this says nothing. */
const PAWS_IDLE_NS = 24 * 86400e9;
/** Of what a peer says of itself. */
const MIN_MSS = 64;

export class TcpConnection extends ControlBlock {
  readonly timers: Timers;
  readonly output: Output;
  readonly acknowledgements: Acknowledgements;
  readonly text: Text;
  private irs = 0;
  private tsRecentNs = 0;
  private challenges = 0;
  private challengeNs = 0;
  /** What ICMP says of the peer: believed when nothing else is heard for long. */
  softError: XenError | undefined;

  constructor(host: TcpHost, name: ConnectionName, iss: number, tsOffset: number) {
    super(host, name, iss, tsOffset);
    this.timers = new Timers(this);
    this.output = new Output(this);
    this.acknowledgements = new Acknowledgements(this);
    this.text = new Text(this);
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
    this.restartAt(add(this.iss, 1));
    this.acknowledgements.firstWindow(wnd, irs, this.una);
    this.state = 'ESTABLISHED';
  }
  /** What the peer's SYN said. */
  negotiate(syn: { mss: number; scale: number; sackPermitted: boolean; hasTimestamps: boolean; tsVal: number }): void {
    const { host, local, remote } = this;
    const most = host.link.room(local, remote) - 20;
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
  /** Another backend may carry less than the one of the handshake. True: it does. */
  fitLink(): boolean {
    const { host, local, remote } = this;
    const most = host.link.room(local, remote) - 20;
    if (most >= this.mss) return false;
    this.setMss(Math.max(MIN_MSS, most));
    return true;
  }
  /** A link carries less than it did. What is on its way there was too large for it. */
  linkShrank(): void {
    if (this.fitLink() && !this.isOpening && this.una !== this.max) this.acknowledgements.sendAgain();
  }
  private synchronized(irs: number): void {
    this.irs = irs;
    this.in.next = add(irs, 1);
    this.edge = add(this.in.next, Math.min(this.in.limit, 0xffff));
    this.lastAck = this.in.next;
  }

  // ---- what its user does ----

  /** Bytes read, 0 at the end of what the peer sends, -1 when there is nothing now. Throws what the connection ended of. */
  read(into: Uint8Array, at = 0, length = into.length - at): number {
    const n = this.in.read(into, at, length);
    if (n > 0) {
      this.text.tune(n);
      if (this.text.opensWindow()) this.host.due(this);
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
  /** Everything written has been acknowledged, and the end after it. */
  get isDelivered(): boolean {
    const { state } = this;
    return this.out.length === 0 && state !== 'FIN-WAIT-1' && state !== 'CLOSING' && state !== 'LAST-ACK';
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
    this.timers.setKeepAlive(undefined);
    // RFC 2525, 2.17: an end in good order would be a lie.
    if (this.in.readable > 0 && this.state !== 'CLOSED' && this.state !== 'TIME-WAIT') {
      this.abort();
      return;
    }
    this.endWrite();
    this.readShut = true;
    if (this.state === 'FIN-WAIT-2') this.timers.rest(ORPHAN_NS);
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
    this.timers.setKeepAlive(keepAlive);
  }

  /** What is less than a segment is not held back. */
  setNoDelay(on: boolean): void {
    this.noDelay = on;
    if (on) this.host.due(this);
  }

  // ---- time ----

  get deadlineNs(): number {
    return this.timers.deadlineNs;
  }
  /** Its deadline has come. */
  expire(now: number): void {
    this.timers.expire(now);
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
    if (!this.acknowledgements.input(segment)) return;
    this.text.input(segment, bytes);
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
    this.acknowledgements.firstWindow(segment.window, segment.seq, segment.ack);
    this.established(segment.ack);
    this.ackNow = true;
    this.host.due(this);
    if (segment.dataLength > 0 || segment.has(FIN)) {
      segment.seq = add(segment.seq, 1);
      segment.flags &= ~SYN;
      this.text.input(segment, bytes);
    }
  }
  private inputHandshake(segment: Segment): boolean {
    if (segment.ack !== add(this.iss, 1)) {
      this.output.refuse(segment);
      return false;
    }
    this.acknowledgements.firstWindow(segment.window << this.sendScale, segment.seq, segment.ack);
    this.established(segment.ack);
    return true;
  }
  private established(ack: number): void {
    if (this.timedNs > 0) this.rto.sample(this.host.nowNs - this.timedNs);
    this.timedNs = 0;
    this.rto.resetBackoff();
    this.state = this.out.ended ? 'FIN-WAIT-1' : 'ESTABLISHED';
    this.restartAt(ack);
    this.synDue = false;
    this.timers.retries = 0;
    this.timers.rtoAtNs = NEVER;
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
      if (this.state === 'TIME-WAIT' && segment.has(FIN)) this.timers.rest(TIME_WAIT_NS);
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
    this.timers.heard();
    // RFC 7323, 4.3.
    if (segment.hasTimestamps && !isAfter(segment.seq, this.lastAck) && !isBefore(segment.tsVal, this.tsRecent)) {
      this.heardTimestamp(segment.tsVal);
    }
  }
  private heardTimestamp(tsVal: number): void {
    this.tsRecent = tsVal;
    this.tsRecentNs = this.host.nowNs;
  }

  // ---- its states ----

  /** The peer has our FIN. False: nothing is left to look at. */
  finAcknowledged(): boolean {
    switch (this.state) {
      case 'FIN-WAIT-1':
        this.state = 'FIN-WAIT-2';
        if (this.orphan) this.timers.rest(ORPHAN_NS);
        this.changed.wakeAll();
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

  /** ICMP says that `seq` did not arrive (RFC 5927: believed only where nothing is lost by it). */
  unreachable(code: string, seq: number, mtu: number): boolean {
    if (isBefore(seq, this.una) || !isBefore(seq, this.max)) return false;
    if (code === 'EMSGSIZE') {
      this.acknowledgements.tooBig(mtu - (this.remote.isV4 ? 40 : 60));
      return true;
    }
    const error = this.failure(code, 'not reachable');
    if (this.state === 'SYN-SENT') this.finish(error);
    else this.softError = error;
    return true;
  }
  timeWait(): void {
    this.state = 'TIME-WAIT';
    this.timers.stopSending();
    this.timers.rest(TIME_WAIT_NS);
    this.out.release();
    if (this.in.readable === 0) this.in.release();
    this.host.resting(this);
    this.changed.wakeAll();
  }
  finish(error?: XenError): void {
    if (this.state === 'CLOSED') return;
    this.state = 'CLOSED';
    this.error ??= error;
    this.timers.stop();
    this.ackNow = false;
    this.out.release();
    // What came before the end may still be read; after a failure there is nothing to rely on.
    if (this.error !== undefined || this.orphan || this.in.readable === 0) this.in.release();
    this.host.ended(this);
    this.changed.wakeAll();
  }
  /** RFC 5961: an answer that tells an honest peer where we are, and nothing to others; not many of them. */
  challenge(): void {
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
  failure(code: string, what: string): XenError {
    return new XenError(code, `tcp: ${this.remote} port ${this.remotePort}: ${what}`);
  }
}

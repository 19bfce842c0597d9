// What time does to a connection: retransmission, probes of closed windows, delayed acknowledgements, keep-alive, the wait at
// the end.
import type { TcpConnection } from './connection.ts';
import { type KeepAlive, NEVER } from './control-block.ts';

const SYN_RETRIES = 6;
const RETRIES = 15;
/** Of what was closed before it was sent. */
const ORPHAN_RETRIES = 8;

export class Timers {
  rtoAtNs = NEVER;
  persistAtNs = NEVER;
  delayedAckAtNs = NEVER;
  private restAtNs = NEVER;
  /** Of what was sent last, without an answer. */
  retries = 0;
  private heardNs: number;
  private keepAlive: KeepAlive | undefined;
  private keepProbes = 0;
  /** The last of them. */
  private probedNs = 0;
  private readonly connection: TcpConnection;

  constructor(connection: TcpConnection) {
    this.connection = connection;
    this.heardNs = connection.host.nowNs;
  }

  get deadlineNs(): number {
    const own = Math.min(this.rtoAtNs, this.persistAtNs, this.delayedAckAtNs, this.restAtNs);
    return this.keepAlive === undefined ? own : Math.min(own, this.keepAliveAtNs);
  }
  private get keepAliveAtNs(): number {
    const c = this.connection;
    const { keepAlive } = this;
    if (keepAlive === undefined || c.isOpening || c.state === 'CLOSED' || c.state === 'TIME-WAIT') return NEVER;
    if (this.keepProbes === 0) return this.heardNs + keepAlive.idleMs * 1e6;
    // From when it was sent: a domain that was paused longer than all of them take has yet to ask.
    return this.probedNs + keepAlive.intervalMs * 1e6;
  }

  /** Its deadline has come. */
  expire(now: number): void {
    const c = this.connection;
    if (this.restAtNs <= now) {
      c.finish();
      return;
    }
    if (this.rtoAtNs <= now) this.timedOut();
    if (this.persistAtNs <= now) this.persist(now);
    if (this.delayedAckAtNs <= now) {
      this.delayedAckAtNs = NEVER;
      c.ackNow = true;
      c.host.due(c);
    }
    if (this.keepAliveAtNs <= now) this.probeSilence(now);
  }

  private timedOut(): void {
    const c = this.connection;
    this.rtoAtNs = NEVER;
    const limit = c.isOpening ? SYN_RETRIES : c.orphan ? ORPHAN_RETRIES : RETRIES;
    if (++this.retries > limit) {
      c.finish(c.softError ?? c.failure('ETIMEDOUT', 'the peer does not answer'));
      return;
    }
    c.host.stats.timeouts++;
    c.rto.backOff();
    c.timedNs = 0; // Karn: what is sent twice is not timed
    if (c.isOpening) c.synDue = true;
    else c.acknowledgements.timedOut();
    c.host.due(c);
  }
  private persist(now: number): void {
    const c = this.connection;
    if (++this.retries > ORPHAN_RETRIES && c.orphan) {
      c.abort();
      return;
    }
    if (this.retries > RETRIES) {
      c.finish(c.failure('ETIMEDOUT', 'the peer does not answer'));
      return;
    }
    c.rto.backOff();
    if (c.output.override()) return;
    this.persistAtNs = now + c.rto.ns;
    c.output.probe();
  }
  private probeSilence(now: number): void {
    const c = this.connection;
    const { probes } = this.keepAlive!;
    if (this.keepProbes >= probes) {
      c.abort(c.failure('ETIMEDOUT', 'the peer has fallen silent'));
      return;
    }
    this.keepProbes++;
    this.probedNs = now;
    c.output.probe();
  }

  /** End it after a time. */
  rest(ns: number): void {
    const c = this.connection;
    this.restAtNs = c.host.nowNs + ns;
    c.host.schedule(c);
  }
  /** The peer is there. */
  heard(): void {
    this.heardNs = this.connection.host.nowNs;
    this.keepProbes = 0;
  }
  setKeepAlive(keepAlive: KeepAlive | undefined): void {
    const c = this.connection;
    this.keepAlive = keepAlive;
    this.keepProbes = 0;
    c.host.schedule(c);
  }
  /** Nothing is sent any more. */
  stopSending(): void {
    this.rtoAtNs = NEVER;
    this.persistAtNs = NEVER;
  }
  stop(): void {
    this.stopSending();
    this.delayedAckAtNs = NEVER;
    this.restAtNs = NEVER;
    this.keepAlive = undefined;
  }
}

// What a peer sends: bytes into their places, its FIN, and how much more it may send.
import type { TcpConnection } from './connection.ts';
import { DELAYED_ACK_NS, MAX_BUFFER, NEVER, TIME_WAIT_NS } from './control-block.ts';
import { FIN, type Segment } from './segment.ts';
import { add, distance, earliest, isAfter } from './sequence.ts';

export class Text {
  /** Bytes that came since the last acknowledgement. */
  private unacked = 0;
  private finAt: number | undefined;
  private periodNs = 0;
  private periodBytes = 0;
  private readonly connection: TcpConnection;

  constructor(connection: TcpConnection) {
    this.connection = connection;
  }

  input(segment: Segment, bytes: Uint8Array): void {
    const c = this.connection;
    const { host } = c;
    let { seq, dataAt, dataLength } = segment;
    let fin = segment.has(FIN);
    if (dataLength === 0 && !fin) return;
    if (c.state === 'TIME-WAIT' || c.state === 'CLOSING' || c.state === 'LAST-ACK' || c.finReceived) {
      c.ackNow = true; // all of it came before
      if (c.state === 'TIME-WAIT' && fin) c.timers.rest(TIME_WAIT_NS);
      host.due(c);
      return;
    }
    if (c.orphan && dataLength > 0 && isAfter(add(seq, dataLength), c.in.next)) {
      c.abort(); // RFC 9293, 3.10.7.4: there is nobody to take it
      return;
    }
    const old = distance(c.in.next, seq);
    if (old > 0) {
      const cut = Math.min(old, dataLength);
      seq = add(seq, cut);
      dataAt += cut;
      dataLength -= cut;
      host.stats.duplicateBytes += cut;
    }
    // untrusted: nothing beyond the window, and nothing behind the end.
    const last = this.finAt === undefined ? c.edge : earliest(c.edge, this.finAt);
    const beyond = distance(add(seq, dataLength), last);
    if (beyond > 0) {
      dataLength = Math.max(0, dataLength - beyond);
      fin = false;
    }
    const inOrder = seq === c.in.next && !c.in.hasGaps;
    const moved = c.in.insert(seq, bytes, dataAt, dataLength);
    if (c.readShut) c.in.readable = 0;
    if (fin) this.finAt ??= add(seq, dataLength);
    if (this.finAt === c.in.next) this.fin();
    if (moved > 0) c.changed.wakeAll();
    this.unacked += moved;
    if (!inOrder || moved === 0) {
      // RFC 5681, 4.2: what is out of order, and what fills a gap, is answered at once.
      c.output.acknowledge();
      if (c.ackNow) host.due(c);
    } else if (c.ackNow || this.unacked >= 2 * c.congestion.mss) {
      c.ackNow = true;
      host.due(c);
    } else if (c.timers.delayedAckAtNs === NEVER) {
      c.timers.delayedAckAtNs = host.nowNs + DELAYED_ACK_NS;
      host.schedule(c);
    }
  }
  private fin(): void {
    const c = this.connection;
    c.finReceived = true;
    c.ackNow = true;
    c.host.due(c);
    c.changed.wakeAll();
    switch (c.state) {
      case 'ESTABLISHED':
        c.state = 'CLOSE-WAIT';
        break;
      case 'FIN-WAIT-1':
        c.state = 'CLOSING';
        break;
      case 'FIN-WAIT-2':
        c.timeWait();
        break;
    }
  }
  /** An acknowledgement of everything was sent. */
  acknowledgedAll(): void {
    const c = this.connection;
    this.unacked = 0;
    c.ackNow = false;
    c.timers.delayedAckAtNs = NEVER;
    c.lastAck = c.receiveNext;
  }
  /** The reader has taken so much that the peer is to hear of it. */
  opensWindow(): boolean {
    const c = this.connection;
    if (c.state === 'CLOSED' || c.finReceived || c.isOpening) return false;
    const opens = distance(c.newEdge(), c.edge);
    // Half of what the peer may have on its way: else it will hear of it with an acknowledgement.
    if (opens < Math.min(c.in.limit / 2, distance(c.edge, c.in.next) + 2 * c.mss)) return false;
    c.ackNow = true;
    return true;
  }
  /** A reader that empties half a window in a round trip would take more. */
  tune(bytes: number): void {
    const c = this.connection;
    if (c.in.limit >= MAX_BUFFER) return;
    const now = c.host.nowNs;
    this.periodBytes += bytes;
    if (now - this.periodNs < Math.max(1e6, c.rto.srttNs)) return;
    if (this.periodNs > 0 && this.periodBytes > c.in.limit / 2) c.in.limit *= 2;
    this.periodNs = now;
    this.periodBytes = 0;
  }
}

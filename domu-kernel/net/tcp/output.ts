// What a connection sends, and when: the rest of RFC 9293's rules for a sender, with RFC 6675's for what is lost.
import { addBytes, finish } from '../checksum.ts';
import { PROTOCOL_TCP } from '../ipv4.ts';
import type { TcpConnection } from './connection.ts';
import { NEVER } from './control-block.ts';
import {
  ACK,
  FIN,
  MAX_SACK_BLOCKS,
  PSH,
  RST,
  type Segment,
  SYN,
  TCP_HLEN,
  TIMESTAMPS_LENGTH,
  writeHeader,
  writeSackHeader,
  writeSynOptions,
  writeTimestamps,
} from './segment.ts';
import { add, distance, isAfter, isBefore, latest } from './sequence.ts';

/** Of a packet that is cut below: whoever cuts it does not take any number of them. */
const MAX_SEGMENTS = 64;

export class Output {
  private readonly connection: TcpConnection;

  constructor(connection: TcpConnection) {
    this.connection = connection;
  }

  /** Everything that may be sent now. False: the link is full. */
  flush(): boolean {
    const c = this.connection;
    if (c.synDue) return this.synchronize();
    if (c.isOpening) return true;
    if (!this.sendData()) return false;
    return !c.ackNow || this.acknowledge();
  }

  /** An empty segment that says what was received. False: the link is full. */
  acknowledge(): boolean {
    return this.transmit(this.connection.max, 0, ACK, 0);
  }
  /** A segment of the past, which has to be answered: is the peer there, has its window opened? */
  probe(): void {
    this.transmit(add(this.connection.una, -1), 0, ACK, 0);
  }
  /** What fits into a window too small to be worth it, after a time. False: nothing fits, or the link is full. */
  override(): boolean {
    const c = this.connection;
    const length = Math.min(distance(c.out.end, c.max), distance(add(c.una, c.wnd), c.max));
    return length > 0 && this.sendFrom(c.max, Math.min(length, c.mss - this.optionsLength()), 0);
  }
  reset(): void {
    const c = this.connection;
    this.transmit(c.max, 0, RST | ACK, 0);
  }
  /** The answer to a segment of no connection of this name (RFC 9293, 3.10.7.1). */
  refuse(segment: Segment): void {
    this.transmit(segment.ack, 0, RST, 0);
  }

  private synchronize(): boolean {
    const c = this.connection;
    const answer = c.state === 'SYN-RECEIVED';
    const again = c.max !== c.iss;
    if (!this.transmit(c.iss, 0, answer ? SYN | ACK : SYN, 0)) return false;
    c.synDue = false;
    c.max = add(c.iss, 1);
    c.timedNs = again ? 0 : c.host.nowNs;
    c.timers.rtoAtNs = c.host.nowNs + c.rto.ns;
    return true;
  }

  private sendData(): boolean {
    const c = this.connection;
    const { out, congestion, host } = c;
    if (c.una === c.max && host.nowNs - c.lastSendNs > c.rto.ns) congestion.idle();
    for (;;) {
      const size = c.mss - this.optionsLength();
      const pipe = this.pipe();
      const allowed = congestion.cwnd - pipe;
      const hole = this.nextLost();
      if (hole !== undefined) {
        const length = Math.min(size, distance(c.scoreboard.holeEnd(hole, c.lostEdge), hole));
        if (allowed < length && pipe > 0) return true;
        if (!this.sendFrom(hole, Math.min(length, Math.max(0, distance(out.end, hole))), 0)) return false;
        host.stats.retransmitted++;
        c.rtx = latest(c.rtx, add(hole, Math.max(1, length)));
        continue;
      }
      const unsent = distance(out.end, c.max);
      const finUnsent = out.ended && unsent >= 0;
      if (unsent <= 0 && !finUnsent) return true;
      const room = distance(add(c.una, c.wnd), c.max);
      const most = Math.max(0, Math.min(unsent, room, allowed));
      let length = Math.min(most, size);
      const large = host.link.largeRoom(c.local, c.remote);
      if (large > 0 && most > size) {
        const wanted = Math.min(most, large - TCP_HLEN - this.optionsLength(), size * MAX_SEGMENTS);
        // All segments but the last of all are full ones.
        length = wanted === unsent ? wanted : wanted - (wanted % size);
      }
      if (length < size && !this.maySendSmall(length, unsent, room, allowed, size)) {
        this.waitForWindow(unsent, room);
        return true;
      }
      if (!this.sendFrom(c.max, length, length > size ? size : 0)) return false;
    }
  }

  /**
   * Less than a full segment: what is left of all, and no other such is on its way (Nagle's rule as Minshall has it,
   * which does not hold the end of a large write back); or a peer with a small window.
   */
  private maySendSmall(length: number, unsent: number, room: number, allowed: number, size: number): boolean {
    const c = this.connection;
    if (length === unsent) return c.out.ended || c.noDelay || !isAfter(c.smallEnd, c.una);
    if (length === 0) return false;
    if (allowed < Math.min(size, room)) return false;
    return length >= c.maxWnd / 2;
  }
  /** Nothing on its way will open the window: ask for it in time. */
  private waitForWindow(unsent: number, room: number): void {
    const c = this.connection;
    if (c.una !== c.max || room >= unsent || c.timers.persistAtNs !== NEVER) return;
    c.timers.persistAtNs = c.host.nowNs + c.rto.ns;
  }

  /** The next byte to send again; undefined when there is none. */
  private nextLost(): number | undefined {
    const c = this.connection;
    if (!isBefore(c.rtx, c.lostEdge)) return undefined;
    const hole = c.scoreboard.nextHole(latest(c.rtx, c.una));
    if (isBefore(hole, c.lostEdge)) return hole;
    c.rtx = c.lostEdge;
    return undefined;
  }
  /** RFC 6675: bytes thought to be on their way. */
  private pipe(): number {
    const c = this.connection;
    const flight = distance(c.max, c.una);
    const from = latest(c.rtx, c.una);
    const lost = isBefore(from, c.lostEdge) ? c.scoreboard.missing(from, c.lostEdge) : 0;
    return Math.max(0, flight - c.scoreboard.sacked - c.dupBytes - lost);
  }

  /** Data of the queue, and the FIN when it follows. False: the link is full. */
  private sendFrom(seq: number, length: number, segment: number): boolean {
    const c = this.connection;
    const end = add(seq, length);
    const fin = c.out.ended && end === c.out.end;
    const push = end === c.out.end ? PSH : 0;
    if (!this.transmit(seq, length, ACK | push | (fin ? FIN : 0), segment)) return false;
    const behind = add(end, fin ? 1 : 0);
    const now = c.host.nowNs;
    if (isAfter(behind, c.max)) {
      if (c.timedNs === 0 && c.phase === 'open') {
        c.timedNs = now;
        c.timedSeq = behind;
      }
      c.max = behind;
      if (length % c.congestion.mss !== 0) c.smallEnd = behind;
    }
    c.lastSendNs = now;
    c.timers.persistAtNs = NEVER;
    if (c.timers.rtoAtNs === NEVER) c.timers.rtoAtNs = now + c.rto.ns;
    return true;
  }

  private optionsLength(): number {
    const c = this.connection;
    const timestamps = c.timestamps ? TIMESTAMPS_LENGTH : 0;
    return c.sackOk && c.in.hasGaps
      ? timestamps + 4 + 8 * (c.timestamps ? MAX_SACK_BLOCKS - 1 : MAX_SACK_BLOCKS)
      : timestamps;
  }

  /** One segment. False: the link is full, and nothing was sent. */
  private transmit(seq: number, length: number, flags: number, segment: number): boolean {
    const c = this.connection;
    const { host } = c;
    const { link } = host;
    const { view, bytes } = link.tx;
    const at = link.headerAt(c.remote);
    let optionsAt = at + TCP_HLEN;
    let window: number;
    if (flags & SYN) {
      const mss = link.room(c.local, c.remote) - TCP_HLEN;
      optionsAt += writeSynOptions(view, optionsAt, { mss, scale: c.receiveScale, sackPermitted: c.sackOk });
      window = Math.min(0xffff, c.in.limit);
    } else window = this.window();
    if (c.timestamps && (flags & RST) === 0) {
      optionsAt += writeTimestamps(view, optionsAt, this.timestamp(), flags & ACK ? c.tsRecent : 0);
    }
    if ((flags & (SYN | RST)) === 0 && c.sackOk && c.in.hasGaps) {
      const most = c.timestamps ? MAX_SACK_BLOCKS - 1 : MAX_SACK_BLOCKS;
      const blocks = c.in.writeBlocks(view, optionsAt + 4, most);
      optionsAt += writeSackHeader(view, optionsAt, blocks);
    }
    const ack = flags & ACK ? c.receiveNext : 0;
    writeHeader(view, at, c.localPort, c.remotePort, seq, ack, flags, window, optionsAt - at - TCP_HLEN);
    if (length > 0) c.out.read(seq, bytes, optionsAt, length);
    const total = optionsAt - at + length;
    const blank = link.leavesChecksum(c.local, c.remote);
    const sum = c.local.sum + c.remote.sum + PROTOCOL_TCP + total;
    view.setUint16(at + 16, blank ? ~finish(sum) & 0xffff : finish(addBytes(view, at, total, sum)));
    if (link.send(c.local, c.remote, total, blank, segment) === 'full') return false;
    host.stats.segmentsOut++;
    if (flags & ACK) c.text.acknowledgedAll();
    return true;
  }

  /** The field, and the promise that goes with it. */
  private window(): number {
    const c = this.connection;
    const scale = Math.max(0, c.receiveScale);
    const wanted = Math.max(0, distance(c.newEdge(), c.in.next));
    const field = Math.min(0xffff, Math.floor(wanted / 2 ** scale));
    // A window that was rounded down takes nothing back: what was promised is still accepted.
    c.edge = latest(c.edge, add(c.in.next, field * 2 ** scale));
    return field;
  }
  private timestamp(): number {
    const c = this.connection;
    return (Math.floor(c.host.nowNs / 1e6) + c.tsOffset) >>> 0;
  }
}

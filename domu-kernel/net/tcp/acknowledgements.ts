// What a peer's acknowledgements say: what has arrived, what is lost, how much more it takes (RFC 9293, 5681, 6582, 6675).
import type { TcpConnection } from './connection.ts';
import { NEVER } from './control-block.ts';
import { DUP_THRESH } from './scoreboard.ts';
import type { Segment } from './segment.ts';
import { add, distance, earliest, isAfter, isBefore, latest } from './sequence.ts';

/** Of what a path is said to carry (RFC 1191: 576 bytes in any case). */
const PATH_MSS = 536 - 12;

export class Acknowledgements {
  /** The segment that said last how much the peer takes. */
  private wl1 = 0;
  private wl2 = 0;
  private recoveryPoint = 0;
  private dupAcks = 0;
  private readonly connection: TcpConnection;

  constructor(connection: TcpConnection) {
    this.connection = connection;
  }

  /** The window of the segment that opened the connection. */
  firstWindow(wnd: number, seq: number, ack: number): void {
    const c = this.connection;
    c.wnd = wnd;
    c.maxWnd = wnd;
    this.wl1 = seq;
    this.wl2 = ack;
  }

  /** False: the segment is not looked at any further. */
  input(segment: Segment): boolean {
    const c = this.connection;
    const { ack } = segment;
    // RFC 5961, 5: what acknowledges the future, or long ago, is forged.
    if (isAfter(ack, c.max) || distance(c.una, ack) > Math.max(c.maxWnd, 65535)) {
      c.challenge();
      return false;
    }
    const sackedBefore = c.scoreboard.sacked;
    if (c.sackOk) this.heardSack(segment);
    const advanced = distance(ack, c.una);
    const windowChanged = this.updateWindow(segment);
    if (advanced > 0) this.advance(ack, advanced);
    else if (
      advanced === 0 &&
      c.una !== c.max &&
      segment.length === 0 &&
      !windowChanged &&
      (!c.sackOk || c.scoreboard.sacked > sackedBefore)
    ) {
      this.dupAcks++;
      if (!c.sackOk) c.dupBytes += c.congestion.mss;
    }
    // One that says nothing new leaves the timer as it is: nobody would look at the window again.
    if (c.wnd > 0 && (advanced > 0 || windowChanged)) c.timers.persistAtNs = NEVER;
    else if (c.wnd === 0) c.timers.retries = 0; // it is there, and wants nothing: not a reason to give up
    this.judge(advanced);
    if (advanced > 0 || windowChanged || this.dupAcks > 0) c.host.due(c);
    if (advanced > 0 && c.out.ended && isAfter(ack, c.out.end)) return c.finAcknowledged();
    return true;
  }
  private heardSack(segment: Segment): void {
    const c = this.connection;
    for (let i = 0; i < segment.sackBlocks; i++) {
      const start = segment.sackStart[i]!;
      const end = segment.sackEnd[i]!;
      // untrusted: only what is on its way counts. A block below that is a report of duplicates (RFC 2883).
      if (isAfter(end, c.max) || isBefore(start, latest(segment.ack, c.una))) continue;
      c.scoreboard.add(start, end);
    }
  }
  private updateWindow(segment: Segment): boolean {
    const c = this.connection;
    const { seq, ack } = segment;
    const newer = isBefore(this.wl1, seq) || (this.wl1 === seq && !isAfter(this.wl2, ack));
    if (!newer) return false;
    const before = c.wnd;
    c.wnd = segment.window << c.sendScale;
    c.maxWnd = Math.max(c.maxWnd, c.wnd);
    this.wl1 = seq;
    this.wl2 = ack;
    return c.wnd !== before;
  }
  private advance(ack: number, advanced: number): void {
    const c = this.connection;
    const { host, rto } = c;
    const now = host.nowNs;
    if (c.timedNs > 0 && !isBefore(ack, c.timedSeq)) {
      rto.sample(now - c.timedNs);
      c.timedNs = 0;
    }
    rto.resetBackoff();
    c.timers.retries = 0;
    c.softError = undefined;
    const flight = distance(c.max, c.una);
    const { congestion } = c;
    // RFC 7661: a window nobody filled has proved nothing.
    const limited =
      flight + congestion.mss >= congestion.cwnd ||
      (congestion.cwnd < congestion.ssthresh && 2 * flight >= congestion.cwnd);
    const full = c.out.room < c.out.limit / 2;
    c.una = ack;
    c.out.acknowledge(ack);
    c.scoreboard.acknowledge(ack);
    c.lostEdge = latest(c.lostEdge, ack);
    c.rtx = latest(c.rtx, ack);
    c.dupBytes = Math.max(0, c.dupBytes - Math.max(0, advanced - congestion.mss));
    c.timers.rtoAtNs = ack === c.max ? NEVER : now + rto.ns;
    if (limited && c.phase !== 'recovery') congestion.acknowledged(advanced);
    // Who waits for room is woken when there is much of it: each wake costs a turn of the program.
    if (!full || c.out.room >= c.out.limit / 2) c.changed.wakeAll();
  }

  /** What is lost, and whether that is news (RFC 6675, RFC 6582). */
  private judge(advanced: number): void {
    const c = this.connection;
    const { congestion, scoreboard, una } = c;
    if (c.phase !== 'open' && !isBefore(una, this.recoveryPoint)) {
      if (c.phase === 'recovery') congestion.cwnd = congestion.ssthresh;
      c.phase = 'open';
      this.dupAcks = 0;
      c.dupBytes = 0;
    }
    if (c.phase === 'open') {
      if (advanced > 0 && scoreboard.isEmpty) {
        this.dupAcks = 0;
        c.dupBytes = 0;
      }
      const lost = c.sackOk
        ? scoreboard.lostBefore(una, congestion.mss)
        : this.dupAcks >= DUP_THRESH
          ? this.segmentBehind(una)
          : una;
      if (lost === una) return;
      congestion.lost(distance(c.max, una));
      c.phase = 'recovery';
      this.recoveryPoint = c.max;
      c.rtx = una;
      c.lostEdge = lost;
      c.timedNs = 0;
      c.host.due(c);
    } else if (c.phase === 'recovery') {
      if (c.sackOk) c.lostEdge = latest(c.lostEdge, scoreboard.lostBefore(una, congestion.mss));
      else if (advanced > 0) {
        // RFC 6582: a partial acknowledgement says that the next one is lost too.
        c.rtx = una;
        c.lostEdge = this.segmentBehind(una);
      }
    }
  }
  private segmentBehind(seq: number): number {
    const c = this.connection;
    return earliest(add(seq, c.congestion.mss), c.max);
  }

  /** Nothing was heard for a timeout: all of it is taken for lost. */
  timedOut(): void {
    const c = this.connection;
    c.fitLink();
    if (c.phase !== 'loss') c.congestion.timedOut(distance(c.max, c.una));
    else c.congestion.cwnd = c.congestion.mss;
    c.phase = 'loss';
    this.recoveryPoint = c.max;
    c.scoreboard.clear();
    this.dupAcks = 0;
    c.dupBytes = 0;
    c.lostEdge = c.max;
    c.rtx = c.una;
  }
  /** The path carries no segments as large as ours. */
  tooBig(mss: number): void {
    const c = this.connection;
    if (mss >= c.mss) return;
    c.setMss(Math.max(PATH_MSS, mss));
    this.sendAgain();
  }
  /** All that is on its way, in segments of now. It was not lost by congestion. */
  sendAgain(): void {
    const c = this.connection;
    if (c.phase === 'open') {
      c.phase = 'loss';
      this.recoveryPoint = c.max;
    }
    c.lostEdge = c.max;
    c.rtx = c.una;
    c.host.due(c);
  }
}

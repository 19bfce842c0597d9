// The variables of one connection (RFC 9293, 3.3.1), which its parts share: what is sent is output.ts's, what acknowledgements
// say acknowledgements.ts's, what is received text.ts's, time timers.ts's, and which state follows which connection.ts's.
import type { XenError } from '#pvbus';
import { WaitQueue } from '../../wait-queue.ts';
import type { IpAddress } from '../ip-address.ts';
import type { TransportLink } from '../transport-link.ts';
import type { MemoryBudget } from './byte-ring.ts';
import { Congestion } from './congestion.ts';
import type { TcpConnection } from './connection.ts';
import { ReceiveQueue } from './receive-queue.ts';
import { RetransmissionTimeout } from './rto.ts';
import { Scoreboard } from './scoreboard.ts';
import { TIMESTAMPS_LENGTH } from './segment.ts';
import { SendQueue } from './send-queue.ts';
import { add, distance } from './sequence.ts';

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
export const DELAYED_ACK_NS = 40e6;
export const NEVER = Number.POSITIVE_INFINITY;

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
  readonly link: TransportLink;
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

export class ControlBlock implements ConnectionName {
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
  /** Nobody has it any more. */
  orphan = false;
  /** Nothing more will be read; what comes is thrown away. */
  readShut = false;

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
    this.mss = host.link.room(name.local, name.remote) - 20;
    this.congestion = new Congestion(this.mss);
    this.out = new SendQueue(add(iss, 1), FIRST_BUFFER, host.sendBudget);
    this.in = new ReceiveQueue(0, FIRST_BUFFER, host.budget);
  }

  get isOpening(): boolean {
    return this.state === 'SYN-SENT' || this.state === 'SYN-RECEIVED';
  }
  get receiveNext(): number {
    return this.finReceived ? add(this.in.next, 1) : this.in.next;
  }
  /** Where the window the peer is told of should end now: RFC 9293, 3.8.6.2.2, not a little further. */
  newEdge(): number {
    const { edge } = this;
    const open = add(this.in.next, this.in.window);
    const further = distance(open, edge);
    return further >= Math.min(this.in.limit / 2, 2 * this.mss) ? open : edge;
  }
  setMss(mss: number): void {
    this.mss = mss;
    this.congestion.mss = mss - (this.timestamps ? TIMESTAMPS_LENGTH : 0);
  }
  /** All numbers sent so far have been acknowledged. */
  restartAt(seq: number): void {
    this.una = seq;
    this.max = seq;
    this.lostEdge = seq;
    this.rtx = seq;
    this.smallEnd = seq;
  }
}

// Connections to somebody else that come to this guest because it is the gateway of others: their SYNs are held until a
// program has decided, since it is not this guest that knows whether they can be answered.
import { WaitQueue } from '../../wait-queue.ts';
import type { IpAddress } from '../ip-address.ts';
import type { TcpConnection } from './connection.ts';
import { ConnectionTable } from './connection-table.ts';
import type { ConnectionName } from './control-block.ts';
import type { Admission } from './listener.ts';

/** Beyond it SYNs are dropped; they come again. */
export const HELD_SYNS = 256;
const BUCKETS = 256;

/** What a SYN says of its sender. */
export interface SynOptions {
  readonly mss: number;
  readonly scale: number;
  readonly sackPermitted: boolean;
  readonly hasTimestamps: boolean;
  readonly tsVal: number;
}

/** What the stack does with a SYN that is decided upon. */
export interface SynDoor {
  answer(syn: InterceptedSyn): void;
  reset(syn: InterceptedSyn): void;
}

export class InterceptedSyn implements ConnectionName, Admission {
  next: InterceptedSyn | undefined = undefined;
  /** Whom it was for. */
  readonly local: IpAddress;
  readonly localPort: number;
  readonly remote: IpAddress;
  readonly remotePort: number;
  irs: number;
  options: SynOptions;
  state: 'held' | 'answered' | 'connected' | 'gone' = 'held';
  connection: TcpConnection | undefined;
  /** Woken when the state has changed. */
  readonly changed = new WaitQueue();
  halfOpen = 0;
  dropped = 0;
  readonly isFull = false;
  private readonly owner: TcpInterceptor;

  constructor(owner: TcpInterceptor, name: ConnectionName, irs: number, options: SynOptions) {
    this.owner = owner;
    this.local = name.local;
    this.localPort = name.localPort;
    this.remote = name.remote;
    this.remotePort = name.remotePort;
    this.irs = irs;
    this.options = options;
  }
  /** Complete the handshake: see `state`. Nothing happens when it has been decided upon. */
  accept(): void {
    if (!this.leave('answered')) return;
    this.owner.door.answer(this);
  }
  /** Say that nobody is there. */
  refuse(): void {
    if (!this.leave('gone')) return;
    this.owner.door.reset(this);
  }
  /** Say nothing; it comes again, and may then be another one. */
  drop(): void {
    this.leave('gone');
  }
  offer(connection: TcpConnection): void {
    this.connection = connection;
    this.become('connected');
  }
  gaveUp(): void {
    this.become('gone');
  }

  private leave(state: 'answered' | 'gone'): boolean {
    if (this.state !== 'held') return false;
    this.owner.held.remove(this);
    this.become(state);
    return true;
  }
  private become(state: InterceptedSyn['state']): void {
    this.state = state;
    this.changed.wakeAll();
  }
}

export class TcpInterceptor {
  readonly held: ConnectionTable<InterceptedSyn>;
  readonly door: SynDoor;
  /** Woken when there is a SYN to take, and when it is closed. */
  readonly changed = new WaitQueue();
  closed = false;
  /** SYNs that there was no room for. */
  dropped = 0;
  private readonly waiting: InterceptedSyn[] = [];
  private readonly onClose: () => void;

  constructor(door: SynDoor, random: () => number, onClose: () => void) {
    this.door = door;
    this.held = new ConnectionTable(BUCKETS, random);
    this.onClose = onClose;
  }
  /** The next one that nobody has decided upon. */
  take(): InterceptedSyn | undefined {
    for (let next = this.waiting.shift(); next !== undefined; next = this.waiting.shift()) {
      if (next.state === 'held') return next;
    }
    return undefined;
  }
  hold(name: ConnectionName, irs: number, options: SynOptions): void {
    if (this.held.size >= HELD_SYNS) {
      this.dropped++;
      return;
    }
    const syn = new InterceptedSyn(this, name, irs, options);
    this.held.add(syn);
    this.waiting.push(syn);
    this.changed.wakeAll();
  }
  /** What is held is forgotten; connections live on. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.onClose();
    for (const syn of [...this.held]) syn.drop();
    this.waiting.length = 0;
    this.changed.wakeAll();
  }
}

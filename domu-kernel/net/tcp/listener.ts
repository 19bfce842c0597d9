// A port that is listened on: SYNs that wait for the rest of their handshake, and connections to be accepted.
import { XenError } from '#pvbus';
import { WaitQueue } from '../../wait-queue.ts';
import { takes } from '../bound-name.ts';
import type { IpAddress } from '../ip-address.ts';
import type { BoundPort } from './bound-ports.ts';
import type { TcpConnection } from './connection.ts';
import type { ConnectionName } from './control-block.ts';

/** Who gets the connection when a handshake is complete. */
export interface Admission {
  halfOpen: number;
  /** Connections that there was no room for. */
  dropped: number;
  readonly isFull: boolean;
  offer(connection: TcpConnection): void;
  /** The peer does not answer, or has reset it. */
  gaveUp(): void;
}

/** A SYN that was answered. No memory for data until the peer has proved that it has its address. */
export interface HalfOpen extends ConnectionName {
  next: HalfOpen | undefined;
  readonly listener: Admission;
  readonly irs: number;
  readonly iss: number;
  readonly mss: number;
  readonly scale: number;
  readonly sackPermitted: boolean;
  readonly hasTimestamps: boolean;
  tsVal: number;
  tries: number;
  deadlineNs: number;
  heapIndex: number;
  heapNs: number;
}

export const DEFAULT_BACKLOG = 128;
export const MAX_BACKLOG = 4096;

export class TcpListener implements Admission {
  readonly name: BoundPort;
  readonly backlog: number;
  /** Woken when there is somebody to accept, and when it is closed. */
  readonly changed = new WaitQueue();
  /** Of those in `halfOpen` of the stack, the ones of this port. */
  halfOpen = 0;
  closed = false;
  /** Connections and SYNs that there was no room for. */
  dropped = 0;
  private readonly waiting: TcpConnection[] = [];
  private readonly onClose: (listener: TcpListener) => void;

  constructor(name: BoundPort, backlog: number, onClose: (listener: TcpListener) => void) {
    this.name = name;
    this.backlog = Math.max(1, Math.min(MAX_BACKLOG, backlog));
    this.onClose = onClose;
  }
  get isFull(): boolean {
    return this.waiting.length >= this.backlog;
  }
  get acceptable(): number {
    return this.waiting.length;
  }
  get port(): number {
    return this.name.port;
  }
  get address(): IpAddress {
    return this.name.address;
  }
  takes(address: IpAddress): boolean {
    return takes(this.name, address);
  }

  /** The next connection; undefined when there is none now. One that has been reset since is none. */
  accept(): TcpConnection | undefined {
    if (this.closed) throw new XenError('EINVAL', `tcp: port ${this.port} is not listened on any more`);
    for (let next = this.waiting.shift(); next !== undefined; next = this.waiting.shift()) {
      if (next.state !== 'CLOSED' || next.readable > 0) return next;
      next.close();
    }
    return undefined;
  }
  offer(connection: TcpConnection): void {
    this.waiting.push(connection);
    this.changed.wakeAll();
  }
  gaveUp(): void {}
  /** Connections that were accepted live on; those that were not are reset. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.onClose(this);
    for (const connection of this.waiting.splice(0)) {
      connection.abort();
      connection.close();
    }
    this.changed.wakeAll();
  }
}

// What a program may set of a socket. Sockets of connections that were accepted begin with the listener's.
import { XenError } from '#pvbus';
import { KEEP_ALIVE, type KeepAlive } from '../net/tcp/control-block.ts';

/** As xenolith_sock.h numbers them. */
export const OPTION = {
  type: 1,
  error: 2,
  reuseAddress: 3,
  keepAlive: 4,
  keepIdle: 5,
  keepInterval: 6,
  keepCount: 7,
  noDelay: 8,
  accepts: 9,
  broadcast: 10,
  receiveBuffer: 11,
  receiveTimeout: 12,
  sendTimeout: 13,
  ipv6Only: 14,
  linger: 15,
  sendBuffer: 16,
  domain: 17,
  protocol: 18,
} as const;
/** Those of socket.ts's GROUP_OPTIONS, of datagrams. */
export const FIRST_GROUP_OPTION = 32;

// As in Linux; seconds.
const MOST_SECONDS = 32767;
const MOST_PROBES = 127;
const LEAST_BUFFER = 2304;
const MOST_BUFFER = 212_992;
const LEAST_SEND_BUFFER = 4608;

export class SocketOptions {
  /** A port may be several sockets' who say so: of streams until one of them listens. */
  reuseAddress = false;
  broadcast = false;
  /** Of IPv6: it has nothing of IPv4. What is bound stays as it is. */
  ipv6Only = false;
  /** Of datagrams: what they may take until they are received. */
  receiveBuffer = MOST_BUFFER;
  /** Said, and not heeded: what is sent has the room that its stack gives it. */
  sendBuffer = MOST_BUFFER;
  /** Seconds that `close` may take; undefined: as it likes. 0: what has not been delivered is not, and the peer is reset. */
  linger: number | undefined;
  /** How long a call waits; 0: for ever. */
  receiveMs = 0;
  sendMs = 0;
  keepAlive = false;
  noDelay = false;
  times: KeepAlive = KEEP_ALIVE;

  copy(): SocketOptions {
    return Object.assign(new SocketOptions(), this);
  }
  /** ENOPROTOOPT for what cannot be set, EINVAL for a value out of its bounds. */
  set(option: number, value: number): void {
    const { times } = this;
    if (option === OPTION.reuseAddress) this.reuseAddress = value !== 0;
    else if (option === OPTION.keepAlive) this.keepAlive = value !== 0;
    else if (option === OPTION.noDelay) this.noDelay = value !== 0;
    else if (option === OPTION.keepIdle) this.times = { ...times, idleMs: within(value, MOST_SECONDS) * 1000 };
    else if (option === OPTION.keepInterval) this.times = { ...times, intervalMs: within(value, MOST_SECONDS) * 1000 };
    else if (option === OPTION.keepCount) this.times = { ...times, probes: within(value, MOST_PROBES) };
    else if (option === OPTION.broadcast) this.broadcast = value !== 0;
    else if (option === OPTION.ipv6Only) this.ipv6Only = value !== 0;
    else if (option === OPTION.linger) this.linger = value < 0 ? undefined : value;
    else if (option === OPTION.sendBuffer)
      this.sendBuffer = Math.max(LEAST_SEND_BUFFER, 2 * Math.min(value >>> 0, MOST_BUFFER));
    else if (option === OPTION.receiveTimeout) this.receiveMs = value >>> 0;
    else if (option === OPTION.sendTimeout) this.sendMs = value >>> 0;
    // As in Linux: twice what was asked, since what keeps them takes its share.
    else if (option === OPTION.receiveBuffer)
      this.receiveBuffer = Math.max(LEAST_BUFFER, 2 * Math.min(value >>> 0, MOST_BUFFER));
    else throw new XenError('ENOPROTOOPT', `option ${option} of a socket`);
  }
  get(option: number): number {
    if (option === OPTION.reuseAddress) return Number(this.reuseAddress);
    if (option === OPTION.keepAlive) return Number(this.keepAlive);
    if (option === OPTION.noDelay) return Number(this.noDelay);
    if (option === OPTION.keepIdle) return this.times.idleMs / 1000;
    if (option === OPTION.keepInterval) return this.times.intervalMs / 1000;
    if (option === OPTION.keepCount) return this.times.probes;
    if (option === OPTION.broadcast) return Number(this.broadcast);
    if (option === OPTION.ipv6Only) return Number(this.ipv6Only);
    if (option === OPTION.linger) return this.linger ?? -1;
    if (option === OPTION.sendBuffer) return this.sendBuffer;
    if (option === OPTION.receiveTimeout) return this.receiveMs;
    if (option === OPTION.sendTimeout) return this.sendMs;
    if (option === OPTION.receiveBuffer) return this.receiveBuffer;
    throw new XenError('ENOPROTOOPT', `option ${option} of a socket`);
  }
}

function within(value: number, most: number): number {
  if (value < 1 || value > most) throw new XenError('EINVAL', `${value} is not from 1 to ${most}`);
  return value;
}

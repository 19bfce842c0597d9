// Echoes of ICMP that are waited for, of either family.
import { type Clock, XenError } from '#pvbus';
import type { IpAddress } from './ip-address.ts';
import type { SendResult } from './ip-output.ts';

export const MAX_PINGS = 1024;

export interface PingReply {
  readonly rttMs: number;
  readonly seq: number;
}
interface Ping {
  readonly destination: IpAddress;
  readonly seq: number;
  readonly size: number;
  readonly sentNs: number;
  readonly deadlineNs: number;
  resolve(reply: PingReply): void;
  reject(error: XenError): void;
}

export class Pings {
  readonly id: number;
  private readonly clock: Clock;
  private nextSeq = 1;
  private readonly pings = new Map<number, Ping>();

  constructor(clock: Clock, random: () => number) {
    this.clock = clock;
    this.id = Math.floor(random() * 0x10000);
  }

  /** `send` puts the echo with this number on its way. Rejects with ETIMEDOUT, EHOSTUNREACH, ENETUNREACH, EBUSY. */
  ping(destination: IpAddress, timeoutMs: number, size: number, send: (seq: number) => SendResult): Promise<PingReply> {
    if (this.pings.size >= MAX_PINGS) {
      return Promise.reject(new XenError('EBUSY', `${MAX_PINGS} pings are on their way already`));
    }
    const seq = this.nextSeq;
    this.nextSeq = (seq % 0xffff) + 1;
    const sentNs = this.clock.now();
    // A reply may come before send() is over (to ourselves), so the ping is on the list first.
    const reply = new Promise<PingReply>((resolve, reject) => {
      const deadlineNs = sentNs + timeoutMs * 1e6;
      this.pings.set(seq, { destination, seq, size, sentNs, deadlineNs, resolve, reject });
    });
    if (send(seq) === 'no-route') this.fail(seq, 'ENETUNREACH', `no route to ${destination}`);
    // A device that is full has lost the packet like any wire would: the timeout tells.
    return reply;
  }

  /** untrusted: an echo's data at `at`. False: we asked for no such one. */
  answered(id: number, seq: number, source: IpAddress, bytes: Uint8Array, at: number, size: number): boolean {
    const ping = id === this.id ? this.pings.get(seq) : undefined;
    if (ping === undefined || !ping.destination.equals(source) || ping.size !== size) return false;
    for (let i = 0; i < size; i++) if (bytes[at + i] !== (i & 0xff)) return false;
    this.pings.delete(seq);
    ping.resolve({ rttMs: (this.clock.now() - ping.sentNs) / 1e6, seq });
    return true;
  }
  /** It did not arrive. False: it is none of ours. */
  undeliverable(id: number, seq: number, destination: IpAddress, code: string, reason: string): boolean {
    if (id !== this.id || this.pings.get(seq)?.destination.equals(destination) !== true) return false;
    this.fail(seq, code, `${destination} cannot be reached: ${reason}`);
    return true;
  }

  step(): 'progress' | 'idle' {
    if (this.pings.size === 0) return 'idle';
    const now = this.clock.now();
    let result: 'progress' | 'idle' = 'idle';
    for (const ping of [...this.pings.values()]) {
      if (ping.deadlineNs > now) continue;
      const waited = Math.round((ping.deadlineNs - ping.sentNs) / 1e6);
      this.fail(ping.seq, 'ETIMEDOUT', `no echo from ${ping.destination} within ${waited} ms`);
      result = 'progress';
    }
    return result;
  }
  deadline(): number | undefined {
    let earliest: number | undefined;
    for (const { deadlineNs } of this.pings.values()) {
      if (earliest === undefined || deadlineNs < earliest) earliest = deadlineNs;
    }
    return earliest;
  }

  private fail(seq: number, code: string, message: string): void {
    const ping = this.pings.get(seq);
    this.pings.delete(seq);
    ping?.reject(new XenError(code, message));
  }
}

/** The data of an echo: each byte says where it is. */
export function fillEcho(bytes: Uint8Array, at: number, size: number): void {
  for (let i = 0; i < size; i++) bytes[at + i] = i;
}

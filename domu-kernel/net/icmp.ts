// ICMP (RFC 792): echo both ways, errors both ways.
import { type Clock, XenError } from '#pvbus';
import { addBytes, finish, verifies } from './checksum.ts';
import { Complaints } from './complaints.ts';
import { IpAddress } from './ip-address.ts';
import type { IpOutput, SendResult } from './ip-output.ts';
import { IPV4_HLEN, Ipv4Header, LARGEST_IPV4, PROTOCOL_ICMP, readQuotedIpv4 } from './ipv4.ts';
import { fillEcho, type PingReply, type Pings } from './pings.ts';

const ECHO_REPLY = 0;
const UNREACHABLE = 3;
const ECHO = 8;
const TIME_EXCEEDED = 11;
const PARAMETER_PROBLEM = 12;
export const NET_UNREACHABLE = 0;
export const HOST_UNREACHABLE = 1;
export const PROTOCOL_UNREACHABLE = 2;
export const PORT_UNREACHABLE = 3;
/** Of "time exceeded". */
const REASSEMBLY = 1;
/** RFC 1812, 5.2.7.1. */
export const PROHIBITED = 13;

const HEADER = 8;
/** Of the packet an error is about, RFC 792 quotes the header and this much. */
const QUOTED = 8;
/** Routers of before RFC 1191 say 0. */
export const MIN_PATH_MTU = 576;

export interface IcmpEvents {
  /**
   * Some host says that a packet of ours did not arrive; `view` holds that packet's quoted header and 8 bytes. `mtu`: of an
   * EMSGSIZE, what the path carries (RFC 1191). False: it can be none of ours.
   */
  lost(code: string, header: Ipv4Header, view: DataView, mtu: number): boolean;
  /** The path to it carries no more than this. */
  tooBig(destination: number, mtu: number): void;
}

export class Icmp {
  readonly stats = { echoes: 0, replies: 0, errorsIn: 0, errorsOut: 0, errorsSuppressed: 0, bad: 0 };
  private readonly ip: IpOutput;
  private readonly pings: Pings;
  private readonly events: IcmpEvents;
  private readonly quoted = new Ipv4Header();
  private readonly complaints: Complaints;

  constructor(ip: IpOutput, pings: Pings, clock: Clock, events: IcmpEvents) {
    this.ip = ip;
    this.pings = pings;
    this.events = events;
    this.complaints = new Complaints(clock);
  }

  /** Ask for an echo. Rejects with ETIMEDOUT, EHOSTUNREACH, ENETUNREACH, EMSGSIZE or EBUSY. */
  ping(destination: number, timeoutMs: number, size: number): Promise<PingReply> {
    if (!Number.isInteger(size) || size < 0 || HEADER + size > LARGEST_IPV4 - IPV4_HLEN) {
      return Promise.reject(new XenError('EMSGSIZE', `a ping of ${size} bytes does not fit a packet`));
    }
    return this.pings.ping(IpAddress.v4(destination), timeoutMs, size, seq => {
      const { bytes, payloadAt } = this.ip.tx;
      fillEcho(bytes, payloadAt + HEADER, size);
      return this.write(ECHO, 0, this.pings.id * 0x10000 + seq, HEADER + size, 0, destination);
    });
  }

  /** One ICMP message in the private receive buffer. `unicast`: it was sent to us alone. */
  input(bytes: Uint8Array, view: DataView, header: Ipv4Header, unicast: boolean): void {
    const at = header.payloadAt;
    const length = header.payloadLength;
    if (length < HEADER || !verifies(view, at, length)) {
      this.stats.bad++;
      return;
    }
    const type = view.getUint8(at);
    if (type === ECHO) {
      // RFC 1122, 3.2.2.6: an echo to a broadcast may be left unanswered; answering makes floods.
      if (unicast) this.answer(bytes, view, header);
    } else if (type === ECHO_REPLY) this.reply(bytes, view, header);
    else if (type === UNREACHABLE || type === TIME_EXCEEDED || type === PARAMETER_PROBLEM) {
      this.error(type, view.getUint8(at + 1), view, at + HEADER, length - HEADER, header.destination);
    }
  }

  /** Tell the sender of the packet at `header` that nobody here takes it. */
  unreachable(bytes: Uint8Array, header: Ipv4Header, code: number): void {
    this.complain(UNREACHABLE, code, bytes, header);
  }
  /** What is behind the first part of its datagram has not come in time. */
  incomplete(bytes: Uint8Array, header: Ipv4Header): void {
    this.complain(TIME_EXCEEDED, REASSEMBLY, bytes, header);
  }
  private complain(type: number, code: number, bytes: Uint8Array, header: Ipv4Header): void {
    // RFC 1122, 3.2.2: no error about an error.
    if (header.protocol === PROTOCOL_ICMP && bytes[header.payloadAt] !== ECHO) return;
    if (!this.complaints.take()) {
      this.stats.errorsSuppressed++;
      return;
    }
    const quoted = header.headerLength + Math.min(QUOTED, header.payloadLength);
    this.ip.tx.bytes.set(bytes.subarray(header.at, header.at + quoted), this.ip.tx.payloadAt + HEADER);
    this.stats.errorsOut++;
    const source = this.ip.isOurs(header.destination) ? header.destination : 0;
    this.write(type, code, 0, HEADER + quoted, source, header.source);
  }

  /** A packet of ours, its header at `header`, could not be delivered: the ping it was fails now. False: it was none. */
  undeliverable(code: string, reason: string, header: Ipv4Header, view: DataView): boolean {
    const at = header.payloadAt;
    if (view.getUint8(at) !== ECHO) return false;
    const destination = IpAddress.v4(header.destination);
    return this.pings.undeliverable(view.getUint16(at + 4), view.getUint16(at + 6), destination, code, reason);
  }

  private answer(bytes: Uint8Array, view: DataView, header: Ipv4Header): void {
    const at = header.payloadAt;
    const length = header.payloadLength;
    this.stats.echoes++;
    this.ip.tx.bytes.set(bytes.subarray(at + HEADER, at + length), this.ip.tx.payloadAt + HEADER);
    this.write(ECHO_REPLY, 0, view.getUint32(at + 4), length, header.destination, header.source);
  }

  private reply(bytes: Uint8Array, view: DataView, header: Ipv4Header): void {
    const at = header.payloadAt;
    const [id, seq] = [view.getUint16(at + 4), view.getUint16(at + 6)];
    const size = header.payloadLength - HEADER;
    if (this.pings.answered(id, seq, IpAddress.v4(header.source), bytes, at + HEADER, size)) this.stats.replies++;
    else this.stats.bad++;
  }

  /** `own`: the address of ours that it came to, which the packet it is about came from; so others cannot speak of the loopback's. */
  private error(type: number, code: number, view: DataView, at: number, length: number, own: number): void {
    const header = this.quoted;
    if (!readQuotedIpv4(view, at, length, header) || header.source !== own) {
      this.stats.bad++;
      return;
    }
    this.stats.errorsIn++;
    const name = type === UNREACHABLE ? (UNREACHABLE_CODES[code] ?? 'EHOSTUNREACH') : 'EHOSTUNREACH';
    const mtu = Math.max(MIN_PATH_MTU, view.getUint16(at - 2));
    const ours =
      header.protocol === PROTOCOL_ICMP
        ? this.undeliverable(name, `ICMP type ${type}, code ${code}`, header, view)
        : this.events.lost(name, header, view, mtu);
    if (ours && name === 'EMSGSIZE') this.events.tooBig(header.destination, mtu);
  }

  /** Header and checksum around a payload that is in place already. `source`: see IpOutput.send. */
  private write(
    type: number,
    code: number,
    rest: number,
    length: number,
    source: number,
    destination: number,
  ): SendResult {
    const { view, payloadAt } = this.ip.tx;
    view.setUint8(payloadAt, type);
    view.setUint8(payloadAt + 1, code);
    view.setUint16(payloadAt + 2, 0);
    view.setUint32(payloadAt + 4, rest);
    view.setUint16(payloadAt + 2, finish(addBytes(view, payloadAt, length)));
    return this.ip.send(PROTOCOL_ICMP, source, destination, length);
  }
}

/** RFC 792 and RFC 1122, 3.2.2.1: the codes of "destination unreachable" as errno names. */
const UNREACHABLE_CODES: readonly string[] = ['ENETUNREACH', 'EHOSTUNREACH', 'ENOPROTOOPT', 'ECONNREFUSED', 'EMSGSIZE'];

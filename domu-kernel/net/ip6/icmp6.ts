// ICMPv6 (RFC 4443): echo both ways, errors both ways. What finds neighbours is discovery.ts's.
import { type Clock, XenError } from '#pvbus';
import { addBytes, finish, verifies } from '../checksum.ts';
import { Complaints } from '../complaints.ts';
import { ETH_HLEN } from '../ethernet.ts';
import type { IpAddress } from '../ip-address.ts';
import type { SendResult } from '../ip-output.ts';
import { fillEcho, type PingReply, type Pings } from '../pings.ts';
import { REDIRECT, ROUTER_SOLICITATION } from './discovery-message.ts';
import {
  FRAGMENT,
  FRAGMENT_HLEN,
  IPV6_HLEN,
  IPV6_MIN_MTU,
  Ipv6Header,
  isExtension,
  LARGEST_PAYLOAD6,
  PROTOCOL_ICMPV6,
  UNKNOWN_NEXT_HEADER,
} from './header.ts';
import { LISTENER_QUERY, LISTENER_REPORT_V1 } from './listener-message.ts';

const UNREACHABLE = 1;
const TOO_BIG = 2;
const TIME_EXCEEDED = 3;
const PARAMETER_PROBLEM = 4;
const ECHO = 128;
const ECHO_REPLY = 129;
const FIRST_INFORMATION = 128;
/** Of "time exceeded". */
const REASSEMBLY = 1;
/** Of "destination unreachable". */
export const PORT_UNREACHABLE6 = 4;
const HEADER = 8;
/** Behind the header of a packet of ours, an error quotes at least this much. */
const QUOTED = 8;

export interface Icmp6Link {
  readonly tx: { readonly bytes: Uint8Array; readonly view: DataView };
  sourceFor(destination: IpAddress): IpAddress | undefined;
  send(protocol: number, source: IpAddress, destination: IpAddress, length: number): SendResult;
  /** A message of neighbour discovery, its checksum right. */
  discovery(type: number, header: Ipv6Header): void;
  /** One about the groups of hosts, its checksum right. */
  listener(type: number, header: Ipv6Header): void;
  /** A packet of ours did not arrive; see Transports.lost. */
  lost(code: string, header: Ipv6Header, view: DataView, mtu: number): boolean;
  /** The path to it carries no more than this. */
  tooBig(destination: IpAddress, mtu: number): void;
}

export class Icmp6 {
  readonly stats = { echoes: 0, replies: 0, errorsIn: 0, errorsOut: 0, errorsSuppressed: 0, bad: 0 };
  private readonly link: Icmp6Link;
  private readonly pings: Pings;
  private readonly complaints: Complaints;
  private readonly quoted = new Ipv6Header();

  constructor(link: Icmp6Link, pings: Pings, clock: Clock) {
    this.link = link;
    this.pings = pings;
    this.complaints = new Complaints(clock);
  }

  /** Ask for an echo. Rejects with ETIMEDOUT, EHOSTUNREACH, ENETUNREACH, EMSGSIZE or EBUSY. */
  ping(destination: IpAddress, timeoutMs: number, size: number): Promise<PingReply> {
    const { link } = this;
    if (!Number.isInteger(size) || size < 0 || HEADER + size > LARGEST_PAYLOAD6) {
      return Promise.reject(new XenError('EMSGSIZE', `a ping of ${size} bytes does not fit a packet`));
    }
    return this.pings.ping(destination, timeoutMs, size, seq => {
      const source = link.sourceFor(destination);
      if (source === undefined) return 'no-route';
      fillEcho(link.tx.bytes, PAYLOAD_AT + HEADER, size);
      return this.write(ECHO, 0, this.pings.id * 0x10000 + seq, HEADER + size, source, destination);
    });
  }

  /** One message in the private receive buffer. `unicast`: it was sent to us alone. */
  input(bytes: Uint8Array, view: DataView, header: Ipv6Header, unicast: boolean): void {
    const { payloadAt: at, payloadLength: length, source, destination } = header;
    const sum = source.sum + destination.sum + PROTOCOL_ICMPV6 + length;
    if (length < HEADER || !verifies(view, at, length, sum)) {
      this.stats.bad++;
      return;
    }
    const type = view.getUint8(at);
    if (type >= ROUTER_SOLICITATION && type <= REDIRECT) {
      // RFC 6980: one in parts can be hidden from who watches over a link.
      if (!header.isFragment) this.link.discovery(type, header);
      else this.stats.bad++;
    } else if (type === LISTENER_QUERY || type === LISTENER_REPORT_V1) this.link.listener(type, header);
    else if (type === ECHO) {
      // As with IPv4: answering echoes to groups makes floods.
      if (unicast && !source.isUnspecified) this.answer(bytes, view, header);
    } else if (type === ECHO_REPLY) {
      const [id, seq] = [view.getUint16(at + 4), view.getUint16(at + 6)];
      if (this.pings.answered(id, seq, source, bytes, at + HEADER, length - HEADER)) this.stats.replies++;
      else this.stats.bad++;
    } else if (type <= PARAMETER_PROBLEM && type >= UNREACHABLE) this.error(type, view, at, length, destination);
  }

  portUnreachable(bytes: Uint8Array, header: Ipv6Header): void {
    this.complain(UNREACHABLE, PORT_UNREACHABLE6, 0, bytes, header);
  }
  /** Nobody here knows what it carries. */
  unknownProtocol(bytes: Uint8Array, header: Ipv6Header): void {
    this.complain(PARAMETER_PROBLEM, UNKNOWN_NEXT_HEADER, header.pointer - header.at, bytes, header);
  }
  /** What is behind the first part of its datagram has not come in time. */
  incomplete(bytes: Uint8Array, header: Ipv6Header): void {
    this.complain(TIME_EXCEEDED, REASSEMBLY, 0, bytes, header);
  }
  /** `problem` at `pointer`. */
  parameterProblem(bytes: Uint8Array, header: Ipv6Header): void {
    this.complain(PARAMETER_PROBLEM, header.problem, header.pointer - header.at, bytes, header);
  }

  /** A packet of ours could not be delivered: the ping it was fails now. False: it was none. */
  undeliverable(code: string, reason: string, { payloadAt: at, destination }: Ipv6Header, view: DataView): boolean {
    if (view.getUint8(at) !== ECHO) return false;
    return this.pings.undeliverable(view.getUint16(at + 4), view.getUint16(at + 6), destination.clone(), code, reason);
  }

  private answer(bytes: Uint8Array, view: DataView, header: Ipv6Header): void {
    const { payloadAt: at, payloadLength: length, source, destination } = header;
    this.stats.echoes++;
    this.link.tx.bytes.set(bytes.subarray(at + HEADER, at + length), PAYLOAD_AT + HEADER);
    this.write(ECHO_REPLY, 0, view.getUint32(at + 4), length, destination, source);
  }

  /** `own`: the address of ours that it came to. */
  private error(type: number, view: DataView, at: number, length: number, own: IpAddress): void {
    const { quoted, link } = this;
    // untrusted: it has to be about a packet of ours that is on its way.
    if (!readQuotedIpv6(view, at + HEADER, length - HEADER, quoted) || !own.equals(quoted.source)) {
      this.stats.bad++;
      return;
    }
    const mtu = view.getUint32(at + 4);
    // RFC 8201, 4: less than every link carries is not believed.
    if (type === TOO_BIG && mtu < IPV6_MIN_MTU) {
      this.stats.bad++;
      return;
    }
    this.stats.errorsIn++;
    const code = view.getUint8(at + 1);
    const name = type === TOO_BIG ? 'EMSGSIZE' : type === UNREACHABLE ? codeOf(code) : problemOf(type, code);
    const ours =
      quoted.protocol === PROTOCOL_ICMPV6
        ? this.undeliverable(name, `ICMPv6 type ${type}, code ${code}`, quoted, view)
        : link.lost(name, quoted, view, mtu);
    if (ours && type === TOO_BIG) link.tooBig(quoted.destination, mtu);
  }

  /** RFC 4443, 2.4. */
  private complain(type: number, code: number, rest: number, bytes: Uint8Array, header: Ipv6Header): void {
    const { link, stats } = this;
    const { at, source, payloadAt, payloadLength } = header;
    if (source.isUnspecified || source.isMulticast || carriesError(bytes, header)) return;
    const own = header.destination.isMulticast ? link.sourceFor(source) : header.destination;
    if (own === undefined) return;
    if (!this.complaints.take()) {
      stats.errorsSuppressed++;
      return;
    }
    // As much of it as fits into a packet that any link carries.
    const quoted = Math.min(payloadAt + payloadLength - at, IPV6_MIN_MTU - IPV6_HLEN - HEADER);
    link.tx.bytes.set(bytes.subarray(at, at + quoted), PAYLOAD_AT + HEADER);
    stats.errorsOut++;
    this.write(type, code, rest, HEADER + quoted, own, source);
  }

  /** Header and checksum around a payload that is in place already. */
  private write(
    type: number,
    code: number,
    rest: number,
    length: number,
    source: IpAddress,
    destination: IpAddress,
  ): SendResult {
    const { view } = this.link.tx;
    view.setUint32(PAYLOAD_AT, (type << 24) | (code << 16));
    view.setUint32(PAYLOAD_AT + 4, rest);
    const sum = source.sum + destination.sum + PROTOCOL_ICMPV6 + length;
    view.setUint16(PAYLOAD_AT + 2, finish(addBytes(view, PAYLOAD_AT, length, sum)));
    return this.link.send(PROTOCOL_ICMPV6, source, destination, length);
  }
}

const PAYLOAD_AT = ETH_HLEN + IPV6_HLEN;

/** The header an error quotes: what follows it is cut, so its lengths prove nothing. False: not one of ours. */
export function readQuotedIpv6(view: DataView, at: number, available: number, into: Ipv6Header): boolean {
  if (available < IPV6_HLEN + QUOTED || view.getUint8(at) >> 4 !== 6) return false;
  into.at = at;
  into.protocol = view.getUint8(at + 6);
  into.payloadAt = at + IPV6_HLEN;
  into.source.read(view, at + 8);
  into.destination.read(view, at + 24);
  if (into.protocol !== FRAGMENT) return true;
  // The first fragment of a datagram of ours says whose it is; no other does.
  if (available < IPV6_HLEN + FRAGMENT_HLEN + QUOTED || (view.getUint16(into.payloadAt + 2) & 0xfff8) !== 0)
    return false;
  into.protocol = view.getUint8(into.payloadAt);
  into.payloadAt += FRAGMENT_HLEN;
  return true;
}

/** RFC 4443, 3.1, as errno names. */
const CODES: readonly string[] = [
  'ENETUNREACH',
  'EACCES',
  'EHOSTUNREACH',
  'EHOSTUNREACH',
  'ECONNREFUSED',
  'EACCES',
  'EACCES',
];
const codeOf = (code: number): string => CODES[code] ?? 'EHOSTUNREACH';
const problemOf = (type: number, code: number): string =>
  type === PARAMETER_PROBLEM && code === UNKNOWN_NEXT_HEADER
    ? 'ENOPROTOOPT'
    : type === TIME_EXCEEDED
      ? 'EHOSTUNREACH'
      : 'EPROTO';
/** Behind the headers that are left there is an error: who complains of one complains for ever. */
function carriesError(bytes: Uint8Array, { protocol, payloadAt, payloadLength }: Ipv6Header): boolean {
  const end = payloadAt + payloadLength;
  let type = protocol;
  let next = payloadAt;
  while (isExtension(type) && next + 2 <= end) {
    const length = type === FRAGMENT ? FRAGMENT_HLEN : (bytes[next + 1]! + 1) * 8;
    type = bytes[next]!;
    next += length;
  }
  return type === PROTOCOL_ICMPV6 && (next >= end || bytes[next]! < FIRST_INFORMATION);
}

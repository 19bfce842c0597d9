// An address of either family as four 32-bit words. An IPv4 address is what RFC 4291 maps it to, ::ffff:a.b.c.d:
// so a sum over the words is that of either family's pseudo header, 0xffff being nothing in ones' complement.
import { XenError } from '#pvbus';
import { formatIpv4, parseIpv4 } from './address.ts';

const MAPPED = 0xffff;

export class IpAddress {
  a = 0;
  b = 0;
  c = 0;
  d = 0;

  static of(a: number, b: number, c: number, d: number): IpAddress {
    return new IpAddress().set(a, b, c, d);
  }
  static v4(address: number): IpAddress {
    return new IpAddress().setV4(address);
  }
  /** Dotted decimal or RFC 4291's text, no zone; an IPv4-mapped address is that IPv4 address. */
  static parse(text: string): IpAddress | undefined {
    const v4 = parseIpv4(text);
    return v4 === undefined ? parseIpv6(text) : IpAddress.v4(v4);
  }
  /** The same, or EINVAL. */
  static from(text: string): IpAddress {
    const address = IpAddress.parse(text);
    if (address === undefined) throw new XenError('EINVAL', `'${text}' is no IP address`);
    return address;
  }

  set(a: number, b: number, c: number, d: number): this {
    this.a = a >>> 0;
    this.b = b >>> 0;
    this.c = c >>> 0;
    this.d = d >>> 0;
    return this;
  }
  setV4(address: number): this {
    return this.set(0, 0, MAPPED, address);
  }
  copy(other: IpAddress): this {
    return this.set(other.a, other.b, other.c, other.d);
  }
  clone(): IpAddress {
    return new IpAddress().copy(this);
  }
  /** The 16 bytes of an IPv6 address. */
  read(view: DataView, at: number): this {
    return this.set(view.getUint32(at), view.getUint32(at + 4), view.getUint32(at + 8), view.getUint32(at + 12));
  }
  write(view: DataView, at: number): void {
    view.setUint32(at, this.a);
    view.setUint32(at + 4, this.b);
    view.setUint32(at + 8, this.c);
    view.setUint32(at + 12, this.d);
  }

  get isV4(): boolean {
    return this.c === MAPPED && this.a === 0 && this.b === 0;
  }
  /** 0.0.0.0 or ::. */
  get isUnspecified(): boolean {
    return this.d === 0 && this.a === 0 && this.b === 0 && (this.c === 0 || this.c === MAPPED);
  }
  get isMulticast(): boolean {
    return this.isV4 ? this.d >>> 28 === 14 : this.a >>> 24 === 0xff;
  }
  get isLoopback(): boolean {
    return this.isV4 ? this.d >>> 24 === 127 : this.a === 0 && this.b === 0 && this.c === 0 && this.d === 1;
  }
  get isLinkLocal(): boolean {
    return this.isV4 ? this.d >>> 16 === 0xa9fe : this.a >>> 22 === 0x3fa;
  }
  equals(other: IpAddress): boolean {
    return this.d === other.d && this.c === other.c && this.b === other.b && this.a === other.a;
  }
  /** Of the words, for a pseudo header. */
  get sum(): number {
    return this.a + this.b + this.c + this.d;
  }
  toString(): string {
    return this.isV4 ? formatIpv4(this.d) : formatIpv6(this);
  }
}

function parseIpv6(text: string): IpAddress | undefined {
  if (!/^[0-9a-f:.]{2,45}$/i.test(text)) return undefined;
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const head = groups(halves[0]!, halves.length === 1);
  const tail = halves.length === 2 ? groups(halves[1]!, true) : [];
  if (head === undefined || tail === undefined) return undefined;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 1 ? missing !== 0 : missing < 1) return undefined;
  const all = [...head, ...new Array<number>(missing).fill(0), ...tail];
  const word = (i: number): number => all[i]! * 0x10000 + all[i + 1]!;
  return IpAddress.of(word(0), word(2), word(4), word(6));
}

/** 16 bits each; the last may be an IPv4 address, when `atEnd`. */
function groups(text: string, atEnd: boolean): number[] | undefined {
  if (text === '') return [];
  const found: number[] = [];
  const parts = text.split(':');
  for (const [i, part] of parts.entries()) {
    if (/^[0-9a-f]{1,4}$/i.test(part)) found.push(Number.parseInt(part, 16));
    else {
      const v4 = atEnd && i === parts.length - 1 ? parseIpv4(part) : undefined;
      if (v4 === undefined) return undefined;
      found.push(v4 >>> 16, v4 & 0xffff);
    }
  }
  return found;
}

/** RFC 5952: lower case, no leading zeros, the longest run of zeros (the first of equals) is '::'. */
function formatIpv6({ a, b, c, d }: IpAddress): string {
  const all = [a, b, c, d].flatMap(word => [word >>> 16, word & 0xffff]);
  let best = 0;
  let bestAt = -1;
  for (let at = 0; at < 8; at++) {
    let length = 0;
    while (at + length < 8 && all[at + length] === 0) length++;
    if (length > best && length > 1) {
      best = length;
      bestAt = at;
    }
  }
  const hex = (part: readonly number[]): string => part.map(group => group.toString(16)).join(':');
  return bestAt < 0 ? hex(all) : `${hex(all.slice(0, bestAt))}::${hex(all.slice(bestAt + best))}`;
}

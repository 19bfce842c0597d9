// Numbers that nobody off the path can guess: initial sequence numbers (RFC 6528), offsets of timestamps
// (RFC 7323, 5.4), and the cookies that stand for a SYN that is not remembered (RFC 4987, 3.6).
import type { ConnectionName } from './control-block.ts';
import { type SipKey, sipHash, sipKey } from './siphash.ts';

/** RFC 9293, 3.4.1: the clock behind sequence numbers ticks every 4 µs. */
const ISN_TICK_NS = 4000;
/** A cookie is good for this long, and the time after it. */
const COOKIE_NS = 64e9;
/** What a cookie can say of the peer's segments. */
const COOKIE_MSS = [216, 536, 966, 1220, 1300, 1400, 1440, 1460] as const;

export class Secrets {
  private readonly isn: SipKey;
  private readonly offset: SipKey;
  private readonly cookie: SipKey;

  constructor(random: () => number) {
    this.isn = sipKey(random);
    this.offset = sipKey(random);
    this.cookie = sipKey(random);
  }
  initialSequence(name: ConnectionName, nowNs: number): number {
    return (Math.floor(nowNs / ISN_TICK_NS) + sipHash(this.isn, words(name))) >>> 0;
  }
  timestampOffset(name: ConnectionName): number {
    return sipHash(this.offset, words(name));
  }

  /** 5 bits of time, 3 of segment size, 24 of proof. */
  makeCookie(name: ConnectionName, irs: number, mss: number, nowNs: number): number {
    const time = Math.floor(nowNs / COOKIE_NS);
    let index = COOKIE_MSS.length - 1;
    while (index > 0 && COOKIE_MSS[index]! > mss) index--;
    return (((time & 31) << 27) | (index << 24) | this.proof(name, irs, time, index)) >>> 0;
  }
  /** The segment size that the cookie stands for; undefined when it is none of ours, or too old. */
  checkCookie(name: ConnectionName, irs: number, cookie: number, nowNs: number): number | undefined {
    const now = Math.floor(nowNs / COOKIE_NS);
    const index = (cookie >>> 24) & 7;
    for (const time of [now, now - 1]) {
      if ((time & 31) !== cookie >>> 27) continue;
      return this.proof(name, irs, time, index) === (cookie & 0xffffff) ? COOKIE_MSS[index] : undefined;
    }
    return undefined;
  }
  private proof(name: ConnectionName, irs: number, time: number, index: number): number {
    return sipHash(this.cookie, [...words(name), irs, time, index]) & 0xffffff;
  }
}

function words({ local, localPort, remote, remotePort }: ConnectionName): number[] {
  return [local.a, local.b, local.c, local.d, remote.a, remote.b, remote.c, remote.d, localPort * 0x10000 + remotePort];
}

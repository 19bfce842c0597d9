// Every packet that was sent, and who may get it: once, whole, in order, and nobody else.
import { Violation } from './violation.ts';

const HEADER = 24;
export const MIN_PACKET = 60;
export const MAX_PACKET = 1514;
const KEPT = 4096;
/** For the bytes behind the header: a packet's begin somewhere in it. */
const PATTERN = Uint8Array.from({ length: MAX_PACKET + 256 }, (_, i) => (i * 167 + (i >> 3)) & 255);

/** Nobody in particular. */
export const EVERYBODY = -1;

interface Sent {
  readonly id: number;
  readonly from: number;
  readonly to: number;
  readonly length: number;
  /** The bridge did not know where `to` is, and asked everybody. */
  flooded: boolean;
  /** Copies the wire has made of it. */
  copies: number;
  corrupted: boolean;
  reordered: boolean;
  readonly taken: number[];
}

export class PacketLedger {
  readonly #sent: (Sent | undefined)[] = new Array(KEPT).fill(undefined);
  /** The last packet of each sender that each receiver has got: [receiver][sender]. */
  readonly #lastTaken = new Map<number, Map<number, number>>();
  #next = 1;

  /** Make a packet. Returns its length. */
  send(from: number, to: number, length: number, into: Uint8Array): number {
    const id = this.#next++;
    this.#sent[id % KEPT] = {
      id,
      from,
      to,
      length,
      flooded: false,
      copies: 1,
      corrupted: false,
      reordered: false,
      taken: [],
    };
    into.set(macOf(to), 0);
    into.set(macOf(from), 6);
    into[12] = 0x88; // IEEE 802: for local experiments
    into[13] = 0xb5;
    into[14] = from;
    into[15] = to & 255;
    for (let i = 0; i < 4; i++) into[16 + i] = (id >>> (8 * i)) & 255;
    for (let i = 0; i < 4; i++) into[20 + i] = (length >>> (8 * i)) & 255;
    into.set(PATTERN.subarray(id & 255, (id & 255) + length - HEADER), HEADER);
    return id;
  }
  /** What was sent with these bytes, as far as it is known. */
  find(bytes: Uint8Array, offset = 0): Sent | undefined {
    let id = 0;
    for (let i = 3; i >= 0; i--) id = id * 256 + bytes[offset + 16 + i]!;
    const sent = this.#sent[id % KEPT];
    return sent?.id === id ? sent : undefined;
  }

  /** `receiver` has got a packet. Throws a Violation. Returns its number, 0 for one the wire has damaged. */
  receive(receiver: number, bytes: Uint8Array, offset: number, length: number): number {
    const sent = length < MIN_PACKET ? undefined : this.find(bytes, offset);
    const who = `guest ${receiver} got`;
    if (!sent) throw new Violation('I4', `${who} ${length} bytes that nobody sent`);
    const name = `packet ${sent.id} of guest ${sent.from}`;
    const meant = sent.to === EVERYBODY ? sent.from !== receiver : sent.to === receiver || sent.flooded;
    if (!meant) throw new Violation('I4', `${who} ${name}, which is for guest ${sent.to}`);
    if (length !== sent.length || !isWhole(bytes, offset, sent)) {
      if (sent.corrupted) return 0;
      throw new Violation('I4', `${who} ${name} changed`);
    }
    const taken = (sent.taken[receiver] ?? 0) + 1;
    sent.taken[receiver] = taken;
    if (taken > sent.copies) throw new Violation('I4', `${who} ${name} ${taken} times`);
    let last = this.#lastTaken.get(receiver);
    if (!last) {
      last = new Map();
      this.#lastTaken.set(receiver, last);
    }
    const before = last.get(sent.from) ?? 0;
    if (taken === 1 && sent.id < before && !sent.reordered)
      throw new Violation('I4', `${who} ${name} after packet ${before}`);
    last.set(sent.from, Math.max(before, sent.id));
    return sent.id;
  }
}

function isWhole(bytes: Uint8Array, offset: number, { id, length }: Sent): boolean {
  const start = id & 255;
  for (let i = HEADER; i < length; i++) if (bytes[offset + i] !== PATTERN[start + i - HEADER]) return false;
  return true;
}

export const macOf = (guest: number): Uint8Array =>
  guest === EVERYBODY ? Uint8Array.of(255, 255, 255, 255, 255, 255) : Uint8Array.of(0, 0x16, 0x3e, 0, 0, guest + 1);
export const macText = (guest: number): string =>
  [...macOf(guest)].map(octet => octet.toString(16).padStart(2, '0')).join(':');

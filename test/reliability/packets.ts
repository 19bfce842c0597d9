// What the guests of a reliability run send one another, in pairs, so that whoever gets a packet knows whether it is his, as it
// was sent, and the first of its kind.
import { SECTOR_BYTES, stamp, stampOf } from './stamp.ts';

/** Of guest number `n`. */
export const addressOf = (n: number): string => `10.9.0.${10 + n}`;
/** The one whose number differs in the last bit. */
export const peerOf = (n: number): number => n ^ 1;

/** A guest's packets are numbered anew in each of its lives. */
export interface PacketStamp {
  readonly from: number;
  readonly life: number;
  readonly seq: number;
}
/** A stamp with the packet's number, then one with the life of its sender. */
export const PACKET_BYTES = 2 * SECTOR_BYTES;
const wordsOf = (packet: Uint8Array, i: number): Uint32Array =>
  new Uint32Array(packet.buffer, packet.byteOffset + i * SECTOR_BYTES, SECTOR_BYTES / 4);

export function stampPacket(packet: Uint8Array, { from, life, seq }: PacketStamp): void {
  stamp(wordsOf(packet, 0), seq, from);
  stamp(wordsOf(packet, 1), life, from);
}
/** Undefined for what nobody has sent like this. */
export function stampOfPacket(packet: Uint8Array): PacketStamp | undefined {
  if (packet.length !== PACKET_BYTES) return undefined;
  const from = wordsOf(packet, 0)[2]!;
  const seq = stampOf(wordsOf(packet, 0), from);
  const life = stampOf(wordsOf(packet, 1), from);
  return seq === undefined || seq < 0 || life === undefined || life < 0 ? undefined : { from, life, seq };
}

/** Packets that may come in another order, but once: those of the last lives of one sender. */
export class OnceEach {
  readonly #lives = new Map<number, Set<number>>();

  first({ life, seq }: PacketStamp): boolean {
    let seen = this.#lives.get(life);
    if (!seen) {
      seen = new Set();
      this.#lives.set(life, seen);
      if (this.#lives.size > 2) this.#lives.delete(this.#lives.keys().next().value!);
    }
    if (seen.has(seq)) return false;
    seen.add(seq);
    if (seen.size > REMEMBERED) seen.delete(seen.values().next().value!);
    return true;
  }
}
/** Some seconds of packets. */
const REMEMBERED = 4096;

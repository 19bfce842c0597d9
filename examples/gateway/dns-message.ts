// As much of DNS (RFC 1035, RFC 6891) as who passes it on has to know.

const HEADER = 12;
const RESPONSE = 0x8000;
const OPCODE = 0x7800;
const TRUNCATED = 0x0200;
const RECURSION_DESIRED = 0x0100;
const RECURSION_AVAILABLE = 0x0080;
const SERVER_FAILURE = 2;
const OPT = 41;
const PLAIN = 512;
/** More is not sent in one datagram, whatever the client takes: it fits a frame. */
const LARGEST = 1232;

export interface Question {
  /** Where the question ends. */
  readonly end: number;
  /** Bytes of an answer that its sender takes in a datagram. */
  readonly room: number;
}

/** untrusted: undefined for what is no question. */
export function readQuestion(message: Uint8Array): Question | undefined {
  const view = new DataView(message.buffer, message.byteOffset, message.length);
  if (message.length < HEADER || (view.getUint16(2) & (RESPONSE | OPCODE)) !== 0 || view.getUint16(4) !== 1) {
    return undefined;
  }
  let at = HEADER;
  for (let size = message[at]; size !== 0; size = message[at]) {
    if (size === undefined || size > 63) return undefined; // a question has nothing to point at
    at += 1 + size;
    if (at > HEADER + 254) return undefined;
  }
  const end = at + 5;
  if (end > message.length) return undefined;
  return { end, room: Math.min(LARGEST, Math.max(PLAIN, sizeOption(view, end))) };
}
/** Of the OPT record, where it is all that follows the question, as everybody sends it. */
function sizeOption(view: DataView, at: number): number {
  const alone = view.getUint32(6) === 0 && view.getUint16(10) === 1;
  if (!alone || at + 11 > view.byteLength || view.getUint8(at) !== 0 || view.getUint16(at + 1) !== OPT) return 0;
  return view.getUint16(at + 3);
}

/** An answer that does not fit becomes one that says so: its asker comes again over TCP. */
export function shorten(answer: Uint8Array, { end, room }: Question): Uint8Array {
  return answer.length <= room ? answer : bare(answer, end, TRUNCATED);
}
export function serverFailure(message: Uint8Array, { end }: Question): Uint8Array {
  return bare(message, end, RECURSION_AVAILABLE | SERVER_FAILURE);
}
/** Header and question alone. */
function bare(message: Uint8Array, end: number, flags: number): Uint8Array {
  const answer = message.slice(0, end);
  const view = new DataView(answer.buffer);
  const kept = view.getUint16(2) & (RESPONSE | RECURSION_DESIRED | RECURSION_AVAILABLE | 0x0400);
  view.setUint16(2, kept | RESPONSE | flags);
  view.setUint32(6, 0);
  view.setUint16(10, 0);
  return answer;
}

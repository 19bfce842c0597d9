// DHCP messages (RFC 2131, RFC 2132) as a server reads and writes them.
import { formatMac } from './addresses.ts';

export const DISCOVER = 1;
export const OFFER = 2;
export const REQUEST = 3;
export const DECLINE = 4;
export const ACK = 5;
export const NAK = 6;
export const RELEASE = 7;
export const INFORM = 8;

const FIXED = 236;
const COOKIE = 0x63825363;
const SHORTEST = 300;
const PAD = 0;
const REQUESTED_ADDRESS = 50;
const MESSAGE_TYPE = 53;
const SERVER = 54;
const END = 255;

export interface DhcpRequest {
  readonly type: number;
  readonly mac: string;
  /** The client's, while it has one; 0 else. */
  readonly address: number;
  readonly requested: number | undefined;
  readonly server: number | undefined;
}

/** untrusted: undefined for what is no request of an Ethernet client on this link. */
export function readRequest(message: Uint8Array): DhcpRequest | undefined {
  const view = new DataView(message.buffer, message.byteOffset, message.length);
  if (message.length < FIXED + 4 || view.getUint32(FIXED) !== COOKIE) return undefined;
  // A request, Ethernet, six bytes of address, not by a relay.
  if (message[0] !== 1 || message[1] !== 1 || message[2] !== 6 || view.getUint32(24) !== 0) return undefined;
  const mac = formatMac(message.subarray(28, 34));
  if ((message[28]! & 1) !== 0 || mac === '00:00:00:00:00:00') return undefined;
  const options = new Map<number, number>(); // where each is: at its length
  for (let at = FIXED + 4; at < message.length && message[at] !== END; ) {
    if (message[at] === PAD) {
      at++;
      continue;
    }
    const length = message[at + 1];
    if (length === undefined || at + 2 + length > message.length) return undefined;
    options.set(message[at]!, at + 1);
    at += 2 + length;
  }
  const word = (option: number): number | undefined => {
    const at = options.get(option);
    return at !== undefined && message[at] === 4 ? view.getUint32(at + 1) : undefined;
  };
  const type = options.get(MESSAGE_TYPE);
  if (type === undefined || message[type] !== 1) return undefined;
  return {
    type: message[type + 1]!,
    mac,
    address: view.getUint32(12),
    requested: word(REQUESTED_ADDRESS),
    server: word(SERVER),
  };
}

/** An answer to `request`, `address` the client's; options in their order, each of words. */
export function writeReply(
  request: Uint8Array,
  type: number,
  address: number,
  options: readonly (readonly [number, ...number[]])[],
): Uint8Array {
  const message = new Uint8Array(576);
  const view = new DataView(message.buffer);
  message.set(request.subarray(0, 44));
  message[0] = 2;
  message[3] = 0;
  view.setUint16(8, 0);
  if (type === NAK) view.setUint32(12, 0);
  view.setUint32(16, address);
  view.setUint32(20, 0);
  view.setUint32(FIXED, COOKIE);
  message.set([MESSAGE_TYPE, 1, type], FIXED + 4);
  let at = FIXED + 7;
  for (const [option, ...words] of options) {
    message[at] = option;
    message[at + 1] = words.length * 4;
    for (const [i, word] of words.entries()) view.setUint32(at + 2 + i * 4, word);
    at += 2 + words.length * 4;
  }
  message[at++] = END;
  return message.slice(0, Math.max(SHORTEST, at));
}

// DHCP messages (RFC 2131, RFC 2132).

const FIXED = 236;
const COOKIE = 0x63825363;
/** RFC 951: shorter ones are not taken everywhere. */
const SHORTEST = 300;

export const DISCOVER = 1;
export const OFFER = 2;
export const REQUEST = 3;
export const ACK = 5;
export const NAK = 6;
export const RELEASE = 7;

const PAD = 0;
const NETMASK = 1;
const ROUTER = 3;
const NAME_SERVER = 6;
const HOST_NAME = 12;
const REQUESTED_ADDRESS = 50;
const LEASE_TIME = 51;
const MESSAGE_TYPE = 53;
const SERVER = 54;
const WANTED = 55;
const T1 = 58;
const T2 = 59;
const END = 255;
const NAME_SERVERS = 3;

export interface DhcpRequest {
  readonly type: number;
  readonly transaction: number;
  readonly mac: Uint8Array;
  readonly seconds: number;
  /** Ours, while it is; 0 before. */
  readonly address: number;
  readonly requested?: number | undefined;
  readonly server?: number | undefined;
  readonly hostName?: string | undefined;
}
export interface DhcpReply {
  readonly type: number;
  readonly address: number;
  readonly netmask: number | undefined;
  readonly gateway: number | undefined;
  readonly nameservers: readonly number[];
  readonly server: number | undefined;
  readonly leaseSeconds: number | undefined;
  readonly t1Seconds: number | undefined;
  readonly t2Seconds: number | undefined;
}

export function encodeRequest(request: DhcpRequest): Uint8Array {
  const message = new Uint8Array(576);
  const view = new DataView(message.buffer);
  message.set([1, 1, 6, 0]);
  view.setUint32(4, request.transaction);
  view.setUint16(8, Math.min(0xffff, request.seconds));
  // Who has no address yet is answered by broadcast.
  if (request.address === 0) view.setUint16(10, 0x8000);
  view.setUint32(12, request.address);
  message.set(request.mac, 28);
  view.setUint32(FIXED, COOKIE);
  let at = FIXED + 4;
  const put = (option: number, ...bytes: number[]): void => {
    message.set([option, bytes.length, ...bytes], at);
    at += 2 + bytes.length;
  };
  const word = (value: number): number[] => [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];
  put(MESSAGE_TYPE, request.type);
  if (request.requested !== undefined) put(REQUESTED_ADDRESS, ...word(request.requested));
  if (request.server !== undefined) put(SERVER, ...word(request.server));
  const name = request.hostName?.replace(/[^A-Za-z0-9-]/g, '-').slice(0, 63);
  if (name) put(HOST_NAME, ...Buffer.from(name, 'latin1'));
  if (request.type !== RELEASE) put(WANTED, NETMASK, ROUTER, NAME_SERVER, LEASE_TIME, T1, T2);
  message[at++] = END;
  return message.slice(0, Math.max(SHORTEST, at));
}

/** untrusted: an answer to `transaction` of `mac`; undefined when it is none. */
export function readReply(message: Uint8Array, transaction: number, mac: Uint8Array): DhcpReply | undefined {
  const view = new DataView(message.buffer, message.byteOffset, message.length);
  if (message.length < FIXED + 4 || message[0] !== 2 || view.getUint32(4) !== transaction) return undefined;
  if (mac.some((octet, i) => message[28 + i] !== octet) || view.getUint32(FIXED) !== COOKIE) return undefined;
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
  const word = (option: number, index = 0): number | undefined => {
    const at = options.get(option);
    return at === undefined || message[at]! < 4 * (index + 1) ? undefined : view.getUint32(at + 1 + 4 * index);
  };
  const type = options.get(MESSAGE_TYPE);
  if (type === undefined || message[type] !== 1) return undefined;
  const servers = [0, 1, 2].slice(0, NAME_SERVERS).map(index => word(NAME_SERVER, index));
  return {
    type: message[type + 1]!,
    address: view.getUint32(16),
    netmask: word(NETMASK),
    gateway: word(ROUTER),
    nameservers: servers.filter(server => server !== undefined),
    server: word(SERVER),
    leaseSeconds: word(LEASE_TIME),
    t1Seconds: word(T1),
    t2Seconds: word(T2),
  };
}

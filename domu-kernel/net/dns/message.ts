// DNS messages (RFC 1035, RFC 3596): a question for addresses, and what an answer says to it.
import { XenError } from '#pvbus';
import { IpAddress } from '../ip-address.ts';

export const TYPE_A = 1;
export const TYPE_AAAA = 28;
const TYPE_CNAME = 5;
const TYPE_SOA = 6;
const CLASS_IN = 1;
const HEADER = 12;
const RECURSE = 0x0100;
const IS_RESPONSE = 0x8000;
const TRUNCATED = 0x0200;
const OPCODE = 0x7800;
const RCODE = 15;
const NO_SUCH_NAME = 3;
const LABEL = 63;
const NAME = 255;
const LONGEST_TTL = 0x7fffffff;
/** RFC 1035 has no bound; a chain longer than this is a loop. */
const CNAMES = 16;

/** Of a name in lower case, without a dot at its end. EINVAL when it is none. */
export function encodeQuery(id: number, name: string, type: number): Uint8Array {
  const labels = name.split('.');
  if (name.length > NAME - 2 || labels.some(label => !/^[a-z0-9_-]{1,63}$/i.test(label))) {
    throw new XenError('EINVAL', `'${name}' is no name of a host`);
  }
  const message = new Uint8Array(HEADER + name.length + 2 + 4);
  const view = new DataView(message.buffer);
  view.setUint16(0, id);
  view.setUint16(2, RECURSE);
  view.setUint16(4, 1);
  let at = HEADER;
  for (const label of labels) {
    message[at++] = label.length;
    for (let i = 0; i < label.length; i++) message[at++] = label.charCodeAt(i);
  }
  view.setUint16(at + 1, type);
  view.setUint16(at + 3, CLASS_IN);
  return message;
}

export interface Answer {
  /** None: there is no such name, or it has no address of this kind. */
  readonly addresses: readonly IpAddress[];
  readonly nameExists: boolean;
  /** For how many seconds that is so; 0 where nobody says. */
  readonly ttl: number;
}

/** More is to be had than this message holds. */
export const isTruncated = (message: Uint8Array): boolean => (message[2]! & (TRUNCATED >> 8)) !== 0;

/** untrusted: what a message says to our question; undefined when it is no answer to it; failed: the server could not say. */
export function readAnswer(message: Uint8Array, id: number, name: string, type: number): Answer | 'failed' | undefined {
  const view = new DataView(message.buffer, message.byteOffset, message.length);
  if (message.length < HEADER || view.getUint16(0) !== id) return undefined;
  const flags = view.getUint16(2);
  if ((flags & (IS_RESPONSE | OPCODE)) !== IS_RESPONSE || view.getUint16(4) !== 1) return undefined;
  const question = readName(message, HEADER);
  if (question === undefined || question.name !== name.toLowerCase() || question.end + 4 > message.length)
    return undefined;
  if (view.getUint16(question.end) !== type || view.getUint16(question.end + 2) !== CLASS_IN) return undefined;
  const code = flags & RCODE;
  if (code !== 0 && code !== NO_SUCH_NAME) return 'failed';

  const aliases = new Map<string, { target: string; ttl: number }>();
  const found = new Map<string, { addresses: IpAddress[]; ttl: number }>();
  let authority: { zone: string; ttl: number } | undefined;
  for (const { owner, kind, ttl, data, length, isAnswer } of records(message, view, question.end + 4)) {
    if (!isAnswer) {
      if (kind === TYPE_SOA) authority ??= { zone: owner, ttl: Math.min(ttl, soaMinimum(message, view, data, length)) };
    } else if (kind === TYPE_CNAME) {
      const target = readName(message, data);
      if (target !== undefined) aliases.set(owner, { target: target.name, ttl });
    } else if (kind === type && length === (type === TYPE_A ? 4 : 16)) {
      const address = type === TYPE_A ? IpAddress.v4(view.getUint32(data)) : new IpAddress().read(view, data);
      const known = found.get(owner);
      if (known === undefined) found.set(owner, { addresses: [address], ttl });
      else {
        known.addresses.push(address);
        known.ttl = Math.min(known.ttl, ttl);
      }
    }
  }
  let owner = question.name;
  let ttl = LONGEST_TTL;
  for (let i = 0; i < CNAMES; i++) {
    const known = found.get(owner);
    if (known !== undefined && code === 0)
      return { addresses: known.addresses, nameExists: true, ttl: Math.min(ttl, known.ttl) };
    const alias = aliases.get(owner);
    if (alias === undefined) {
      // RFC 2308, 5: for as long as the start of authority says, of the zone that the name is in; without it, not at all.
      const isTheirs = authority !== undefined && `.${owner}`.endsWith(authority.zone && `.${authority.zone}`);
      ttl = isTheirs ? Math.min(ttl, authority!.ttl) : 0;
      return { addresses: [], nameExists: code === 0, ttl };
    }
    ttl = Math.min(ttl, alias.ttl);
    owner = alias.target;
  }
  return { addresses: [], nameExists: true, ttl: 0 };
}

interface ResourceRecord {
  readonly owner: string;
  readonly kind: number;
  readonly ttl: number;
  readonly data: number;
  readonly length: number;
  /** Else it is of the authority's section. */
  readonly isAnswer: boolean;
}
/** Those of the internet, from `at` on. Where a message is cut off, what there is counts. */
function* records(message: Uint8Array, view: DataView, at: number): Generator<ResourceRecord> {
  const answers = view.getUint16(6);
  const all = answers + view.getUint16(8);
  for (let i = 0; i < all; i++) {
    const owner = readName(message, at);
    if (owner === undefined || owner.end + 10 > message.length) return;
    const length = view.getUint16(owner.end + 8);
    const data = owner.end + 10;
    if (data + length > message.length) return;
    // RFC 2181, 8: the first bit is none of a time.
    const word = view.getUint32(owner.end + 4);
    const ttl = word > LONGEST_TTL ? 0 : word;
    const kind = view.getUint16(owner.end);
    const isInternet = view.getUint16(owner.end + 2) === CLASS_IN;
    if (isInternet) yield { owner: owner.name, kind, ttl, data, length, isAnswer: i < answers };
    at = data + length;
  }
}

/** The last of its five numbers, behind two names. */
function soaMinimum(message: Uint8Array, view: DataView, data: number, length: number): number {
  const server = readName(message, data);
  const mailbox = server && readName(message, server.end);
  if (mailbox === undefined || mailbox.end + 20 !== data + length) return 0;
  return view.getUint32(mailbox.end + 16);
}

/** A name, in lower case, and where what follows it begins. A pointer has to go back: so it ends. */
function readName(message: Uint8Array, at: number): { name: string; end: number } | undefined {
  const labels: string[] = [];
  let length = 0;
  let end: number | undefined;
  let limit = at;
  for (;;) {
    const size = message[at];
    if (size === undefined) return undefined;
    if (size === 0) return { name: labels.join('.'), end: end ?? at + 1 };
    if (size >> 6 === 3) {
      const low = message[at + 1];
      if (low === undefined) return undefined;
      const target = ((size & LABEL) << 8) | low;
      if (target >= limit) return undefined;
      end ??= at + 2;
      at = target;
      limit = target;
      continue;
    }
    if (size > LABEL || at + 1 + size > message.length) return undefined;
    length += size + 1;
    if (length > NAME - 1) return undefined;
    let label = '';
    for (let i = at + 1; i <= at + size; i++) label += String.fromCharCode(message[i]!);
    labels.push(label.toLowerCase());
    at += 1 + size;
  }
}

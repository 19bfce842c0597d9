// The TCP header (RFC 9293, 3.1) and its options, read once and checked.
import { isBefore } from './sequence.ts';

export const TCP_HLEN = 20;

export const FIN = 0x01;
export const SYN = 0x02;
export const RST = 0x04;
export const PSH = 0x08;
export const ACK = 0x10;

const END = 0;
const NOP = 1;
const MSS = 2;
const WINDOW_SCALE = 3;
const SACK_PERMITTED = 4;
const SACK = 5;
const TIMESTAMPS = 8;

export const MAX_SACK_BLOCKS = 4;
/** RFC 7323, 2.3: more than this is read as this. */
export const MAX_SCALE = 14;
export const TIMESTAMPS_LENGTH = 12;

/** One of these is reused for every segment. */
export class Segment {
  sourcePort = 0;
  destinationPort = 0;
  seq = 0;
  ack = 0;
  flags = 0;
  /** As in the header: not scaled. */
  window = 0;
  /** Of the payload in the buffer the segment was read from. */
  dataAt = 0;
  dataLength = 0;
  /** 0: there was no such option. */
  mss = 0;
  /** -1: there was no such option. */
  scale = -1;
  sackPermitted = false;
  hasTimestamps = false;
  tsVal = 0;
  tsEcr = 0;
  sackBlocks = 0;
  readonly sackStart = new Uint32Array(MAX_SACK_BLOCKS);
  readonly sackEnd = new Uint32Array(MAX_SACK_BLOCKS);

  /** The sequence numbers it takes. */
  get length(): number {
    return this.dataLength + (this.flags & SYN ? 1 : 0) + (this.flags & FIN ? 1 : 0);
  }
  has(flag: number): boolean {
    return (this.flags & flag) !== 0;
  }
}

/** Reads the segment of `length` bytes at `at`. False: its lengths contradict each other. */
export function readSegment(view: DataView, at: number, length: number, into: Segment): boolean {
  if (length < TCP_HLEN) return false;
  const header = (view.getUint8(at + 12) >> 4) * 4;
  if (header < TCP_HLEN || header > length) return false;
  into.sourcePort = view.getUint16(at);
  into.destinationPort = view.getUint16(at + 2);
  into.seq = view.getUint32(at + 4);
  into.ack = view.getUint32(at + 8);
  into.flags = view.getUint8(at + 13) & 0x3f;
  into.window = view.getUint16(at + 14);
  into.dataAt = at + header;
  into.dataLength = length - header;
  into.mss = 0;
  into.scale = -1;
  into.sackPermitted = false;
  into.hasTimestamps = false;
  into.sackBlocks = 0;
  if (header > TCP_HLEN) readOptions(view, at + TCP_HLEN, at + header, into);
  return true;
}

/** untrusted: an option that does not fit, or is of the wrong length, ends the list (RFC 9293, 3.1). */
function readOptions(view: DataView, at: number, end: number, into: Segment): void {
  while (at < end) {
    const kind = view.getUint8(at);
    if (kind === END) return;
    if (kind === NOP) {
      at++;
      continue;
    }
    if (at + 1 >= end) return;
    const length = view.getUint8(at + 1);
    if (length < 2 || at + length > end) return;
    if (kind === TIMESTAMPS && length === 10) {
      into.hasTimestamps = true;
      into.tsVal = view.getUint32(at + 2);
      into.tsEcr = view.getUint32(at + 6);
    } else if (kind === MSS && length === 4) into.mss = view.getUint16(at + 2);
    else if (kind === WINDOW_SCALE && length === 3) into.scale = Math.min(MAX_SCALE, view.getUint8(at + 2));
    else if (kind === SACK_PERMITTED && length === 2) into.sackPermitted = true;
    else if (kind === SACK) readSack(view, at + 2, length - 2, into);
    at += length;
  }
}

function readSack(view: DataView, at: number, length: number, into: Segment): void {
  if (length % 8 !== 0) return;
  for (let block = 0; block < length / 8 && into.sackBlocks < MAX_SACK_BLOCKS; block++) {
    const start = view.getUint32(at + block * 8);
    const end = view.getUint32(at + block * 8 + 4);
    if (!isBefore(start, end)) continue;
    into.sackStart[into.sackBlocks] = start;
    into.sackEnd[into.sackBlocks] = end;
    into.sackBlocks++;
  }
}

/** Everything but options and checksum, which is left 0. `optionsLength` is a multiple of 4. */
export function writeHeader(
  view: DataView,
  at: number,
  sourcePort: number,
  destinationPort: number,
  seq: number,
  ack: number,
  flags: number,
  window: number,
  optionsLength: number,
): void {
  view.setUint16(at, sourcePort);
  view.setUint16(at + 2, destinationPort);
  view.setUint32(at + 4, seq);
  view.setUint32(at + 8, ack);
  view.setUint16(at + 12, ((TCP_HLEN + optionsLength) << 10) | flags);
  view.setUint16(at + 14, window);
  view.setUint32(at + 16, 0);
}

// Each returns the length of what it wrote, a multiple of 4.

export function writeTimestamps(view: DataView, at: number, tsVal: number, tsEcr: number): number {
  view.setUint32(at, (NOP << 24) | (NOP << 16) | (TIMESTAMPS << 8) | 10);
  view.setUint32(at + 4, tsVal);
  view.setUint32(at + 8, tsEcr);
  return TIMESTAMPS_LENGTH;
}

export interface SynOptions {
  readonly mss: number;
  /** -1: not offered. */
  readonly scale: number;
  readonly sackPermitted: boolean;
}

export function writeSynOptions(view: DataView, at: number, { mss, scale, sackPermitted }: SynOptions): number {
  let length = 4;
  view.setUint32(at, (MSS << 24) | (4 << 16) | mss);
  if (scale >= 0) {
    view.setUint32(at + length, (NOP << 24) | (WINDOW_SCALE << 16) | (3 << 8) | scale);
    length += 4;
  }
  if (sackPermitted) {
    view.setUint32(at + length, (NOP << 24) | (NOP << 16) | (SACK_PERMITTED << 8) | 2);
    length += 4;
  }
  return length;
}

/** The blocks start at byte 4. */
export function writeSackHeader(view: DataView, at: number, blocks: number): number {
  view.setUint32(at, (NOP << 24) | (NOP << 16) | (SACK << 8) | (2 + blocks * 8));
  return 4 + blocks * 8;
}

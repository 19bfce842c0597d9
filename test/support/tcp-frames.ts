// TCP segments in Ethernet frames, made and read by hand: for peers that keep to no rules.
import { addBytes, finish } from '../../domu-kernel/net/checksum.ts';
import { writeEthernet } from '../../domu-kernel/net/ethernet.ts';
import { IpAddress } from '../../domu-kernel/net/ip-address.ts';
import { writeIpv4 } from '../../domu-kernel/net/ipv4.ts';
import { readSegment, Segment, writeHeader } from '../../domu-kernel/net/tcp/segment.ts';

export interface MadeSegment {
  readonly source: number;
  readonly destination: number;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly seq?: number;
  readonly ack?: number;
  readonly flags: number;
  readonly window?: number;
  /** A multiple of 4 bytes. */
  readonly options?: Uint8Array;
  readonly data?: Uint8Array;
}

const AT = 34;

/** To the station `to`, with every checksum right. */
export function frameOf(segment: MadeSegment, to: Uint8Array, from: Uint8Array): Uint8Array {
  const { options = new Uint8Array(0), data = new Uint8Array(0) } = segment;
  const length = 20 + options.length + data.length;
  const frame = new Uint8Array(AT + length);
  const view = new DataView(frame.buffer);
  writeEthernet(frame, to, from, 0x0800);
  writeIpv4(view, 14, length, 1, 64, 6, segment.source, segment.destination);
  const { sourcePort, destinationPort, seq = 0, ack = 0, flags, window = 65535 } = segment;
  writeHeader(view, AT, sourcePort, destinationPort, seq >>> 0, ack >>> 0, flags, window, options.length);
  frame.set(options, AT + 20);
  frame.set(data, AT + 20 + options.length);
  const sum = IpAddress.v4(segment.source).sum + IpAddress.v4(segment.destination).sum + 6 + length;
  view.setUint16(AT + 16, finish(addBytes(view, AT, length, sum)));
  return frame;
}

/** The segment in a frame of ours; undefined when it holds none. */
export function segmentOf(frame: Uint8Array): Segment | undefined {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  if (frame.length < AT + 20 || view.getUint16(12) !== 0x0800 || frame[23] !== 6) return undefined;
  const segment = new Segment();
  return readSegment(view, AT, view.getUint16(16) - 20, segment) ? segment : undefined;
}

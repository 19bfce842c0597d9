// The frame that is being forwarded: where its bytes lie, and the part of it that was looked at.
import {
  NETRXF_csum_blank,
  NETRXF_data_validated,
  PAGE_SIZE,
  XEN_NETIF_MAX_TX_SIZE,
  XEN_NETIF_NR_SLOTS_MIN,
} from '#pvbus';
import { fillChecksum } from './checksum.ts';
import { Segments } from './segments.ts';

export const ETH_HLEN = 14;

/** Memory that frames are copied out of. A view costs more than the copy: the last one made is kept. */
export class SourcePage {
  readonly bytes: Uint8Array;
  private offset = 0;
  private length = 0;
  private last: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.last = bytes.subarray(0, 0);
  }
  view(offset: number, length: number): Uint8Array {
    if (offset !== this.offset || length !== this.length) {
      this.last = this.bytes.subarray(offset, offset + length);
      this.offset = offset;
      this.length = length;
    }
    return this.last;
  }
}

/** One of these is used for every frame, one after the other. */
export class Frame {
  length = 0;
  /** NETRXF_csum_blank, NETRXF_data_validated. */
  flags = 0;
  /**
   * The Ethernet header as the bridge saw it. The sender may still change its page: what was decided upon is
   * what is delivered, so this is written over the first bytes of every copy.
   */
  readonly header = new Uint8Array(ETH_HLEN);
  /** When it was taken from its sender, monotonic ns. */
  nowNs = 0;
  /** Not 0: a TCP packet that is to be cut into segments with so much payload; `gsoType` is XEN_NETIF_GSO_TYPE_*. */
  gsoSize = 0;
  gsoType = 0;
  private parts = 0;
  private readonly pages: SourcePage[] = [];
  private readonly offsets = new Uint32Array(XEN_NETIF_NR_SLOTS_MIN);
  private readonly sizes = new Uint32Array(XEN_NETIF_NR_SLOTS_MIN);
  private whole: SourcePage | undefined;
  private segments: { readonly all: Segments; readonly page: SourcePage; readonly one: Frame } | undefined;
  /** `segments` are of this very frame. */
  private isCut = false;

  begin(flags: number, nowNs: number, gsoSize = 0, gsoType = 0): void {
    this.gsoSize = gsoSize;
    this.gsoType = gsoType;
    this.isCut = false;
    this.parts = 0;
    this.length = 0;
    this.flags = flags;
    this.nowNs = nowNs;
  }
  /** At most XEN_NETIF_NR_SLOTS_MIN of them. */
  add(page: SourcePage, offset: number, size: number): void {
    this.pages[this.parts] = page;
    this.offsets[this.parts] = offset;
    this.sizes[this.parts] = size;
    this.parts++;
    this.length += size;
  }
  /** untrusted: the one time the header is read. The frame must be as long as one. */
  readHeader(): void {
    const { header } = this;
    let at = 0;
    for (let part = 0; at < ETH_HLEN; part++) {
      const { bytes } = this.pages[part]!;
      const offset = this.offsets[part]!;
      const size = Math.min(this.sizes[part]!, ETH_HLEN - at);
      for (let i = 0; i < size; i++) header[at++] = bytes[offset + i]!;
    }
  }

  /** Copy `length` bytes from the frame's byte `from` on to `into`. */
  copy(from: number, length: number, into: Uint8Array, at: number): void {
    if (this.parts === 1) into.set(this.pages[0]!.view(this.offsets[0]! + from, length), at);
    else this.copyParts(from, length, into, at);
    if (from === 0) for (let i = 0; i < ETH_HLEN; i++) into[at + i] = this.header[i]!;
  }
  private copyParts(from: number, length: number, into: Uint8Array, at: number): void {
    for (let part = 0; length > 0; part++) {
      const size = this.sizes[part]!;
      if (from >= size) {
        from -= size;
        continue;
      }
      const n = Math.min(size - from, length);
      into.set(this.pages[part]!.view(this.offsets[part]! + from, n), at);
      at += n;
      length -= n;
      from = 0;
    }
  }

  /** Fill in the checksum its sender left blank, in a private copy that takes the place of the parts. */
  complete(): void {
    if ((this.flags & NETRXF_csum_blank) === 0) return;
    this.whole ??= new SourcePage(new Uint8Array(XEN_NETIF_MAX_TX_SIZE + 1));
    const { length } = this;
    this.copy(0, length, this.whole.bytes, 0);
    fillChecksum(this.whole.bytes, length);
    this.begin(NETRXF_data_validated, this.nowNs);
    this.add(this.whole, 0, length);
  }

  /** Of a frame with a gsoSize: how many segments it is cut into, once; 0 when it is not what its sender says. */
  cut(): number {
    if (this.segments === undefined) {
      const all = new Segments();
      this.segments = { all, page: new SourcePage(all.bytes), one: new Frame() };
    }
    const { all } = this.segments;
    if (!this.isCut) all.cut(this.length, this.gsoSize, this.gsoType, into => this.copy(0, this.length, into, 0));
    this.isCut = true;
    return all.count;
  }
  /** The segment `i` of what was cut, its checksums filled in. It is used for all of them, one after the other. */
  segment(i: number): Frame {
    const { all, page, one } = this.segments!;
    one.begin(NETRXF_data_validated, this.nowNs);
    one.add(page, all.offset(i), all.length(i));
    one.readHeader();
    return one;
  }
}

/** Pages a frame of `length` bytes takes in a receiver. */
export const pagesOf = (length: number): number => (length <= PAGE_SIZE ? 1 : Math.ceil(length / PAGE_SIZE));

// The frame that is being forwarded: where its bytes lie, and the part of it that was looked at.
import { NETRXF_csum_blank, NETRXF_data_validated, PAGE_SIZE, XEN_NETIF_NR_SLOTS_MIN } from '#pvbus';
import { fillChecksum } from './checksum.ts';
import { MAX_FRAME, Segments } from './segments.ts';

export const ETH_HLEN = 14;
/** With one 802.1Q tag. */
const TAGGED_HLEN = 18;
const ETH_P_8021Q = 0x8100;
/** A tag is put into a frame by a part of its own, and splits one. */
const MAX_PARTS = XEN_NETIF_NR_SLOTS_MIN + 2;

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
   * The Ethernet header as the bridge saw it, with what may be a tag. The sender may still change its page: what was decided upon is
   * what is delivered, so this is written over the first bytes of every copy.
   */
  readonly header = new Uint8Array(TAGGED_HLEN);
  /** As much of it as there is. */
  private headerBytes = 0;
  /** When it was taken from its sender, monotonic ns. */
  nowNs = 0;
  /** Not 0: a TCP packet that is to be cut into segments with so much payload; `gsoType` is XEN_NETIF_GSO_TYPE_*. */
  gsoSize = 0;
  gsoType = 0;
  private parts = 0;
  private readonly pages: SourcePage[] = [];
  private readonly offsets = new Uint32Array(MAX_PARTS);
  private readonly sizes = new Uint32Array(MAX_PARTS);
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
    const bytes = Math.min(this.length, TAGGED_HLEN);
    this.headerBytes = bytes;
    let at = 0;
    for (let part = 0; at < bytes; part++) {
      const page = this.pages[part]!.bytes;
      const offset = this.offsets[part]!;
      const size = Math.min(this.sizes[part]!, bytes - at);
      for (let i = 0; i < size; i++) header[at++] = page[offset + i]!;
    }
  }

  /** Copy `length` bytes from the frame's byte `from` on to `into`. */
  copy(from: number, length: number, into: Uint8Array, at: number): void {
    if (this.parts === 1) into.set(this.pages[0]!.view(this.offsets[0]! + from, length), at);
    else this.copyParts(from, length, into, at);
    if (from !== 0) return;
    const { header } = this;
    const bytes = Math.min(this.headerBytes, length);
    for (let i = 0; i < bytes; i++) into[at + i] = header[i]!;
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

  /** One byte of it, which its sender may still change. */
  byteAt(i: number): number {
    if (i < this.headerBytes) return this.header[i]!;
    for (let part = 0; part < this.parts; part++) {
      const size = this.sizes[part]!;
      if (i < size) return this.pages[part]!.bytes[this.offsets[part]! + i]!;
      i -= size;
    }
    return 0;
  }

  // ---- tags ----

  /** The VLAN of its tag, 0 of one that has only a priority; undefined without a tag. */
  get tag(): number | undefined {
    const { header, headerBytes } = this;
    if (headerBytes < TAGGED_HLEN || header[12] !== ETH_P_8021Q >> 8 || header[13] !== 0) return undefined;
    return ((header[14]! & 15) << 8) | header[15]!;
  }
  /** It says that it has a tag, and is too short for one. */
  get isCutOff(): boolean {
    return this.headerBytes < TAGGED_HLEN && this.header[12] === ETH_P_8021Q >> 8 && this.header[13] === 0;
  }
  /** Behind its tag there is another one. */
  get isTaggedTwice(): boolean {
    return this.header[16] === ETH_P_8021Q >> 8 && this.header[17] === 0;
  }
  /** The same without its tag; it lasts as long as this one. */
  untagged(): Frame {
    const other = this.otherBegun();
    const { header } = this;
    this.addTo(other, 0, 12);
    this.addTo(other, 16, this.length - 16);
    other.headerBytes = ETH_HLEN;
    other.header.set(header.subarray(0, 12));
    other.header.set(header.subarray(16, 18), 12);
    return other;
  }
  /** The same with one. */
  tagged(vlan: number): Frame {
    const other = this.otherBegun();
    const { header } = this;
    this.tagPage ??= new SourcePage(new Uint8Array(4));
    this.tagPage.bytes.set([ETH_P_8021Q >> 8, 0, vlan >> 8, vlan]);
    this.addTo(other, 0, 12);
    other.add(this.tagPage, 0, 4);
    this.addTo(other, 12, this.length - 12);
    other.headerBytes = TAGGED_HLEN;
    other.header.set(header.subarray(0, 12));
    other.header.set(this.tagPage.bytes, 12);
    other.header.set(header.subarray(12, 14), 16);
    return other;
  }
  private other: Frame | undefined;
  private tagPage: SourcePage | undefined;
  private otherBegun(): Frame {
    this.other ??= new Frame();
    this.other.begin(this.flags, this.nowNs, this.gsoSize, this.gsoType);
    return this.other;
  }
  /** Some of its bytes, where they lie. */
  private addTo(other: Frame, from: number, length: number): void {
    for (let part = 0; length > 0; part++) {
      const size = this.sizes[part]!;
      if (from >= size) {
        from -= size;
        continue;
      }
      const n = Math.min(size - from, length);
      other.add(this.pages[part]!, this.offsets[part]! + from, n);
      length -= n;
      from = 0;
    }
  }

  /** Fill in the checksum its sender left blank, in a private copy that takes the place of the parts. */
  complete(): void {
    if ((this.flags & NETRXF_csum_blank) === 0) return;
    this.whole ??= new SourcePage(new Uint8Array(MAX_FRAME));
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

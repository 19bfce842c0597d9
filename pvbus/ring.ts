// The two ends of a shared request/response ring. Xen: io/ring.h.
//
// The page: req_prod, req_event, rsp_prod, rsp_event, padding, and from byte 64 on a power of two of slots.
// A slot first carries a request, later the response to some request. Indices are free-running u32s: they
// wrap at 2^32, differences are taken `>>> 0`, and a slot is index & (nr_ents - 1).
//
// The only file beside byte-ring.ts that touches a shared index, always through Atomics: slot bytes written
// before a producer index was stored are seen by whoever loaded that index.
// untrusted: everything in the page. Each shared index is loaded once per decision; what cannot be is -1.

import { sring } from './abi/ring.ts';
import { PAGE_SIZE } from './abi/xenolith.ts';
import type { Page } from './page.ts';
import type { RingTrace } from './vcpu-trace.ts';

const REQ_PROD = sring.at.req_prod / 4;
const REQ_EVENT = sring.at.req_event / 4;
const RSP_PROD = sring.at.rsp_prod / 4;
const RSP_EVENT = sring.at.rsp_event / 4;

const PAGE_WORDS = PAGE_SIZE / 4;
const wordsOf = (pages: readonly Int32Array[], word: number): Int32Array => pages[Math.floor(word / PAGE_WORDS)]!;

/** How many slots of `entrySize` bytes a ring of `ringBytes` has: the power of two below what fits. */
export function ringEntries(entrySize: number, ringBytes: number): number {
  return 2 ** Math.floor(Math.log2((ringBytes - sring.size) / entrySize));
}

/** What both ends have: the slots and the index words. A page longer than 4 KiB is a multi-page ring. */
class Ring {
  readonly nr_ents: number;
  /** Hears of what is handed over, while anybody traces. */
  trace: RingTrace | undefined;
  protected readonly idx: Int32Array;
  readonly #entrySize: number;
  readonly #entryWords: number;
  /** Of a ring of several pages that need not lie side by side: the words of each. A slot may begin in one and end in the next. */
  readonly #scattered: readonly Int32Array[] | undefined;

  constructor(pages: Page | readonly Page[], entrySize: number) {
    // We are wrong, not the peer: protocol structs are whole words and fit a page.
    if (entrySize % 4 !== 0 || entrySize <= 0) throw new Error(`ring entries of ${entrySize} bytes`);
    const all = 'words' in pages ? [pages] : pages;
    const bytes = all.reduce((n, page) => n + page.bytes.length, 0);
    this.nr_ents = ringEntries(entrySize, bytes);
    if (!(this.nr_ents >= 1)) throw new Error(`ring entries of ${entrySize} bytes do not fit a page`);
    this.idx = all[0]!.words;
    this.#scattered = all.length === 1 ? undefined : all.map(({ words }) => words);
    this.#entrySize = entrySize;
    this.#entryWords = entrySize / 4;
  }

  /** Byte offset in the page of the slot of an index. */
  protected slotOffset(index: number): number {
    return sring.size + (index & (this.nr_ents - 1)) * this.#entrySize;
  }

  /** Copy a slot to private memory, reading every word of it once. */
  protected copySlot(index: number, into: Int32Array): void {
    const from = this.slotOffset(index) / 4;
    const scattered = this.#scattered;
    if (scattered === undefined) for (let i = 0; i < this.#entryWords; i++) into[i] = this.idx[from + i]!;
    else for (let i = 0; i < this.#entryWords; i++) into[i] = wordsOf(scattered, from + i)[(from + i) % PAGE_WORDS]!;
  }
  /** The first words of a slot, out of private memory. */
  protected fillSlot(index: number, from: Int32Array): void {
    const at = this.slotOffset(index) / 4;
    const scattered = this.#scattered;
    if (scattered === undefined) for (let i = 0; i < from.length; i++) this.idx[at + i] = from[i]!;
    else for (let i = 0; i < from.length; i++) wordsOf(scattered, at + i)[(at + i) % PAGE_WORDS] = from[i]!;
  }
}

/** The end that produces requests and consumes responses. */
export class FrontRing extends Ring {
  /** Index of the next request to stage. The caller fills the slot at `requestOffset()`, then adds 1 `>>> 0`. */
  req_prod_pvt: number;
  /** Index of the next response to consume. The caller takes it, then adds 1 `>>> 0`. */
  rsp_cons: number;
  /** What this end last published: the page's own copy is the peer's to scribble on. */
  #published: number;

  /** Lay out an empty ring and be its front end. Xen: XEN_FRONT_RING_INIT. The slots are left as they are. */
  static init(page: Page, entrySize: number): FrontRing {
    page.bytes.fill(0, 0, sring.size);
    Atomics.store(page.words, REQ_EVENT, 1);
    Atomics.store(page.words, RSP_EVENT, 1);
    return new FrontRing(page, entrySize);
  }

  /** Xen: FRONT_RING_ATTACH; `from` is 0 for a ring fresh from `init`. */
  constructor(page: Page, entrySize: number, from = 0) {
    super(page, entrySize);
    this.req_prod_pvt = from >>> 0;
    this.rsp_cons = from >>> 0;
    this.#published = from >>> 0;
  }

  /** Slots free for requests: those whose response has been consumed. */
  freeRequests(): number {
    return this.nr_ents - ((this.req_prod_pvt - this.rsp_cons) >>> 0);
  }

  full(): boolean {
    return this.freeRequests() === 0;
  }

  /** Where to write the request of index req_prod_pvt. Only while not `full()`. */
  requestOffset(): number {
    return this.slotOffset(this.req_prod_pvt);
  }

  /** Publish the staged requests. True when the backend asked to hear of one of them: notify it. */
  pushRequests(): boolean {
    const old = this.#published;
    const now = this.req_prod_pvt;
    this.#published = now;
    if (now !== old) this.trace?.requestsPushed(old, now);
    Atomics.store(this.idx, REQ_PROD, now); // order: slot bytes, then index
    const event = Atomics.load(this.idx, REQ_EVENT); // order: index, then their event
    return (now - event) >>> 0 < (now - old) >>> 0;
  }

  /** Responses there to consume; -1 when rsp_prod answers more than was asked or moved backwards. */
  unconsumedResponses(): number {
    const n = (Atomics.load(this.idx, RSP_PROD) - this.rsp_cons) >>> 0;
    if (n > 0) this.trace?.responsesSeen(this.rsp_cons, (this.rsp_cons + n) >>> 0);
    // invariant: rsp_cons <= rsp_prod <= published requests, all modulo 2^32.
    return n <= (this.#published - this.rsp_cons) >>> 0 ? n : -1;
  }

  /** Where the response of index rsp_cons is. Shared: copy it, then look. */
  responseOffset(): number {
    return this.slotOffset(this.rsp_cons);
  }

  /** Copy the response of index rsp_cons; `into` holds a whole slot. */
  copyResponse(into: Int32Array): void {
    this.copySlot(this.rsp_cons, into);
  }

  /** Before sleeping: ask to be woken by the next response, then look again. */
  finalCheckForResponses(): number {
    const n = this.unconsumedResponses();
    if (n !== 0) return n;
    Atomics.store(this.idx, RSP_EVENT, this.rsp_cons + 1); // order: event, then index
    return this.unconsumedResponses();
  }
}

/** The end that consumes requests and produces responses. */
export class BackRing extends Ring {
  /** Index of the next request to consume. The caller takes it, then adds 1 `>>> 0`. */
  req_cons: number;
  /** Index of the next response to stage. The caller fills the slot at `responseOffset()`, then adds 1 `>>> 0`. */
  rsp_prod_pvt: number;
  #published: number;

  /** Xen: BACK_RING_ATTACH. A backend that takes over a live ring starts at its rsp_prod: `attachIndex(page)`. */
  constructor(pages: Page | readonly Page[], entrySize: number, from = 0) {
    super(pages, entrySize);
    this.req_cons = from >>> 0;
    this.rsp_prod_pvt = from >>> 0;
    this.#published = from >>> 0;
  }

  /** The index a successor of a dead backend starts from: every request not answered yet is served again. */
  static attachIndex(page: Page): number {
    return Atomics.load(page.words, RSP_PROD) >>> 0;
  }

  /**
   * Requests there to consume; -1 when req_prod claims what no ring can hold or moved backwards.
   * (Xen's macro clips to the room there is instead; its RING_REQUEST_PROD_OVERFLOW is this -1.)
   */
  unconsumedRequests(): number {
    const n = (Atomics.load(this.idx, REQ_PROD) - this.req_cons) >>> 0;
    if (n > 0) this.trace?.requestsSeen(this.req_cons, (this.req_cons + n) >>> 0);
    // invariant: rsp_prod_pvt <= req_cons <= req_prod <= rsp_prod_pvt + nr_ents, all modulo 2^32.
    return n <= this.nr_ents - ((this.req_cons - this.rsp_prod_pvt) >>> 0) ? n : -1;
  }

  /** Where the request of index req_cons is. Shared: copy it, then look. */
  requestOffset(): number {
    return this.slotOffset(this.req_cons);
  }

  /** Copy the request of index req_cons; `into` holds a whole slot. */
  copyRequest(into: Int32Array): void {
    this.copySlot(this.req_cons, into);
  }

  /** Where to write the response of index rsp_prod_pvt. Only for a request already consumed. */
  responseOffset(): number {
    return this.slotOffset(this.rsp_prod_pvt);
  }

  /** Stage the next response: its words, of private memory. Only for a request already consumed. */
  putResponse(words: Int32Array): void {
    this.fillSlot(this.rsp_prod_pvt, words);
    this.rsp_prod_pvt = (this.rsp_prod_pvt + 1) >>> 0;
  }

  /** Publish the staged responses. True when the frontend asked to hear of one of them: notify it. */
  pushResponses(): boolean {
    const old = this.#published;
    const now = this.rsp_prod_pvt;
    this.#published = now;
    if (now !== old) this.trace?.responsesPushed(old, now);
    Atomics.store(this.idx, RSP_PROD, now); // order: slot bytes, then index
    const event = Atomics.load(this.idx, RSP_EVENT); // order: index, then their event
    return (now - event) >>> 0 < (now - old) >>> 0;
  }

  /** Ask to be woken when `count` requests may be taken; true when they may be by now. */
  awaitRequests(count: number): boolean {
    Atomics.store(this.idx, REQ_EVENT, this.req_cons + count); // order: event, then index
    const n = this.unconsumedRequests();
    return n < 0 || n >= count;
  }
  /** Before sleeping: ask to be woken by the next request, then look again. */
  finalCheckForRequests(): number {
    const n = this.unconsumedRequests();
    if (n !== 0) return n;
    Atomics.store(this.idx, REQ_EVENT, this.req_cons + 1); // order: event, then index
    return this.unconsumedRequests();
  }
}

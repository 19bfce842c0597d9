// The ring loops of one disk: slots with buffers, requests in flight, responses matched to them. This is also
// the interface for programs that want every request for themselves: acquire, queue, push, reap.
import {
  BLKIF_MAX_SEGMENTS_PER_REQUEST,
  BLKIF_OP_READ,
  BLKIF_OP_WRITE,
  BLKIF_RSP_EOPNOTSUPP,
  BLKIF_RSP_OKAY,
  ERRNO,
  type EvtchnPort,
  type Log,
  PAGE_SIZE,
  type Vcpu,
  XenError,
} from '#pvbus';
import { type BufferShape, DEFAULT_SHAPE, type SharedBuffers } from './buffers.ts';
import { BlkQueue, newEnd, type QueueEnd } from './queue.ts';
import { MAX_SEGMENTS } from './request.ts';
import type { SharedRings } from './rings.ts';
import { type BlkfrontStats, newBlkfrontStats } from './stats.ts';

const FREE = 0;
/** Someone's, but not asked for anything yet. */
const HELD = 1;
/** Waits for room in the ring, or for a backend. */
const QUEUED = 2;
const IN_FLIGHT = 3;
const DONE = 4;

/** Hears of a slot's answer: 0 or a negative errno. It releases the slot. */
export interface SlotWaiter {
  settled(slot: number, status: number): void;
}
const none: SlotWaiter = { settled: () => {} };

export class BlkfrontWorker {
  readonly stats: BlkfrontStats = newBlkfrontStats();
  readonly slots: number;
  readonly #vcpu: Vcpu;
  readonly #log: Log;
  readonly #name: string;
  readonly #vdev: number;
  readonly #shape: BufferShape;
  /** The backend broke the protocol: what to do about it. */
  readonly #onBroken: (error: XenError) => void;
  /** A slot became free. */
  onFree: () => void = () => {};

  readonly #state: Uint8Array;
  readonly #operation: Uint8Array;
  readonly #sector: Float64Array;
  readonly #length: Float64Array;
  /** Set apart from every earlier request of the slot: the high half of the id. */
  readonly #stamp: Uint32Array;
  /** When the request was made, to replay in that order. */
  readonly #order: Float64Array;
  readonly #status: Int32Array;
  readonly #waiters: SlotWaiter[];
  #made = 0;
  /** Free slots, the last used on top: what was used lately is mapped at the backend. */
  readonly #freeSmall: Int32Array;
  #nFreeSmall = 0;
  readonly #freeLarge: Int32Array;
  #nFreeLarge = 0;
  /** A slot's requests are all in one of these, so that its pages are known to one ring: slot n is of queue n modulo theirs. */
  #queues: BlkQueue[];
  /** Answered slots that nobody waits for, for reap. */
  readonly #reapable: Int32Array;
  #reapHead = 0;
  #nReapable = 0;

  #buffers: SharedBuffers | undefined;
  /** Requests may be sent; responses are read as long as there is a ring. */
  #sending = false;
  #maxBytes = BLKIF_MAX_SEGMENTS_PER_REQUEST * PAGE_SIZE;
  #inFlight = 0;
  #failed = 0;

  constructor(
    vcpu: Vcpu,
    log: Log,
    name: string,
    vdev: number,
    onBroken: (error: XenError) => void,
    shape: BufferShape = DEFAULT_SHAPE,
  ) {
    if (shape.largePages > MAX_SEGMENTS) throw new Error(`${name}: slots of ${shape.largePages} pages`);
    this.#vcpu = vcpu;
    this.#log = log;
    this.#name = name;
    this.#vdev = vdev;
    this.#onBroken = onBroken;
    this.#shape = shape;
    const n = shape.small + shape.large;
    this.slots = n;
    this.#state = new Uint8Array(n);
    this.#operation = new Uint8Array(n);
    this.#sector = new Float64Array(n);
    this.#length = new Float64Array(n);
    this.#stamp = new Uint32Array(n);
    this.#order = new Float64Array(n);
    this.#status = new Int32Array(n);
    this.#waiters = new Array<SlotWaiter>(n).fill(none);
    this.#queues = [new BlkQueue(0, n)];
    this.#reapable = new Int32Array(n);
    this.#freeSmall = new Int32Array(shape.small);
    this.#freeLarge = new Int32Array(shape.large);
    for (let slot = n - 1; slot >= 0; slot--) this.#free(slot);
  }

  get shape(): BufferShape {
    return this.#shape;
  }
  get inFlight(): number {
    return this.#inFlight;
  }
  get idle(): boolean {
    return this.#inFlight === 0 && this.#queues.every(({ waiting }) => waiting.length === 0);
  }

  /** 0, or the errno with which every request is answered for good. */
  get failed(): number {
    return this.#failed;
  }

  // ---- slots ----

  /** A slot for `bytes` bytes, or for as many of them as one can hold now; -1 when all are in use. */
  acquire(bytes: number): number {
    let slot = -1;
    if ((bytes > PAGE_SIZE || this.#nFreeSmall === 0) && this.#nFreeLarge > 0) {
      slot = this.#freeLarge[--this.#nFreeLarge]!;
    } else if (this.#nFreeSmall > 0) slot = this.#freeSmall[--this.#nFreeSmall]!;
    if (slot >= 0) this.#state[slot] = HELD;
    return slot;
  }
  available(): boolean {
    return this.#nFreeSmall + this.#nFreeLarge > 0;
  }
  /** The bytes one request of this slot can move. */
  capacity(slot: number): number {
    return slot < this.#shape.small ? PAGE_SIZE : Math.min(this.#shape.largePages * PAGE_SIZE, this.#maxBytes);
  }
  /** The slot's buffer, shared with the backend; ours alone to change while the slot is held and not queued. */
  buffer(slot: number): Uint8Array {
    if (!this.#buffers) throw new XenError('ENODEV', `${this.#name}: it is not connected`);
    return this.#buffers.bytes(slot);
  }
  /** Give a held or answered slot back. */
  release(slot: number): void {
    const state = this.#state[slot];
    if (state !== HELD && state !== DONE) throw new Error(`${this.#name}: slot ${slot} is not to be released now`);
    this.#free(slot);
    this.onFree();
  }
  #free(slot: number): void {
    this.#state[slot] = FREE;
    this.#waiters[slot] = none;
    if (slot < this.#shape.small) this.#freeSmall[this.#nFreeSmall++] = slot;
    else this.#freeLarge[this.#nFreeLarge++] = slot;
  }

  // ---- requests ----

  /**
   * Ask for `operation` at `sector` on the slot's first `length` bytes (discard: on `length` sectors). It is
   * sent by the next `push`. Without a waiter the slot is found again by `reap`.
   */
  queue(slot: number, operation: number, sector: number, length: number, waiter: SlotWaiter | null = null): void {
    if (this.#state[slot] !== HELD) throw new Error(`${this.#name}: slot ${slot} is not held`);
    this.#operation[slot] = operation;
    this.#sector[slot] = sector;
    this.#length[slot] = length;
    this.#order[slot] = this.#made++;
    this.#waiters[slot] = waiter ?? none;
    this.#enqueue(slot);
    if (this.#failed !== 0) this.#failAll(this.#failed);
  }
  #queueOf(slot: number): BlkQueue {
    return this.#queues[slot % this.#queues.length]!;
  }
  #enqueue(slot: number): void {
    this.#state[slot] = QUEUED;
    this.#queueOf(slot).waiting.add(slot);
  }

  /** Send what is queued, as far as there is room, and notify the backend when it asked for it. */
  push(): void {
    const queues = this.#queues;
    for (let i = 0; i < queues.length; i++) if (queues[i]!.waiting.length > 0) this.#pushOne(queues[i]!);
  }
  #pushOne({ end, waiting }: BlkQueue): void {
    if (!this.#sending || !end) return;
    const { ring } = end;
    let room = ring.freeRequests();
    if (room === 0) return;
    for (; room > 0 && waiting.length > 0; room--) this.#stage(end, waiting.take());
    if (!ring.pushRequests()) return;
    this.stats.notified++;
    this.#vcpu.events.notify(end.port);
  }
  /** Notify a backend that owes answers and did not ask for it. */
  remind(): void {
    if (!this.#sending || this.#inFlight === 0) return;
    for (const { end } of this.#queues) if (end) this.#vcpu.events.notify(end.port);
  }
  #stage({ ring, writer }: QueueEnd, slot: number): void {
    const stamp = (this.#stamp[slot]! + 1) >>> 0;
    this.#stamp[slot] = stamp;
    this.#state[slot] = IN_FLIGHT;
    this.#inFlight++;
    this.stats.requests++;
    writer.stage(ring, slot, stamp, this.#operation[slot]!, this.#sector[slot]!, this.#length[slot]!);
  }

  /** Take the responses that are there. 'idle': none, and the backend was asked to notify of the next. */
  step(): 'progress' | 'idle' {
    const queues = this.#queues;
    let progress = false;
    // What is heard of an answer may make the disk fail, or have it connect anew: then these are not its queues any more.
    for (let i = 0; i < queues.length && queues === this.#queues; i++) if (this.#stepOne(queues[i]!)) progress = true;
    return progress ? 'progress' : 'idle';
  }
  #stepOne(queue: BlkQueue): boolean {
    const { end, waiting } = queue;
    if (!end || this.#failed !== 0) return false;
    const { ring } = end;
    let n = ring.unconsumedResponses();
    if (n === 0) {
      if (waiting.length > 0) this.#pushOne(queue);
      n = ring.finalCheckForResponses();
      if (n === 0) return false;
    }
    if (n < 0) {
      this.#break('its ring holds more responses than requests were made');
      return true;
    }
    for (; n > 0; n--) if (!this.#takeOne(queue, end)) return true;
    if (waiting.length > 0) this.#pushOne(queue);
    return true;
  }

  /** False when the backend broke the protocol. */
  #takeOne(queue: BlkQueue, { ring, reader }: QueueEnd): boolean {
    reader.take(ring);
    const slot = reader.id_lo;
    const isOurs = slot < this.slots && this.#state[slot] === IN_FLIGHT && this.#stamp[slot] === reader.id_hi;
    if (!isOurs || this.#queueOf(slot) !== queue) {
      return this.#break(`a response to request ${slot}/${reader.id_hi}, which is not in flight`);
    }
    if (this.#operation[slot] !== reader.operation) {
      return this.#break(`a response of operation ${reader.operation} to a request of ${this.#operation[slot]}`);
    }
    this.#inFlight--;
    this.stats.responses++;
    if (reader.status === BLKIF_RSP_OKAY) this.#settle(slot, 0);
    else {
      this.stats.errors++;
      this.#settle(slot, reader.status === BLKIF_RSP_EOPNOTSUPP ? -ERRNO.EOPNOTSUPP : -ERRNO.EIO);
    }
    return true;
  }

  #settle(slot: number, status: number): void {
    this.#state[slot] = DONE;
    this.#status[slot] = status;
    const waiter = this.#waiters[slot]!;
    if (waiter !== none) waiter.settled(slot, status);
    else this.#reapable[(this.#reapHead + this.#nReapable++) % this.slots] = slot;
  }

  done(slot: number): boolean {
    return this.#state[slot] === DONE;
  }
  /** Of an answered slot: 0 or a negative errno. */
  status(slot: number): number {
    return this.#status[slot]!;
  }
  /** The next answered slot that had no waiter; -1 when there is none. The caller releases it, or holds it again. */
  reap(): number {
    if (this.#nReapable === 0) return -1;
    const slot = this.#reapable[this.#reapHead]!;
    this.#reapHead = (this.#reapHead + 1) % this.slots;
    this.#nReapable--;
    return slot;
  }
  /** Keep an answered slot for another request. */
  hold(slot: number): void {
    if (this.#state[slot] !== DONE) throw new Error(`${this.#name}: slot ${slot} is not answered`);
    this.#state[slot] = HELD;
  }

  // ---- the connection ----

  /** New rings, and a port for each. Nothing is sent on them before `resume`. */
  attach({ rings }: SharedRings, buffers: SharedBuffers, ports: readonly EvtchnPort[], maxSegments: number): void {
    const old = this.#buffers;
    if (old && old !== buffers) this.#carryOver(old, buffers);
    this.#buffers = buffers;
    this.#maxBytes = Math.max(BLKIF_MAX_SEGMENTS_PER_REQUEST, Math.min(maxSegments, MAX_SEGMENTS)) * PAGE_SIZE;
    const unanswered = this.#takeBack();
    this.#queues = ports.map(
      (port, i) => new BlkQueue(i, this.slots, newEnd(this.#vcpu, rings[i]!, buffers, port, this.#vdev)),
    );
    for (const slot of unanswered) this.#enqueueAgain(slot);
  }

  /** The backend serves the ring: send what has waited. */
  resume(): void {
    this.#sending = true;
    this.push();
  }

  /** Send nothing more; what is not answered yet waits for `attach`. */
  suspend(): void {
    this.#sending = false;
  }

  /** The disk will not come back: every request is answered with `errno`, from now on too. */
  fail(errno: number): void {
    this.#sending = false;
    this.#failed = errno;
    this.#failAll(errno);
  }

  /** The pages of the connection are about to go. */
  detach(): void {
    this.#buffers = undefined;
    this.#queues = this.#queues.map(({ index }) => new BlkQueue(index, this.slots));
  }

  /** What a lost backend has not answered is asked again, in its old order, before what waits. */
  #takeBack(): number[] {
    const again: number[] = [];
    for (let slot = 0; slot < this.slots; slot++) if (this.#state[slot] === IN_FLIGHT) again.push(slot);
    this.stats.replayed += again.length;
    for (const { waiting } of this.#queues) while (waiting.length > 0) again.push(waiting.take());
    this.#inFlight = 0;
    return again.sort((a, b) => this.#order[a]! - this.#order[b]!);
  }
  #enqueueAgain(slot: number): void {
    const moved = this.#operation[slot] === BLKIF_OP_READ || this.#operation[slot] === BLKIF_OP_WRITE;
    if (moved && this.#length[slot]! > this.capacity(slot)) {
      this.#log.error(`${this.#name}: the new backend takes requests of ${this.#maxBytes} bytes, one had more`);
      this.#settle(slot, -ERRNO.EIO);
    } else this.#enqueue(slot);
  }

  /** Another domain serves the disk now: what is to be written goes into pages shared with it. */
  #carryOver(from: SharedBuffers, to: SharedBuffers): void {
    for (let slot = 0; slot < this.slots; slot++) {
      if (this.#state[slot] !== FREE) to.bytes(slot).set(from.bytes(slot));
    }
  }

  /** Returns false, for the caller to return. */
  #break(what: string): false {
    const error = new XenError('EPROTO', `${this.#name}: the backend sent ${what}`);
    this.#log.error(`${error.message}; the disk is given up`);
    this.fail(ERRNO.EIO);
    this.#onBroken(error);
    return false;
  }

  #failAll(errno: number): void {
    for (const { waiting } of this.#queues) while (waiting.length > 0) waiting.take();
    this.#inFlight = 0;
    for (let slot = 0; slot < this.slots; slot++) {
      if (this.#state[slot] === QUEUED || this.#state[slot] === IN_FLIGHT) this.#settle(slot, -errno);
    }
  }
}

// A port of a bridge whose other end is a descriptor of the host: what all kinds of it have in common.
import { EPOLLIN, EPOLLOUT, type Epoll, type Log } from '#pvbus';
import { type Bridge, type BridgePort, FRAME_OVERHEAD } from '../bridge.ts';
import type { Frame } from '../frame.ts';
import type { RxQueue, RxTurn } from '../rx-queue.ts';

/** Frames of one port that are forwarded before others have a turn. */
export const TURN_FRAMES = 64;
/** How long to wait before it is tried again to have a peer: first, and at most. */
const FIRST_RETRY_NS = 100e6;
const LAST_RETRY_NS = 5e9;
/** Changes between up and down that are logged one by one. */
const LOGGED_CHANGES = 16;

/** Named from the bridge's side. */
export class PortStats {
  received = 0;
  receivedBytes = 0;
  /** Longer than the bridge takes. */
  refused = 0;
  sent = 0;
  sentBytes = 0;
  /** For a peer that is away, or does not take them fast enough. */
  dropped = 0;
}

export interface PortParts {
  readonly bridge: Bridge;
  readonly epoll: Epoll;
  /** The frame that everybody in this thread forwards, and who is short of room since. */
  readonly shared: { readonly frame: Frame } & Pick<RxTurn, 'full'>;
  readonly log: Log;
  /** It has something for `flush`. */
  readonly touched: (port: ExternalPort) => void;
  /** From now on `fd` is this port's, or nobody's. */
  readonly owns: (fd: number, port: ExternalPort | undefined) => void;
}

export abstract class ExternalPort implements BridgePort {
  /** As its spec has it. */
  readonly name: string;
  readonly stats = new PortStats();
  readonly bridge: Bridge;
  /** When it is to be tried again to have a peer (monotonic ns). */
  retryAt: number | undefined;
  /** Until then, at most, it forwards nothing: a guest is short of room, and what comes can stay where it comes from. */
  heldUntil: number | undefined;
  protected readonly parts: PortParts;
  readonly #index: number;
  #full: RxQueue | undefined;
  #heldSince = 0;
  readonly #maxFrame: number;
  #why: string | undefined = 'it was never there';
  #wait = FIRST_RETRY_NS;
  #changes = 0;
  #awaited = 0;

  constructor(name: string, parts: PortParts) {
    this.name = name;
    this.parts = parts;
    this.bridge = parts.bridge;
    this.#maxFrame = parts.bridge.mtu + FRAME_OVERHEAD;
    this.#index = this.bridge.attach(this);
  }

  /** Why no frames pass; undefined while they do. */
  get down(): string | undefined {
    return this.#why;
  }

  /** Try to have a peer. Throws XenError or SystemCallError when nothing can be waited for. */
  abstract open(nowNs: number): void;
  /** A descriptor of it is ready for that. */
  abstract ready(fd: number, events: number, nowNs: number): void;
  /** Frames are here that have come in already. */
  abstract readonly eager: boolean;
  /** Forward some of those. */
  abstract turn(nowNs: number): void;
  /** It is held up no longer. */
  protected abstract resume(nowNs: number): void;
  /** Take a copy of the frame, or drop and count it. Never waits. */
  deliver(frame: Frame): boolean {
    if (frame.gsoSize === 0 || this.offloads) {
      if (!this.offloads) frame.complete();
      if (this.take(frame)) {
        this.stats.sent++;
        this.stats.sentBytes += frame.length;
        return true;
      }
      this.stats.dropped++;
      return false;
    }
    const count = frame.cut();
    if (count === 0) this.stats.dropped++;
    let done = count > 0;
    for (let i = 0; i < count; i++) if (!this.deliver(frame.segment(i))) done = false;
    return done;
  }
  /** Who is out there takes blank checksums and TCP packets that are to be cut. */
  protected readonly offloads: boolean = false;
  /** The same of a frame that is what `offloads` says. False: there is no room, or no peer. */
  protected abstract take(frame: Frame): boolean;
  /** Send what was delivered. */
  abstract flush(nowNs: number): void;
  /** Let go of what `open` has made. */
  protected abstract letGo(): void;
  /** Let go of memory too. */
  protected abstract release(): void;

  /** Nothing of it is left. */
  close(): void {
    this.bridge.detach(this.#index);
    this.letGo();
    this.release();
  }

  /** It cannot be had for now. */
  fails(why: string, nowNs: number): void {
    this.isDown(why, nowNs, true);
  }

  protected isUp(): void {
    this.#change(undefined);
    this.#wait = FIRST_RETRY_NS;
    this.retryAt = undefined;
  }
  /** No frames pass until there is a peer again, which is looked for later and later when `retry` is set. */
  protected isDown(why: string, nowNs: number, retry: boolean): void {
    this.#change(why);
    this.retryAt = retry ? nowNs + this.#wait : undefined;
    if (retry) this.#wait = Math.min(LAST_RETRY_NS, 2 * this.#wait);
  }
  #change(why: string | undefined): void {
    const was = this.#why;
    this.#why = why;
    if (was === why) return;
    const n = ++this.#changes;
    if (n > LOGGED_CHANGES && (n & (n - 1)) !== 0) return;
    const { log } = this.parts;
    const what = `bridge ${this.bridge.name}: port ${this.name}`;
    if (why === undefined) log.info(`${what}: up`);
    else log.warn(`${what}: down: ${why}`);
  }

  /** The frame that has come in is in `parts.frame`. */
  protected forward(frame: Frame): void {
    if (frame.length > this.#maxFrame && frame.gsoSize === 0) {
      this.stats.refused++;
      return;
    }
    this.stats.received++;
    this.stats.receivedBytes += frame.length;
    const { shared } = this.parts;
    shared.full = undefined;
    this.bridge.forward(frame, this.#index);
    if (shared.full !== undefined) this.#hold(shared.full, frame.nowNs);
  }
  #hold(full: RxQueue, nowNs: number): void {
    const patience = full.awaitRoom();
    if (patience === 0) return;
    this.#full = full;
    this.#heldSince = nowNs;
    this.heldUntil = nowNs + patience;
  }
  get isHeldUp(): boolean {
    return this.#full !== undefined;
  }
  /** Forward again what comes, if who was short of room is so no longer, or has been for too long. */
  goesOn(nowNs: number): boolean {
    if (this.#full === undefined) return true;
    if (!this.#full.isReady && nowNs < this.heldUntil!) return false;
    this.#full.waited(nowNs - this.#heldSince);
    this.#full = undefined;
    this.heldUntil = undefined;
    this.resume(nowNs);
    return true;
  }

  protected watch(fd: number): void {
    this.parts.owns(fd, this);
    this.#awaited = EPOLLIN;
    this.parts.epoll.add(fd, EPOLLIN);
  }
  /** Whether to be told of frames, and of room for some. */
  protected await(fd: number, frames: boolean, room: boolean): void {
    const wanted = (frames ? EPOLLIN : 0) | (room ? EPOLLOUT : 0);
    if (wanted === this.#awaited) return;
    this.#awaited = wanted;
    this.parts.epoll.change(fd, wanted);
  }
  protected unwatch(fd: number): void {
    this.parts.owns(fd, undefined);
    this.parts.epoll.remove(fd);
  }
}

// Frames on their way, as records of a pcap file with ns timestamps: collected here, told in chunks, dropped and counted when
// nobody takes them fast enough. What is not captured pays nothing: a capture stands between a vif and its bridge.
import type { Clock } from '#pvbus';
import type { Bridge, BridgePort } from './bridge.ts';
import type { Frame } from './frame.ts';

const CHUNK_BYTES = 1 << 18;
const RECORD_BYTES = 16;
/** Chunks that nobody has taken yet. */
const MAX_OUTSTANDING = 32;
/** What was captured is told after so long, however little it is. */
const PATIENCE_NS = 50e6;

/** What is captured: of a bridge all that it forwards, of a vif what its guest sends and receives. */
export type Captured =
  | { readonly bridge: string }
  | { readonly domid: number /** null: all of them. */; readonly handle: number | null };

export interface CaptureChunk {
  readonly frames: number;
  /** Since the last chunk, for want of somebody to take them. */
  readonly dropped: number;
  readonly records: Uint8Array;
  /** The limit is reached. */
  readonly over: boolean;
}

export interface CaptureOptions {
  readonly what: Captured;
  /** So many frames, then no more. */
  readonly limit: number | null;
  readonly clock: Pick<Clock, 'now'>;
  /** Wall-clock time, in ms since 1970. */
  readonly wallMs: () => number;
  readonly tell: (chunk: CaptureChunk) => void;
}

export class Capture {
  readonly what: Captured;
  readonly #clock: Pick<Clock, 'now'>;
  readonly #tell: (chunk: CaptureChunk) => void;
  readonly #wallSeconds: number;
  readonly #wallNs: number;
  readonly #bytes = new Uint8Array(CHUNK_BYTES);
  readonly #view = new DataView(this.#bytes.buffer);
  #left: number;
  #used = 0;
  #frames = 0;
  #dropped = 0;
  #outstanding = 0;
  #tellAt: number | undefined;

  constructor({ what, limit, clock, wallMs, tell }: CaptureOptions) {
    this.what = what;
    this.#left = limit ?? Number.POSITIVE_INFINITY;
    this.#clock = clock;
    this.#tell = tell;
    // The wall clock at 0 of the monotonic one, in two numbers: ns since 1970 are too many for one.
    const atMs = wallMs();
    const seconds = Math.floor(atMs / 1000);
    const ns = (atMs - seconds * 1000) * 1e6 - clock.now();
    const borrowed = Math.floor(ns / 1e9);
    this.#wallSeconds = seconds + borrowed;
    this.#wallNs = ns - borrowed * 1e9;
  }

  isOf(vif: { readonly domid: number; readonly handle: number }): boolean {
    const { what } = this;
    return 'domid' in what && what.domid === vif.domid && (what.handle === null || what.handle === vif.handle);
  }

  record(frame: Frame): void {
    if (this.#left === 0) return;
    const { length } = frame;
    const now = this.#clock.now();
    if (this.#used + RECORD_BYTES + length > CHUNK_BYTES) this.#pass();
    if (this.#outstanding >= MAX_OUTSTANDING) {
      this.#dropped++;
      return;
    }
    const ns = this.#wallNs + now;
    const seconds = Math.floor(ns / 1e9);
    const at = this.#used;
    this.#view.setUint32(at, this.#wallSeconds + seconds, true);
    this.#view.setUint32(at + 4, ns - seconds * 1e9, true);
    this.#view.setUint32(at + 8, length, true);
    this.#view.setUint32(at + 12, length, true);
    frame.copy(0, length, this.#bytes, at + RECORD_BYTES);
    this.#used += RECORD_BYTES + length;
    this.#frames++;
    this.#tellAt ??= now + PATIENCE_NS;
    if (--this.#left === 0) this.#pass();
  }

  /** The thread's owner has taken a chunk. */
  taken(): void {
    this.#outstanding--;
  }
  /** Tell what has waited for long enough. */
  step(nowNs: number): void {
    if (this.#tellAt !== undefined && nowNs >= this.#tellAt) this.#pass();
  }
  get deadline(): number | undefined {
    return this.#tellAt;
  }
  /** Tell what there is; nothing is captured any more. */
  end(): void {
    this.#left = 0;
    this.#pass();
  }

  #pass(): void {
    this.#outstanding++;
    const records = this.#bytes.slice(0, this.#used);
    this.#tell({ frames: this.#frames, dropped: this.#dropped, records, over: this.#left === 0 });
    this.#used = 0;
    this.#frames = 0;
    this.#dropped = 0;
    this.#tellAt = undefined;
  }
}

/** A vif's link that is captured, next to its guest. */
export class CapturedLink implements BridgePort, Pick<Bridge, 'forward'> {
  readonly name: string;
  readonly #port: BridgePort;
  readonly #uplink: Pick<Bridge, 'forward'>;
  readonly #captures: readonly Capture[];

  constructor(port: BridgePort, uplink: Pick<Bridge, 'forward'>, captures: readonly Capture[]) {
    this.name = port.name;
    this.#port = port;
    this.#uplink = uplink;
    this.#captures = captures;
  }
  /** What the guest receives. */
  deliver(frame: Frame): boolean {
    const done = this.#port.deliver(frame);
    if (done) for (const capture of this.#captures) capture.record(frame);
    return done;
  }
  /** What it sends. */
  forward(frame: Frame, from: number): number {
    for (const capture of this.#captures) capture.record(frame);
    return this.#uplink.forward(frame, from);
  }
}

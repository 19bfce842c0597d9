// A TCP connection to the host, as a program has it.
import { ERRNO, socketErrno, socketErrnoName, XenError } from '#pvbus';
import { WaitQueue } from '../../wait-queue.ts';
import type { DataRing } from '../data-rings.ts';
import type { PvcallsFrontStats } from './stats.ts';

export class HostConnection implements AsyncIterable<Uint8Array> {
  private readonly ring: DataRing;
  private readonly stats: PvcallsFrontStats;
  private readonly what: string;
  private readonly halfClose: boolean;
  private readonly release: () => Promise<void>;
  /** Woken when anything moved, for those who look again instead of awaiting. */
  readonly changed = new WaitQueue();
  private waiting: (() => void)[] = [];
  private lastWrite: Promise<void> = Promise.resolve();
  private writeEnded = false;
  /** Why nothing works any more. */
  private gone: XenError | undefined;
  private released: Promise<void> | undefined;
  // The ring as `moved` last saw it.
  private there = 0;
  private free = 0;
  private errors = 0;

  /** `release` tells the backend; the ring is unused from then on. */
  constructor(
    what: string,
    ring: DataRing,
    stats: PvcallsFrontStats,
    halfClose: boolean,
    release: () => Promise<void>,
  ) {
    this.what = what;
    this.ring = ring;
    this.stats = stats;
    this.halfClose = halfClose;
    this.release = release;
  }

  /** What has arrived, at least one byte; null once the peer has ended its side. */
  async read(): Promise<Uint8Array | null> {
    for (;;) {
      const n = this.available();
      if (n === 0) return null;
      if (n !== undefined) {
        const bytes = new Uint8Array(n);
        this.take(bytes);
        return bytes;
      }
      await this.event();
    }
  }
  /** Bytes that have arrived; 0 at the end, undefined while there is nothing. */
  available(): number | undefined {
    if (this.gone) throw this.gone;
    const { reader } = this.ring;
    // order: the error before the index; what came before the error is still there to be read.
    const error = reader.error;
    const n = reader.readable();
    if (n < 0) throw this.broken();
    if (n > 0) return n;
    if (error === -ERRNO.ENOTCONN) return 0;
    if (error !== 0) throw this.failed('read', error);
    return undefined;
  }
  /** As many of those as `into` holds. */
  take(into: Uint8Array): number {
    const n = this.ring.reader.read(into);
    if (n < 0) throw this.broken();
    this.stats.bytesIn += n;
    if (n > 0) this.ring.notify(); // there is room again
    return n;
  }

  /** Resolves when all of `data` is on its way; the peer's slowness is waited for. */
  write(data: Uint8Array | string): Promise<void> {
    const bytes = typeof data === 'string' ? new TextEncoder().encode(data) : data;
    if (this.writeEnded) return Promise.reject(new XenError('EPIPE', `${this.what}: write after end`));
    const done = this.lastWrite.then(() => this.put(bytes));
    // A failed write fails for its caller, and for whoever writes after it.
    this.lastWrite = done;
    done.catch(() => {});
    return done;
  }
  private async put(bytes: Uint8Array): Promise<void> {
    for (let done = 0; ; ) {
      const n = this.give(done === 0 ? bytes : bytes.subarray(done));
      done += n;
      if (done === bytes.length) return;
      if (n === 0) await this.event();
    }
  }
  /** How many of them there is room for now: they are on their way. Not while a `write` waits. */
  give(bytes: Uint8Array): number {
    this.room();
    const n = this.ring.writer.write(bytes);
    if (n < 0) throw this.broken();
    this.stats.bytesOut += n;
    if (n > 0) this.ring.notify();
    return n;
  }
  /** Bytes that `give` would take. */
  room(): number {
    if (this.gone) throw this.gone;
    const { writer } = this.ring;
    if (writer.error !== 0) throw this.failed('write', writer.error);
    const n = writer.writable();
    if (n < 0) throw this.broken();
    return n;
  }

  /** Nothing more will be written; the peer may still send. */
  async end(): Promise<void> {
    if (this.writeEnded) return;
    this.writeEnded = true;
    await this.lastWrite.catch(() => {});
    // Xen's protocol has no such message; a backend that knows ours says so.
    if (!this.halfClose || this.gone) return;
    this.ring.writer.fail(socketErrno('ESHUTDOWN'));
    this.ring.notify();
  }

  /** As `close`, and the peer hears of a failure; what it has not got yet it does not get. */
  reset(): Promise<void> {
    if (this.halfClose && !this.gone) this.ring.writer.fail(socketErrno('ECONNRESET'));
    return this.close();
  }

  /** What was written is still delivered. Reads and writes that wait are over. Resolves when the backend agrees. */
  close(): Promise<void> {
    this.writeEnded = true;
    this.gone ??= new XenError('ECANCELED', `${this.what}: closed`);
    this.wake();
    this.released ??= this.release();
    return this.released;
  }

  /** The domain ends: resolves when the backend has all that was written, and delivers it whatever becomes of the domain. */
  async deliver(): Promise<void> {
    await this.lastWrite.catch(() => {});
    await this.close();
  }

  async *[Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    for (let bytes = await this.read(); bytes !== null; bytes = await this.read()) yield bytes;
  }

  /** Is anything in the ring other than when this was last asked? Sometimes it says no although it is. */
  moved(): boolean {
    const { reader, writer } = this.ring;
    const there = reader.readable();
    const free = writer.writable();
    const errors = (reader.error !== 0 ? 1 : 0) + (writer.error !== 0 ? 2 : 0);
    if (there === this.there && free === this.free && errors === this.errors) return false;
    this.there = there;
    this.free = free;
    this.errors = errors;
    return true;
  }
  /** The backend moved something: whoever waits looks again. */
  wake(): void {
    for (const resolve of this.waiting.splice(0)) resolve();
    this.changed.wakeAll();
  }
  /** The device is gone. */
  fail(error: XenError): void {
    this.gone ??= new XenError(error.code, `${this.what}: ${error.message}`, error);
    this.released ??= Promise.resolve();
    this.wake();
  }

  private event(): Promise<void> {
    return new Promise(resolve => {
      this.waiting.push(resolve);
    });
  }
  private failed(verb: string, errno: number): XenError {
    const code = socketErrnoName(errno);
    return new XenError(code, `${this.what}: ${verb}: ${code}`);
  }
  private broken(): XenError {
    this.gone ??= new XenError('EIO', `${this.what}: the backend left impossible indices in the data ring`);
    return this.gone;
  }
}

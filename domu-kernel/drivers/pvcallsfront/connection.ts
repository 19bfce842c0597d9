// A TCP connection to the host, as a program has it.
import { ERRNO, socketErrno, socketErrnoName, XenError } from '#pvbus';
import type { DataRing } from './data-ring.ts';
import type { PvcallsFrontStats } from './stats.ts';

export class HostConnection implements AsyncIterable<Uint8Array> {
  private readonly ring: DataRing;
  private readonly stats: PvcallsFrontStats;
  private readonly what: string;
  private readonly halfClose: boolean;
  private readonly release: () => Promise<void>;
  private waiting: (() => void)[] = [];
  private lastWrite: Promise<void> = Promise.resolve();
  private writeEnded = false;
  /** Why nothing works any more. */
  private gone: XenError | undefined;
  private released: Promise<void> | undefined;
  // The ring as `moved` last saw it.
  private there = 0;
  private room = 0;
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
      if (this.gone) throw this.gone;
      const { reader } = this.ring;
      // order: the error before the index; what came before the error is still there to be read.
      const error = reader.error;
      const n = reader.readable();
      if (n < 0) throw this.broken();
      if (n > 0) {
        const bytes = new Uint8Array(n);
        this.stats.bytesIn += reader.read(bytes);
        this.ring.notify(); // there is room again
        return bytes;
      }
      if (error === -ERRNO.ENOTCONN) return null;
      if (error !== 0) throw this.failed('read', error);
      await this.event();
    }
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
      if (this.gone) throw this.gone;
      const { writer } = this.ring;
      if (writer.error !== 0) throw this.failed('write', writer.error);
      const n = writer.write(done === 0 ? bytes : bytes.subarray(done));
      if (n < 0) throw this.broken();
      done += n;
      this.stats.bytesOut += n;
      if (n > 0) this.ring.notify();
      if (done === bytes.length) return;
      if (n === 0) await this.event();
    }
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

  /** What was written is still delivered. Reads and writes that wait are over. Resolves when the backend agrees. */
  close(): Promise<void> {
    this.writeEnded = true;
    this.gone ??= new XenError('ECANCELED', `${this.what}: closed`);
    this.wake();
    this.released ??= this.release();
    return this.released;
  }

  async *[Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    for (let bytes = await this.read(); bytes !== null; bytes = await this.read()) yield bytes;
  }

  /** Is anything in the ring other than when this was last asked? Sometimes it says no although it is. */
  moved(): boolean {
    const { reader, writer } = this.ring;
    const there = reader.readable();
    const room = writer.writable();
    const errors = (reader.error !== 0 ? 1 : 0) + (writer.error !== 0 ? 2 : 0);
    if (there === this.there && room === this.room && errors === this.errors) return false;
    this.there = there;
    this.room = room;
    this.errors = errors;
    return true;
  }
  /** The backend moved something: whoever waits looks again. */
  wake(): void {
    for (const resolve of this.waiting.splice(0)) resolve();
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

// A connection: bytes between a guest's data ring and a TCP stream of the host, both ways, each only as
// fast as its receiver.
import { socketErrno } from '#pvbus';
import type { MappedDataRing } from '../mapped-data-ring.ts';
import type { ByteStream } from './host-sockets.ts';
import type { PvcallsStats } from './stats.ts';

/** As out_error of a frontend: it wants the connection reset. Any other error there ends what it writes. */
const RESET = -socketErrno('ECONNRESET');

export class ActiveSocket {
  /** The host's own. */
  readonly plain: ByteStream;
  /** That, or what takes its place. */
  stream: ByteStream;
  readonly ring: MappedDataRing;
  private readonly stats: PvcallsStats;
  private readonly onBadRing: (why: string) => void;
  private inEnded = false;
  private outEnded = false;
  private released = false;

  /** `onBadRing`: the frontend's indices are impossible; told once. */
  constructor(stream: ByteStream, ring: MappedDataRing, stats: PvcallsStats, onBadRing: (why: string) => void) {
    this.plain = stream;
    this.stream = stream;
    this.ring = ring;
    this.stats = stats;
    this.onBadRing = onBadRing;
  }

  /** Move what can be moved now; at most one ring's worth each way. */
  pump(): 'progress' | 'idle' {
    if (this.released) return 'idle';
    const out = this.toHost();
    const into = this.toGuest();
    if (!out && !into) return 'idle';
    this.ring.notify();
    return 'progress';
  }

  /** The frontend is done: what it wrote before still goes out. Its pages are unmapped when this returns. */
  release(): void {
    if (this.released) return;
    const reset = this.ring.reader.error === RESET;
    if (!reset && !this.outEnded && this.stream.connected && this.stream.error === undefined) {
      const left = this.ring.reader.readable();
      // Beyond what Node likes to hold, but bounded by the ring: the frontend wants its pages back now.
      if (left > 0) this.send(left);
    }
    this.released = true;
    this.ring.close();
    if (reset) this.stream.reset();
    else this.stream.finish();
  }
  /** The frontend is gone, or is to be gone. */
  abort(): void {
    if (this.released) return;
    this.released = true;
    this.ring.close();
    this.stream.destroy();
  }

  private toHost(): boolean {
    const { ring, stream } = this;
    if (this.outEnded) return false;
    if (stream.error !== undefined) {
      this.outEnded = true;
      ring.reader.fail(socketErrno(stream.error === 'ECONNRESET' ? 'EPIPE' : stream.error));
      return true;
    }
    // order: their error before their index; bytes that came before it are seen.
    const error = ring.reader.error;
    const n = ring.reader.readable();
    if (n < 0) return this.breakDown('out');
    if (n > 0) {
      if (!stream.writable) return false;
      this.send(n);
    }
    if (error === 0 || !stream.connected) return n > 0;
    // Our feature-half-close: the frontend says that it has written its last. That may come together with the bytes
    // before it, and is not told again.
    this.outEnded = true;
    // A reset is made when the frontend releases the socket, which is next.
    if (error !== RESET) stream.end();
    return n > 0;
  }
  private send(n: number): void {
    const bytes = new Uint8Array(n);
    this.stats.bytesOut += this.ring.reader.read(bytes);
    this.stream.write(bytes);
  }

  private toGuest(): boolean {
    const { ring, stream } = this;
    if (this.inEnded) return false;
    const room = ring.writer.writable();
    if (room < 0) return this.breakDown('in');
    if (room > 0) {
      const bytes = stream.read(room);
      if (bytes) {
        this.stats.bytesIn += ring.writer.write(bytes);
        return true;
      }
    }
    if (stream.finished) return this.endIn('ENOTCONN'); // Xen: how a frontend learns of an end that is no failure
    if (stream.error !== undefined) return this.endIn(stream.error);
    return false;
  }
  private endIn(code: string): boolean {
    this.inEnded = true;
    this.ring.writer.fail(socketErrno(code));
    return true;
  }
  private breakDown(which: 'in' | 'out'): boolean {
    this.inEnded = true;
    this.outEnded = true;
    this.stats.badRings++;
    this.ring.writer.fail(socketErrno('EINVAL'));
    this.ring.reader.fail(socketErrno('EINVAL'));
    this.stream.destroy();
    this.onBadRing(`impossible indices in its ${which} ring`);
    return true;
  }
}

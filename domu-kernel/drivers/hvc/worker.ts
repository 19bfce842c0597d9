// Bytes between the kernel and the console ring. Never blocks: a console that nobody reads must not stop
// the guest. Xen: io/console.h.
import { type ByteRingReader, type ByteRingWriter, consoleRing, type Page } from '#pvbus';
import type { HvcStats } from './stats.ts';

/** Output kept for a console that is slow. */
const MAX_QUEUED = 256 * 1024;
const IN_BUFFER = 1024;
const encoder = new TextEncoder();

export class HvcWorker {
  private readonly writer: ByteRingWriter;
  private readonly reader: ByteRingReader;
  private readonly notify: () => void;
  private readonly stats: HvcStats;
  private readonly queue: Uint8Array[] = [];
  private queued = 0;
  private lostSince = 0;
  private readonly chunk = new Uint8Array(IN_BUFFER);
  private broken = false;
  /** In the ring, when it was last written to. */
  private room = 0;
  onInput: (bytes: Uint8Array) => void = () => {};

  constructor(page: Page, notify: () => void, stats: HvcStats) {
    const { reader, writer } = consoleRing(page, 'front');
    this.reader = reader;
    this.writer = writer;
    this.notify = notify;
    this.stats = stats;
  }

  /** Into the ring as far as it goes, the rest when there is room. */
  write(bytes: Uint8Array): void {
    if (this.broken) return;
    if (this.queued + bytes.length > MAX_QUEUED) {
      this.stats.bytesLost += bytes.length;
      this.lostSince += bytes.length;
      return;
    }
    this.enqueue(bytes);
    this.transmit();
  }
  private enqueue(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.queue.push(bytes);
    this.queued += bytes.length;
  }
  /** Bytes that wait for room in the ring. */
  get waiting(): number {
    return this.broken ? 0 : this.queued;
  }
  /** Nothing waits for room in the ring. */
  get drained(): boolean {
    return this.queue.length === 0 || this.broken;
  }

  step(): 'progress' | 'idle' {
    if (this.broken) return 'idle';
    const received = this.receive();
    const taken = this.writer.writable() !== this.room;
    const sent = this.transmit();
    return received || sent || taken ? 'progress' : 'idle';
  }

  private transmit(): boolean {
    let total = 0;
    for (let head = this.queue[0]; head !== undefined; head = this.queue[0]) {
      const n = this.writer.write(head);
      if (n < 0) return this.giveUp();
      total += n;
      if (n < head.length) {
        this.queue[0] = head.subarray(n);
        break;
      }
      this.queue.shift();
    }
    this.room = this.writer.writable();
    this.queued -= total;
    this.stats.bytesOut += total;
    if (total > 0) this.notify();
    if (this.lostSince > 0 && this.queued < MAX_QUEUED / 2) {
      const lost = this.lostSince;
      this.lostSince = 0;
      this.enqueue(encoder.encode(`\r\n[${lost} bytes of output lost]\r\n`));
    }
    return total > 0;
  }

  private receive(): boolean {
    const n = this.reader.read(this.chunk);
    if (n < 0) return this.giveUp();
    if (n === 0) return false;
    this.stats.bytesIn += n;
    this.notify();
    this.onInput(this.chunk.subarray(0, n));
    return true;
  }

  /** untrusted: a backend that leaves impossible indices gets nothing more; the guest goes on without console. */
  private giveUp(): boolean {
    this.broken = true;
    this.queue.length = 0;
    this.queued = 0;
    return true;
  }
}

// A stream that a program was given: read and written as a pipe is, whatever carries it.
import type { WaitQueue } from '../wait-queue.ts';
import type { OpenFile } from './open-file.ts';
import type { Wait } from './wait.ts';

export class Stream implements OpenFile {
  readonly kind = 'pipe';
  private readonly carrier: OpenFile;

  /** Its references are the carrier's. */
  constructor(carrier: OpenFile) {
    this.carrier = carrier;
  }
  get queue(): WaitQueue | undefined {
    return this.carrier.queue;
  }
  retain(): void {
    this.carrier.retain();
  }
  release(): void {
    this.carrier.release();
  }
  read(into: Uint8Array): number | Wait {
    return this.carrier.read(into);
  }
  write(from: Uint8Array): number | Wait {
    return this.carrier.write(from);
  }
  readable(): number {
    return this.carrier.readable();
  }
  writable(): number {
    return this.carrier.writable();
  }
  hungUp(): boolean {
    return this.carrier.hungUp();
  }
}

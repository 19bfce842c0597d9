// A connection of the host with faults: what its guest sends and receives. What is held back on its way to the guest stays in
// the host's socket, so that its sender is slowed as by a slow guest.
import type { ByteStream } from './host-sockets.ts';
import type { SocketFaults } from './socket-faults.ts';

export class FaultyStream implements ByteStream {
  readonly #plain: ByteStream;
  readonly #faults: SocketFaults;
  /** What a fault has held back is there: whoever moves bytes looks again. */
  readonly #again: () => void;
  /** What the guest has sent and a fault holds back. */
  #out: Uint8Array[] | undefined;
  /** What is done when that is sent. */
  #afterwards: (() => void) | undefined;
  #in: 'free' | 'held' | 'due' = 'free';

  constructor(plain: ByteStream, faults: SocketFaults, again: () => void) {
    this.#plain = plain;
    this.#faults = faults;
    this.#again = again;
  }
  get connected(): boolean {
    return this.#plain.connected;
  }
  get error(): string | undefined {
    return this.#plain.error;
  }
  get finished(): boolean {
    return this.#plain.finished;
  }
  get available(): number {
    return this.#in === 'held' ? 0 : this.#plain.available;
  }
  get writable(): boolean {
    return this.#out === undefined && this.#plain.writable;
  }

  read(max: number): Uint8Array | null {
    if (this.#in === 'held') return null;
    const isDue = this.#in === 'due';
    const hit = isDue || this.#plain.available === 0 ? undefined : this.#faults.befalls('receive');
    if (isDue && this.#plain.available > 0) this.#in = 'free';
    if (hit === undefined) return this.#plain.read(max);
    const { trigger, ends } = hit;
    const { error, short } = trigger.fault;
    if (error !== undefined) return this.#fail(error);
    if (ends) {
      this.#faults.strike(trigger);
      return this.#plain.read(max);
    }
    if (short !== undefined) {
      this.#faults.soon(this.#again);
      return this.#plain.read(Math.min(max, short));
    }
    this.#in = 'held';
    this.#faults.hold(trigger, () => {
      this.#in = 'due';
      this.#again();
    });
    return null;
  }

  write(bytes: Uint8Array): void {
    if (this.#out !== undefined) {
      this.#out.push(bytes);
      return;
    }
    const hit = this.#faults.befalls('send');
    if (hit === undefined) {
      this.#plain.write(bytes);
      return;
    }
    const { trigger, ends } = hit;
    const { error, short } = trigger.fault;
    if (error !== undefined) this.#fail(error);
    else if (ends) {
      this.#plain.write(bytes);
      this.#faults.strike(trigger);
    } else if (short === undefined) {
      this.#out = [bytes];
      this.#faults.hold(trigger, () => this.#goOn(one => this.#plain.write(one)));
    } else if (short < bytes.length) {
      this.#plain.write(bytes.subarray(0, short));
      this.#out = [bytes.subarray(short)];
      this.#faults.soon(() => this.#goOn(one => this.write(one)));
    } else this.#plain.write(bytes);
  }
  #goOn(send: (bytes: Uint8Array) => void): void {
    const out = this.#out ?? [];
    this.#out = undefined;
    for (const bytes of out) send(bytes);
    if (this.#out === undefined) this.#afterwards?.();
    this.#again();
  }
  #fail(error: string): null {
    this.#plain.fail(error);
    this.#faults.soon(this.#again);
    return null;
  }

  end(): void {
    this.#afterSending(() => this.#plain.end());
  }
  finish(): void {
    this.#afterSending(() => this.#plain.finish());
  }
  #afterSending(run: () => void): void {
    if (this.#out === undefined) run();
    else this.#afterwards = run;
  }
  fail(error: string): void {
    this.#drop();
    this.#plain.fail(error);
  }
  reset(): void {
    this.#drop();
    this.#plain.reset();
  }
  destroy(): void {
    this.#drop();
    this.#plain.destroy();
  }
  #drop(): void {
    this.#out = undefined;
    this.#afterwards = undefined;
  }
}

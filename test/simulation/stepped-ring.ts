// A domain's xenstore ring that says when it has something to do.
import { RingTransport, type XenstoreTransport } from '#pvbus';

export class SteppedRing implements XenstoreTransport {
  wanted = true;
  readonly #ring: RingTransport;

  constructor(...page: ConstructorParameters<typeof RingTransport>) {
    this.#ring = new RingTransport(...page);
  }
  send(bytes: Uint8Array): void {
    this.#ring.send(bytes);
    this.wanted = true;
  }
  onData(cb: (bytes: Uint8Array) => void): void {
    this.#ring.onData(cb);
  }
  onClose(cb: (reason: string) => void): void {
    this.#ring.onClose(cb);
  }
  close(): void {
    this.#ring.close();
  }
  step(): boolean {
    this.wanted = false;
    if (this.#ring.step() === 'idle') return false;
    this.wanted = true;
    return true;
  }
}

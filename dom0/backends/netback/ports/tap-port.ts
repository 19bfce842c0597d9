// A port whose other end is a TAP interface of Linux: one that exists and is this user's, or, for root, a new one.
import { closeSync, constants, openSync } from 'node:fs';
import { attachTap, ERRNO, errnoName, mapPrivate, mapPrivateOver, readBytes, viewOf, writeBytes } from '#pvbus';
import { ETH_HLEN, type Frame, SourcePage } from '../frame.ts';
import { ExternalPort, type PortParts, TURN_FRAMES } from './external-port.ts';

const NONE = -1;
/** Of one frame: longer than any that Linux gives without offloads. */
const BUFFER_BYTES = 1 << 17;

export class TapPort extends ExternalPort {
  readonly #interface: string;
  readonly #address = mapPrivate(BUFFER_BYTES);
  readonly #page = new SourcePage(new Uint8Array(viewOf(this.#address, BUFFER_BYTES)));
  readonly #outAddress = mapPrivate(BUFFER_BYTES);
  readonly #out = new Uint8Array(viewOf(this.#outAddress, BUFFER_BYTES));
  #fd = NONE;
  readonly eager = false;

  constructor(name: string, parts: PortParts) {
    super(`tap:${name}`, parts);
    this.#interface = name;
  }

  open(_nowNs: number): void {
    const fd = openSync('/dev/net/tun', constants.O_RDWR | constants.O_NONBLOCK);
    try {
      attachTap(fd, this.#interface);
      this.watch(fd);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    this.#fd = fd;
    this.isUp();
  }

  ready(fd: number, _events: number, nowNs: number): void {
    const { frame } = this.parts;
    for (let i = 0; i < TURN_FRAMES && this.#fd === fd; i++) {
      const n = readBytes(fd, this.#address, BUFFER_BYTES);
      if (n === -ERRNO.EAGAIN) return;
      if (n < 0) {
        this.letGo();
        this.isDown(`${this.#interface}: ${errnoName(n)}`, nowNs, true);
        return;
      }
      if (n < ETH_HLEN) continue;
      frame.begin(0, nowNs);
      frame.add(this.#page, 0, n);
      frame.readHeader();
      this.forward(frame);
    }
  }
  turn(): void {}

  protected take(frame: Frame): boolean {
    if (this.#fd === NONE) return false;
    frame.copy(0, frame.length, this.#out, 0);
    // An interface that is not up takes none.
    return writeBytes(this.#fd, this.#outAddress, frame.length) === frame.length;
  }
  flush(): void {}

  protected letGo(): void {
    if (this.#fd === NONE) return;
    this.unwatch(this.#fd);
    closeSync(this.#fd);
    this.#fd = NONE;
  }
  protected release(): void {
    mapPrivateOver(this.#address, BUFFER_BYTES);
    mapPrivateOver(this.#outAddress, BUFFER_BYTES);
  }
}

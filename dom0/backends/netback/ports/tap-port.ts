// A port whose other end is a TAP interface of Linux: one that exists and is this user's, or, for root, a new one.
import { closeSync, constants, openSync } from 'node:fs';
import {
  attachTap,
  EPOLLIN,
  ERRNO,
  errnoName,
  mapPrivate,
  mapPrivateOver,
  readBytes,
  viewOf,
  writeBytes,
  XEN_NETIF_MAX_TX_SIZE,
} from '#pvbus';
import { ETH_HLEN, type Frame, SourcePage } from '../frame.ts';
import { ExternalPort, type PortParts, TURN_FRAMES } from './external-port.ts';
import { HEADER_BYTES, VirtioNetHeader } from './virtio-net-header.ts';

const NONE = -1;
/** Of one frame with its header: longer than any that Linux gives or gets. */
const BUFFER_BYTES = 1 << 17;

export class TapPort extends ExternalPort {
  readonly #interface: string;
  readonly #address = mapPrivate(BUFFER_BYTES);
  readonly #page = new SourcePage(new Uint8Array(viewOf(this.#address, BUFFER_BYTES)));
  readonly #header = new VirtioNetHeader(this.#page.bytes);
  readonly #outAddress = mapPrivate(BUFFER_BYTES);
  readonly #out = new Uint8Array(viewOf(this.#outAddress, BUFFER_BYTES));
  readonly #outHeader = new VirtioNetHeader(this.#out);
  #fd = NONE;
  protected override readonly offloads = true;
  readonly eager = false;

  constructor(name: string, parts: PortParts) {
    super(`tap:${name}`, parts);
    this.#interface = name;
  }

  open(_nowNs: number): void {
    const fd = openSync('/dev/net/tun', constants.O_RDWR | constants.O_NONBLOCK);
    try {
      attachTap(fd, this.#interface, true);
      this.watch(fd);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    this.#fd = fd;
    this.isUp();
  }

  ready(fd: number, _events: number, nowNs: number): void {
    const { frame } = this.parts.shared;
    for (let i = 0; i < TURN_FRAMES && this.#fd === fd; i++) {
      if (this.isHeldUp) {
        // What it has stays in Linux's queue, whose end its senders feel.
        this.await(fd, false, false);
        return;
      }
      const n = readBytes(fd, this.#address, BUFFER_BYTES);
      if (n === -ERRNO.EAGAIN) return;
      if (n < 0) {
        this.letGo();
        this.isDown(`${this.#interface}: ${errnoName(n)}`, nowNs, true);
        return;
      }
      const length = n - HEADER_BYTES;
      if (length < ETH_HLEN || length > XEN_NETIF_MAX_TX_SIZE || !this.#header.begin(frame, nowNs)) {
        this.stats.refused++;
        continue;
      }
      frame.add(this.#page, HEADER_BYTES, length);
      frame.readHeader();
      this.forward(frame);
    }
  }
  turn(): void {}
  protected resume(nowNs: number): void {
    if (this.#fd === NONE) return;
    this.await(this.#fd, true, false);
    this.ready(this.#fd, EPOLLIN, nowNs);
  }

  protected take(frame: Frame): boolean {
    if (this.#fd === NONE) return false;
    frame.copy(0, frame.length, this.#out, HEADER_BYTES);
    if (!this.#outHeader.write(frame)) return false;
    const bytes = HEADER_BYTES + frame.length;
    // An interface that is not up takes none.
    return writeBytes(this.#fd, this.#outAddress, bytes) === bytes;
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

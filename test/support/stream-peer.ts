// The other end of a bridge's port: a unix stream socket with a length before each frame, every call at once or not at all.
import {
  acceptSocket,
  bindSocket,
  closeFd,
  connectSocket,
  listenSocket,
  mapPrivate,
  receiveBytes,
  sendBytes,
  streamSocket,
  viewOf,
} from '#pvbus';

const BYTES = 1 << 20;

export class StreamPeer {
  readonly #fd: number;
  readonly #address = mapPrivate(BYTES);
  readonly #memory = new Uint8Array(viewOf(this.#address, BYTES));
  #got = Buffer.alloc(0);

  constructor(fd: number) {
    this.#fd = fd;
  }
  /** Undefined when nobody listens there. */
  static connect(path: string): StreamPeer | undefined {
    const fd = streamSocket();
    if (connectSocket(fd, path) === 0) return new StreamPeer(fd);
    closeFd(fd);
    return undefined;
  }
  /** The bytes as they are. How many were taken; negative: -errno. */
  raw(bytes: Uint8Array): number {
    this.#memory.set(bytes);
    return sendBytes(this.#fd, this.#address, bytes.length);
  }
  send(...frames: readonly Uint8Array[]): void {
    const bytes = framed(...frames);
    if (this.raw(bytes) !== bytes.length) throw new Error('the socket did not take it all');
  }
  /** What has come, as frames. */
  frames(): Uint8Array[] {
    this.receive();
    const frames: Uint8Array[] = [];
    while (this.#got.length >= 4 && this.#got.length >= 4 + this.#got.readUInt32BE(0)) {
      const end = 4 + this.#got.readUInt32BE(0);
      frames.push(Uint8Array.from(this.#got.subarray(4, end)));
      this.#got = this.#got.subarray(end);
    }
    return frames;
  }
  /** Bytes that came; 0: the other end has closed; negative: -errno, of none. */
  receive(): number {
    const n = receiveBytes(this.#fd, this.#address, BYTES);
    if (n > 0) this.#got = Buffer.concat([this.#got, this.#memory.subarray(0, n)]);
    return n;
  }
  close(): void {
    closeFd(this.#fd);
  }
}

/** A length before each. */
export const framed = (...frames: readonly Uint8Array[]): Uint8Array =>
  Buffer.concat(
    frames.flatMap(frame => {
      const length = Buffer.alloc(4);
      length.writeUInt32BE(frame.length);
      return [length, frame];
    }),
  );

export class StreamListener {
  readonly #fd = streamSocket();
  constructor(path: string) {
    bindSocket(this.#fd, path);
    listenSocket(this.#fd, 8);
  }
  accept(): StreamPeer | undefined {
    const fd = acceptSocket(this.#fd);
    return fd < 0 ? undefined : new StreamPeer(fd);
  }
  close(): void {
    closeFd(this.#fd);
  }
}

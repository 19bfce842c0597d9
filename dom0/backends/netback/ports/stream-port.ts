// A port whose other end is a unix stream socket with a length before each frame: QEMU's `-netdev stream`, passt, the bridge
// of another host. It listens for one peer at a time, or connects to one and does so again when that has gone.
import { rmSync } from 'node:fs';
import {
  acceptSocket,
  closeFd,
  connectSocket,
  EPOLLIN,
  EPOLLOUT,
  ERRNO,
  errnoName,
  receiveBytes,
  SystemCallError,
  sendBytes,
  streamSocket,
} from '#pvbus';
import { listenAt } from '../../../listening-socket.ts';
import { sameUserAt } from '../../../same-user.ts';
import type { Frame } from '../frame.ts';
import { ExternalPort, type PortParts, TURN_FRAMES } from './external-port.ts';
import { FrameReader, FrameWriter } from './frame-stream.ts';

const NONE = -1;
/** Peers that come and are turned away in one turn. */
const TURN_ACCEPTS = 8;

export class StreamPort extends ExternalPort {
  readonly #kind: 'listen' | 'connect';
  readonly #path: string;
  readonly #in = new FrameReader();
  readonly #out = new FrameWriter();
  #listener = NONE;
  #peer = NONE;
  /** The peer has taken less than it was offered. */
  #full = false;
  #touched = false;

  constructor(kind: 'listen' | 'connect', path: string, parts: PortParts) {
    super(`${kind}:${path}`, parts);
    this.#kind = kind;
    this.#path = path;
  }

  open(nowNs: number): void {
    if (this.#kind === 'connect') this.#connect(nowNs);
    else {
      this.#listener = listenAt(this.#path);
      this.parts.owns(this.#listener, this);
      this.parts.epoll.add(this.#listener, EPOLLIN);
      this.isDown('nobody has connected', nowNs, false);
    }
  }

  ready(fd: number, events: number, nowNs: number): void {
    if (fd === this.#listener) {
      this.#accept();
      return;
    }
    if ((events & EPOLLOUT) !== 0) {
      this.#full = false;
      this.flush(nowNs);
      if (this.#peer !== fd) return;
    }
    // The last frame of a turn may be the one that holds it up.
    if (this.isHeldUp) this.await(fd, false, this.#full);
    if ((events & ~EPOLLOUT) === 0 || this.eager || this.isHeldUp) return;
    const { address, bytes } = this.#in.room;
    const n = receiveBytes(fd, address, bytes);
    if (n > 0) {
      this.#in.received(n);
      this.turn(nowNs);
    } else if (n === 0) this.#lose('its peer has gone', nowNs);
    else if (n !== -ERRNO.EAGAIN) this.#lose(errnoName(n), nowNs);
  }

  get eager(): boolean {
    return this.#peer !== NONE && !this.isHeldUp && this.#in.peek() !== 0;
  }
  turn(nowNs: number): void {
    const { frame } = this.parts.shared;
    for (let i = 0; i < TURN_FRAMES; i++) {
      if (this.isHeldUp) {
        this.await(this.#peer, false, this.#full);
        return;
      }
      const length = this.#in.peek();
      if (length === 0) return;
      if (length < 0) {
        this.#lose('its peer sent a frame of an impossible length', nowNs);
        return;
      }
      this.#in.take(length, frame, nowNs);
      this.forward(frame);
      if (this.#peer === NONE) return; // it was lost while its frame went round
    }
  }

  protected resume(nowNs: number): void {
    if (this.#peer === NONE) return;
    this.await(this.#peer, true, this.#full);
    this.turn(nowNs);
  }

  protected take(frame: Frame): boolean {
    if (this.#peer === NONE || !this.#out.put(frame)) return false;
    if (!this.#touched) {
      this.#touched = true;
      this.parts.touched(this);
    }
    return true;
  }
  flush(nowNs: number): void {
    this.#touched = false;
    if (this.#peer === NONE || this.#full) return;
    const { address, bytes } = this.#out.pending;
    if (bytes > 0) {
      const n = sendBytes(this.#peer, address, bytes);
      if (n < 0 && n !== -ERRNO.EAGAIN) {
        this.#lose(errnoName(n), nowNs);
        return;
      }
      if (n > 0) this.#out.sent(n);
      this.#full = n < bytes;
    }
    this.await(this.#peer, !this.isHeldUp, this.#full);
  }

  protected letGo(): void {
    this.#drop();
    if (this.#listener === NONE) return;
    this.unwatch(this.#listener);
    closeFd(this.#listener);
    this.#listener = NONE;
    rmSync(this.#path, { force: true });
  }

  protected release(): void {
    this.#in.release();
    this.#out.release();
  }

  #connect(nowNs: number): void {
    const fd = streamSocket();
    try {
      const result = connectSocket(fd, this.#path);
      if (result === 0) {
        this.#begin(fd);
        return;
      }
      closeFd(fd);
      this.isDown(`${this.#path}: ${errnoName(result)}`, nowNs, true);
    } catch (error) {
      if (this.#peer !== fd) closeFd(fd);
      throw error;
    }
  }
  #accept(): void {
    for (let i = 0; i < TURN_ACCEPTS; i++) {
      const fd = acceptSocket(this.#listener);
      if (fd < 0) return;
      if (this.#peer === NONE && sameUserAt(fd)) this.#begin(fd);
      else closeFd(fd); // one at a time, as QEMU has it
    }
  }
  #begin(fd: number): void {
    this.#peer = fd;
    this.#in.clear();
    this.#out.clear();
    this.#full = false;
    this.watch(fd);
    this.isUp();
  }
  #lose(why: string, nowNs: number): void {
    this.#drop();
    this.isDown(why, nowNs, this.#kind === 'connect');
  }
  #drop(): void {
    if (this.#peer === NONE) return;
    this.unwatch(this.#peer);
    try {
      closeFd(this.#peer);
    } catch (error) {
      if (!(error instanceof SystemCallError)) throw error;
    }
    this.#peer = NONE;
  }
}

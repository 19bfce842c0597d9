// A port of the host that this guest answers.
import { XenError } from '#pvbus';
import type { HostConnection } from './connection.ts';

export class HostListener implements AsyncIterable<HostConnection> {
  /** The port as this guest's configuration names it. */
  readonly port: number;
  private readonly take: () => Promise<HostConnection>;
  private readonly backendEnded: () => boolean;
  private readonly release: () => Promise<void>;
  private last: Promise<unknown> = Promise.resolve();
  private released: Promise<void> | undefined;

  constructor(
    port: number,
    take: () => Promise<HostConnection>,
    backendEnded: () => boolean,
    release: () => Promise<void>,
  ) {
    this.port = port;
    this.take = take;
    this.backendEnded = backendEnded;
    this.release = release;
  }
  get closed(): boolean {
    return this.released !== undefined;
  }
  /** Its backend has ended, which alone had it: the next one has to be asked to listen. */
  get isOver(): boolean {
    return this.backendEnded();
  }
  /** The next connection; ECANCELED once closed. */
  accept(): Promise<HostConnection> {
    // Xen: one accept at a time for a socket.
    const next = this.last.then(async () => {
      if (this.released) throw this.over();
      try {
        return await this.take();
      } catch (error) {
        throw this.released ? this.over() : error;
      }
    });
    this.last = next.catch(() => {});
    return next;
  }
  /** Connections that were accepted live on. */
  close(): Promise<void> {
    this.released ??= this.release();
    return this.released;
  }
  /** Ends when the listener is closed. */
  async *[Symbol.asyncIterator](): AsyncIterator<HostConnection> {
    while (!this.released) {
      try {
        yield await this.accept();
      } catch (error) {
        if (error instanceof XenError && error.code === 'ECANCELED' && this.released) return;
        throw error;
      }
    }
  }
  private over(): XenError {
    return new XenError('ECANCELED', `listen on port ${this.port}: closed`);
  }
}

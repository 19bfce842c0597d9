// A listening socket of a guest: host connections wait in its listener until accept commands take them.
import type { HostListener, HostStream } from './host-sockets.ts';

/** Answers its command with 0 or an errno name. */
export type Answer = (error?: string) => void;
/** Makes the connection the frontend's; an errno name when its grant or port is bad. */
export type Take = (stream: HostStream) => string | undefined;

export class PassiveSocket {
  private readonly listener: HostListener;
  private accepting: { take: Take; answer: Answer } | undefined;
  private polling: Answer | undefined;

  constructor(listener: HostListener) {
    this.listener = listener;
    listener.changed = () => this.serve();
  }
  get port(): number {
    return this.listener.port;
  }
  /** Xen: one accept at a time; others are interrupted. */
  accept(take: Take, answer: Answer): void {
    if (this.accepting) answer('EINTR');
    else {
      this.accepting = { take, answer };
      this.serve();
    }
  }
  poll(answer: Answer): void {
    if (this.polling) answer('EINTR');
    else {
      this.polling = answer;
      this.serve();
    }
  }
  /** Commands that wait are answered before this returns. */
  close(): void {
    this.listener.close();
    this.accepting?.answer('ECONNABORTED');
    this.polling?.('ECONNABORTED');
    this.accepting = undefined;
    this.polling = undefined;
  }

  private serve(): void {
    if (this.polling && this.listener.pending > 0) {
      const answer = this.polling;
      this.polling = undefined;
      answer();
    }
    if (!this.accepting || this.listener.pending === 0) return;
    const { take, answer } = this.accepting;
    const stream = this.listener.accept();
    if (!stream) return;
    this.accepting = undefined;
    const error = take(stream);
    if (error !== undefined) stream.destroy();
    answer(error);
  }
}

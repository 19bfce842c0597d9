// Messages to a thread that sleeps on futex words: the message waits in a port, a word wakes the thread.
import { MessageChannel, type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import { futexWake, mapPrivate, viewOf } from './linux.ts';
import type { Vcpu } from './vcpu.ts';
import type { WakeWords } from './wake-words.ts';

/** What the sleeping thread is started with. `port` must be in the transfer list. */
export interface MailboxSeed {
  readonly port: MessagePort;
  readonly address: number;
}

/** The end of a thread with an event loop. */
export class Mailbox {
  readonly seed: MailboxSeed;
  private readonly port: MessagePort;
  private readonly word: Int32Array;
  private readonly address: number;

  constructor(onReply: (message: unknown) => void) {
    const { port1, port2 } = new MessageChannel();
    this.address = mapPrivate(4096);
    this.word = new Int32Array(viewOf(this.address, 4096));
    this.port = port1;
    this.port.on('message', onReply);
    this.seed = { port: port2, address: this.address };
  }
  post(message: unknown): void {
    this.port.postMessage(message);
    Atomics.add(this.word, 0, 1);
    futexWake(this.address);
  }
  close(): void {
    this.port.close();
  }
}

/** The end of a thread that blocks. */
export class MailboxReader {
  private readonly seed: MailboxSeed;

  constructor(seed: MailboxSeed, words: WakeWords | Vcpu) {
    this.seed = seed;
    const wake = 'wakeWords' in words ? words.wakeWords : words;
    wake.add(new Int32Array(viewOf(seed.address, 4096)), seed.address, 0);
  }
  /** The next message; undefined when there is none. Never waits. */
  receive(): { message: unknown } | undefined {
    return receiveMessageOnPort(this.seed.port) as { message: unknown } | undefined;
  }
  reply(message: unknown): void {
    this.seed.port.postMessage(message);
  }
}

// One connected frontend of a shared folder: its rings, each a stream of messages, and the server that answers them.
import { type Domid, P9_HEADER, type Vcpu, XenError } from '#pvbus';
import type { DeviceEvents } from '../../faults/faulty-notifier.ts';
import { MappedDataRing } from '../mapped-data-ring.ts';
import { P9Server } from './server.ts';

/** Messages of one ring that are answered before the next connection's turn. */
const TURN_MESSAGES = 16;

export interface RingKeys {
  readonly ref: number;
  readonly evtchn: number;
}
export interface ConnectionOptions {
  readonly vcpu: Vcpu;
  readonly frontend: Domid;
  /** For messages: `9pfs 0 of dom1`. */
  readonly label: string;
  readonly path: string;
  readonly readOnly: boolean;
  readonly rings: readonly RingKeys[];
  /** The frontend broke the protocol: nothing more is read from it. */
  readonly onFatal: (error: XenError) => void;
}

/** Who answers a client's messages: its server, or what takes that one's place. */
export interface Answers {
  /** Valid until the next, and empty where there is to be none. undefined: not yet; asked again, it is the same message. */
  answer(request: Uint8Array): Uint8Array | undefined;
}

/** A stream of messages, each whole before it is answered. */
class MessageRing {
  readonly ring: MappedDataRing;
  /** There may be something to do. */
  work = true;
  readonly #message: Uint8Array;
  #got = 0;
  #size = 0;
  /** Not answered yet. */
  #waiting: Uint8Array | undefined;
  /** Of the answer, what there was no room for yet. */
  #rest: Uint8Array | undefined;

  constructor(vcpu: Vcpu, frontend: Domid, { ref, evtchn }: RingKeys) {
    this.ring = new MappedDataRing(vcpu, frontend, ref, evtchn, () => {
      this.work = true;
    });
    this.#message = new Uint8Array(this.ring.reader.size);
  }
  /** True when something was done. Throws EPROTO. */
  turn(server: Answers): boolean {
    let done = false;
    for (let n = 0; n < TURN_MESSAGES; n++) {
      if (!this.#flush()) break;
      const message = this.#waiting ?? this.#take();
      const answer = message && server.answer(message);
      this.#waiting = answer === undefined ? message : undefined;
      if (answer === undefined) {
        this.work = false;
        break;
      }
      done = true;
      this.#rest = answer;
      // Another ring's answer takes this one's place.
      if (!this.#flush()) this.#rest = this.#rest.slice();
    }
    if (done) this.ring.notify();
    return done;
  }
  /** False: the frontend has to make room first, and notifies then. */
  #flush(): boolean {
    if (this.#rest === undefined) return true;
    const written = this.ring.writer.write(this.#rest);
    if (written < 0) throw new XenError('EPROTO', 'impossible indices in its ring');
    if (written > 0 && written < this.#rest.length) this.ring.notify();
    if (written === this.#rest.length) {
      this.#rest = undefined;
      return true;
    }
    this.#rest = this.#rest.subarray(written);
    this.work = false;
    return false;
  }
  /** The next message, as soon as all of it is there. */
  #take(): Uint8Array | undefined {
    if (this.#got < 4 && !this.#read(4)) return undefined;
    if (this.#got === 4) {
      this.#size = new DataView(this.#message.buffer).getUint32(0, true);
      if (this.#size < P9_HEADER || this.#size > this.#message.length)
        throw new XenError('EPROTO', `a 9P message of ${this.#size} bytes`);
    }
    if (!this.#read(this.#size)) return undefined;
    this.#got = 0;
    return this.#message.subarray(0, this.#size);
  }
  #read(upTo: number): boolean {
    const n = this.ring.reader.read(this.#message.subarray(this.#got, upTo));
    if (n < 0) throw new XenError('EPROTO', 'impossible indices in its ring');
    this.#got += n;
    return this.#got === upTo;
  }
}

export class P9Connection {
  readonly #options: ConnectionOptions;
  readonly #server: P9Server;
  #answers: Answers;
  readonly #rings: MessageRing[] = [];
  #open = true;

  /** Throws a XenError when a ring or port is not the frontend's to give; nothing stays mapped then. */
  constructor(options: ConnectionOptions) {
    this.#options = options;
    try {
      for (const ring of options.rings) this.#rings.push(new MessageRing(options.vcpu, options.frontend, ring));
    } catch (error) {
      this.#unmap();
      throw error;
    }
    this.#server = new P9Server(
      options.path,
      Math.min(...this.#rings.map(({ ring }) => ring.reader.size)),
      options.readOnly,
    );
    this.#answers = this.#server;
  }

  /** `stands` takes the server's place from now on, and `events` the channels', until others do. */
  use(stands: (server: P9Server) => Answers, events: DeviceEvents): void {
    this.#answers = stands(this.#server);
    for (const { ring } of this.#rings) ring.use(events);
    this.look();
  }
  /** Have every ring looked at, although nobody has notified. */
  look(): void {
    for (const ring of this.#rings) ring.work = true;
  }

  step(): 'progress' | 'idle' {
    let progress = false;
    try {
      for (const ring of this.#rings) if (this.#open && ring.work && ring.turn(this.#answers)) progress = true;
    } catch (error) {
      if (!(error instanceof XenError)) throw error;
      this.close();
      this.#options.onFatal(new XenError(error.code, `${this.#options.label}: ${error.message}`));
      return 'progress';
    }
    return progress ? 'progress' : 'idle';
  }

  /** Nothing of the frontend is mapped or bound afterwards, and nothing of the folder open. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#server.close();
    this.#unmap();
  }
  #unmap(): void {
    for (const { ring } of this.#rings) ring.close();
  }
}

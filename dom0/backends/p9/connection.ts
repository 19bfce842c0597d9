// One connected frontend of a shared folder: its rings, each a stream of messages, and the server that answers them.
import { type Domid, P9_HEADER, type Vcpu, XenError } from '#pvbus';
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

/** A stream of messages, each whole before it is answered. */
class MessageRing {
  readonly ring: MappedDataRing;
  /** There may be something to do. */
  work = true;
  readonly #message: Uint8Array;
  #got = 0;
  #size = 0;
  /** Of the answer, what there was no room for yet. */
  #rest: Uint8Array | undefined;

  constructor(vcpu: Vcpu, frontend: Domid, { ref, evtchn }: RingKeys) {
    this.ring = new MappedDataRing(vcpu, frontend, ref, evtchn, () => {
      this.work = true;
    });
    this.#message = new Uint8Array(this.ring.reader.size);
  }
  /** True when something was done. Throws EPROTO. */
  turn(server: P9Server): boolean {
    let done = false;
    for (let n = 0; n < TURN_MESSAGES; n++) {
      if (!this.#flush()) break;
      const message = this.#take();
      if (message === undefined) {
        this.work = false;
        break;
      }
      done = true;
      this.#rest = server.answer(message);
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
  }

  step(): 'progress' | 'idle' {
    let progress = false;
    try {
      for (const ring of this.#rings) if (this.#open && ring.work && ring.turn(this.#server)) progress = true;
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

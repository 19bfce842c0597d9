// Messages to a shared folder's backend, one at a time: each returns with its answer, while the kernel steps its drivers.
import {
  type Domid,
  ERRNO,
  P9,
  P9_HEADER,
  P9_NOFID,
  P9_VERSION,
  P9Reader,
  P9Writer,
  type Vcpu,
  XenError,
} from '#pvbus';
import type { Blocking } from '../../block-device.ts';
import { type DataRing, DataRings } from '../data-rings.ts';

/** Of the errors that Linux numbers and Xen does not. */
const LINUX_NAMES: ReadonlyMap<number, string> = new Map([
  ...Object.entries(ERRNO).map(([name, number]): [number, string] => [number, name]),
  [26, 'ETXTBSY'],
  [27, 'EFBIG'],
  [29, 'ESPIPE'],
  [31, 'EMLINK'],
  [40, 'ELOOP'],
  [116, 'ESTALE'],
  [122, 'EDQUOT'],
]);

/** A call that went to a backend which is no more: whether it was done nobody knows. */
const REPLACED = new XenError('EIO', 'the backend of the shared folder was replaced');

export class P9Client {
  readonly name: string;
  /** One more for each connection: fids are of one. */
  epoch = 0;
  /** Whether an answer is waited for. */
  waits = false;
  readonly #blocking: Blocking;
  readonly #onBroken: (error: XenError) => void;
  #rings: DataRings | undefined;
  #ring: DataRing | undefined;
  #connected = false;
  #gone: XenError | undefined;
  #out = new P9Writer(0);
  #in = new Uint8Array(0);
  #got = 0;
  #failed: XenError | undefined;
  /** Of the connection whose version is agreed. */
  #agreed = 0;
  #nextFid = 0;
  readonly #freeFids: number[] = [];
  readonly #reader = new P9Reader();
  readonly #answerIsThere = (): boolean => this.#failed !== undefined || this.#receive();
  readonly #isUsable = (): boolean => this.#connected || this.#gone !== undefined;

  /** `onBroken`: the backend broke the protocol. */
  constructor(name: string, blocking: Blocking, onBroken: (error: XenError) => void) {
    this.name = name;
    this.#blocking = blocking;
    this.#onBroken = onBroken;
  }

  // ---- the connection ----

  /** A ring for the next connection. Throws ENOMEM, ENOSPC. */
  makeRing(vcpu: Vcpu, peer: Domid, order: number): DataRing {
    this.#letGo();
    this.#rings = new DataRings(vcpu, peer, order);
    const ring = this.#rings.make(() => {}); // only to be woken: whoever waits looks at the ring itself
    this.#ring = ring;
    this.#out = new P9Writer(ring.writer.size);
    this.#in = new Uint8Array(ring.reader.size);
    return ring;
  }
  connected(): void {
    this.epoch++;
    this.#nextFid = 0;
    this.#freeFids.length = 0;
    this.#got = 0;
    this.#connected = true;
  }
  disconnect(): void {
    this.#connected = false;
    if (this.waits) this.#failed = REPLACED;
  }
  /** It will not come back. */
  end(reason: XenError): void {
    this.disconnect();
    this.#gone = reason;
    if (this.waits) this.#failed = reason;
    this.#letGo();
  }
  #letGo(): void {
    this.#ring?.free();
    this.#rings?.close();
    this.#ring = undefined;
    this.#rings = undefined;
  }

  // ---- fids ----

  fid(): number {
    return this.#freeFids.pop() ?? this.#nextFid++;
  }
  /** The backend does not know it any more. `epoch`: of the connection it was of. */
  forget(fid: number, epoch: number): void {
    if (epoch === this.epoch) this.#freeFids.push(fid);
  }

  /** Returns when there is a backend, and what was agreed with it is in force. */
  ready(): void {
    if (!this.#isUsable()) this.#blocking.waitUntil(this.#isUsable);
    if (this.#gone) throw this.#gone;
    if (this.#agreed !== this.epoch) this.#agree();
  }
  #agree(): void {
    const { epoch } = this;
    const answer = this.#exchange(P9.Tversion, out => out.u32(out.bytes.length).string(P9_VERSION));
    const msize = answer.u32();
    if (answer.string() !== P9_VERSION || msize > this.#out.bytes.length || msize < 4096)
      throw this.#broken('does not speak 9P2000.L');
    this.#out = new P9Writer(msize);
    this.#root = this.fid();
    this.#exchange(P9.Tattach, out => out.u32(this.#root).u32(P9_NOFID).string('guest').string('').u32(P9_NOFID));
    this.#agreed = epoch;
  }
  #root = 0;
  /** The folder itself, in this connection. */
  get root(): number {
    return this.#root;
  }
  /** Bytes of the longest message. */
  get messageSize(): number {
    return this.#out.bytes.length;
  }

  /** Throws what the backend answers, by its Linux name. The answer is valid until the next call. */
  call(type: number, write: (out: P9Writer) => unknown): P9Reader {
    this.ready();
    return this.#exchange(type, write);
  }
  #exchange(type: number, write: (out: P9Writer) => unknown): P9Reader {
    const ring = this.#ring;
    if (ring === undefined || !this.#connected) throw REPLACED;
    const tag = type === P9.Tversion ? 0xffff : 1;
    write(this.#out.begin(type, tag));
    const message = this.#out.end();
    // There is room: one message at a time is on its way, and none is longer than the ring.
    if (ring.writer.write(message) !== message.length) throw this.#broken('claims more room than there is');
    ring.notify();
    this.waits = true;
    this.#failed = undefined;
    this.#got = 0;
    try {
      this.#blocking.waitUntil(this.#answerIsThere);
    } finally {
      this.waits = false;
    }
    if (this.#failed) throw this.#failed;
    return this.#check(type, tag);
  }
  /** untrusted: the backend's bytes, copied once. True when a whole message is there. */
  #receive(): boolean {
    const { reader } = this.#ring!;
    for (;;) {
      const size = this.#got < 4 ? 4 : this.#size();
      if (this.#got >= 4 && (size < P9_HEADER || size > this.#in.length)) {
        this.#failed = this.#broken(`sends a message of ${size} bytes`);
        return true;
      }
      if (this.#got === size) return true;
      const n = reader.read(this.#in.subarray(this.#got, size));
      if (n === 0) return false;
      if (n < 0) {
        this.#failed = this.#broken('has impossible indices in its ring');
        return true;
      }
      this.#got += n;
      this.#ring!.notify();
    }
  }
  #size(): number {
    return new DataView(this.#in.buffer).getUint32(0, true);
  }
  #check(type: number, tag: number): P9Reader {
    const answer = this.#reader.begin(this.#in.subarray(0, this.#got));
    if (answer.tag !== tag) throw this.#broken(`answers tag ${answer.tag}`);
    if (answer.type === P9.Rlerror) {
      const number = answer.u32();
      const code = LINUX_NAMES.get(number) ?? 'EIO';
      throw new XenError(code, `${this.name}: ${code}`);
    }
    if (answer.type !== type + 1) throw this.#broken(`answers ${answer.type} to ${type}`);
    return answer;
  }
  #broken(what: string): XenError {
    const error = new XenError('EIO', `${this.name}: the backend ${what}`);
    this.#onBroken(error);
    return error;
  }
}

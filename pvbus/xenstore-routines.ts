// Requests to xenstore for routines: they go on inside the step of the transport that brings the reply, so that a
// driver can negotiate while its vCPU waits in a blocking call.
import {
  XS_DIRECTORY,
  XS_DIRECTORY_PART,
  XS_READ,
  XS_TRANSACTION_END,
  XS_TRANSACTION_START,
  XS_UNWATCH,
  XS_WATCH,
  XS_WRITE,
} from './abi/xs_wire.ts';
import { XenError } from './errors.ts';
import { type Routine, type Waiting, wait } from './routine.ts';
import { encoder, NOTHING, split, strings, text } from './xenstore-strings.ts';

export type WatchCallback = (path: string, token: string) => void;

/** The connection under the requests. */
export interface XenstoreRequests {
  /** `what` is for messages. */
  ask(type: number, tx: number, payload: Uint8Array, what: string): Waiting<Uint8Array>;
  /** From now on events of this watch are `cb`'s; returns how to stop that. */
  listen(path: string, token: string, cb: WatchCallback): () => void;
  /** What `listen` began for these is over. */
  deafen(path: string, token: string): void;
}

/** A transaction that met this many conflicts in a row is reported as EAGAIN to its caller. */
const TRANSACTION_ATTEMPTS = 1000;
/** A listing that changed this many times while it was read in parts is reported as EAGAIN. */
const LISTING_ATTEMPTS = 100;

export class XenstoreRoutines {
  readonly #requests: XenstoreRequests;

  constructor(requests: XenstoreRequests) {
    this.#requests = requests;
  }
  #ask(type: number, tx: number, payload: Uint8Array, what: string): Routine<Uint8Array> {
    return wait(this.#requests.ask(type, tx, payload, what));
  }

  *read(path: string, tx = 0): Routine<string> {
    return text(yield* this.#ask(XS_READ, tx, strings(path), `read ${path}`));
  }
  /** Undefined when it is missing. */
  *readKey(path: string, tx = 0): Routine<string | undefined> {
    try {
      return yield* this.read(path, tx);
    } catch (error) {
      if (error instanceof XenError && error.code === 'ENOENT') return undefined;
      throw error;
    }
  }
  *write(path: string, value: string | Uint8Array, tx = 0): Routine<void> {
    const head = strings(path);
    const tail = typeof value === 'string' ? encoder.encode(value) : value;
    const payload = new Uint8Array(head.length + tail.length);
    payload.set(head);
    payload.set(tail, head.length);
    yield* this.#ask(XS_WRITE, tx, payload, `write ${path}`);
  }

  *directory(path: string, tx = 0): Routine<string[]> {
    try {
      return split(yield* this.#ask(XS_DIRECTORY, tx, strings(path), `directory ${path}`));
    } catch (error) {
      if (!(error instanceof XenError && error.code === 'E2BIG')) throw error;
    }
    for (let attempt = 0; attempt < LISTING_ATTEMPTS; attempt++) {
      const names = yield* this.#directoryInParts(path, tx);
      if (names !== undefined) return names;
    }
    throw new XenError('EAGAIN', `xenstore: ${path} keeps changing while it is listed`);
  }
  /** Undefined when the node changed between two parts. */
  *#directoryInParts(path: string, tx: number): Routine<string[] | undefined> {
    const names: string[] = [];
    let generation: string | undefined;
    for (let offset = 0; ; ) {
      const what = `directory ${path} from ${offset}`;
      const payload = yield* this.#ask(XS_DIRECTORY_PART, tx, strings(path, offset), what);
      const [now, ...parts] = split(payload);
      if (generation !== undefined && now !== generation) return undefined;
      generation = now;
      // Xen: an empty name ends the list; a part that adds nothing does too.
      let added = 0;
      for (const name of parts) {
        if (name === '') return names;
        names.push(name);
        added += name.length + 1;
      }
      if (added === 0) return names;
      offset += added;
    }
  }

  *watch(path: string, token: string, cb: WatchCallback, depth?: number): Routine<void> {
    const stop = this.#requests.listen(path, token, cb);
    try {
      const payload = depth === undefined ? strings(path, token) : strings(path, token, depth);
      yield* this.#ask(XS_WATCH, 0, payload, `watch ${path}`);
    } catch (error) {
      stop();
      throw error;
    }
  }
  *unwatch(path: string, token: string): Routine<void> {
    this.#requests.deafen(path, token);
    yield* this.#ask(XS_UNWATCH, 0, strings(path, token), `unwatch ${path}`);
  }

  *transaction<T>(body: (tx: number) => Routine<T>): Routine<T> {
    for (let attempt = 1; ; attempt++) {
      const tx = yield* this.#startTransaction();
      let result: T;
      try {
        result = yield* body(tx);
      } catch (error) {
        try {
          yield* this.#ask(XS_TRANSACTION_END, tx, strings('F'), 'abort transaction');
        } catch {
          // The reason is what the caller needs; a failure to abort would only hide it.
        }
        throw error;
      }
      try {
        yield* this.#ask(XS_TRANSACTION_END, tx, strings('T'), 'commit transaction');
        return result;
      } catch (error) {
        const again = error instanceof XenError && error.code === 'EAGAIN' && attempt < TRANSACTION_ATTEMPTS;
        if (!again) throw error;
      }
    }
  }
  *#startTransaction(): Routine<number> {
    const reply = split(yield* this.#ask(XS_TRANSACTION_START, 0, NOTHING, 'start transaction'));
    const id = Number(reply[0]);
    if (Number.isInteger(id) && id > 0 && id <= 0xffffffff) return id;
    throw new XenError('EIO', 'xenstore: the reply to start transaction is no transaction id');
  }
}

// A xenstore client: requests as promises, watches as callbacks, over any byte transport.
// A domain steps a RingTransport over its xenstore page (xenstore-ring-transport.ts); processes of dom0
// use the daemon's unix socket (xenstore-socket.ts).
import {
  XENSTORE_PAYLOAD_MAX,
  XS_CONTROL,
  XS_ERROR,
  XS_GET_DOMAIN_PATH,
  XS_GET_PERMS,
  XS_INTRODUCE,
  XS_IS_DOMAIN_INTRODUCED,
  XS_MKDIR,
  XS_READ,
  XS_RELEASE,
  XS_RESET_WATCHES,
  XS_RESUME,
  XS_RM,
  XS_SET_PERMS,
  XS_SET_TARGET,
  XS_WATCH_EVENT,
} from './abi/xs_wire.ts';
import type { Domid, EvtchnPort, Gfn } from './brands.ts';
import { XenError, xsErrorNames } from './errors.ts';
import type { Log } from './log.ts';
import { awaited, promised } from './routine.ts';
import { XenstoreFrameReader, xenstoreFrame } from './xenstore-frame.ts';
import { type WatchCallback, XenstoreRoutines } from './xenstore-routines.ts';
import { NOTHING, split, strings, text } from './xenstore-strings.ts';

export interface XenstoreTransport {
  /** Queue bytes in order; never blocks. */
  send(bytes: Uint8Array): void;
  /** The bytes handed over are valid during the call only. */
  onData(cb: (bytes: Uint8Array) => void): void;
  /** Told once, with the reason, when nothing more can be sent or received. */
  onClose(cb: (reason: string) => void): void;
  close(): void;
}

interface Pending {
  readonly type: number;
  readonly what: string;
  resolve(payload: Uint8Array): void;
  reject(error: XenError): void;
}
interface Watch {
  readonly path: string;
  readonly cb: WatchCallback;
}

export class XenstoreClient {
  readonly #transport: XenstoreTransport;
  readonly #log: Log | undefined;
  readonly #reader = new XenstoreFrameReader();
  readonly #pending = new Map<number, Pending>();
  readonly #watches = new Map<string, Watch[]>();
  readonly #closed: ((error: XenError) => void)[] = [];
  #nextId = 1;
  #end: { readonly error: XenError; readonly why: string } | undefined;
  /** The same for routines. */
  readonly routines = new XenstoreRoutines({
    ask: (type, tx, payload, what) => (done, failed) => this.#ask(type, tx, payload, what, done, failed),
    listen: (path, token, cb) => this.#listen(path, token, cb),
    deafen: (path, token) => {
      const watch = this.#watches.get(token)?.find(w => w.path === path);
      if (watch) this.#forget(token, watch);
    },
  });

  constructor(transport: XenstoreTransport, log?: Log) {
    this.#transport = transport;
    this.#log = log;
    transport.onData(bytes => this.#receive(bytes));
    transport.onClose(reason => this.#finish('ECONNRESET', reason));
  }

  // ---- nodes ----

  async read(path: string, tx = 0): Promise<string> {
    return text(await this.readBytes(path, tx));
  }

  async readBytes(path: string, tx = 0): Promise<Uint8Array> {
    return this.#request(XS_READ, tx, strings(path), `read ${path}`);
  }

  /** Missing parents are created, with empty values. */
  async write(path: string, value: string | Uint8Array, tx = 0): Promise<void> {
    await promised(this.routines.write(path, value, tx));
  }

  async mkdir(path: string, tx = 0): Promise<void> {
    await this.#request(XS_MKDIR, tx, strings(path), `mkdir ${path}`);
  }

  /** Removes a node and all below it. Nothing to remove is no error, a missing parent is. */
  async rm(path: string, tx = 0): Promise<void> {
    await this.#request(XS_RM, tx, strings(path), `rm ${path}`);
  }

  /** The names of a node's children, however many. */
  async directory(path: string, tx = 0): Promise<string[]> {
    return promised(this.routines.directory(path, tx));
  }

  async getPerms(path: string, tx = 0): Promise<string[]> {
    return split(await this.#request(XS_GET_PERMS, tx, strings(path), `get permissions of ${path}`));
  }

  /** `perms` as on the wire: the owner first, e.g. `['n0', 'r3']`. */
  async setPerms(path: string, perms: readonly string[], tx = 0): Promise<void> {
    await this.#request(XS_SET_PERMS, tx, strings(path, ...perms), `set permissions of ${path}`);
  }

  async exists(path: string, tx = 0): Promise<boolean> {
    try {
      await this.readBytes(path, tx);
      return true;
    } catch (error) {
      if (error instanceof XenError && error.code === 'ENOENT') return false;
      throw error;
    }
  }

  // ---- watches ----

  /** `cb` is called once at once, then after every change at `path` or below (down to `depth` levels). */
  async watch(path: string, token: string, cb: WatchCallback, depth?: number): Promise<void> {
    await promised(this.routines.watch(path, token, cb, depth));
  }

  /** `cb` is not called again from here on. */
  async unwatch(path: string, token: string): Promise<void> {
    await promised(this.routines.unwatch(path, token));
  }

  /** Also ends the transactions of this client. */
  async resetWatches(): Promise<void> {
    this.#watches.clear();
    await this.#request(XS_RESET_WATCHES, 0, NOTHING, 'reset watches');
  }

  // ---- transactions ----

  /** Runs `body` until it commits without a conflict. When `body` throws, nothing of it is kept. */
  async transaction<T>(body: (tx: number) => Promise<T>): Promise<T> {
    return promised(this.routines.transaction(tx => awaited(body(tx))));
  }

  // ---- domains ----

  async introduce(domid: Domid, gfn: Gfn, port: EvtchnPort): Promise<void> {
    await this.#request(XS_INTRODUCE, 0, strings(domid, gfn, port), `introduce dom${domid}`);
  }

  async release(domid: Domid): Promise<void> {
    await this.#request(XS_RELEASE, 0, strings(domid), `release dom${domid}`);
  }

  async resume(domid: Domid): Promise<void> {
    await this.#request(XS_RESUME, 0, strings(domid), `resume dom${domid}`);
  }

  async setTarget(domid: Domid, target: Domid): Promise<void> {
    await this.#request(XS_SET_TARGET, 0, strings(domid, target), `set target of dom${domid}`);
  }

  async getDomainPath(domid: Domid): Promise<string> {
    return split(await this.#request(XS_GET_DOMAIN_PATH, 0, strings(domid), `path of dom${domid}`))[0] ?? '';
  }

  async isDomainIntroduced(domid: Domid): Promise<boolean> {
    return text(await this.#request(XS_IS_DOMAIN_INTRODUCED, 0, strings(domid), `is dom${domid} introduced`)) === 'T\0';
  }

  /** `xenstore-control`: a command and its parameters, the answer as text. */
  async control(command: string, ...params: string[]): Promise<string> {
    return split(await this.#request(XS_CONTROL, 0, strings(command, ...params), `control ${command}`)).join('\0');
  }

  // ---- the connection ----

  /** Told once; at once when it is over already. */
  onClose(cb: (error: XenError) => void): void {
    if (this.#end) cb(this.#end.error);
    else this.#closed.push(cb);
  }

  close(): void {
    this.#finish('ECANCELED', 'closed');
  }

  /** Requests that wait for a reply. */
  get outstanding(): number {
    return this.#pending.size;
  }

  #request(type: number, tx: number, payload: Uint8Array, what: string): Promise<Uint8Array> {
    return new Promise((resolve, reject) => this.#ask(type, tx, payload, what, resolve, reject));
  }
  #ask(
    type: number,
    tx: number,
    payload: Uint8Array,
    what: string,
    resolve: (payload: Uint8Array) => void,
    reject: (error: XenError) => void,
  ): void {
    if (this.#end) {
      const { error, why } = this.#end;
      reject(new XenError(error.code, `xenstore: ${what}: ${why}`));
      return;
    }
    // Xen: the daemon kills a connection that sends more; better that this one request fails.
    if (payload.length > XENSTORE_PAYLOAD_MAX) {
      reject(new XenError('E2BIG', `xenstore: ${what}`));
      return;
    }
    while (this.#pending.has(this.#nextId)) this.#nextId = this.#following(this.#nextId);
    const id = this.#nextId;
    this.#nextId = this.#following(id);
    this.#pending.set(id, { type, what, resolve, reject });
    this.#transport.send(xenstoreFrame(type, id, tx, payload));
  }

  /** Ids wrap; 0 is kept for watch events. */
  #following(id: number): number {
    return id === 0xffffffff ? 1 : id + 1;
  }

  #receive(bytes: Uint8Array): void {
    for (let offset = 0; offset < bytes.length && !this.#end; ) {
      const taken = this.#reader.take(bytes, offset);
      if (taken < 0) {
        this.#violated('a reply longer than the protocol allows');
        return;
      }
      offset += taken;
      if (this.#reader.complete) this.#dispatch();
    }
  }

  #dispatch(): void {
    const { type, req_id, payload } = this.#reader.frame; // untrusted: the daemon may be another domain
    if (type === XS_WATCH_EVENT) {
      this.#watchEvent(payload);
      return;
    }
    const pending = this.#pending.get(req_id);
    if (!pending) {
      this.#log?.warn(`xenstore: a reply (type ${type}) to request ${req_id}, which was never made`);
      return;
    }
    if (type !== pending.type && type !== XS_ERROR) {
      this.#violated(`a reply of type ${type} to ${pending.what}`);
      return;
    }
    this.#pending.delete(req_id);
    if (type === XS_ERROR) {
      const name = split(payload)[0] ?? '';
      // Xen: any name that xs_wire.h does not list reaches C clients as EINVAL.
      pending.reject(new XenError(xsErrorNames.includes(name) ? name : 'EINVAL', `xenstore: ${pending.what}`));
    } else pending.resolve(new Uint8Array(payload));
  }

  #watchEvent(payload: Uint8Array): void {
    const [path, token] = split(payload);
    if (path === undefined || token === undefined) {
      this.#violated('a watch event without its token');
      return;
    }
    for (const watch of [...(this.#watches.get(token) ?? [])]) {
      if (!covers(watch.path, path)) continue;
      try {
        watch.cb(path, token);
      } catch (error) {
        // One watcher's mistake must not cost the others their events.
        this.#log?.error(`xenstore: the watch on ${watch.path} threw: ${error instanceof Error ? error.stack : error}`);
      }
    }
  }

  #listen(path: string, token: string, cb: WatchCallback): () => void {
    const watch: Watch = { path, cb };
    const listed = this.#watches.get(token);
    if (listed) listed.push(watch);
    else this.#watches.set(token, [watch]);
    return () => this.#forget(token, watch);
  }

  #forget(token: string, watch: Watch): void {
    const left = (this.#watches.get(token) ?? []).filter(w => w !== watch);
    if (left.length > 0) this.#watches.set(token, left);
    else this.#watches.delete(token);
  }

  #violated(what: string): void {
    this.#log?.error(`xenstore: ${what}; connection closed`);
    this.#finish('EIO', what);
  }

  #finish(code: string, why: string): void {
    if (this.#end) return;
    const error = new XenError(code, `xenstore: ${why}`);
    this.#end = { error, why };
    this.#transport.close();
    this.#watches.clear();
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const { what, reject } of pending) reject(new XenError(code, `xenstore: ${what}: ${why}`, error));
    for (const cb of this.#closed.splice(0)) cb(error);
  }
}

/** Xen: an event's path is the watched path or below it; `@special` watches may have a domid appended. */
function covers(watched: string, path: string): boolean {
  if (path === watched || watched === '/') return true;
  return path.startsWith(watched) && path[watched.length] === '/';
}

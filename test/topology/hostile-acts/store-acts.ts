// Acts of a xenstore client in a domain, byte by byte on its ring; numbered as in docs/hostile-acts.md. None gives the
// kernel a turn before it is done, so that the kernel's own client sees nothing of it.
import {
  type ByteRingEnd,
  requestReconnect,
  type Vcpu,
  XENSTORE_CONNECTED,
  XenstoreFrameReader,
  XS_DIRECTORY,
  XS_ERROR,
  XS_INTRODUCE,
  XS_MKDIR,
  XS_READ,
  XS_RELEASE,
  XS_RESET_WATCHES,
  XS_RM,
  XS_SET_PERMS,
  XS_TRANSACTION_END,
  XS_TRANSACTION_START,
  XS_WATCH,
  XS_WATCH_EVENT,
  XS_WRITE,
  xenstore_domain_interface,
  xenstoreFrame,
  xenstoreRing,
} from '#pvbus';
import type { Acts, Mallory } from './performer.ts';

const bytesOf = (text: string): Uint8Array => Uint8Array.from(text, c => c.charCodeAt(0));
const REPLY_NS = 5e9;
/** More than the daemon's. */
const PATIENCE_NS = 60e9;
/** Of one kind, so that they are worth a line of the log. */
const REFUSALS = 64;
const { connection, error, req_prod, req_cons } = xenstore_domain_interface.at;

class RawStore {
  readonly mallory: Mallory;
  readonly vcpu: Vcpu;
  readonly ring: ByteRingEnd;
  readonly words: Int32Array;
  readonly #frames = new XenstoreFrameReader();
  readonly #chunk = new Uint8Array(1024);
  #at = 0;
  #have = 0;
  /** Watch events that came between replies. */
  events = 0;
  #nextId = 1;

  constructor(mallory: Mallory) {
    this.mallory = mallory;
    this.vcpu = mallory.vcpu;
    const page = mallory.vcpu.memory.page(mallory.kernel.info.store.gfn);
    this.words = page.words;
    this.ring = xenstoreRing(page, 'front');
  }
  notify(): void {
    this.vcpu.events.notify(this.mallory.kernel.info.store.port);
  }
  /** Sleep until `ready`; false when it never is. */
  wait(ready: () => boolean, ns = REPLY_NS): boolean {
    const { clock } = this.mallory.kernel;
    const end = clock.now() + ns;
    while (!ready()) {
      if (clock.now() > end) return false;
      if (!this.vcpu.events.poll()) this.vcpu.block(Math.min(end, clock.now() + 1e6));
    }
    return true;
  }
  /** All of it, without reading what comes back. False when the daemon takes no more. */
  send(bytes: Uint8Array, ns = REPLY_NS): boolean {
    for (let left = bytes; left.length > 0; ) {
      if (!this.wait(() => this.ring.writer.writable() !== 0, ns)) return false;
      left = left.subarray(Math.max(0, this.ring.writer.write(left)));
      this.notify();
    }
    return true;
  }
  request(type: number, payload: string, tx = 0): boolean {
    return this.send(xenstoreFrame(type, this.#nextId++, tx, bytesOf(payload)));
  }
  /** The next reply, 'ERROR' before a refusal's name; undefined when none comes. */
  reply(ns = REPLY_NS): string | undefined {
    for (;;) {
      if (this.#at === this.#have) {
        if (!this.wait(() => this.ring.reader.readable() > 0, ns)) return undefined;
        this.#have = this.ring.reader.read(this.#chunk);
        this.#at = 0;
        this.notify();
      }
      this.#at += this.#frames.take(this.#chunk.subarray(0, this.#have), this.#at);
      if (!this.#frames.complete) continue;
      const { type, payload } = this.#frames.frame;
      if (type === XS_WATCH_EVENT) {
        this.events++;
        continue;
      }
      const text = String.fromCharCode(...payload).replaceAll('\0', '');
      return type === XS_ERROR ? text : `ok ${text}`.trim();
    }
  }
  ask(type: number, payload: string, tx = 0): string | undefined {
    this.request(type, payload, tx);
    return this.reply();
  }
  /** Of so many, how many are allowed, and what the first refusal says. */
  until(count: number, type: number, payload: (i: number) => string): [number, string | undefined] {
    for (let i = 0; i < count; i++) {
      const answer = this.ask(type, payload(i));
      if (!answer?.startsWith('ok')) return [i, answer];
    }
    return [count, undefined];
  }
  /** What the daemon says of a ring that it ignores. */
  fault(ns = REPLY_NS): number {
    this.wait(() => this.words[error / 4] !== 0, ns);
    return this.words[error / 4]!;
  }
  /** Begin again with an empty ring and no watches. */
  reconnect(): boolean {
    const { gfn, port } = this.mallory.kernel.info.store;
    const page = this.vcpu.memory.page(gfn);
    requestReconnect(page, () => this.vcpu.events.notify(port));
    this.#frames.reset();
    this.#at = 0;
    this.#have = 0;
    return this.wait(() => this.words[connection / 4] === XENSTORE_CONNECTED);
  }
}

const onRing =
  (body: (store: RawStore, mallory: Mallory) => Record<string, unknown>) =>
  (mallory: Mallory): Record<string, unknown> =>
    body(new RawStore(mallory), mallory);

export const storeActs: Acts = {
  57: onRing(store => {
    const faults: number[] = [];
    for (const length of [4097, 2 ** 31, 2 ** 32 - 1]) {
      const header = xenstoreFrame(XS_READ, 1, 0, new Uint8Array(0));
      new DataView(header.buffer).setUint32(12, length, true);
      store.send(header);
      faults.push(store.fault());
      if (!store.reconnect()) return { faults, reconnected: false };
    }
    return { faults, reads: store.ask(XS_READ, 'name\0') !== undefined };
  }),
  58: onRing(store => {
    Atomics.store(store.words, req_prod / 4, (store.words[req_cons / 4]! + 1025) | 0);
    store.notify();
    const fault = store.fault();
    return { fault, reconnected: store.reconnect(), reads: store.ask(XS_READ, 'name\0') !== undefined };
  }),
  59: onRing(store => {
    const ask = (type: number, payload: string, tx = 0) => store.ask(type, payload, tx);
    for (let i = 0; i < REFUSALS; i++) ask(99, 'x\0');
    return {
      types: [ask(99, 'x\0'), ask(2 ** 32 - 1, 'x\0')],
      transaction: ask(XS_READ, 'name\0', 4242),
      paths: ['', '\0', '//\0', '/a//b\0', '/a/\0', `/${'a'.repeat(3072)}\0`, '/t\xf6ol\0', 'no NUL'].map(path =>
        ask(XS_READ, path),
      ),
    };
  }),
  60: onRing(store => {
    for (let i = 0; i < REFUSALS; i++) store.ask(XS_READ, '/local/domain/\0');
    return {
      reads: ['/local/domain/\0', '/local/domain/x\0'].map(path => store.ask(XS_READ, path)),
      write: store.ask(XS_WRITE, '/local/domain/x/y\0z'),
    };
  }),
  61: onRing(store => {
    for (let i = 0; i < REFUSALS; i++) store.ask(XS_WRITE, '/\0x');
    const refused = [
      store.ask(XS_WRITE, '/\0x'),
      store.ask(XS_RM, '/local\0'),
      store.ask(XS_SET_PERMS, '/\0b0\0'),
      store.ask(XS_WRITE, '/local/domain/0/mallory\0x'),
      store.ask(XS_WRITE, '/local/domain/1/data/checked\0x'),
      store.ask(XS_RM, '/local/domain/1\0'),
      store.ask(XS_MKDIR, '/tool/mallory\0'),
      store.ask(XS_SET_PERMS, '/local/domain/1\0b0\0'),
    ];
    store.ask(XS_WRITE, 'data/mine\0x');
    const given = store.ask(XS_SET_PERMS, 'data/mine\0n1\0');
    store.ask(XS_RM, 'data/mine\0');
    return { refused, given };
  }),
  /** The innocent writes to its own nodes all the time. */
  62: onRing((store, { vcpu }) => {
    const watched = store.ask(XS_WATCH, '/\0t\0');
    store.wait(() => false, 60e6);
    store.ask(XS_READ, 'name\0');
    const events = store.events;
    store.ask(XS_RESET_WATCHES, '\0');
    return { watched, events, domid: vcpu.domid > 0 };
  }),
  63: onRing(store => {
    const transactions: string[] = [];
    for (
      let id = store.ask(XS_TRANSACTION_START, '\0');
      id?.startsWith('ok');
      id = store.ask(XS_TRANSACTION_START, '\0')
    )
      transactions.push(id.slice(3));
    for (const id of transactions) store.ask(XS_TRANSACTION_END, 'F\0', Number(id));
    const [watches, noWatch] = store.until(1000, XS_WATCH, i => `w${i}\0t\0`);
    store.ask(XS_RESET_WATCHES, '\0');
    const [nodes, noNode] = store.until(3000, XS_WRITE, i => `data/m/${Math.floor(i / 100)}/${i}\0`);
    store.ask(XS_RM, 'data/m\0');
    return { transactions: transactions.length, watches, noWatch, noNode, nodes: nodes > 900 && nodes < 1000 };
  }),
  /** Asks, and does not read the answers; at last it does. */
  64: onRing(store => {
    let asked = 0;
    const request = xenstoreFrame(XS_DIRECTORY, 1, 0, bytesOf('device\0'));
    // A request that is not taken whole would end the framing: only whole ones.
    while (asked < 1001 && store.wait(() => store.ring.writer.writable() >= request.length, 20e6)) {
      store.send(request);
      asked++;
    }
    let answered = 0;
    while (answered < asked && store.reply() !== undefined) answered++;
    return { stopped: asked < 1001, answered: answered === asked };
  }),
  /** Others write where it has a watch, and it reads nothing, until the daemon has had enough of it. */
  65: onRing(store => {
    store.ask(XS_WATCH, 'data\0t\0');
    const fault = store.fault(PATIENCE_NS);
    return { fault, reconnected: store.reconnect(), reads: store.ask(XS_READ, 'name\0') !== undefined };
  }),
  66: onRing(store => {
    const deep = store.ask(XS_WRITE, `data/${'d/'.repeat(900)}d\0x`);
    return { deep, removed: store.ask(XS_RM, 'data/d\0') };
  }),
  67: onRing(store => {
    const ends: (string | undefined)[] = [];
    for (let round = 0; round < 20; round++) {
      const tx = Number(store.ask(XS_TRANSACTION_START, '\0')?.slice(3));
      store.ask(XS_WRITE, 'data/in\0x', tx);
      store.ask(XS_READ, 'data/out\0', tx);
      store.ask(XS_WRITE, `data/out\0${round}`);
      ends.push(store.ask(XS_TRANSACTION_END, 'T\0', tx));
    }
    // And one that is left open.
    const left = store.ask(XS_TRANSACTION_START, '\0')?.startsWith('ok');
    store.ask(XS_RM, 'data/out\0');
    store.reconnect();
    return { ends: [...new Set(ends)], left };
  }),
  68: onRing(store => {
    const tx = Number(store.ask(XS_TRANSACTION_START, '\0')?.slice(3));
    const inside = store.ask(XS_RESET_WATCHES, '\0', tx);
    for (let i = 0; i < REFUSALS; i++) store.ask(XS_RELEASE, '0\0');
    const release = store.ask(XS_RELEASE, '0\0');
    const introduce = store.ask(XS_INTRODUCE, '1\x005\x003\0');
    store.reconnect();
    return { inside: inside !== undefined, release, introduce };
  }),
  /** Everything that its toolstack will read later, or may be thought to. */
  69: onRing((store, { vcpu }) => {
    const me = vcpu.domid;
    const keys = [
      `/local/domain/0/backend/vbd/${me}/51712/params`,
      `/local/domain/0/backend/vbd/${me}/51712/dev`,
      `/libxl/${me}/device/vbd/51712/params`,
      `/local/domain/${me}/console/tty`,
      `/local/domain/${me}/console/limit`,
      `/local/domain/${me}/name`,
      `/local/domain/${me}/vm`,
      `/local/domain/${me}/device/vbd/51712/backend-id`,
    ];
    for (let i = 0; i < REFUSALS; i++) store.ask(XS_WRITE, `${keys[0]}\0/etc/shadow`);
    const own = keys.map(key => store.ask(XS_WRITE, `${key}\0/etc/shadow`) ?? 'none');
    return { keys: own };
  }),
  /** Its own nodes, and transactions of them. */
  'honest store': onRing(store => {
    let refused = 0;
    const ask = (type: number, payload: string, tx = 0): void => {
      if (!store.ask(type, payload, tx)?.startsWith('ok')) refused++;
    };
    for (let i = 0; i < 300; i++) ask(XS_WRITE, `data/h/${i}\0${i}`);
    for (let i = 0; i < 300; i++) ask(XS_READ, `data/h/${i}\0`);
    for (let round = 0; round < 20; round++) {
      const tx = Number(store.ask(XS_TRANSACTION_START, '\0')?.slice(3));
      ask(XS_WRITE, `data/in\0${round}`, tx);
      ask(XS_TRANSACTION_END, 'T\0', tx);
    }
    ask(XS_RM, 'data/h\0');
    ask(XS_RM, 'data/in\0');
    return { refused };
  }),
};

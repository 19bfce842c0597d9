// A daemon in a process of its own as a stage for transcripts: its socket, and domains of the fake hypervisor.
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import {
  type Page,
  requestReconnect,
  XENSTORE_RECONNECT,
  XENSTORE_SERVER_FEATURE_RECONNECTION,
  XenstoreFrameReader,
  XS_GET_DOMAIN_PATH,
  XS_INTRODUCE,
  xenstore_domain_interface,
  xenstoreFrame,
  xenstoreRing,
} from '#pvbus';
import { eventually } from '../support/processes.ts';
import type { RealXenstored } from '../support/real-xenstored.ts';
import { ENDED, type RingIndex, type Stage, type StageClient } from '../support/transcript.ts';
import type { ReceivedFrame } from '../support/xenstore-rig.ts';
import { FakeDomains } from './fake-domains.ts';

const closed = (how: string): ReceivedFrame => ({ type: ENDED, req_id: 0, tx_id: 0, payload: Buffer.from(how) });
/** Resolves when the daemon has done all that it was given to do before. */
type Settle = () => Promise<void>;
const BARRIER_ID = 0xbbbbbbbb;
const { server_features: FEATURES, connection: CONNECTION, error: ERROR } = xenstore_domain_interface.at;

/** One connection to a daemon that answers when it likes. */
abstract class Peer implements StageClient {
  readonly #frames: ReceivedFrame[] = [];
  readonly #reader = new XenstoreFrameReader();
  #nextId = 1;
  #told = false;
  #oversize = false;
  readonly #settle: Settle;

  constructor(settle: Settle) {
    this.#settle = settle;
  }

  /** Why nothing more can come. */
  protected abstract ended(): string | undefined;
  abstract raw(bytes: Uint8Array): void;
  abstract move(index: RingIndex, by: number): void;
  /** Wait until more may have come. */
  protected abstract more(): Promise<void>;

  send(type: number, payload: string | Uint8Array, tx_id = 0): number {
    const id = this.#nextId++;
    this.raw(xenstoreFrame(type, id, tx_id, typeof payload === 'string' ? Buffer.from(payload, 'latin1') : payload));
    return id;
  }

  /** Everything that was meant for this client before now: it asks once more, and waits for that answer. */
  async take(): Promise<ReceivedFrame[]> {
    if (!this.#oversize && this.ended() === undefined)
      this.raw(xenstoreFrame(XS_GET_DOMAIN_PATH, BARRIER_ID, 0, Buffer.from('0\0')));
    for (;;) {
      const end = this.#frames.findIndex(frame => frame.req_id === BARRIER_ID);
      if (end >= 0) return this.#frames.splice(0, end + 1).slice(0, -1);
      const how = this.#oversize ? 'oversize' : this.ended();
      if (how !== undefined) {
        if (!this.#told) this.#frames.push(closed(how));
        this.#told = true;
        return this.#frames.splice(0);
      }
      await this.more();
    }
  }

  async fate(): Promise<string> {
    await this.#settle();
    return this.ended() ?? 'nothing';
  }

  protected received(bytes: Uint8Array): void {
    if (this.#oversize) return;
    for (let at = 0; at < bytes.length; ) {
      const n = this.#reader.take(bytes, at);
      if (n < 0) {
        this.#oversize = true; // here every client gives up, ours and Xen's
        return;
      }
      at += n;
      if (!this.#reader.complete) continue;
      const { type, req_id, tx_id, payload } = this.#reader.frame;
      this.#frames.push({ type, req_id, tx_id, payload: Buffer.from(payload) });
    }
  }
}

export class SocketPeer extends Peer {
  readonly #socket: Socket;
  #wake: () => void = () => {};
  #ended: string | undefined;

  private constructor(socket: Socket, settle: Settle) {
    super(settle);
    this.#socket = socket;
    socket.on('data', chunk => {
      this.received(chunk);
      this.#wake();
    });
    socket.on('error', () => {}); // 'close' follows
    socket.on('close', () => {
      this.#ended = 'closed';
      this.#wake();
    });
  }
  static async connect(path: string, settle: Settle): Promise<SocketPeer> {
    const socket = connect(path);
    await once(socket, 'connect');
    return new SocketPeer(socket, settle);
  }
  protected ended(): string | undefined {
    return this.#ended;
  }
  raw(bytes: Uint8Array): void {
    this.#socket.write(bytes);
  }
  move(): void {
    throw new Error('a socket has no indices');
  }
  protected more(): Promise<void> {
    return new Promise(resolve => {
      this.#wake = resolve;
    });
  }
  close(): void {
    this.#socket.destroy();
  }
}

export class RingPeer extends Peer {
  readonly page: Page;
  readonly #notify: () => void;
  readonly #alive: () => boolean;
  readonly #chunk = new Uint8Array(1024);
  #left = Buffer.alloc(0);

  constructor(page: Page, notify: () => void, alive: () => boolean, settle: Settle) {
    super(settle);
    this.page = page;
    this.#notify = notify;
    this.#alive = alive;
  }
  protected ended(): string | undefined {
    const error = this.page.view.getUint32(ERROR, true);
    if (error !== 0) return `ring error ${error}`;
    return this.#alive() ? undefined : 'dead';
  }
  raw(bytes: Uint8Array): void {
    this.#left = Buffer.concat([this.#left, bytes]);
    this.#move();
  }
  move(index: RingIndex, by: number): void {
    const at = xenstore_domain_interface.at[index];
    this.page.view.setUint32(at, (this.page.view.getUint32(at, true) + by) >>> 0, true);
    this.#notify();
  }
  /** Both ways, as far as there is room. */
  #move(): boolean {
    const { reader, writer } = xenstoreRing(this.page, 'front');
    const sent = Math.max(0, writer.write(this.#left));
    this.#left = this.#left.subarray(sent);
    const n = Math.max(0, reader.read(this.#chunk));
    if (n > 0) this.received(this.#chunk.subarray(0, n));
    if (sent + n > 0) this.#notify();
    return sent + n > 0;
  }
  protected async more(): Promise<void> {
    // A ring has no file descriptor to wait for. The daemon is at work meanwhile: mostly it is done at once.
    for (let i = 0; i < 200; i++) {
      if (this.#move()) return;
      await new Promise(resolve => setImmediate(resolve));
    }
    await new Promise(resolve => setTimeout(resolve, 1));
  }
  /** Returns why not. */
  async reconnect(): Promise<string | undefined> {
    if ((this.page.view.getUint32(FEATURES, true) & XENSTORE_SERVER_FEATURE_RECONNECTION) === 0) return 'not offered';
    requestReconnect(this.page, this.#notify);
    await eventually('the daemon connects the ring anew', () => {
      return this.page.view.getUint32(CONNECTION, true) !== XENSTORE_RECONNECT;
    });
    return undefined;
  }
}

/** Clients of dom0 alone. */
export class SocketStage implements Stage {
  readonly #path: string;
  readonly #sockets: SocketPeer[] = [];
  #witness: SocketPeer | undefined;

  /** `path`: of a running daemon's socket. */
  constructor(path: string) {
    this.#path = path;
  }

  async dom0(): Promise<SocketPeer> {
    const peer = await SocketPeer.connect(this.#path, () => this.settled());
    this.#sockets.push(peer);
    return peer;
  }
  async domain(id: number): Promise<RingPeer> {
    throw new Error(`there is no dom${id} without a hypervisor`);
  }
  async door(verb: string, _id: number, _reason: number): Promise<string | undefined> {
    throw new Error(`${verb}: there is no hypervisor`);
  }
  clock(): void {
    throw new Error("nobody moves this daemon's clock");
  }
  /** Once the daemon has done what it was given to do, and this process has seen what there is to see of it. */
  async settled(): Promise<void> {
    this.#witness ??= await this.dom0();
    await this.#witness.take(); // it may have been asked in the same turn as what came before it
    await this.#witness.take();
    // The end of a stream and the answer just taken were there together; the end is told in the next turn.
    for (let i = 0; i < 3; i++) await new Promise(resolve => setImmediate(resolve));
  }
  close(): void {
    for (const socket of this.#sockets) socket.close();
  }
}

/** One of Debian's daemons, with domains of the fake hypervisor. */
export class RealStage extends SocketStage {
  readonly #daemon: RealXenstored;
  readonly #domains: FakeDomains;
  readonly #rings = new Map<number, RingPeer>();
  #toolstack: SocketPeer | undefined;

  constructor(daemon: RealXenstored) {
    super(daemon.socket);
    this.#daemon = daemon;
    this.#domains = new FakeDomains(daemon.folder);
  }

  override async domain(id: number): Promise<RingPeer> {
    const page = this.#domains.create(id);
    const toolstack = await this.#dom0();
    toolstack.send(XS_INTRODUCE, `${id}\x001000\x001\0`);
    const [reply] = await toolstack.take();
    if (reply?.type !== XS_INTRODUCE) throw new Error(`not introduced: ${reply?.payload}`);
    const ring = new RingPeer(
      page,
      () => this.#domains.notify(id),
      this.#daemon.alive,
      () => this.settled(),
    );
    this.#rings.set(id, ring);
    return ring;
  }

  override async door(verb: string, id: number, reason: number): Promise<string | undefined> {
    if (verb === 'creates') this.#domains.create(id);
    else if (verb === 'shuts-down') await this.#domains.shutDown(id, reason);
    else if (verb === 'destroys') await this.#domains.destroy(id);
    else if (verb === 'reconnects') return this.#rings.get(id)?.reconnect();
    else throw new Error(`door: ${verb}`);
    await this.settled(); // the daemon has acted upon it
    return undefined;
  }

  override close(): void {
    super.close();
    this.#domains.close();
  }

  /** The connection by which this stage itself acts. */
  async #dom0(): Promise<SocketPeer> {
    this.#toolstack ??= await this.dom0();
    return this.#toolstack;
  }
}
